//go:build foreign

package foreign

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// trace keeps the last MQTT packets that passed a proxy, to be shown when a test fails.
type trace struct {
	name string
	ws   bool // the bytes are those of WebSocket

	mu    sync.Mutex
	start time.Time
	lines []string
}

const traceLength = 400

var packetNames = []string{
	"?", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

func newTrace(t *testing.T, name string, ws bool) *trace {
	tr := &trace{name: name, ws: ws, start: time.Now()}
	t.Cleanup(func() {
		if t.Failed() {
			tr.mu.Lock()
			defer tr.mu.Unlock()
			t.Logf("last packets of %s:\n%s", name, strings.Join(tr.lines, "\n"))
		}
	})
	return tr
}

func (tr *trace) line(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lines = append(tr.lines, fmt.Sprintf("%9.3fms ", float64(time.Since(tr.start).Microseconds())/1000)+fmt.Sprintf(format, args...))
	if len(tr.lines) > 2*traceLength {
		tr.lines = append(tr.lines[:0:0], tr.lines[len(tr.lines)-traceLength:]...)
	}
}

// direction reads the packets of one direction of one connection.
type direction struct {
	tr    *trace
	arrow string
	raw   []byte // WebSocket bytes not understood yet
	open  bool   // the WebSocket handshake is over
	buf   []byte // MQTT bytes
}

// Write takes bytes as they pass.
func (d *direction) Write(p []byte) (int, error) {
	if d.tr.ws {
		d.raw = append(d.raw, p...)
		d.unwrap()
	} else {
		d.buf = append(d.buf, p...)
	}
	for len(d.buf) >= 2 {
		length, used := binary.Uvarint(d.buf[1:min(len(d.buf), 5)]) // MQTT's lengths have the same form
		if used <= 0 || len(d.buf) < 1+used+int(length) {
			break
		}
		first, body := d.buf[0], d.buf[1+used:1+used+int(length)]
		d.tr.line("%s %s", d.arrow, describe(first, body))
		d.buf = d.buf[1+used+int(length):]
	}
	return len(p), nil
}

// unwrap moves the payload of whole WebSocket frames to buf.
func (d *direction) unwrap() {
	if !d.open {
		_, rest, ok := bytes.Cut(d.raw, []byte("\r\n\r\n"))
		if !ok {
			return
		}
		d.open, d.raw = true, rest
	}
	for len(d.raw) >= 2 {
		head, length := 2, int(d.raw[1]&0x7F)
		if length >= 126 {
			n := 2 + 6*(length-126) // two or eight bytes
			if len(d.raw) < head+n {
				return
			}
			length = 0
			for _, c := range d.raw[head : head+n] {
				length = length<<8 | int(c)
			}
			head += n
		}
		key := []byte{0, 0, 0, 0}
		if d.raw[1]&0x80 != 0 {
			if len(d.raw) < head+4 {
				return
			}
			key = d.raw[head : head+4]
			head += 4
		}
		if len(d.raw) < head+length {
			return
		}
		if opcode := d.raw[0] & 0x0F; opcode >= 8 {
			d.tr.line("%s WebSocket opcode %d", d.arrow, opcode)
		} else {
			for i, c := range d.raw[head : head+length] {
				d.buf = append(d.buf, c^key[i%4])
			}
		}
		d.raw = d.raw[head+length:]
	}
}

func describe(first byte, body []byte) string {
	name := packetNames[first>>4]
	switch {
	case first>>4 == 3:
		qos := first >> 1 & 3
		n := 2 + int(binary.BigEndian.Uint16(body))
		s := fmt.Sprintf("PUBLISH q%d", qos)
		if first&8 != 0 {
			s += " dup"
		}
		if qos > 0 {
			s += fmt.Sprintf(" id %d", binary.BigEndian.Uint16(body[n:]))
			n += 2
		}
		rest := body[n:]
		return s + fmt.Sprintf(" %q", rest[:min(len(rest), 20)])
	case first>>4 >= 4 && first>>4 <= 7 && len(body) >= 2:
		return fmt.Sprintf("%s id %d %x", name, binary.BigEndian.Uint16(body), body[2:])
	}
	return fmt.Sprintf("%s %x", name, body[:min(len(body), 40)])
}
