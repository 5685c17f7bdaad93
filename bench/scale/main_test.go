//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// TestManySessions: with so many subscriptions that the broker looks ahead, every message still reaches whom it is for, in order,
// wherever the input is cut.
func TestManySessions(t *testing.T) {
	const n = 20000
	w, err := newWorld()
	if err != nil {
		t.Fatal(err)
	}
	socks := make([]*socket, n)
	for i := 0; i < n; i += batchSize {
		w.batch(func() {
			for k := i; k < min(i+batchSize, n); k++ {
				socks[k] = w.attach(k, kinds["persistent-1"])
			}
		})
	}
	w.publish(socks, 1, 1000)
	if !w.env.Shard.Large() {
		t.Fatal("the broker does not look ahead: the test tests nothing")
	}
	r := rand.New(rand.NewPCG(1, 1))
	wild := w.attach(n, kinds["idle"])
	w.batch(func() {
		p := packet.Subscribe{PacketID: 1}
		p.AddFilter("site/+/cmd/0", packet.MakeSubOptions(mqtt.AtMostOnce, false, false, 0))
		wild.Input(p.Append(nil, mqtt.V311))
	})
	got, want := map[*socket]*bytes.Buffer{}, map[*socket]*bytes.Buffer{}
	for _, s := range append(socks, wild) {
		got[s], want[s] = new(bytes.Buffer), new(bytes.Buffer)
		s.keep = got[s]
	}
	var in []byte
	for i := range 20000 {
		k := r.IntN(n + n/10) // some are for nobody but the one with the wildcard
		p := packet.Publish{Topic: []byte(topicOf(k, 0)), Payload: fmt.Appendf(nil, "%d", i)}
		if i%50 == 49 {
			in = append(in, 0xC0, 0)
			want[socks[0]].Write([]byte{0xD0, 0})
		}
		in = p.Append(in, mqtt.V311)
		if k < n {
			want[socks[k]].Write(p.Append(nil, mqtt.V311))
		}
		want[wild].Write(p.Append(nil, mqtt.V311))
	}
	for len(in) > 0 {
		part := in[:min(1+r.IntN(6000), len(in))]
		w.batch(func() { socks[0].Input(bytes.Clone(part)) })
		in = in[len(part):]
	}
	for s, b := range want {
		if s != socks[0] && !bytes.Equal(got[s].Bytes(), b.Bytes()) {
			t.Fatalf("%s was given %d bytes, want %d", s.Address(), got[s].Len(), b.Len())
		}
	}
	if got[socks[0]].Len() != want[socks[0]].Len() {
		t.Errorf("the publisher was given %d bytes, want %d", got[socks[0]].Len(), want[socks[0]].Len())
	}
	// A malformed packet among good ones ends the connection there and nowhere else.
	s := socks[1]
	before := got[wild].Len()
	one := packet.Publish{Topic: []byte(topicOf(5, 0)), Payload: []byte("x")}
	good := one.Append(nil, mqtt.V311)
	w.batch(func() {
		b := append(bytes.Clone(good), good...)
		b = append(b, 0x30, 3, 0, 9, 'a') // a topic longer than its packet
		s.Input(append(b, good...))
	})
	if n := got[wild].Len() - before; n != 2*len(good) {
		t.Errorf("%d bytes delivered, want %d", n, 2*len(good))
	}
}
