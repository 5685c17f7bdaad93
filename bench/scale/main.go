//go:build linux

// Command scale attaches synthetic connections, which have no descriptor, to the
// real hub and tells what each costs: memory by kind of session, the CPU time of
// a publish to a random one, and the pauses of a forced garbage collection.
//
// One loop, the store in memory, the garbage collector at its defaults. Memory is
// the growth of the resident set divided by the sessions, without a forced
// collection before it is read.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"runtime/metrics"
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
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// kinds of sessions, by the number of subscriptions; negative: none, and a clean
// session.
var kinds = map[string]int{"idle": -1, "persistent-1": 1, "persistent-10": 10}

func main() {
	n := flag.Int("n", 1_000_000, "sessions")
	kind := flag.String("kind", "idle", "idle, persistent-1 or persistent-10")
	publishes := flag.Int("publishes", 200_000, "messages to random sessions")
	flag.Parse()
	subs, ok := kinds[*kind]
	if !ok {
		fmt.Fprintf(os.Stderr, "scale: unknown kind %q\n", *kind)
		os.Exit(2)
	}
	if err := run(*n, subs, *kind, *publishes); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// world is the loop that the synthetic connections belong to.
type world struct {
	env       *conn.Env
	hub       *hub.Hub
	settings  *hub.Listener
	dirty     []*socket
	delivered int
	start     time.Time
}

// socket is one synthetic connection; what is written to it is counted and
// forgotten. It has the fields of a real one beside the connection.
type socket struct {
	conn.Conn
	w    *world
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

func (w *world) now() record.Instant { return record.Instant(time.Since(w.start)) + record.Second }

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

func run(n, subs int, kind string, publishes int) error {
	w, err := newWorld()
	if err != nil {
		return err
	}
	socks := make([]*socket, n)
	before := resident()
	cpu := cpuTime()
	step := 1000
	fmt.Printf("%-14s %10s %12s %12s %14s\n", "kind", "sessions", "B/session", "us/connect", "us/publish")
	for i := 0; i < n; i += batchSize {
		w.batch(func() {
			for k := i; k < min(i+batchSize, n); k++ {
				socks[k] = w.attach(k, subs)
			}
		})
		if done := min(i+batchSize, n); done >= step || done == n {
			used := cpuTime() - cpu
			grown := resident() - before
			perPublish := w.publish(socks[:done], subs, publishes/10)
			fmt.Printf("%-14s %10d %12.0f %12.2f %14.2f\n", kind, done, float64(grown)/float64(done),
				used.Seconds()*1e6/float64(done), perPublish)
			step *= 10
			if step > n {
				step = n
			}
			cpu = cpuTime() - used
		}
	}
	share, pause := collect()
	fmt.Printf("%-14s %10d sessions: %.2f us of CPU for each of %d publishes; forced collection: longest pause %v, %.2f s of CPU\n",
		kind, n, w.publish(socks, subs, publishes), publishes, pause, share)
	runtime.KeepAlive(socks)
	return nil
}

// attach connects client k and subscribes for it.
func (w *world) attach(k, subs int) *socket {
	s := &socket{w: w}
	w.settings.Count(1)
	from := conn.Origin{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(k >> 16), byte(k >> 8), byte(k)}), 1883)}
	s.Init(w.env, s, w.settings, from, nil)
	c := packet.Connect{Version: mqtt.V311, ClientID: fmt.Appendf(nil, "device-%07d", k), CleanStart: subs < 0}
	s.Input(c.Append(nil, c.Version))
	if subs > 0 {
		p := packet.Subscribe{PacketID: 1}
		for i := range subs {
			p.AddFilter(topicOf(k, i), packet.MakeSubOptions(mqtt.AtLeastOnce, false, false, 0))
		}
		s.Input(p.Append(nil, c.Version))
	}
	return s
}

func topicOf(k, i int) string { return "site/" + strconv.Itoa(k) + "/cmd/" + strconv.Itoa(i) }

// publish sends QoS 0 messages to random sessions, or to nobody where there are no
// subscriptions, and returns the CPU time of each in microseconds.
func (w *world) publish(socks []*socket, subs, count int) float64 {
	if subs < 0 {
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

// collect forces one collection and returns its CPU time in seconds and the
// longest pause since the start.
func collect() (cpu float64, pause time.Duration) {
	before := cpuTime()
	runtime.GC()
	cpu = (cpuTime() - before).Seconds()
	s := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(s)
	h := s[0].Value.Float64Histogram()
	for i, n := range h.Counts {
		if n > 0 {
			pause = time.Duration(h.Buckets[i+1] * 1e9)
		}
	}
	return cpu, pause
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
