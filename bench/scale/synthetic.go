//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/conn"
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store/memstore"
	"github.com/midgemq/midge/internal/wsproto"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// world is the loop that the synthetic connections belong to.
type world struct {
	env       *conn.Env
	hub       *hub.Hub
	settings  *hub.Listener
	dirty     []*socket
	delivered int
	start     time.Time
	ahead     record.Instant // of the real clock
}

// socket is one synthetic connection; what is written to it is counted and
// forgotten. It has the fields of a real one beside the connection.
type socket struct {
	conn.Conn
	w    *world
	ws   bool
	keep *bytes.Buffer // what is written, where somebody wants to know; has the place of descriptor and events
}

func (s *socket) Write(bufs [][]byte) (n int, err error) {
	for _, b := range bufs {
		n += len(b)
		if s.keep != nil {
			s.keep.Write(b)
		}
	}
	s.w.delivered++
	return n, nil
}

func (s *socket) Dirty()      { s.w.dirty = append(s.w.dirty, s) }
func (s *socket) Pause()      {}
func (s *socket) Resume()     {}
func (s *socket) CloseWrite() {}
func (s *socket) Close()      {}

func (s *socket) Move(*hub.Shard, func(*conn.Env)) { panic("there is one loop") }

func newWorld() (*world, error) {
	c := config.Default()
	c.SysInterval = 0
	o := broker.Options{Config: c}
	w := &world{start: time.Now()}
	w.hub = hub.New(broker.HubConfig(&o), logging.Discard(), memstore.New())
	w.env = conn.NewEnv(w.hub.AddShard(func() {}))
	w.settings = &hub.Listener{AllowAnonymous: true, MaxQoS: mqtt.ExactlyOnce, MaxTopicAlias: 10, MaxTopicAliasBroker: 10}
	w.env.Shard.Begin(w.now())
	return w, w.hub.Restore(w.now())
}

func (w *world) now() record.Instant {
	return record.Instant(time.Since(w.start)) + w.ahead + record.Second
}

// batch runs f as one turn of the loop.
func (w *world) batch(f func()) {
	sh := w.env.Shard
	sh.Begin(w.now())
	f()
	sh.Turn()
	sh.End()
	for i := 0; i < len(w.dirty); i++ {
		w.dirty[i].Flush()
	}
	w.dirty = w.dirty[:0]
	sh.End()
}

// batchSize is how many packets a turn takes.
const batchSize = 64

func run(n int, k kind, name string, publishes int) error {
	w, err := newWorld()
	if err != nil {
		return err
	}
	socks := make([]*socket, n)
	before, cpu, start := resident(), cpuTime(), time.Now()
	var share gcShare
	share.percent()
	step := 1000
	fmt.Printf("%-14s %10s %12s %12s %14s\n", "kind", "sessions", "B/session", "us/connect", "us/publish")
	for i := 0; i < n; i += batchSize {
		w.batch(func() {
			for j := i; j < min(i+batchSize, n); j++ {
				socks[j] = w.attach(j, k)
			}
		})
		if done := min(i+batchSize, n); done >= step || done == n {
			used := cpuTime() - cpu
			grown := resident() - before
			w.publish(socks[:done], k.subs, publishes/4) // what is remembered at first sight is remembered
			fmt.Printf("%-14s %10d %12.0f %12.2f %14.2f\n", name, done, float64(grown)/float64(done),
				used.Seconds()*1e6/float64(done), w.publish(socks[:done], k.subs, publishes/4))
			step *= 10
			if step > n {
				step = n
			}
			cpu = cpuTime() - used
		}
	}
	fmt.Printf("%s: %v until all are connected; garbage collection meanwhile %.0f %% of the processor time, half of its pauses below %v, longest %v\n",
		name, time.Since(start).Round(time.Millisecond), share.percent(), median(pauses()), longest(pauses()))
	if k.subs > 0 {
		us := w.publish(socks, k.subs, publishes)
		fmt.Printf("%s: %.2f us of CPU for each of %d publishes to a random one of %d, garbage collection %.0f %%; to a random one of the same first thousand %.2f us\n",
			name, us, publishes, n, share.percent(), w.publish(socks[:min(1000, n)], k.subs, publishes))
		chase, lookup := memoryFloor(n)
		fmt.Printf("this machine, now: a place in memory that no cache holds %.2f us, a look-up in a Go map of %d topics %.2f us\n", chase, n, lookup)
	}
	w.keepAlive(name, socks)
	collect(name, n)
	runtime.KeepAlive(socks)
	return nil
}

// attach connects client k and subscribes for it.
func (w *world) attach(k int, of kind) *socket {
	s := &socket{w: w, ws: of.ws}
	w.settings.Count(1)
	var layer wsproto.Layer
	if of.ws {
		layer = wsproto.NewServer(&wsproto.ServerOptions{})
	}
	from := conn.Origin{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(k >> 16), byte(k >> 8), byte(k)}), 1883)}
	s.Init(w.env, s, w.settings, from, layer)
	c := packet.Connect{Version: mqtt.V311, ClientID: fmt.Appendf(nil, "device-%07d", k), CleanStart: of.clean, KeepAlive: keepAliveSeconds}
	in := c.Append(nil, c.Version)
	if of.ws {
		s.Input([]byte(upgrade))
		in = append([]byte{0x82, 0x80 | byte(len(in)), 0, 0, 0, 0}, in...) // masked with zeros
	}
	s.Input(in)
	if of.subs > 0 {
		p := packet.Subscribe{PacketID: 1}
		for i := range of.subs {
			p.AddFilter(topicOf(k, i), packet.MakeSubOptions(mqtt.AtLeastOnce, false, false, 0))
		}
		s.Input(p.Append(nil, c.Version))
	}
	return s
}

const (
	keepAliveSeconds = 60
	upgrade          = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)

// keepAlive has the clock run, ten turns a second, and tells the CPU time of a
// second in which nobody says anything; the clients send a PINGREQ in between,
// which is not counted.
func (w *world) keepAlive(name string, socks []*socket) {
	const second = 10 // turns
	var idle time.Duration
	seconds, ended := 0, 0
	speak := func() {
		for i := 0; i < len(socks); i += batchSize {
			w.batch(func() {
				for _, s := range socks[i:min(i+batchSize, len(socks))] {
					if s.Closed() {
						ended++
						continue
					}
					s.Ping()
				}
			})
		}
	}
	for range 4 {
		speak()
		cpu := cpuTime()
		for range 45 * second {
			w.ahead += record.Second / second
			w.batch(func() {})
		}
		idle += cpuTime() - cpu
		seconds += 45
	}
	fmt.Printf("%s: %d clients with a keep alive of %d s that say nothing: %.1f ms of CPU a second, %.1f ns for each; %d ended\n",
		name, len(socks), keepAliveSeconds, idle.Seconds()*1000/float64(seconds), idle.Seconds()*1e9/float64(seconds)/float64(len(socks)), ended)
}

// Ping is a PINGREQ of the client.
func (s *socket) Ping() {
	if s.ws {
		s.Input([]byte{0x82, 0x82, 0, 0, 0, 0, 0xC0, 0})
	} else {
		s.Input([]byte{0xC0, 0})
	}
}

func topicOf(k, i int) string { return "site/" + strconv.Itoa(k) + "/cmd/" + strconv.Itoa(i) }

// publish sends QoS 0 messages to random sessions, or to nobody where there are no
// subscriptions, and returns the CPU time of each in microseconds.
func (w *world) publish(socks []*socket, subs, count int) float64 {
	if subs == 0 {
		return 0
	}
	from := socks[0]
	payload := bytes.Repeat([]byte{'x'}, 64)
	var buf []byte
	cpu := cpuTime()
	w.delivered = 0
	sent := 0
	for sent < count {
		buf = buf[:0]
		for range min(batchSize, count-sent) {
			p := packet.Publish{Topic: []byte(topicOf(rand.IntN(len(socks)), rand.IntN(subs))), Payload: payload}
			buf = p.Append(buf, mqtt.V311)
			sent++
		}
		w.batch(func() { from.Input(buf) })
	}
	used := cpuTime() - cpu
	if w.delivered == 0 {
		return -1
	}
	return used.Seconds() * 1e6 / float64(sent)
}

// memoryFloor is what memory alone takes, in microseconds: one place among n that
// no cache holds, and one look-up in a Go map with n topics for keys.
func memoryFloor(n int) (chase, lookup float64) {
	type place struct {
		next *place
		_    [1016]byte
	}
	places := make([]*place, n)
	for i := range places {
		places[i] = new(place)
	}
	order := rand.Perm(n)
	for i, k := range order {
		places[k].next = places[order[(i+1)%n]]
	}
	const rounds = 500_000
	p, cpu := places[0], cpuTime()
	for range rounds {
		p = p.next
	}
	chase = (cpuTime() - cpu).Seconds() * 1e6 / rounds
	runtime.KeepAlive(p)
	m := make(map[string]*place, n)
	for i := range places {
		m[topicOf(i, 0)] = places[i]
	}
	var topic []byte
	cpu = cpuTime()
	for range rounds {
		topic = append(strconv.AppendInt(append(topic[:0], "site/"...), int64(rand.IntN(n)), 10), "/cmd/0"...)
		p = m[string(topic)]
	}
	lookup = (cpuTime() - cpu).Seconds() * 1e6 / rounds
	runtime.KeepAlive(p)
	return chase, lookup
}

// collect forces five collections and tells the longest pause of each.
func collect(name string, n int) {
	var longestOf []time.Duration
	var cpu []time.Duration
	for range 5 {
		before, used := pauses(), cpuTime()
		runtime.GC()
		cpu = append(cpu, cpuTime()-used)
		after := pauses()
		for i := range after.Counts {
			after.Counts[i] -= before.Counts[i]
		}
		longestOf = append(longestOf, longest(after))
	}
	slices.Sort(longestOf)
	slices.Sort(cpu)
	fmt.Printf("%s: %d sessions, five forced collections: longest pause of each below %v, %v of CPU each\n", name, n, longestOf, cpu[2].Round(10*time.Millisecond))
}

// pauses are those of the garbage collection since the start.
func pauses() *metrics.Float64Histogram {
	s := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(s)
	h := s[0].Value.Float64Histogram()
	return &metrics.Float64Histogram{Counts: slices.Clone(h.Counts), Buckets: h.Buckets}
}

// median is the upper end of the bucket in which half of them have been seen.
func median(h *metrics.Float64Histogram) time.Duration {
	var all, seen uint64
	for _, n := range h.Counts {
		all += n
	}
	for i, n := range h.Counts {
		if seen += n; 2*seen >= all {
			return time.Duration(h.Buckets[i+1] * 1e9).Round(time.Microsecond)
		}
	}
	return 0
}

// longest is the upper end of the highest bucket in use.
func longest(h *metrics.Float64Histogram) (pause time.Duration) {
	for i, n := range h.Counts {
		if n > 0 && !math.IsInf(h.Buckets[i+1], 1) {
			pause = time.Duration(h.Buckets[i+1] * 1e9)
		}
	}
	return pause.Round(time.Microsecond)
}

// gcShare is the part of all processor time since the last call, in hundredths,
// that the garbage collection took; what it did while nothing else was to be done
// does not count, nor does the time in which nothing was done at all.
type gcShare struct{ gc, all float64 }

func (g *gcShare) percent() float64 {
	s := []metrics.Sample{
		{Name: "/cpu/classes/gc/total:cpu-seconds"},
		{Name: "/cpu/classes/gc/mark/idle:cpu-seconds"},
		{Name: "/cpu/classes/total:cpu-seconds"},
		{Name: "/cpu/classes/idle:cpu-seconds"},
	}
	metrics.Read(s)
	gc := s[0].Value.Float64() - s[1].Value.Float64()
	all := s[2].Value.Float64() - s[3].Value.Float64()
	p := 0.0 // no collection has ended since
	if all > g.all {
		p = 100 * (gc - g.gc) / (all - g.all)
	}
	g.gc, g.all = gc, all
	return p
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident is the resident set in bytes.
func resident() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	return n * int64(os.Getpagesize())
}
