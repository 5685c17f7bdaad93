//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
)

// badBroker is just enough of a broker for p2p at QoS 0 and 1, with a fault in every 50th delivery.
type badBroker struct {
	fault string // lose, double, swap, cut, unacked

	mu   sync.Mutex
	subs map[string]*bufio.Writer
	n    int
	held []byte
}

func (b *badBroker) listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.subs = map[string]*bufio.Writer{}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { l.Close() })
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				b.serve(nc)
			})
		}
	})
	return l.Addr().String()
}

func (b *badBroker) serve(nc net.Conn) {
	in, out := bufio.NewReader(nc), bufio.NewWriter(nc)
	for {
		first, err := in.ReadByte()
		if err != nil {
			return
		}
		n, err := binary.ReadUvarint(in) // a Remaining Length has the same form
		if err != nil {
			return
		}
		v := make([]byte, n)
		if _, err := io.ReadFull(in, v); err != nil {
			return
		}
		b.mu.Lock()
		switch first >> 4 {
		case 1:
			out.Write([]byte{0x20, 2, 0, 0})
		case 8:
			b.subs[string(v[4:4+binary.BigEndian.Uint16(v[2:])])] = out
			out.Write([]byte{0x90, 3, v[0], v[1], 0})
		case 3:
			b.route(nc, out, first, v)
		}
		out.Flush()
		b.mu.Unlock()
	}
}

func (b *badBroker) route(nc net.Conn, back *bufio.Writer, first byte, v []byte) {
	end := 2 + binary.BigEndian.Uint16(v)
	out := b.subs[string(v[2:end])]
	b.n++
	bad := b.n%50 == 0
	if first&6 != 0 {
		if !bad || b.fault != "unacked" {
			back.Write([]byte{0x40, 2, v[end], v[end+1]})
		}
		v = append(v[:end:end], v[end+2:]...) // delivered at QoS 0
		first = 0x30
	}
	p := append(putLen([]byte{first}, len(v)), v...)
	switch {
	case bad && b.fault == "lose":
	case bad && b.fault == "double":
		out.Write(p)
		out.Write(p)
	case bad && b.fault == "swap" && b.held == nil:
		b.held = p
	case bad && b.fault == "cut":
		nc.Close()
	default:
		out.Write(p)
		if b.held != nil {
			out.Write(b.held)
			b.held = nil
		}
	}
	out.Flush()
}

// TestFaultsAreCounted shows that each kind of fault appears in the result, and that nothing else does.
func TestFaultsAreCounted(t *testing.T) {
	for _, tt := range []struct{ fault, scenario, counter string }{
		{"lose", "p2p-qos0", "lost"},
		{"double", "p2p-qos0", "dups"},
		{"swap", "p2p-qos0", "gaps"},
		{"cut", "p2p-qos0", "closed"},
		{"unacked", "latency", "unacked"},
		{"lose", "latency", "lost"},
	} {
		t.Run(tt.fault+" "+tt.scenario, func(t *testing.T) {
			b := &badBroker{fault: tt.fault}
			m := result(t, append(small(b.listen(t), tt.scenario), "-pairs", "1", "-rate", "1000", "-inflight", "500"))
			if n, _ := m[tt.counter].(float64); n <= 0 {
				t.Errorf("no fault was counted as %s: %v", tt.counter, m)
			}
			if tt.fault == "double" || tt.fault == "swap" {
				if m["lost"].(float64) != 0 {
					t.Errorf("%v messages count as lost", m["lost"])
				}
			}
		})
	}
}
