package mqtt

import (
	"encoding/binary"
	"unicode/utf8"
	"unsafe"
)

// Words of eight equal bytes, for looking at eight characters in one step.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
	lows  = 0x7f7f7f7f7f7f7f7f
	blank = 0x6161616161616161 // 'a', a harmless filler for the tail
)

// ValidUTF8 reports whether b may stand in a text field. The one policy for all paths (E009): well-formed UTF-8 without surrogates
// and overlong forms [MQTT-1.5.4-1], no U+0000 [MQTT-1.5.4-2], no control characters U+0001 to U+001F and U+007F to U+009F and no
// non-characters [U5-1.5.4-1], as Mosquitto. U+FEFF is an ordinary character [MQTT-1.5.4-3].
func ValidUTF8(b []byte) bool {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		if x&highs != 0 || unprintable(x) {
			return validSlow(b[i:])
		}
	}
	return validSlow(b[i:])
}

// ValidString is ValidUTF8 for a string.
func ValidString(s string) bool { return ValidUTF8(unsafe.Slice(unsafe.StringData(s), len(s))) }

// unprintable reports whether one of eight ASCII characters is a control character. It must not be asked about bytes from 0x80.
// Adding 0x60 carries into the top bit from 0x20 on, adding 1 does so for 0x7F alone; no sum leaves its byte.
func unprintable(x uint64) bool {
	return (^(x+0x60*ones)|(x+ones))&highs != 0
}

func validSlow(b []byte) bool {
	for i := 0; i < len(b); {
		c := b[i]
		if c < utf8.RuneSelf {
			if c < 0x20 || c == 0x7f {
				return false
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if n == 1 || !allowedRune(r) {
			return false
		}
		i += n
	}
	return true
}

// allowedRune judges a rune from U+0080 on.
func allowedRune(r rune) bool {
	return r > 0x9f && r&0xfffe != 0xfffe && (r < 0xfdd0 || r > 0xfdef)
}

// view looks at b as a string without copying; the result must not outlive the call that made it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
