package wsproto

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 6455 section 4.2.2 prescribes SHA-1; nothing is protected by it
	"encoding/base64"
	"errors"
	"strings"
)

// acceptGUID is the constant of RFC 6455 section 1.3.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// acceptKey returns the Sec-WebSocket-Accept value for a Sec-WebSocket-Key.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + acceptGUID)) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:])
}

// errHeaderTooLarge is returned by headerBuffer.add when the limit is passed.
var errHeaderTooLarge = errors.New("header is too large")

// headerBuffer collects an HTTP header that arrives in pieces.
type headerBuffer struct {
	buf []byte // nil while nothing waits
}

// add takes bytes from raw until the empty line that ends the header. It
// returns the whole header and the bytes behind it, or a nil header when more
// bytes are needed. header is valid until raw is overwritten.
func (h *headerBuffer) add(raw []byte, limit int) (header, rest []byte, err error) {
	if len(h.buf) == 0 {
		if end := headerEnd(raw, 0); end > 0 && end <= limit {
			return raw[:end], raw[end:], nil
		}
	}
	// The end may lie across the border of two pieces: its longest form but
	// one byte may have been seen.
	from := max(0, len(h.buf)-3)
	old := len(h.buf)
	h.buf = append(h.buf, raw[:min(len(raw), limit+1-old)]...)
	switch end := headerEnd(h.buf, from); {
	case end > 0 && end <= limit:
		header = h.buf[:end]
		h.buf = nil
		return header, raw[end-old:], nil
	case len(h.buf) > limit:
		h.buf = nil
		return nil, nil, errHeaderTooLarge
	}
	return nil, nil, nil
}

// headerEnd returns the offset behind the first empty line of b that ends at
// or behind from, 0 when there is none. A bare LF ends a line too (RFC 9112
// section 2.2).
func headerEnd(b []byte, from int) int {
	for i := from; i < len(b); i++ {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return 0
		}
		i += n
		switch {
		case i >= 1 && b[i-1] == '\n',
			i >= 2 && b[i-1] == '\r' && b[i-2] == '\n':
			return i + 1
		}
	}
	return 0
}

// headerLines walks the lines of a header: the first line alone, then name
// and value of each field.
type headerLines struct {
	rest  []byte
	count int
}

// line returns the next line without its end.
func (h *headerLines) line() []byte {
	i := bytes.IndexByte(h.rest, '\n')
	if i < 0 {
		i = len(h.rest) - 1
	}
	l := h.rest[:i+1]
	h.rest = h.rest[i+1:]
	l = bytes.TrimSuffix(l, []byte("\n"))
	return bytes.TrimSuffix(l, []byte("\r"))
}

// next returns the next field; ok is false at the end. Whatever two HTTP
// parsers could read differently (folded lines, blanks before the colon,
// control characters) is an error, not a guess.
func (h *headerLines) next() (name, value string, ok bool, err error) {
	if len(h.rest) == 0 {
		return "", "", false, nil
	}
	l := h.line()
	if len(l) == 0 {
		return "", "", false, nil
	}
	if h.count++; h.count > MaxHeaderLines {
		return "", "", false, errors.New("more than 100 header lines")
	}
	colon := bytes.IndexByte(l, ':')
	if colon < 0 {
		return "", "", false, errors.New("header line without a colon")
	}
	if !isToken(l[:colon]) {
		return "", "", false, errors.New("header name with invalid characters")
	}
	v := bytes.Trim(l[colon+1:], " \t")
	if !isFieldValue(v) {
		return "", "", false, errors.New("header value with control characters")
	}
	return string(l[:colon]), string(v), true, nil
}

// isToken reports whether b is a token of RFC 9110 section 5.6.2.
func isToken(b []byte) bool {
	for _, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return len(b) > 0
}

// isFieldValue reports whether b is free of control characters other than tab.
func isFieldValue(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7F {
			return false
		}
	}
	return true
}

// listHas reports whether the comma-separated list holds item; without regard
// to letter case when fold is true.
func listHas(list, item string, fold bool) bool {
	for e := range strings.SplitSeq(list, ",") {
		e = strings.Trim(e, " \t")
		if e == item || fold && strings.EqualFold(e, item) {
			return true
		}
	}
	return false
}

// joinList adds a further line of a list field, as RFC 9110 section 5.3 says.
func joinList(list, value string) string {
	if list == "" {
		return value
	}
	return list + "," + value
}
