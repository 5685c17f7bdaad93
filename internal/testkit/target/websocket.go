package target

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// wsPipe speaks WebSocket over a TCP pipe, written by hand so that it shares
// nothing with the product's. Each Send is one binary frame; frames of the
// broker are joined into a byte stream.
type wsPipe struct {
	tcp *TCPPipe
	in  []byte // bytes read that are no whole frame yet
	eof bool
}

// wsGUID is the fixed text of RFC 6455, section 1.3.
const wsGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// Opcodes of RFC 6455.
const (
	wsBinary = 2
	wsClose  = 8
	wsPing   = 9
	wsPong   = 10
)

// DialWebSocket connects to addr, offers the subprotocol mqtt and checks the
// broker's answer.
func DialWebSocket(addr string) (Pipe, error) {
	tcp, err := DialTCP(addr)
	if err != nil {
		return nil, err
	}
	p := &wsPipe{tcp: tcp}
	if err := p.handshake(addr); err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	return p, nil
}

func (p *wsPipe) handshake(addr string) error {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails; it ends the process instead
	key := base64.StdEncoding.EncodeToString(nonce[:])
	req := "GET /mqtt HTTP/1.1\r\nHost: " + addr + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: " + key +
		"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
	if err := p.tcp.Send([]byte(req)); err != nil {
		return err
	}
	var head []byte
	for {
		b, err := p.tcp.Recv(patience)
		if err != nil {
			return fmt.Errorf("WebSocket handshake: %w", err)
		}
		p.in = append(p.in, b...)
		if i := bytes.Index(p.in, []byte("\r\n\r\n")); i >= 0 {
			head, p.in = p.in[:i], p.in[i+4:]
			break
		}
	}
	lines := strings.Split(string(head), "\r\n")
	if !strings.HasPrefix(lines[0], "HTTP/1.1 101 ") {
		return fmt.Errorf("WebSocket handshake: %s", lines[0])
	}
	h := http.Header{}
	for _, l := range lines[1:] {
		k, v, _ := strings.Cut(l, ":")
		h.Add(strings.TrimSpace(k), strings.TrimSpace(v))
	}
	sum := sha1.Sum([]byte(key + wsGUID))
	if want := base64.StdEncoding.EncodeToString(sum[:]); h.Get("Sec-WebSocket-Accept") != want {
		return fmt.Errorf("WebSocket handshake: accept %q, want %q", h.Get("Sec-WebSocket-Accept"), want)
	}
	if got := h.Get("Sec-WebSocket-Protocol"); got != "mqtt" {
		return fmt.Errorf("WebSocket handshake: subprotocol %q, want mqtt [MQTT-6.0.0-4]", got)
	}
	return nil
}

// Send writes b as one masked binary frame.
func (p *wsPipe) Send(b []byte) error { return p.frame(wsBinary, b) }

func (p *wsPipe) frame(op byte, b []byte) error {
	f := []byte{0x80 | op}
	switch n := len(b); {
	case n < 126:
		f = append(f, 0x80|byte(n))
	case n < 1<<16:
		f = binary.BigEndian.AppendUint16(append(f, 0x80|126), uint16(n))
	default:
		f = binary.BigEndian.AppendUint64(append(f, 0x80|127), uint64(n))
	}
	mask := [4]byte{0x12, 0x34, 0x56, 0x78}
	f = append(f, mask[:]...)
	for i, c := range b {
		f = append(f, c^mask[i&3])
	}
	return p.tcp.Send(f)
}

// Recv returns the payload of the next data frames.
func (p *wsPipe) Recv(wait time.Duration) ([]byte, error) {
	deadline := time.Now().Add(wait)
	for {
		out, err := p.cut()
		switch {
		case err != nil:
			return nil, err
		case len(out) > 0:
			return out, nil
		case p.eof:
			return nil, io.EOF
		}
		b, err := p.tcp.Recv(time.Until(deadline))
		if err != nil {
			return nil, err
		}
		p.in = append(p.in, b...)
	}
}

// cut takes the whole frames off the input.
func (p *wsPipe) cut() (out []byte, err error) {
	for len(p.in) >= 2 && !p.eof {
		op, n, head := p.in[0]&15, int(p.in[1]), 2
		if n&0x80 != 0 {
			return nil, fmt.Errorf("the broker masks its frames")
		}
		switch {
		case n == 126 && len(p.in) >= 4:
			n, head = int(binary.BigEndian.Uint16(p.in[2:])), 4
		case n == 127 && len(p.in) >= 10:
			n, head = int(binary.BigEndian.Uint64(p.in[2:])), 10
		case n >= 126:
			return out, nil
		}
		if len(p.in) < head+n {
			return out, nil
		}
		body := p.in[head : head+n]
		p.in = p.in[head+n:]
		switch op {
		case 0, wsBinary:
			out = append(out, body...)
		case wsClose:
			p.eof = true
		case wsPing:
			if err := p.frame(wsPong, body); err != nil {
				return nil, err
			}
		case wsPong:
		default:
			return nil, fmt.Errorf("the broker sent a frame with opcode %d [MQTT-6.0.0-1]", op)
		}
	}
	return out, nil
}

// CloseWrite ends the TCP direction without a close frame, as a connection that
// broke does.
func (p *wsPipe) CloseWrite() error { return p.tcp.CloseWrite() }

// Close resets the TCP connection.
func (p *wsPipe) Close() error { return p.tcp.Close() }
