package tlslayer

import (
	"crypto/tls"
	"runtime"
	"testing"
)

// TestMemoryOfAConnection holds what an idle connection keeps on the heap after
// its handshake and a message. `make bench-tls` measures the whole process.
func TestMemoryOfAConnection(t *testing.T) {
	const (
		connections = 100
		limit       = 11 << 10 // bytes
	)
	pool := NewPool(0, 0)
	defer pool.Close()
	cfg := &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
	layers := make([]*Server, connections)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // pools are emptied by the second
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	connected(t, pool, cfg)
	before := heap()
	for i := range layers {
		layers[i] = connected(t, pool, cfg)
	}
	each := (int64(heap()) - int64(before)) / connections
	t.Logf("%d bytes", each)
	if each > limit {
		t.Errorf("a connection keeps %d bytes, more than %d", each, limit)
	}
	runtime.KeepAlive(layers)
}

// connected returns the layer of a connection whose client is gone.
func connected(t *testing.T, pool *Pool, cfg *tls.Config) *Server {
	t.Helper()
	c, s := pair(t)
	layer := NewServer(pool, cfg, identity)
	woken := make(chan struct{}, 16)
	layer.Notify(func() { woken <- struct{}{} })
	done := make(chan error, 1)
	go func() {
		tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		_, err := tc.Write(make([]byte, 100))
		done <- err
	}()
	reads := make(chan []byte)
	go func() {
		defer close(reads)
		for {
			b := make([]byte, 4096)
			n, err := s.Read(b)
			if err != nil {
				return
			}
			reads <- b[:n]
		}
	}()
	for got := 0; got < 100; {
		var b []byte
		select {
		case b = <-reads:
		case <-woken:
		}
		app, out, err := layer.Inbound(nil, b, nil)
		if err != nil {
			t.Fatal(err)
		}
		got += len(app)
		if _, err := s.Write(out); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	c.Close()
	s.Close()
	for range reads { // until the reader has ended
	}
	return layer
}
