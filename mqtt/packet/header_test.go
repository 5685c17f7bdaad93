package packet

import (
	"bytes"
	"errors"
	"testing"

	"github.com/midgemq/midge/mqtt"
)

var varints = []struct {
	n     uint32
	bytes string
}{
	{0, "00"},
	{127, "7f"},
	{128, "80 01"},
	{16383, "ff 7f"},
	{16384, "80 80 01"},
	{2097151, "ff ff 7f"},
	{2097152, "80 80 80 01"},
	{268435455, "ff ff ff 7f"},
}

// covers: 5:1.5.5-1 3:U311-2.2.3-2
func TestVarintBoundaries(t *testing.T) {
	for _, c := range varints {
		want := unhex(t, c.bytes)
		if got := AppendVarint(nil, c.n); !bytes.Equal(got, want) || VarintSize(c.n) != len(want) {
			t.Errorf("%d is written %x (size %d), want %x", c.n, got, VarintSize(c.n), want)
		}
		for _, strict := range []bool{false, true} {
			if v, n, ok := ReadVarint(append(want, 0xff), strict); v != c.n || n != len(want) || !ok {
				t.Errorf("%s is read %d in %d bytes, %v", c.bytes, v, n, ok)
			}
			first, remaining, n, err := ParseHeader(append([]byte{0x30}, want...), strict)
			if first != 0x30 || remaining != int(c.n) || n != 1+len(want) || err != nil {
				t.Errorf("header 30 %s is read %02x, %d in %d bytes, %v", c.bytes, first, remaining, n, err)
			}
			for cut := range want {
				if _, _, ok := ReadVarint(want[:cut], strict); ok {
					t.Errorf("%s cut to %d bytes is read", c.bytes, cut)
				}
				if _, _, n, err := ParseHeader(append([]byte{0x30}, want[:cut]...), strict); n != 0 || err != nil {
					t.Errorf("header 30 %s cut to %d bytes: %d, %v", c.bytes, cut, n, err)
				}
			}
		}
	}
	if _, _, n, err := ParseHeader(nil, true); n != 0 || err != nil {
		t.Errorf("header of no bytes: %d, %v", n, err)
	}
}

// covers: 5:U5-1.5.5-1 3:U311-2.2.3-1 E001
func TestVarintTooLong(t *testing.T) {
	for _, s := range []string{"80 80 80 80", "ff ff ff ff", "80 80 80 80 01", "ff ff ff ff 7f"} {
		b := unhex(t, s)
		for _, strict := range []bool{false, true} {
			if v, _, ok := ReadVarint(b, strict); ok {
				t.Errorf("%s is read as %d", s, v)
			}
			_, _, n, err := ParseHeader(append([]byte{0x10}, b...), strict)
			var e *Error
			if !errors.As(err, &e) || e.Code != mqtt.MalformedPacket || e.Type != CONNECT || n != 0 {
				t.Errorf("header 10 %s: %v", s, err)
			}
		}
	}
}

// covers: 5:1.5.5-1 E002
func TestVarintLongerThanNeeded(t *testing.T) {
	for _, c := range []struct {
		bytes string
		n     int
	}{{"80 00", 0}, {"81 00", 1}, {"80 80 00", 0}, {"ff 80 00", 127}, {"80 81 80 00", 128}, {"ff ff ff 00", 2097151}} {
		b := unhex(t, c.bytes)
		if _, _, ok := ReadVarint(b, true); ok {
			t.Errorf("5.0 reads %s", c.bytes)
		}
		if v, n, ok := ReadVarint(b, false); !ok || int(v) != c.n || n != len(b) {
			t.Errorf("3.x reads %s as %d in %d bytes, %v", c.bytes, v, n, ok)
		}
		header := append([]byte{0xC0}, b...)
		var e *Error
		if _, _, _, err := ParseHeader(header, true); !errors.As(err, &e) || e.Code != mqtt.MalformedPacket {
			t.Errorf("5.0 reads header c0 %s: %v", c.bytes, err)
		}
		if _, remaining, n, err := ParseHeader(header, false); remaining != c.n || n != len(header) || err != nil {
			t.Errorf("3.x reads header c0 %s as %d in %d bytes, %v", c.bytes, remaining, n, err)
		}
	}
}

// Type 0 is refused on its first byte alone.
func TestHeaderReservedType(t *testing.T) {
	for low := range byte(16) {
		if _, _, _, err := ParseHeader([]byte{low}, false); err == nil {
			t.Errorf("first byte %02x passes", low)
		}
	}
}

// A whole frame at each boundary of the length, through encoder and header reader.
func TestHeaderFrames(t *testing.T) {
	for _, total := range []int{127, 128, 16383, 16384, 2097151, 2097152} {
		p := &Publish{Topic: []byte("t"), Payload: make([]byte, total-3)}
		frame := p.Append(nil, mqtt.V311)
		first, body := split(t, frame)
		if first != 0x30 || len(body) != total || len(frame) != p.Size(mqtt.V311) {
			t.Errorf("remaining length %d: %02x, %d, frame of %d bytes, size %d", total, first, len(body), len(frame), p.Size(mqtt.V311))
		}
	}
}

// Lies in a length would split the stream at the wrong place, so writing one panics.
func TestEncoderPanics(t *testing.T) {
	long := make([]byte, mqtt.MaxString+1)
	for name, f := range map[string]func(){
		"varint":      func() { AppendVarint(nil, mqtt.MaxVarint+1) },
		"text":        func() { AppendBytes(nil, PropAuthData, long) },
		"string":      func() { AppendString(nil, PropReasonString, string(long)) },
		"pair":        func() { AppendPair(nil, "k", string(long)) },
		"topic":       func() { (&Publish{Topic: long}).Append(nil, mqtt.V311) },
		"filter":      func() { AppendFilter(nil, string(long), 0) },
		"packet":      func() { AppendPublishHeader(nil, 0x30, mqtt.V311, "t", 0, mqtt.MaxVarint) },
		"number":      func() { AppendUint(nil, PropUser, 1) },
		"byte":        func() { AppendUint(nil, PropMaximumQoS, 256) },
		"two byte":    func() { AppendUint(nil, PropTopicAlias, 65536) },
		"not text":    func() { AppendString(nil, PropTopicAlias, "x") },
		"pair as one": func() { AppendString(nil, PropUser, "x") },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

func FuzzHeader(f *testing.F) {
	for _, c := range varints {
		f.Add(append([]byte{0x30}, unhex(f, c.bytes)...))
	}
	f.Add([]byte{0x10, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		first, remaining, n, err := ParseHeader(b, true)
		_, loose, m, looseErr := ParseHeader(b, false)
		if err == nil && (looseErr != nil || loose != remaining || m != n) {
			t.Fatalf("%x: strict reads %d in %d, loose %d in %d, %v", b, remaining, n, loose, m, looseErr)
		}
		if n == 0 {
			return
		}
		v, size, ok := ReadVarint(b[1:], true)
		if !ok || int(v) != remaining || size != n-1 {
			t.Fatalf("%x: header says %d in %d, ReadVarint %d in %d, %v", b, remaining, n-1, v, size, ok)
		}
		if out := appendHeader(nil, first, remaining); !bytes.Equal(out, b[:n]) {
			t.Fatalf("%x: written as %x", b[:n], out)
		}
	})
}
