package wsproto

import (
	"bytes"
	"testing"
)

// xorLayer is a lower layer with a handshake of its own ("hello" from the
// client, answered by "ok"), as TLS has one.
type xorLayer struct {
	client, open, closed bool
	got                  []byte
}

func (x *xorLayer) Start(out []byte) []byte {
	if x.client {
		return append(out, "hello"...)
	}
	return out
}

func (x *xorLayer) Inbound(dst, raw, out []byte) (newDst, newOut []byte, err error) {
	if !x.open {
		want := "hello"
		if x.client {
			want = "ok"
		}
		n := min(len(raw), len(want)-len(x.got))
		x.got = append(x.got, raw[:n]...)
		raw = raw[n:]
		if string(x.got) != want {
			return dst, out, nil
		}
		x.open = true
		if !x.client {
			out = append(out, "ok"...)
		}
	}
	for _, c := range raw {
		dst = append(dst, c^0x5A)
	}
	return dst, out, nil
}

func (x *xorLayer) Outbound(out, app []byte) []byte {
	for _, c := range app {
		out = append(out, c^0x5A)
	}
	return out
}

func (x *xorLayer) Close(out []byte, code uint16) []byte {
	x.closed = true
	return append(out, "bye"...)
}

func (x *xorLayer) Open() bool { return x.open }

func TestStack(t *testing.T) {
	ws, err := NewClient(ClientOptions{Host: "h"})
	if err != nil {
		t.Fatal(err)
	}
	low := &xorLayer{}
	client := Stack(&xorLayer{client: true}, ws)
	server := Stack(low, NewServer(&ServerOptions{}))

	toServer := client.Start(nil)
	if out := server.Start(nil); string(toServer) != "hello" || len(out) != 0 {
		t.Fatalf("start: client %q, server %q", toServer, out)
	}
	var toClient, atServer, atClient []byte
	exchange := func() error {
		for len(toServer)+len(toClient) > 0 {
			var o []byte
			var err error
			for _, c := range toServer {
				if atServer, o, err = server.Inbound(atServer, []byte{c}, o); err != nil {
					return err
				}
			}
			toServer, toClient = nil, append(toClient, o...)
			o = nil
			for _, c := range toClient {
				if atClient, o, err = client.Inbound(atClient, []byte{c}, o); err != nil {
					toServer = o
					return err
				}
			}
			toClient, toServer = nil, o
		}
		return nil
	}
	if err := exchange(); err != nil {
		t.Fatal(err)
	}
	if !client.Open() || !server.Open() {
		t.Fatalf("open: client %v, server %v", client.Open(), server.Open())
	}
	app := pattern(5000)
	toServer = client.Outbound(nil, app)
	toClient = server.Outbound(nil, app[:100])
	if err := exchange(); err != nil || !bytes.Equal(atServer, app) || !bytes.Equal(atClient, app[:100]) {
		t.Fatalf("exchange: %v, %d and %d bytes", err, len(atServer), len(atClient))
	}
	toClient = server.Close(nil, CloseGoingAway)
	if !low.closed || !bytes.HasSuffix(toClient, []byte("bye")) {
		t.Fatal("the lower layer was not closed behind the upper one")
	}
	if code := closeCode(t, exchange()); code != 1001 {
		t.Fatalf("close code %d", code)
	}
}

func TestStackOfOne(t *testing.T) {
	s := NewServer(&ServerOptions{})
	if Stack(nil, s) != Layer(s) || Stack(s, nil) != Layer(s) || Stack(nil, nil) != nil {
		t.Fatal("a nil layer is not left out")
	}
}
