package wsproto

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

var steps = []int{0, 1, 2, 3, 5, 7, 13, 100}

// covers: 3:6.0.0-2 5:6.0.0-2 E187
func TestFramesAreAByteStream(t *testing.T) {
	big := pattern(70000)
	raw := join(
		frame(0x82, true, []byte{0x10}),
		frame(0x82, true, []byte{0x0C}),
		frame(0x02, true, []byte("first")),
		frame(0x89, true, []byte("ping between fragments")),
		frame(0x00, true, nil),
		frame(0x00, true, []byte("second")),
		frame(0x80, true, []byte("third")),
		frame(0x82, true, nil),
		frame(0x8A, true, []byte("pong nobody asked for")),
		frame(0x82, true, big[:200]),
		frame(0x82, true, big),
	)
	want := join([]byte{0x10, 0x0C}, []byte("firstsecondthird"), big[:200], big)
	for _, step := range steps {
		s := openServer(t)
		dst, out, err := feed(s, raw, step)
		if err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		if !bytes.Equal(dst, want) {
			t.Fatalf("step %d: %d application bytes differ from the %d sent", step, len(dst), len(want))
		}
		if pong := frame(0x8A, false, []byte("ping between fragments")); !bytes.Equal(out, pong) {
			t.Fatalf("step %d: answer to ping is %x, want %x", step, out, pong)
		}
	}
}

func TestInboundInPlace(t *testing.T) {
	raw := join(frame(0x82, true, []byte("abc")), frame(0x89, true, []byte("p")), frame(0x82, true, pattern(300)))
	s := openServer(t)
	dst, out, err := s.Inbound(raw[:0], raw, nil)
	if err != nil || !bytes.Equal(dst, join([]byte("abc"), pattern(300))) || !bytes.Equal(out, frame(0x8A, false, []byte("p"))) {
		t.Fatalf("in place: %d bytes, out %x, err %v", len(dst), out, err)
	}
	if &dst[0] != &raw[0] {
		t.Fatal("dst was moved out of raw")
	}
}

// covers: 3:6.0.0-1 5:6.0.0-1 E188
func TestServerRefusesFrames(t *testing.T) {
	long := append([]byte{0x82, 0xFF}, 0, 0, 0, 0, 0x10, 0, 0, 0, 1, 2, 3, 4)
	topBit := append([]byte{0x82, 0xFF}, 0x80, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4)
	for _, c := range []struct {
		name string
		raw  []byte
		code uint16
	}{
		{"text", frame(0x81, true, []byte("x")), 1003},
		{"text fragment", frame(0x01, true, []byte("x")), 1003},
		{"rsv1", frame(0xC2, true, []byte("x")), 1002},
		{"rsv2", frame(0xA2, true, []byte("x")), 1002},
		{"rsv3", frame(0x92, true, []byte("x")), 1002},
		{"rsv on ping", frame(0xC9, true, nil), 1002},
		{"opcode 3", frame(0x83, true, nil), 1002},
		{"opcode 7", frame(0x87, true, nil), 1002},
		{"opcode 11", frame(0x8B, true, nil), 1002},
		{"opcode 15", frame(0x8F, true, nil), 1002},
		{"unmasked binary", frame(0x82, false, []byte("x")), 1002},
		{"unmasked ping", frame(0x89, false, nil), 1002},
		{"fragmented ping", frame(0x09, true, nil), 1002},
		{"fragmented close", frame(0x08, true, nil), 1002},
		{"long ping", frame(0x89, true, pattern(126)), 1002},
		{"long close", frame(0x88, true, pattern(126)), 1002},
		{"continuation first", frame(0x80, true, []byte("x")), 1002},
		{"continuation after whole message", join(frame(0x82, true, nil), frame(0x80, true, nil)), 1002},
		{"binary inside fragments", join(frame(0x02, true, nil), frame(0x82, true, nil)), 1002},
		{"too long", long, 1009},
		{"length top bit", topBit, 1002},
		{"close of one byte", frame(0x88, true, []byte{3}), 1002},
		{"close with 999", frame(0x88, true, []byte{0x03, 0xE7}), 1002},
		{"close with 1005", frame(0x88, true, []byte{0x03, 0xED}), 1002},
		{"close with 1006", frame(0x88, true, []byte{0x03, 0xEE}), 1002},
		{"close with 1015", frame(0x88, true, []byte{0x03, 0xF7}), 1002},
		{"close with 5000", frame(0x88, true, []byte{0x13, 0x88}), 1002},
		{"close reason not UTF-8", frame(0x88, true, []byte{0x03, 0xE8, 0xFF}), 1007},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, step := range []int{0, 1} {
				s := openServer(t)
				raw := join(frame(0x82, true, []byte("before")), c.raw)
				if c.name == "continuation first" || c.name == "binary inside fragments" {
					raw = c.raw
				}
				dst, out, err := feed(s, raw, step)
				if got := closeCode(t, err); got != c.code {
					t.Fatalf("step %d: code %d (%v), want %d", step, got, err, c.code)
				}
				if want := frame(0x88, false, []byte{byte(c.code >> 8), byte(c.code)}); !bytes.Equal(out, want) {
					t.Fatalf("step %d: sent %x, want the closing frame %x", step, out, want)
				}
				if len(raw) > len(c.raw) && string(dst) != "before" {
					t.Fatalf("step %d: bytes before the fault are %q", step, dst)
				}
				// Nothing more is read or written.
				if d, o, e := s.Inbound(nil, frame(0x82, true, []byte("y")), nil); len(d) != 0 || len(o) != 0 || !errors.Is(e, err) {
					t.Fatalf("after the fault: %q %q %v", d, o, e)
				}
				if o := s.Close(s.Outbound(nil, []byte("z")), 1000); len(o) != 0 {
					t.Fatalf("after the fault sent %x", o)
				}
			}
		})
	}
}

func TestCloseByPeer(t *testing.T) {
	for _, c := range []struct {
		name          string
		payload, echo []byte
		code          uint16
		reason        string
	}{
		{"no code", nil, nil, CloseNoStatus, ""},
		{"normal", []byte{0x03, 0xE8}, []byte{0x03, 0xE8}, 1000, ""},
		{"going away with reason", append([]byte{0x03, 0xE9}, "bye"...), []byte{0x03, 0xE9}, 1001, "bye"},
		{"private code", []byte{0x0F, 0xA0}, []byte{0x0F, 0xA0}, 4000, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, step := range steps {
				s := openServer(t)
				raw := join(frame(0x82, true, []byte("last words")), frame(0x88, true, c.payload))
				dst, out, err := feed(s, raw, step)
				var e *CloseError
				if !errors.As(err, &e) || !e.Remote || e.Code != c.code || e.Reason != c.reason {
					t.Fatalf("error %#v", err)
				}
				if string(dst) != "last words" {
					t.Fatalf("got %q", dst)
				}
				if !bytes.Equal(out, frame(0x88, false, c.echo)) {
					t.Fatalf("answered %x", out)
				}
			}
		})
	}
}

func TestCloseByServer(t *testing.T) {
	s := openServer(t)
	out := s.Outbound(nil, []byte("CONNACK"))
	out = s.Close(out, CloseGoingAway)
	if want := join(frame(0x82, false, []byte("CONNACK")), frame(0x88, false, []byte{0x03, 0xE9})); !bytes.Equal(out, want) {
		t.Fatalf("sent %x, want %x", out, want)
	}
	if more := s.Close(s.Outbound(nil, []byte("late")), 1000); len(more) != 0 {
		t.Fatalf("sent %x behind the closing frame", more)
	}
	if _, ok := s.OutboundHead(nil, 5); ok {
		t.Fatal("OutboundHead works behind the closing frame")
	}
	dst, out, err := feed(s, join(frame(0x82, true, []byte("late")), frame(0x89, true, nil)), 3)
	if err != nil || len(dst) != 0 || len(out) != 0 {
		t.Fatalf("while closing: %q %x %v", dst, out, err)
	}
	_, out, err = feed(s, frame(0x88, true, []byte{0x03, 0xE9}), 1)
	if code := closeCode(t, err); code != 1001 || len(out) != 0 {
		t.Fatalf("peer's answer gave code %d and sent %x", code, out)
	}
}

func TestOutboundLengths(t *testing.T) {
	s := openServer(t)
	if out := s.Outbound(nil, nil); len(out) != 0 {
		t.Fatalf("empty write sent %x", out)
	}
	for _, n := range []int{1, 125, 126, 127, 65535, 65536, 100000} {
		app := pattern(n)
		want := frame(0x82, false, app)
		if got := s.Outbound([]byte("p"), app); !bytes.Equal(got, append([]byte("p"), want...)) {
			t.Fatalf("%d bytes: wrong frame", n)
		}
		head, ok := s.OutboundHead(nil, n)
		if !ok || !bytes.Equal(append(head, app...), want) {
			t.Fatalf("%d bytes: wrong header %x", n, head)
		}
	}
	if _, ok := s.OutboundHead(nil, 0); ok {
		t.Fatal("header for an empty frame")
	}
	if _, ok := s.OutboundHead(nil, MaxFrame+1); ok {
		t.Fatal("header for a frame above the limit")
	}
}

func TestMask(t *testing.T) {
	const key = 0x54F302A1
	kb := []byte{0xA1, 0x02, 0xF3, 0x54}
	for n := range 80 {
		for cut := 0; cut <= n; cut++ {
			b := pattern(n)
			k := mask(b[:cut], key)
			mask(b[cut:], k)
			for i, c := range pattern(n) {
				if b[i] != c^kb[i%4] {
					t.Fatalf("length %d cut at %d: byte %d is %#x", n, cut, i, b[i])
				}
			}
		}
	}
}

func TestFramesDoNotAllocate(t *testing.T) {
	s := openServer(t)
	app := pattern(300)
	wire := join(frame(0x82, true, app[:64]), frame(0x89, true, app[:4]), frame(0x82, true, app))
	raw := make([]byte, len(wire))
	dst, out := make([]byte, 0, 4096), make([]byte, 0, 4096)
	in := func(step int) {
		copy(raw, wire)
		d, o := dst, out
		for i := 0; i < len(raw); i += step {
			var err error
			if d, o, err = s.Inbound(d, raw[i:min(i+step, len(raw))], o); err != nil {
				t.Fatal(err)
			}
		}
		s.Outbound(o, app)
	}
	in(1) // the first split control frame buys its buffer
	for _, step := range []int{len(raw), 1, 7} {
		if n := testing.AllocsPerRun(100, func() { in(step) }); n != 0 {
			t.Errorf("step %d: %v allocations per round", step, n)
		}
	}
	c := &Client{frames: clientFrames(), open: true}
	if n := testing.AllocsPerRun(100, func() { c.Outbound(out, app) }); n != 0 {
		t.Errorf("client: %v allocations per frame", n)
	}
}

// sameEnd reports whether two runs ended alike.
func sameEnd(a, b error) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

func role(client bool) *frames {
	f := frames{}
	if client {
		f = clientFrames()
	}
	return &f
}

func FuzzFrames(f *testing.F) {
	f.Add(join(frame(0x02, true, []byte("ab")), frame(0x89, true, []byte("p")), frame(0x80, true, pattern(200))), uint8(3), true)
	f.Add(frame(0x88, true, append([]byte{3, 0xE8}, strings.Repeat("é", 50)...)), uint8(1), true)
	f.Add(frame(0x82, false, pattern(70000)), uint8(250), false)
	f.Add([]byte{0x82, 0xFF, 0, 0, 0, 0, 0x0F, 0xFF, 0xFF, 0xFF}, uint8(1), true)
	f.Fuzz(func(t *testing.T, raw []byte, step uint8, server bool) {
		run := func(step int) (dst, out []byte, err error) {
			fr := role(!server)
			for i := 0; i < len(raw); i += step {
				piece := bytes.Clone(raw[i:min(i+step, len(raw))])
				before := len(dst)
				if dst, out, err = fr.inbound(dst, piece, out); len(dst)-before > len(piece) {
					t.Fatalf("%d bytes out of %d", len(dst)-before, len(piece))
				}
				if err != nil {
					break
				}
			}
			if len(fr.control) > maxControl {
				t.Fatalf("control buffer of %d bytes", len(fr.control))
			}
			return dst, out, err
		}
		d1, o1, e1 := run(max(1, len(raw)))
		d2, o2, e2 := run(max(1, int(step)))
		if !bytes.Equal(d1, d2) || len(o1) != len(o2) || !sameEnd(e1, e2) {
			t.Fatalf("in one piece: %x %x %v\nin pieces of %d: %x %x %v", d1, o1, e1, step, d2, o2, e2)
		}
		if server && !bytes.Equal(o1, o2) {
			t.Fatalf("answers differ: %x %x", o1, o2)
		}
		// What this end sends is valid for the other end.
		peer := role(server)
		if _, _, err := peer.inbound(nil, bytes.Clone(o1), nil); err != nil {
			var e *CloseError
			if !errors.As(err, &e) || !e.Remote {
				t.Fatalf("own frames are refused: %v", err)
			}
		}
	})
}
