package script

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// rawBytes resolves the byte language of raw and BYTES:
//
//	30 0a FF     hexadecimal bytes, blanks as you like
//	"abc"        the bytes of a quoted text
//	str:"abc"    the same with a two-byte length in front
//	u16:500 u32:7 var:321   integers
//	rl( … )      the content with its length as a variable byte integer in front
//	l16( … )     the content with its two-byte length in front
//	( … )*20     repetition; also ff*20 and "ab"*20
func (e *env) rawBytes(words []word) ([]byte, error) {
	var src []string
	for _, w := range words {
		if !e.holds(w.cond) {
			continue
		}
		// Quoted text is expanded after unquoting; everything else here.
		s := w.src
		if !w.quoted {
			var err error
			if s, err = e.expand(s); err != nil {
				return nil, err
			}
		}
		src = append(src, s)
	}
	m := &macro{env: e, s: strings.Join(src, " ")}
	out, err := m.seq(0)
	if err == nil && m.s != "" {
		err = fmt.Errorf("raw: ) without ( before %q", m.s)
	}
	return out, err
}

type macro struct {
	*env
	s string
}

// maxMacro bounds what a script can make the runner allocate.
const maxMacro = 300 << 20

func (m *macro) seq(depth int) ([]byte, error) {
	var out []byte
	for {
		m.s = strings.TrimLeft(m.s, " \t")
		if m.s == "" || m.s[0] == ')' {
			return out, nil
		}
		item, err := m.item(depth)
		if err != nil {
			return nil, err
		}
		n, err := m.times()
		if err != nil {
			return nil, err
		}
		if len(out)+n*len(item) > maxMacro {
			return nil, fmt.Errorf("raw: more than %d bytes", maxMacro)
		}
		for range n {
			out = append(out, item...)
		}
	}
}

// times reads an optional *N.
func (m *macro) times() (int, error) {
	if !strings.HasPrefix(m.s, "*") {
		return 1, nil
	}
	end := 1
	for end < len(m.s) && m.s[end] >= '0' && m.s[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(m.s[1:end])
	if err != nil {
		return 0, fmt.Errorf("raw: repetition in %q", m.s)
	}
	m.s = m.s[end:]
	return n, nil
}

func (m *macro) item(depth int) ([]byte, error) {
	if depth > 20 {
		return nil, fmt.Errorf("raw: nested too deep")
	}
	for _, open := range []string{"rl(", "l16(", "("} {
		rest, ok := strings.CutPrefix(m.s, open)
		if !ok {
			continue
		}
		m.s = rest
		inner, err := m.seq(depth + 1)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(m.s, ")") {
			return nil, fmt.Errorf("raw: ( is never closed")
		}
		m.s = m.s[1:]
		switch open {
		case "rl(":
			return append(rawmqtt.AppendVarint(nil, len(inner)), inner...), nil
		case "l16(":
			return rawmqtt.AppendString(nil, string(inner)), nil
		}
		return inner, nil
	}
	if rest, ok := strings.CutPrefix(m.s, "str:"); ok {
		m.s = rest
		s, err := m.text()
		return rawmqtt.AppendString(nil, s), err
	}
	for _, kind := range []string{"u16:", "u32:", "var:"} {
		if rest, ok := strings.CutPrefix(m.s, kind); ok {
			m.s = rest
			return m.integer(kind)
		}
	}
	if m.s[0] == '"' {
		s, err := m.text()
		return []byte(s), err
	}
	return m.hex()
}

func (m *macro) text() (string, error) {
	end := 1
	for end < len(m.s) && m.s[end] != '"' {
		if m.s[end] == '\\' {
			end++
		}
		end++
	}
	if m.s == "" || m.s[0] != '"' || end >= len(m.s) {
		return "", fmt.Errorf("raw: quoted text is wanted at %q", m.s)
	}
	s, err := strconv.Unquote(m.s[:end+1])
	if err != nil {
		return "", fmt.Errorf("raw: bad quoted text %s", m.s[:end+1])
	}
	m.s = m.s[end+1:]
	return m.expand(s)
}

func (m *macro) integer(kind string) ([]byte, error) {
	end := 0
	for end < len(m.s) && !strings.ContainsRune(" \t)*", rune(m.s[end])) {
		end++
	}
	n, err := strconv.ParseUint(m.s[:end], 0, 32)
	if err != nil {
		return nil, fmt.Errorf("raw: number in %s%s", kind, m.s)
	}
	m.s = m.s[end:]
	switch kind {
	case "u16:":
		if n > 65535 {
			return nil, fmt.Errorf("raw: u16:%d", n)
		}
		return []byte{byte(n >> 8), byte(n)}, nil
	case "u32:":
		return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, nil
	}
	return rawmqtt.AppendVarint(nil, int(n)), nil
}

func (m *macro) hex() ([]byte, error) {
	end := 0
	for end < len(m.s) && strings.ContainsRune("0123456789abcdefABCDEF", rune(m.s[end])) {
		end++
	}
	b, err := hex.DecodeString(m.s[:end])
	if err != nil || len(b) == 0 {
		return nil, fmt.Errorf("raw: hexadecimal bytes are wanted at %q", m.s)
	}
	m.s = m.s[end:]
	return b, nil
}
