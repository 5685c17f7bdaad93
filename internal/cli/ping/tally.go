package ping

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/midgemq/midge/internal/cli/reach"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// series is one measured time over all probes.
type series struct {
	n        int64
	sum      float64
	min, max float64
	hist     *hdrhistogram.Histogram // microseconds; nil until the first value
}

func (s *series) add(v float64) {
	if s.hist == nil {
		s.hist = hdrhistogram.New(1, 3_600_000_000, 3)
		s.min = v
	}
	s.n++
	s.sum += v
	s.min, s.max = min(s.min, v), max(s.max, v)
	s.hist.RecordValue(int64(v * 1000)) // above one hour there is no value: steps have a time limit
}

// figures are a series in milliseconds.
type figures struct {
	Min float64 `json:"min_ms"`
	Avg float64 `json:"avg_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

func (s *series) figures() *figures {
	if s.n == 0 {
		return nil
	}
	p99 := float64(s.hist.ValueAtQuantile(99)) / 1000
	return &figures{s.min, s.sum / float64(s.n), min(p99, s.max), s.max}
}

// tally is the summary of a run.
type tally struct {
	o             *options
	sent, back    int
	connected     bool
	names         []string // series in the order of output
	series        map[string]*series
	up, down      [3]legs // by QoS
	probes        [3]int
	trip, ack     [3]series
	pings         *legs
	ping          series
	keepAliveTime time.Duration
	last          [2][16]reach.Count
}

// legs are the packets of one handshake, by direction.
type legs struct {
	Out reach.Count `json:"out"`
	In  reach.Count `json:"in"`
}

func newTally(o *options) *tally {
	t := &tally{o: o, series: map[string]*series{}}
	t.names = []string{"dns", "tcp"}
	if o.conn.TLS {
		t.names = append(t.names, "tls")
	}
	if o.conn.WS {
		t.names = append(t.names, "websocket")
	}
	t.names = append(t.names, "connect", "subscribe", "trip")
	for _, n := range t.names {
		t.series[n] = &series{}
	}
	return t
}

func (t *tally) add(r *result) {
	t.sent++
	t.connected = t.connected || r.connected
	if s := r.Steps; s != nil {
		for name, v := range map[string]float64{
			"dns": s.DNS, "tcp": s.TCP, "tls": s.TLS, "websocket": s.WebSocket, "connect": s.Connect, "subscribe": s.Subscribe,
		} {
			if t.series[name] != nil {
				t.series[name].add(v)
			}
		}
	}
	if r.Error != "" {
		return
	}
	t.back++
	t.probes[r.QoS]++
	t.series["trip"].add(r.Trip)
	t.trip[r.QoS].add(r.Trip)
	if r.QoS > 0 {
		t.ack[r.QoS].add(r.Ack)
	}
}

func (t *tally) exit() int {
	switch {
	case !t.connected:
		return ExitNoConnection
	case t.back < t.sent:
		return ExitLoss
	}
	return ExitOK
}

// Which packets belong to the way up (this client to the broker) and which to the way down; out is what this client sends of them.
var (
	upOut   = []packet.Type{packet.PUBLISH, packet.PUBREL}
	upIn    = []packet.Type{packet.PUBACK, packet.PUBREC, packet.PUBCOMP}
	downOut = upIn
	downIn  = upOut
)

// count takes over what passed the tap since the last call for probes of one QoS.
func (t *tally) count(l *link, q mqtt.QoS) {
	since := func(dir int, now func(packet.Type) reach.Count, kinds []packet.Type) (c reach.Count) {
		for _, k := range kinds {
			n := now(k)
			c.Add(reach.Count{Packets: n.Packets - t.last[dir][k].Packets, Bytes: n.Bytes - t.last[dir][k].Bytes})
			t.last[dir][k] = n
		}
		return c
	}
	t.up[q].Out.Add(since(0, l.tap.Out, upOut))
	t.up[q].In.Add(since(1, l.tap.In, upIn))
	t.down[q].Out.Add(since(0, l.tap.Out, downOut))
	t.down[q].In.Add(since(1, l.tap.In, downIn))
}

// forget starts counting anew: the next connection has a tap of its own.
func (t *tally) forget() { t.last = [2][16]reach.Count{} }

// keepAlive measures what an idle connection costs.
func (t *tally) keepAlive(l *link) {
	t.keepAliveTime = l.keepAlive
	before := legs{l.tap.Out(packet.PINGREQ), l.tap.In(packet.PINGRESP)}
	for range 10 {
		d, err := l.ping()
		if err != nil {
			return
		}
		t.ping.add(ms(d))
	}
	out, in := l.tap.Out(packet.PINGREQ), l.tap.In(packet.PINGRESP)
	t.pings = &legs{
		reach.Count{Packets: out.Packets - before.Out.Packets, Bytes: out.Bytes - before.Out.Bytes},
		reach.Count{Packets: in.Packets - before.In.Packets, Bytes: in.Bytes - before.In.Bytes},
	}
}

func (p *pinger) show(r *result) {
	if p.o.stats && r.Error == "" {
		p.tally.count(p.link, r.QoS)
	}
	if p.link == nil {
		p.tally.forget()
	}
	switch {
	case p.o.json:
		json.NewEncoder(p.out).Encode(r)
	case r.Error != "":
		fmt.Fprintf(p.err, "seq=%d lost: %s\n", r.Seq, r.Error)
	case !p.o.quiet && !p.o.stats:
		fmt.Fprintln(p.out, r.line(p.o))
	}
}

func (r *result) line(o *options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d bytes from %s: seq=%d qos=%d", o.size, r.Address, r.Seq, r.QoS)
	if s := r.Steps; s != nil {
		fmt.Fprintf(&b, " dns=%.3f tcp=%.3f", s.DNS, s.TCP)
		if o.conn.TLS {
			fmt.Fprintf(&b, " tls=%.3f", s.TLS)
		}
		if o.conn.WS {
			fmt.Fprintf(&b, " websocket=%.3f", s.WebSocket)
		}
		fmt.Fprintf(&b, " connect=%.3f", s.Connect)
	}
	if r.QoS > 0 {
		fmt.Fprintf(&b, " ack=%.3f", r.Ack)
	}
	fmt.Fprintf(&b, " trip=%.3f ms", r.Trip)
	return b.String()
}

// qosStats are the statistics of one QoS, for JSON.
type qosStats struct {
	QoS    int      `json:"qos"`
	Probes int      `json:"probes"`
	Up     legs     `json:"to_broker"`
	Down   legs     `json:"from_broker"`
	Ack    *figures `json:"ack,omitempty"`
	Trip   *figures `json:"trip,omitempty"`
}

type keepAliveStats struct {
	Seconds      float64  `json:"seconds"`
	Pings        legs     `json:"pings"`
	Answer       *figures `json:"answer,omitempty"`
	BytesPerHour float64  `json:"idle_bytes_per_hour"`
}

type summary struct {
	Summary struct {
		URL       string              `json:"url"`
		Topic     string              `json:"topic"`
		Sent      int                 `json:"sent"`
		Answered  int                 `json:"answered"`
		LossPct   float64             `json:"loss_pct"`
		Times     map[string]*figures `json:"times"`
		Stats     []qosStats          `json:"stats,omitempty"`
		KeepAlive *keepAliveStats     `json:"keep_alive,omitempty"`
	} `json:"summary"`
}

func (t *tally) loss() float64 {
	if t.sent == 0 {
		return 0
	}
	return 100 * float64(t.sent-t.back) / float64(t.sent)
}

func (t *tally) stats() (s []qosStats, k *keepAliveStats) {
	if !t.o.stats {
		return nil, nil
	}
	for q, n := range t.probes {
		if n > 0 {
			s = append(s, qosStats{q, n, t.up[q], t.down[q], t.ack[q].figures(), t.trip[q].figures()})
		}
	}
	if t.pings != nil {
		k = &keepAliveStats{Seconds: t.keepAliveTime.Seconds(), Pings: *t.pings, Answer: t.ping.figures()}
		if n := t.pings.Out.Packets; n > 0 && k.Seconds > 0 {
			k.BytesPerHour = float64(t.pings.Out.Bytes+t.pings.In.Bytes) / float64(n) * 3600 / k.Seconds
		}
	}
	return s, k
}

// show writes the summary.
func (t *tally) show(w io.Writer) {
	stats, k := t.stats()
	if t.o.json {
		var s summary
		s.Summary.URL, s.Summary.Topic, s.Summary.Sent, s.Summary.Answered = t.o.conn.URL(), t.o.topic, t.sent, t.back
		s.Summary.LossPct, s.Summary.Stats, s.Summary.KeepAlive = t.loss(), stats, k
		s.Summary.Times = map[string]*figures{}
		for _, name := range t.names {
			if f := t.series[name].figures(); f != nil {
				s.Summary.Times[name] = f
			}
		}
		json.NewEncoder(w).Encode(&s)
		return
	}
	fmt.Fprintf(w, "\n--- %s ---\n%d probes, %d answered, %.1f %% lost\n", t.o.conn.URL(), t.sent, t.back, t.loss())
	header := false
	for _, name := range t.names {
		f := t.series[name].figures()
		if f == nil {
			continue
		}
		if !header {
			fmt.Fprintf(w, "%-10s %9s %9s %9s %9s  ms\n", "", "min", "avg", "p99", "max")
			header = true
		}
		fmt.Fprintf(w, "%-10s %9.3f %9.3f %9.3f %9.3f\n", name, f.Min, f.Avg, f.P99, f.Max)
	}
	showStats(w, stats, k)
}

// showStats writes what one message costs by QoS.
func showStats(w io.Writer, stats []qosStats, k *keepAliveStats) {
	if len(stats) > 0 {
		fmt.Fprintf(w, "\nFor each message  %21s  %21s  %10s  %10s\n", "client to broker", "broker to client", "taken", "delivered")
		fmt.Fprintf(w, "%-16s  %10s %10s  %10s %10s  %10s  %10s\n", "", "packets", "bytes", "packets", "bytes", "avg ms", "avg ms")
	}
	per := func(n, probes int) float64 { return float64(n) / float64(probes) }
	for _, s := range stats {
		taken := "-"
		if s.Ack != nil {
			taken = fmt.Sprintf("%.3f", s.Ack.Avg)
		}
		for i, l := range []legs{s.Up, s.Down} {
			label, first, second := fmt.Sprintf("QoS %d publishing", s.QoS), taken, "-"
			if i == 1 {
				label, first, second = fmt.Sprintf("QoS %d receiving", s.QoS), "-", fmt.Sprintf("%.3f", s.Trip.Avg)
			}
			fmt.Fprintf(w, "%-16s  %10.1f %10.1f  %10.1f %10.1f  %10s  %10s\n", label,
				per(l.Out.Packets, s.Probes), per(l.Out.Bytes, s.Probes), per(l.In.Packets, s.Probes), per(l.In.Bytes, s.Probes), first, second)
		}
	}
	if k != nil && k.Answer != nil {
		n := k.Pings.Out.Packets
		fmt.Fprintf(w, "%-16s  %10.1f %10.1f  %10.1f %10.1f  %10.3f  %10s\n", "keep alive", per(n, n), per(k.Pings.Out.Bytes, n),
			per(k.Pings.In.Packets, n), per(k.Pings.In.Bytes, n), k.Answer.Avg, "-")
		fmt.Fprintf(w, "Keep alive %.0f s: an idle connection costs %.0f bytes an hour, without TCP's own.\n", k.Seconds, k.BytesPerHour)
	}
}
