package bench

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/midgemq/midge/mqtt"
)

// scenario is a shape of load with its usual numbers.
type scenario struct {
	name, about string
	clients     int
	subs        int
	window      int
	rate        int
	messages    int
	qos         mqtt.QoS
	run         func(*run) error
}

var scenarios = []scenario{
	{name: "conn", about: "connections made and held; latency is that of TCP, TLS and CONNECT.", clients: 1000, run: runConn},
	{name: "pub", about: "publishers alone; nobody counts what arrives.", clients: 50, window: 1000, run: runPub},
	{name: "sub", about: "subscribers alone, to what another process publishes with pub and the same --topic.", clients: 1, run: runSub},
	{name: "p2p", about: "pairs of one publisher and one subscriber with a topic of their own.", clients: 50, window: 200, run: runPairs},
	{name: "fan-in", about: "many publishers, one subscriber.", clients: 500, subs: 1, window: 10, run: runFanIn},
	{name: "fan-out", about: "one publisher, many subscribers.", clients: 1, subs: 500, window: 100, run: runFanOut},
	{name: "retained", about: "retained messages on many topics are set, fetched by each subscriber, and removed again.", clients: 1, subs: 1, window: 1000, messages: 10000, run: runRetained},
	{name: "persistent", about: "sessions that go away, get messages meanwhile, and come back for them.", clients: 100, messages: 100, qos: 1, window: 1, run: runPersistent},
	{name: "soak", about: "pairs at a fixed rate, of which some subscribers reconnect to their session each second; nothing may be lost.", clients: 50, window: 1000, rate: 1000, qos: 1, run: runSoak},
}

func scenarioOf(name string) *scenario {
	for i := range scenarios {
		if scenarios[i].name == name {
			return &scenarios[i]
		}
	}
	return nil
}

func scenarioNames() (names []string) {
	for i := range scenarios {
		names = append(names, scenarios[i].name)
	}
	return names
}

// id makes the client identifier of one connection, the same in every run: a session left behind is taken over, not multiplied.
func (o *options) id(role string, n int) string {
	return fmt.Sprintf("bench-%d-%s-%d", o.part, role, n)
}

// connectAll opens n connections, some at a time and not above rate a second.
func (r *run) connectAll(what string, n int, rate int, open func(i int) (*wire, error)) ([]*wire, error) {
	list := make([]*wire, n)
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	var mu sync.Mutex
	r.progress.start(what, int64(n))
	begin := time.Now()
	for range min(r.o.connecting, n) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for failed.Load() == nil && r.ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if rate > 0 {
					time.Sleep(time.Until(begin.Add(time.Duration(float64(i) / float64(rate) * float64(time.Second)))))
				}
				t := time.Now()
				c, err := open(i)
				if err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				mu.Lock()
				list[i] = c
				r.wires = append(r.wires, c)
				r.connect.RecordValue(min(time.Since(t).Microseconds(), maxLatency))
				r.progress.step(int64(len(r.wires)), rateless)
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	r.extra["connect_seconds"] += time.Since(begin).Seconds()
	r.progress.stop()
	if e := failed.Load(); e != nil {
		return nil, *e
	}
	return list, r.ctx.Err()
}

// publishersOn opens publishers, publisher i on the topic that topic gives.
func (r *run) publishersOn(n int, fan uint64, topic func(int) string) error {
	list, err := r.connectAll("publishers", n, 0, func(i int) (*wire, error) {
		return dial(r.ctx, &r.o.conn, session{id: r.o.id("pub", i)})
	})
	if err != nil {
		return err
	}
	for i, c := range list {
		p := newPublisher(r, c, i, topic(i))
		p.fan = fan
		p.rate = float64(r.o.rate) / float64(n)
		r.publishers = append(r.publishers, p)
	}
	return nil
}

// subscribersOn opens subscribers, subscriber i to the filter that filter gives.
func (r *run) subscribersOn(n int, filter func(int) string, expects func(sub, pub int) bool) error {
	list, err := r.connectAll("subscribers", n, 0, func(i int) (*wire, error) {
		c, err := dial(r.ctx, &r.o.conn, session{id: r.o.id("sub", i)})
		if err != nil {
			return nil, err
		}
		return c, c.subscribe(filter(i), r.o.qos, r.o.conn.Timeout, nil)
	})
	if err != nil {
		return err
	}
	for i, c := range list {
		s := newReceiver(r, c, i)
		s.expects = func(pub int) bool { return expects(i, pub) }
		r.receivers = append(r.receivers, s)
	}
	return nil
}

// load runs publishers and subscribers that stand ready.
func (r *run) load() error {
	r.waitStart()
	r.start()
	r.measure()
	r.finish()
	return nil
}

// waitStart waits for the time that all parts agreed on.
func (r *run) waitStart() {
	if r.o.startAt.IsZero() {
		return
	}
	if time.Now().After(r.o.startAt) {
		r.note("the time of --start-at had passed before all connections stood; this part began late")
		return
	}
	select {
	case <-time.After(time.Until(r.o.startAt)):
	case <-r.ctx.Done():
	}
}

func runPairs(r *run) error {
	topic := func(i int) string { return fmt.Sprintf("%s/%d", r.o.topic, i) }
	if err := r.publishersOn(r.o.clients, 1, topic); err != nil {
		return err
	}
	if err := r.subscribersOn(r.o.clients, topic, func(s, p int) bool { return s == p }); err != nil {
		return err
	}
	return r.load()
}

func runFanIn(r *run) error {
	if err := r.publishersOn(r.o.clients, uint64(r.o.subs), func(i int) string { return fmt.Sprintf("%s/in/%d", r.o.topic, i) }); err != nil {
		return err
	}
	filter := func(int) string { return r.o.topic + "/in/#" }
	if err := r.subscribersOn(r.o.subs, filter, func(int, int) bool { return true }); err != nil {
		return err
	}
	return r.load()
}

func runFanOut(r *run) error {
	topic := func(int) string { return r.o.topic + "/out" }
	if err := r.publishersOn(r.o.clients, uint64(r.o.subs), topic); err != nil {
		return err
	}
	if err := r.subscribersOn(r.o.subs, topic, func(int, int) bool { return true }); err != nil {
		return err
	}
	return r.load()
}

func runPub(r *run) error {
	if err := r.publishersOn(r.o.clients, 0, func(i int) string { return fmt.Sprintf("%s/%d", r.o.topic, i) }); err != nil {
		return err
	}
	for _, p := range r.publishers {
		if p.qos == 0 {
			p.fence, p.fan = true, 1
		}
	}
	return r.load()
}

func runSub(r *run) error {
	filter := func(int) string { return r.o.topic + "/#" }
	if err := r.subscribersOn(r.o.clients, filter, func(int, int) bool { return true }); err != nil {
		return err
	}
	return r.load()
}

// runConn opens connections and holds them for the duration.
func runConn(r *run) error {
	r.begin = r.snapshot()
	list, err := r.connectAll("connections", r.o.clients, r.o.rate, func(i int) (*wire, error) {
		return dial(r.ctx, &r.o.conn, session{id: r.o.id("conn", i)})
	})
	if err != nil && !errors.Is(err, r.ctx.Err()) {
		return err
	}
	r.end = r.snapshot()
	r.extra["connects_per_s"] = float64(len(list)) / r.extra["connect_seconds"]
	r.readers.Add(len(list))
	for _, c := range list {
		go func() {
			defer r.readers.Done()
			for {
				if _, _, err := c.next(); err != nil {
					r.lostConnection(err)
					return
				}
			}
		}()
	}
	r.progress.start("held", int64(r.o.duration/time.Millisecond))
	begin := time.Now()
	r.sleep(r.o.duration, func() { r.progress.step(time.Since(begin).Milliseconds(), rateless) })
	r.progress.stop()
	r.finish()
	return nil
}
