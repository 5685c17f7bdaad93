package bench

import (
	"bytes"
	"context"
	"math/rand"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/midgemq/midge/internal/cli/reach"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// TestTracker loses, repeats and shuffles numbers and compares with what was done to them.
func TestTracker(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(t, "n")
		r := rand.New(rand.NewSource(rapid.Int64().Draw(t, "seed")))
		var seen []uint64
		lost, twice := 0, 0
		for i := range uint64(n) {
			if r.Intn(10) == 0 {
				lost++
				continue
			}
			seen = append(seen, i)
			if r.Intn(10) == 0 {
				seen = append(seen, i)
				twice++
			}
		}
		if r.Intn(2) == 0 {
			r.Shuffle(len(seen), func(i, j int) { seen[i], seen[j] = seen[j], seen[i] })
		}
		tr := tracker{joined: true}
		fresh := 0
		for _, s := range seen {
			if tr.see(s) {
				fresh++
			}
		}
		if int(tr.unique) != n-lost || fresh != n-lost || int(tr.duplicates) != twice {
			t.Fatalf("%d of %d, %d lost, %d twice: %+v", fresh, n, lost, twice, tr)
		}
	})
	tr := tracker{joined: true}
	for _, s := range []uint64{0, 1, 4, 2, 4, 5} {
		tr.see(s)
	}
	if tr.outOfOrder != 1 || tr.duplicates != 1 || tr.gaps() != 1 {
		t.Errorf("%+v", tr)
	}
	late := tracker{}
	for _, s := range []uint64{70, 71, 73} {
		late.see(s)
	}
	if late.gaps() != 1 {
		t.Errorf("of a stream joined late: %+v", late)
	}
}

func TestStamp(t *testing.T) {
	b := make([]byte, headerSize)
	want := stamp{9, 7, 1 << 40, time.Now().UnixNano()}
	want.put(b)
	if got, ok := readStamp(b); !ok || got != want {
		t.Errorf("%+v, %v", got, ok)
	}
	if _, ok := readStamp(b[:headerSize-1]); ok {
		t.Error("a short payload has a stamp")
	}
	b[0]++
	if _, ok := readStamp(b); ok {
		t.Error("a foreign payload has a stamp")
	}
}

func FuzzPublish(f *testing.F) {
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		f.Add(byte(v), byte(0x32), (&packet.Publish{QoS: 1, PacketID: 7, Topic: []byte("a/b"), Payload: []byte("x")}).Append(nil, v)[2:])
	}
	f.Fuzz(func(t *testing.T, version, first byte, body []byte) {
		c := wire{version: mqtt.Version(version)}
		m, ok := c.publish(first, body)
		var p packet.Publish
		if p.Decode(c.version, first, body) == nil && (!ok || !bytes.Equal(m.payload, p.Payload) || m.id != p.PacketID || !bytes.Equal(m.topic, p.Topic)) {
			t.Errorf("%v %x %x: %+v, %v", c.version, first, body, m, ok)
		}
	})
}

func TestArguments(t *testing.T) {
	for _, tt := range []struct{ args, says string }{
		{"", "no scenario"},
		{"nonsense", "none of"},
		{"p2p -s 3", "--size"},
		{"p2p -q 3", "--qos"},
		{"p2p --part 3/2", "--part"},
		{"p2p --start-at tomorrow", "--start-at"},
		{"persistent -q 0", "needs QoS 1"},
		{"sub --processes 2", "--processes"},
		{"p2p a b", "unexpected"},
		{"p2p -t a/#", "--topic"},
		{"merge", "needs files"},
		{"p2p http://x", "scheme"},
	} {
		var out, errs bytes.Buffer
		status := Run(&reach.Env{Context: context.Background(), Program: "midge bench", Stdout: &out, Stderr: &errs}, strings.Fields(tt.args))
		if status != ExitUsage || !strings.Contains(errs.String(), tt.says) || out.Len() > 0 {
			t.Errorf("%q: status %d, %q", tt.args, status, errs.String())
		}
	}
	o, _, _, err := parse(strings.Fields("fan-in -q 2 --part 2/3 h:77"))
	if err != nil || o.clients != 500 || o.window != 10 || o.topic != "midge/bench/2" || o.conn.URL() != "mqtt://h:77" || o.qos != 2 {
		t.Errorf("%+v, %v", o, err)
	}
}
