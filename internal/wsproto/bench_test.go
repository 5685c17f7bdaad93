package wsproto

import "testing"

func BenchmarkServerInbound(b *testing.B) {
	wire := frame(0x82, true, pattern(80))
	raw := make([]byte, 0, 64<<10)
	for len(raw)+len(wire) <= cap(raw) {
		raw = append(raw, wire...)
	}
	s := openServer(b)
	dst := make([]byte, 0, 64<<10)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.Inbound(dst, raw, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkServerOutbound(b *testing.B) {
	s := openServer(b)
	app := pattern(80)
	out := make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		out = s.Outbound(out[:0], app)
	}
}

func BenchmarkMask(b *testing.B) {
	p := pattern(64 << 10)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		mask(p, 0x54F302A1)
	}
}
