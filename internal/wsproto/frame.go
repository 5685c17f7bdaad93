package wsproto

import (
	crand "crypto/rand"
	"encoding/binary"
	"math/rand/v2"
	"unicode/utf8"
)

// Opcodes of RFC 6455 section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// Bits of the first two bytes of a frame.
const (
	bitFin     = 0x80
	bitsRSV    = 0x70
	bitsOpcode = 0x0F
	bitMask    = 0x80
	bitsLength = 0x7F
)

// maxHead is the longest frame header: two bytes, an eight-byte length and
// the masking key.
const maxHead = 14

// frames decodes and encodes the frames of one connection; Server and Client
// differ only in who masks. The zero value is a server's.
type frames struct {
	// maskKeys is set when this end is the client, which masks; a server must
	// not. Keys have to be unpredictable (RFC 6455 section 10.3), so that a
	// message cannot choose what bytes a proxy sees.
	maskKeys *rand.ChaCha8

	// The frame being read.
	head    [maxHead]byte // a header that has not wholly arrived
	headLen uint8
	opcode  uint8
	inside  bool // its header is complete, remain bytes of it are to come
	message bool // a message is open: FIN has not been seen
	fin     bool
	remain  uint32
	key     uint32 // masking key, turned to the next byte; 0 leaves bytes as they are
	// control is the payload of a control frame that arrived in pieces; nil
	// until that happens for the first time.
	control []byte

	closeSent bool
	err       error // set once the connection is over
}

// clientFrames returns the frames of a client's end. The generator is seeded
// by the system once per connection: no system call or allocation per frame.
func clientFrames() frames {
	var seed [32]byte
	crand.Read(seed[:]) //nolint:errcheck // documented never to fail
	return frames{maskKeys: rand.NewChaCha8(seed)}
}

// inbound decodes raw. See Layer.Inbound.
func (f *frames) inbound(dst, raw, out []byte) (newDst, newOut []byte, err error) {
	for f.err == nil {
		if !f.inside {
			if raw, out = f.header(raw, out); !f.inside {
				break
			}
		}
		if f.opcode >= opClose {
			if raw, out = f.controlPayload(raw, out); f.inside {
				break
			}
			continue
		}
		chunk := raw[:min(int(f.remain), len(raw))]
		raw = raw[len(chunk):]
		if f.key != 0 {
			f.key = mask(chunk, f.key)
		}
		if !f.closeSent {
			dst = append(dst, chunk...)
		}
		f.remain -= uint32(len(chunk))
		if f.remain > 0 {
			break
		}
		f.inside = false
		f.message = !f.fin
	}
	return dst, out, f.err
}

// header consumes the bytes of a frame header from raw. When it is complete
// and right, f.inside is true afterwards.
func (f *frames) header(raw, out []byte) (rest, newOut []byte) {
	if f.headLen == 0 {
		// The usual case: the whole header lies in raw and is not copied.
		if n := headSize(raw); n > 0 && n <= len(raw) {
			return raw[n:], f.begin(raw[:n], out)
		}
	}
	for len(raw) > 0 {
		f.head[f.headLen] = raw[0]
		f.headLen++
		raw = raw[1:]
		h := f.head[:f.headLen]
		if n := headSize(h); n > 0 && n == len(h) {
			f.headLen = 0
			return raw, f.begin(h, out)
		}
	}
	return raw, out
}

// headSize returns the length of the frame header that begins with h, 0 when
// h is too short to tell.
func headSize(h []byte) int {
	if len(h) < 2 {
		return 0
	}
	n := 2
	switch h[1] & bitsLength {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if h[1]&bitMask != 0 {
		n += 4
	}
	return n
}

// begin checks a whole frame header and makes it the current frame.
func (f *frames) begin(h, out []byte) []byte {
	opcode, fin := h[0]&bitsOpcode, h[0]&bitFin != 0
	masked := h[1]&bitMask != 0
	length := uint64(h[1] & bitsLength)
	switch length {
	case 126:
		length = uint64(binary.BigEndian.Uint16(h[2:]))
	case 127:
		length = binary.BigEndian.Uint64(h[2:])
	}
	if code, reason := f.check(h[0], opcode, fin, masked, length); code != 0 {
		return f.fail(out, code, reason)
	}
	f.opcode, f.fin, f.remain, f.inside = opcode, fin, uint32(length), true
	f.key = 0
	if masked {
		f.key = binary.LittleEndian.Uint32(h[len(h)-4:])
	}
	return out
}

// check returns the status code with which to refuse a frame header, 0 for a
// good one. A length in a longer form than needed is accepted: RFC 6455 binds
// the sender to the shortest form, but demands no check.
func (f *frames) check(first, opcode byte, fin, masked bool, length uint64) (code uint16, reason string) {
	switch {
	case first&bitsRSV != 0:
		return CloseProtocolError, "reserved bits are set, but no extension was agreed"
	case opcode > opPong || opcode > opBinary && opcode < opClose:
		return CloseProtocolError, "unknown opcode"
	case masked && f.maskKeys != nil:
		return CloseProtocolError, "masked frame from a server"
	case !masked && f.maskKeys == nil:
		return CloseProtocolError, "unmasked frame from a client"
	case opcode >= opClose && !fin:
		return CloseProtocolError, "fragmented control frame"
	case opcode >= opClose && length > maxControl:
		return CloseProtocolError, "control frame longer than 125 bytes"
	case opcode == opText:
		return CloseUnsupportedData, "text frame; MQTT needs binary frames"
	case opcode == opBinary && f.message:
		return CloseProtocolError, "new message inside a fragmented one"
	case opcode == opContinuation && !f.message:
		return CloseProtocolError, "continuation frame without a message"
	case length>>63 != 0:
		return CloseProtocolError, "frame length with its top bit set"
	case length > MaxFrame:
		return CloseTooBig, "frame longer than 268435455 bytes"
	}
	return 0, ""
}

// controlPayload consumes payload bytes of a control frame and acts on it when
// it is complete; f.inside is false afterwards.
func (f *frames) controlPayload(raw, out []byte) (rest, newOut []byte) {
	n := min(int(f.remain), len(raw))
	payload := raw[:n]
	raw = raw[n:]
	f.remain -= uint32(n)
	f.key = mask(payload, f.key)
	if f.remain > 0 || len(f.control) > 0 {
		if f.control == nil {
			f.control = make([]byte, 0, maxControl)
		}
		f.control = append(f.control, payload...)
		if f.remain > 0 {
			return raw, out
		}
		payload = f.control
		f.control = f.control[:0]
	}
	f.inside = false
	switch f.opcode {
	case opPing:
		if !f.closeSent {
			out = f.append(out, opPong, payload)
		}
	case opClose:
		out = f.closed(out, payload)
	}
	return raw, out
}

// closed answers the peer's closing frame and ends the connection.
func (f *frames) closed(out, payload []byte) []byte {
	e := &CloseError{Code: CloseNoStatus, Remote: true}
	switch {
	case len(payload) == 1:
		return f.fail(out, CloseProtocolError, "closing frame of one byte")
	case len(payload) >= 2:
		e.Code = binary.BigEndian.Uint16(payload)
		if !validCloseCode(e.Code) {
			return f.fail(out, CloseProtocolError, "closing frame with an invalid status code")
		}
		if !utf8.Valid(payload[2:]) {
			return f.fail(out, CloseInvalidPayload, "closing frame with a reason that is not UTF-8")
		}
		e.Reason = string(payload[2:])
	}
	if !f.closeSent {
		out = f.append(out, opClose, payload[:min(len(payload), 2)])
		f.closeSent = true
	}
	f.err = e
	return out
}

// validCloseCode reports whether a closing frame may carry code (RFC 6455
// section 7.4 and the registry it founds).
func validCloseCode(code uint16) bool {
	switch {
	case code >= 3000 && code <= 4999:
		return true
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014:
		return true
	}
	return false
}

// fail ends the connection for a fault of the peer.
func (f *frames) fail(out []byte, code uint16, reason string) []byte {
	out = f.close(out, code)
	f.inside = false
	f.err = &CloseError{Code: code, Reason: reason}
	return out
}

// close appends this end's closing frame, if it has not been sent.
func (f *frames) close(out []byte, code uint16) []byte {
	if f.closeSent {
		return out
	}
	f.closeSent = true
	var payload [2]byte
	binary.BigEndian.PutUint16(payload[:], code)
	return f.append(out, opClose, payload[:])
}

// append appends one whole frame of this end.
func (f *frames) append(out []byte, opcode byte, payload []byte) []byte {
	if f.maskKeys == nil {
		return append(appendHead(out, opcode, len(payload), false), payload...)
	}
	out = appendHead(out, opcode, len(payload), true)
	key := uint32(f.maskKeys.Uint64())
	out = binary.LittleEndian.AppendUint32(out, key)
	start := len(out)
	out = append(out, payload...)
	mask(out[start:], key)
	return out
}

// appendHead appends the header of a frame of n payload bytes, up to the
// masking key.
func appendHead(out []byte, opcode byte, n int, masked bool) []byte {
	var m byte
	if masked {
		m = bitMask
	}
	out = append(out, bitFin|opcode)
	switch {
	case n <= maxControl:
		return append(out, m|byte(n))
	case n <= 0xFFFF:
		return binary.BigEndian.AppendUint16(append(out, m|126), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(out, m|127), uint64(n))
	}
}

// outbound appends app as binary frames of at most MaxFrame bytes.
func (f *frames) outbound(out, app []byte) []byte {
	if f.closeSent || f.err != nil {
		return out
	}
	for len(app) > 0 {
		n := min(len(app), MaxFrame)
		out = f.append(out, opBinary, app[:n])
		app = app[n:]
	}
	return out
}
