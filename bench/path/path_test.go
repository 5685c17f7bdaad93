// Package path measures the whole data path without sockets: bytes of a PUBLISH
// in, bytes to the subscribers out. It belongs to `make bench`; the test beside
// the benchmarks holds the promise that QoS 0 allocates nothing per message.
package path

import (
	"fmt"
	"testing"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/conn"
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store/memstore"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// rig is one shard with connections whose sockets throw everything away.
type rig struct {
	sh    *hub.Shard
	env   *conn.Env
	l     *hub.Listener
	dirty []*pipe
	now   record.Instant
}

type pipe struct {
	conn.Conn
	r    *rig
	sent int
	keep []byte
	take bool
}

func (p *pipe) Write(bufs [][]byte) (n int, err error) {
	for _, b := range bufs {
		n += len(b)
		if p.take {
			p.keep = append(p.keep, b...)
		}
	}
	p.sent += n
	return n, nil
}
func (p *pipe) Dirty()                           { p.r.dirty = append(p.r.dirty, p) }
func (p *pipe) Pause()                           {}
func (p *pipe) Resume()                          {}
func (p *pipe) CloseWrite()                      {}
func (p *pipe) Close()                           {}
func (p *pipe) Move(*hub.Shard, func(*conn.Env)) {}

func newRig() *rig {
	c := config.Default()
	c.MaxQueuedMessages = 0
	o := broker.Options{Config: c}
	h := hub.New(broker.HubConfig(&o), logging.Discard(), memstore.New())
	sh := h.AddShard(func() {})
	r := &rig{sh: sh, env: conn.NewEnv(sh), l: broker.Settings(&o, &config.Listener{Versions: config.AllVersions, AllowAnonymous: true}), now: record.Second}
	sh.Begin(r.now)
	return r
}

func (r *rig) batch(p *pipe, b []byte) {
	r.now += record.Second / 1e6
	r.sh.Begin(r.now)
	p.Input(b)
	r.sh.Turn()
	r.sh.End()
	for _, d := range r.dirty {
		d.Flush()
	}
	r.dirty = r.dirty[:0]
}

func (r *rig) connect(v mqtt.Version, id string) *pipe {
	p := &pipe{r: r}
	p.Init(r.env, p, r.l, conn.Origin{Text: "127.0.0.1:1"}, nil)
	k := packet.Connect{Version: v, CleanStart: true, ClientID: []byte(id)}
	r.batch(p, k.Append(nil, 0))
	return p
}

func (r *rig) subscribe(p *pipe, v mqtt.Version, filter string, q mqtt.QoS) {
	s := packet.Subscribe{PacketID: 1}
	s.AddFilter(filter, packet.MakeSubOptions(q, false, false, 0))
	r.batch(p, s.Append(nil, v))
}

func message(v mqtt.Version, topic string, q mqtt.QoS, id uint16) []byte {
	m := packet.Publish{Topic: []byte(topic), QoS: q, PacketID: id, Payload: make([]byte, 64)}
	return m.Append(nil, v)
}

// pair is a publisher and n subscribers of one topic.
func pair(v mqtt.Version, n int, q mqtt.QoS) (r *rig, pub *pipe, subs []*pipe) {
	r = newRig()
	for i := range n {
		s := r.connect(v, fmt.Sprintf("s%d", i))
		r.subscribe(s, v, "bench/topic", q)
		subs = append(subs, s)
	}
	return r, r.connect(v, "p"), subs
}

func many(b []byte, n int) (all []byte) {
	for range n {
		all = append(all, b...)
	}
	return all
}

const perBatch = 16

// One read with 16 messages, to one subscriber and to 100.
func BenchmarkQoS0(b *testing.B) {
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		for _, n := range []int{1, 100} {
			b.Run(fmt.Sprintf("v%d/subs=%d", v, n), func(b *testing.B) {
				r, p, _ := pair(v, n, 0)
				in := many(message(v, "bench/topic", 0, 0), perBatch)
				b.ReportAllocs()
				for range b.N {
					r.batch(p, in)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*perBatch*n), "ns/delivery")
			})
		}
	}
}

// QoS 1 and 2 with the whole handshake on both sides.
func BenchmarkHandshakes(b *testing.B) {
	for _, q := range []mqtt.QoS{1, 2} {
		b.Run(fmt.Sprintf("qos%d", q), func(b *testing.B) {
			r, p, subs := pair(mqtt.V311, 1, q)
			s := subs[0]
			in := message(mqtt.V311, "bench/topic", q, 7)
			rel := packet.AppendAck(nil, packet.PUBREL, mqtt.V311, 7, 0)
			b.ReportAllocs()
			for i := range b.N {
				id := uint16(i%65535 + 1)
				r.batch(p, in)
				if q == 1 {
					r.batch(s, packet.AppendAck(nil, packet.PUBACK, mqtt.V311, id, 0))
					continue
				}
				r.batch(p, rel)
				r.batch(s, packet.AppendAck(nil, packet.PUBREC, mqtt.V311, id, 0))
				r.batch(s, packet.AppendAck(nil, packet.PUBCOMP, mqtt.V311, id, 0))
			}
		})
	}
}

// QoS 0 allocates nothing per message, in either family of versions.
func TestQoS0AllocatesNothing(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		r, p, subs := pair(v, 10, 0)
		in := many(message(v, "bench/topic", 0, 0), perBatch)
		before := subs[3].sent
		if n := testing.AllocsPerRun(200, func() { r.batch(p, in) }); n != 0 {
			t.Errorf("MQTT %s: %v allocations per batch of %d messages", v, n, perBatch)
		}
		if subs[3].sent-before < 200*len(in) {
			t.Errorf("MQTT %s: only %d bytes reached a subscriber", v, subs[3].sent-before)
		}
	}
}
