package mqtt

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// plainValid says the policy in the plainest way, to compare the fast one with.
func plainValid(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	for _, r := range string(b) {
		switch {
		case r <= 0x1f, r >= 0x7f && r <= 0x9f, r >= 0xfdd0 && r <= 0xfdef, r&0xffff >= 0xfffe:
			return false
		}
	}
	return true
}

var badText = []string{
	"\x00", "\x01", "\x1f", "\n", "\x7f", "\u0080", "\u0085", "\u009f", "\ufdd0", "\ufdef", "\ufffe", "\uffff", "\U0001fffe", "\U0010ffff",
	"\xed\xa0\x80", "\xed\xbf\xbf", "\xc0\xaf", "\xf5\x80\x80\x80", "\xc3(", "\xe2\x82", "\xff", "\x80",
}

var goodText = []string{"", "a", " ", "~", "\u00a0", "é", "€", "\ufeff", "\ufdcf", "\ufdf0", "\ufffd", "𝄞", "\U0010fffd", "a/b c/+/#"}

// covers: 5:1.5.4-1 5:1.5.4-2 5:U5-1.5.4-1
func TestValidUTF8Refuses(t *testing.T) {
	for _, bad := range badText {
		for pad := range 20 { // every position relative to the words of eight
			for _, s := range []string{
				strings.Repeat("a", pad) + bad, bad + strings.Repeat("a", pad), strings.Repeat("a", pad) + bad + strings.Repeat("b", pad),
				strings.Repeat("é", pad) + bad,
			} {
				if ValidString(s) {
					t.Fatalf("%q was accepted", s)
				}
			}
		}
	}
}

// covers: 5:1.5.4-3 3:1.5.3-3 E008
func TestValidUTF8Accepts(t *testing.T) {
	for _, good := range goodText {
		for pad := range 20 {
			s := strings.Repeat("a", pad) + good + strings.Repeat("z", pad)
			if !ValidString(s) || !ValidUTF8([]byte(s)) {
				t.Fatalf("%q was refused", s)
			}
		}
	}
}

// Every code point that exists, alone and behind seven letters, is judged as the plain form judges it.
func TestValidUTF8AllRunes(t *testing.T) {
	for r := rune(0); r <= utf8.MaxRune; r++ {
		b := append([]byte("abcdefg"), string(r)...)
		if got, want := ValidUTF8(b), plainValid(b); got != want {
			t.Fatalf("U+%04X: %v, want %v", r, got, want)
		}
	}
}

func FuzzValidUTF8(f *testing.F) {
	for _, s := range append(badText, goodText...) {
		f.Add([]byte(s))
		f.Add([]byte("sensors/room 12/" + s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := ValidUTF8(b), plainValid(b); got != want {
			t.Fatalf("%q: %v, want %v", b, got, want)
		}
	})
}
