package mqtt

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"strings"
	"unsafe"
)

// What can be wrong with a topic name or filter. These are sentinels because callers answer them with different reason codes.
var (
	ErrTopicEmpty     = errors.New("topic is empty")                                          // [MQTT-4.7.3-1]
	ErrTopicTooLong   = errors.New("topic is longer than 65535 bytes")                        // [MQTT-4.7.3-3]
	ErrTopicUTF8      = errors.New("topic is not valid UTF-8 or has control characters")      // [MQTT-1.5.4-1]
	ErrTopicWildcard  = errors.New("topic name has a wildcard")                               // [MQTT-4.7.0-1]
	ErrTopicLevels    = errors.New("topic has more than 200 slashes")                         // MaxTopicSlashes
	ErrFilterWildcard = errors.New("filter has a wildcard that does not fill its level")      // [MQTT-4.7.1-1, MQTT-4.7.1-2]
	ErrFilterHash     = errors.New("filter has '#' before its last level")                    // [MQTT-4.7.1-1]
	ErrShareGroup     = errors.New("shared filter has no group name or one with wildcards")   // [MQTT-4.8.2-1, MQTT-4.8.2-2]
	ErrShareFilter    = errors.New("shared filter has no topic filter behind its group name") // [MQTT-4.8.2-2]
)

// SharePrefix begins every shared subscription's filter.
const SharePrefix = "$share/"

// CheckTopicName judges a topic name as it may stand in PUBLISH, a will or a Response Topic: 1 to 65535 bytes, valid text, no
// wildcard, at most MaxTopicSlashes slashes. The error is one of the sentinels above.
func CheckTopicName(s string) error {
	return CheckTopicNameBytes(unsafe.Slice(unsafe.StringData(s), len(s)))
}

// CheckTopicNameBytes is CheckTopicName for bytes; it looks at eight at a time, since every PUBLISH passes here.
func CheckTopicNameBytes(b []byte) error {
	if len(b) == 0 {
		return ErrTopicEmpty
	}
	if len(b) > MaxString {
		return ErrTopicTooLong
	}
	slashes, i := 0, 0
	for i < len(b) {
		var x uint64
		switch n := len(b) - i; {
		case n >= 8:
			x = binary.LittleEndian.Uint64(b[i:])
			i += 8
		case len(b) >= 8: // the tail of a long name: its last eight bytes, those already seen shifted out
			x = binary.LittleEndian.Uint64(b[len(b)-8:])>>(8*(8-n)) | blank<<(8*n)
			i = len(b)
		default:
			x = blank
			for j, c := range b {
				x ^= (uint64(c) ^ 'a') << (8 * j)
			}
			i = len(b)
		}
		if x&highs != 0 {
			return checkTopicSlow(b)
		}
		if unprintable(x) {
			return ErrTopicUTF8
		}
		if equals(x, '+')|equals(x, '#') != 0 {
			if !ValidUTF8(b) {
				return ErrTopicUTF8
			}
			return ErrTopicWildcard
		}
		slashes += bits.OnesCount64(equals(x, '/'))
	}
	if slashes > MaxTopicSlashes {
		return ErrTopicLevels
	}
	return nil
}

// equals marks the top bit of each of eight ASCII characters that is c; exact, as no sum leaves its byte.
func equals(x uint64, c byte) uint64 {
	return ^((x ^ uint64(c)*ones) + lows) & highs
}

func checkTopicSlow(b []byte) error {
	if !ValidUTF8(b) {
		return ErrTopicUTF8
	}
	slashes := 0
	for _, c := range b {
		switch c {
		case '+', '#':
			return ErrTopicWildcard
		case '/':
			slashes++
		}
	}
	if slashes > MaxTopicSlashes {
		return ErrTopicLevels
	}
	return nil
}

// CheckFilter judges a topic filter: 1 to 65535 bytes, valid text, '#' alone in the last level, '+' alone in its level, at most
// MaxTopicSlashes slashes. A shared filter is judged by its whole text; its group is ParseShared's affair. The error is one of the
// sentinels above.
func CheckFilter(s string) error {
	if s == "" {
		return ErrTopicEmpty
	}
	if len(s) > MaxString {
		return ErrTopicTooLong
	}
	if !ValidString(s) {
		return ErrTopicUTF8
	}
	slashes := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '/':
			slashes++
		case '+', '#':
			if i > 0 && s[i-1] != '/' || i+1 < len(s) && s[i+1] != '/' {
				return ErrFilterWildcard
			}
			if s[i] == '#' && i+1 < len(s) {
				return ErrFilterHash
			}
		}
	}
	if slashes > MaxTopicSlashes {
		return ErrTopicLevels
	}
	return nil
}

// CheckFilterBytes is CheckFilter for bytes.
func CheckFilterBytes(b []byte) error { return CheckFilter(view(b)) }

// ParseShared takes "$share/group/filter" apart. shared is false for every other filter, which inner then repeats; "$shared/x" is
// such an ordinary one. err is ErrShareGroup or ErrShareFilter; the inner filter's wildcards are CheckFilter's affair.
func ParseShared(filter string) (group, inner string, shared bool, err error) {
	rest, ok := strings.CutPrefix(filter, SharePrefix)
	if !ok {
		if filter == SharePrefix[:len(SharePrefix)-1] {
			return "", "", true, ErrShareGroup
		}
		return "", filter, false, nil
	}
	group, inner, ok = strings.Cut(rest, "/")
	if group == "" || strings.ContainsAny(group, "+#") {
		return "", "", true, ErrShareGroup
	}
	if !ok || inner == "" {
		return "", "", true, ErrShareFilter
	}
	return group, inner, true, nil
}

// Match is the reference matcher: whether a valid filter matches a valid topic name. Levels are compared byte by byte
// [MQTT-4.7.3-4], empty levels count, '#' includes its parent level, and a leading wildcard never matches a name that begins with
// '$' [MQTT-4.7.2-1]. For a shared filter give the inner one.
func Match(filter, topic string) bool {
	if filter == "" || topic == "" {
		return false
	}
	if topic[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for {
		level, rest, more := strings.Cut(filter, "/")
		if level == "#" {
			return true
		}
		name, topicRest, topicMore := strings.Cut(topic, "/")
		if level != "+" && level != name {
			return false
		}
		switch {
		case !more && !topicMore:
			return true
		case !more:
			return false
		case !topicMore:
			return rest == "#"
		}
		filter, topic = rest, topicRest
	}
}
