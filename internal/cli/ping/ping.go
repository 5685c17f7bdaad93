// Package ping measures the way to a broker and through it: name, TCP, TLS, WebSocket, CONNECT, and the round trip of a message
// that comes back to its sender.
//
// Run is called once, from the main goroutine. It starts no goroutine, and writes results to stdout and everything else to
// stderr. It keeps no session at the broker and leaves no retained message there.
package ping

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/midgemq/midge/internal/cli/flagtable"
	"github.com/midgemq/midge/internal/cli/reach"
	"github.com/midgemq/midge/mqtt"
)

// Exit statuses, those that monitoring systems know: all is well, warning, critical, unknown.
const (
	ExitOK           = 0 // every probe came back
	ExitLoss         = 1 // some probes did not
	ExitNoConnection = 2 // no probe got as far as a CONNACK
	ExitUsage        = 3 // wrong arguments
)

type options struct {
	conn     reach.Options
	topic    string
	count    int // 0: until interrupted
	interval time.Duration
	size     int
	qos      []mqtt.QoS
	stats    bool
	reuse    bool
	json     bool
	quiet    bool
}

const minSize = 32 // bytes: a probe's own name and number

func (o *options) flags() []reach.Section {
	return []reach.Section{
		{Title: "Probes", Flags: []reach.Flag{
			reach.Text("t", "topic", "TOPIC", "topic of the probes (midge/ping/ and a random name)", &o.topic),
			reach.Number("c", "count", "N", "number of probes, of each QoS (until interrupted; 10 with --stats)", &o.count, 1, 1<<30),
			reach.Duration("d", "interval", "SECONDS", "time from one probe to the next (1; 0.05 with --stats)", &o.interval),
			reach.Number("s", "size", "BYTES", "payload of a probe, at least 32 (64)", &o.size, minSize, 256<<20),
			{Short: "q", Long: "qos", Arg: "LIST", Help: "QoS of the probes, one or several as in 0,1,2 (0)", Set: o.setQoS},
			reach.Switch("", "reuse", "one connection for all probes, not one for each", &o.reuse),
			reach.Switch("", "stats", "packets, bytes and latency each way by QoS, and what keep alive costs", &o.stats),
			reach.Switch("", "json", "one JSON object for each probe, and one for the summary", &o.json),
			reach.Switch("", "quiet", "the summary only", &o.quiet),
		}},
		{Title: "Connection", Flags: o.conn.Flags("")},
	}
}

func (o *options) setQoS(v string) error {
	o.qos = nil
	for i := 0; i < len(v); i += 2 {
		if v[i] < '0' || v[i] > '2' || i+1 < len(v) && v[i+1] != ',' {
			return fmt.Errorf("%q is no list of 0, 1 and 2", v)
		}
		o.qos = append(o.qos, mqtt.QoS(v[i]-'0'))
	}
	if len(o.qos) == 0 || v[len(v)-1] == ',' {
		return fmt.Errorf("%q is no list of 0, 1 and 2", v)
	}
	return nil
}

func defaults() *options {
	return &options{conn: reach.Defaults(), interval: -1, size: 64, qos: []mqtt.QoS{mqtt.AtMostOnce}}
}

// Command describes midge ping.
func Command() flagtable.Command { return *describe(defaults().flags()) }

func describe(sections []reach.Section) *flagtable.Command {
	return reach.Describe(flagtable.Command{
		Name: "ping", Summary: "measure the way to a broker and through it",
		Synopsis: []string{"[FLAGS] [URL | HOST[:PORT]]"},
		Text: []string{
			"Each probe opens a connection, subscribes, publishes a message and waits until it is back. Name look-up, TCP, TLS, WebSocket, " +
				"CONNECT and the round trip are timed apart, for each probe and in the summary.",
			"With --stats all probes share one connection, and the summary says how many packets and bytes a message of each QoS costs, " +
				"counted on the wire, and what an idle connection costs by its keep alive.",
		},
		Operands: []flagtable.Operand{{Name: "URL", Help: "the broker, in place of -b and -p", Offer: flagtable.Hosts}},
		Statuses: []flagtable.Note{
			{Name: "0", Text: "every probe came back"},
			{Name: "1", Text: "some probes did not"},
			{Name: "2", Text: "no probe got as far as a connection"},
			{Name: "3", Text: "wrong arguments"},
		},
		Examples: []flagtable.Note{
			{Name: "midge ping -b broker.example -c 5", Text: "five probes"},
			{Name: "midge ping --qos 0,1,2 --stats mqtts://broker.example", Text: "what each QoS costs, over TLS"},
		},
	}, sections...)
}

func parse(args []string) (o *options, command *flagtable.Command, err error) {
	o = defaults()
	sections := o.flags()
	command = describe(sections)
	rest, err := reach.Parse(args, command, sections...)
	if err != nil {
		return o, command, err
	}
	if err := o.conn.SetBroker(rest); err != nil {
		return o, command, err
	}
	if o.topic == "" {
		o.topic = o.conn.Topic
	}
	if o.topic == "" {
		o.topic = "midge/ping/" + reach.RandomID()
	}
	if err := mqtt.CheckTopicName(o.topic); err != nil {
		return o, command, fmt.Errorf("flag -t/--topic: %w", err)
	}
	if o.stats {
		o.reuse = true
		if o.count == 0 {
			o.count = 10
		}
	}
	if o.interval < 0 {
		o.interval = time.Second
		if o.stats {
			o.interval = 50 * time.Millisecond
		}
	}
	return o, command, nil
}

// Run is the command. It returns the exit status.
func Run(e *reach.Env, args []string) int {
	o, command, err := parse(args)
	if errors.Is(err, reach.ErrHelp) {
		command.Help(e.Stdout)
		return ExitOK
	}
	if err != nil {
		fmt.Fprintf(e.Stderr, "%s: %v\nSee '%s --help'.\n", e.Program, err, e.Program)
		return ExitUsage
	}
	p := &pinger{o: o, out: e.Stdout, err: e.Stderr, nonce: reach.RandomID(), tally: newTally(o)}
	p.run(e.Context)
	return p.tally.exit()
}

// pinger runs the probes one after the other.
type pinger struct {
	o        *options
	out, err io.Writer
	nonce    string
	tally    *tally
	link     *link // nil: none
	seq      int
}

func (p *pinger) run(ctx context.Context) {
	if !p.o.json && !p.o.quiet {
		fmt.Fprintf(p.out, "PING %s topic %s, %d bytes\n", p.o.conn.URL(), p.o.topic, p.o.size)
	}
	next := time.Now()
	for round := 0; p.o.count == 0 || round < p.o.count; round++ {
		for _, q := range p.o.qos {
			if p.seq > 0 && !p.pause(ctx, next) {
				break
			}
			p.seq++
			next = time.Now().Add(p.o.interval)
			r := p.probe(ctx, q)
			if ctx.Err() != nil && r.Error != "" {
				break // interrupted, not lost
			}
			p.tally.add(r)
			p.show(r)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if p.link != nil {
		if p.o.stats && ctx.Err() == nil {
			p.tally.keepAlive(p.link)
		}
		p.link.close()
	}
	p.tally.show(p.out)
}

// pause waits for the next probe's time and keeps the connection alive meanwhile. It reports whether there is a next probe.
func (p *pinger) pause(ctx context.Context, until time.Time) bool {
	for {
		wait := time.Until(until)
		if l := p.link; l != nil && l.keepAlive > 0 && wait > l.keepAlive/2 {
			wait = l.keepAlive / 2
		}
		timer := time.NewTimer(max(wait, 0))
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
		if !time.Now().Before(until) {
			return true
		}
		if _, err := p.link.ping(); err != nil {
			p.drop()
		}
	}
}

func (p *pinger) drop() {
	if p.link != nil {
		p.link.conn.Close()
		p.link = nil
	}
}

// result is one probe, in milliseconds where a time.
type result struct {
	Seq     int        `json:"seq"`
	QoS     mqtt.QoS   `json:"qos"`
	Address string     `json:"address,omitempty"`
	Steps   *stepTimes `json:"steps,omitempty"` // of a connection made for this probe
	Trip    float64    `json:"trip_ms,omitempty"`
	Ack     float64    `json:"ack_ms,omitempty"` // until the broker had taken the message, QoS 1 and 2
	Error   string     `json:"error,omitempty"`
	Step    string     `json:"failed_step,omitempty"`

	connected bool
}

type stepTimes struct {
	DNS       float64 `json:"dns_ms"`
	TCP       float64 `json:"tcp_ms"`
	TLS       float64 `json:"tls_ms,omitempty"`
	WebSocket float64 `json:"websocket_ms,omitempty"`
	Connect   float64 `json:"connect_ms"`
	Subscribe float64 `json:"subscribe_ms"`
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// probe sends one message and waits until it is back.
func (p *pinger) probe(ctx context.Context, q mqtt.QoS) *result {
	r := &result{Seq: p.seq, QoS: q}
	fail := func(step string, err error) *result {
		p.drop()
		r.Step, r.Error = step, err.Error()
		return r
	}
	if p.link == nil {
		l, t, err := open(ctx, p.o)
		r.Address = t.Address
		if err != nil {
			if s, ok := errors.AsType[*reach.StepError](err); ok {
				return fail(string(s.Step), err)
			}
			r.connected = true
			return fail("subscribe", err)
		}
		p.link = l
		r.Steps = &stepTimes{ms(t.DNS), ms(t.TCP), ms(t.TLS), ms(t.WebSocket), ms(t.Connect), ms(l.subscribeTime)}
	}
	r.connected = true
	r.Address = p.link.address
	trip, ack, err := p.link.roundTrip(q, p.payload())
	if err != nil {
		return fail("trip", err)
	}
	r.Trip, r.Ack = ms(trip), ms(ack)
	if !p.o.reuse {
		p.link.close()
		p.link = nil
	}
	return r
}

func (p *pinger) payload() []byte {
	b := fmt.Appendf(make([]byte, 0, p.o.size), "%s %d ", p.nonce, p.seq)
	for len(b) < p.o.size {
		b = append(b, '.')
	}
	return b
}
