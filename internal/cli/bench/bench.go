// Package bench loads a broker and measures what comes of it: rates, latencies, what was lost, came twice or out of order, and
// what it cost the broker and this program.
//
// Run is called once, from the main goroutine. Each connection has a goroutine that reads, each publisher one that writes; they
// pass batches, not messages, so that one core saturates a broker. It uses mqtt/packet directly and not the client library,
// which does for programs what would cost too much here. It never measures itself against the clock of another process unless
// told to take part in a run of several.
package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/midgemq/midge/internal/cli/flagtable"
	"github.com/midgemq/midge/internal/cli/reach"
	"github.com/midgemq/midge/mqtt"
)

// Exit statuses.
const (
	ExitOK     = 0
	ExitFaults = 1 // the run failed, or messages were lost, came twice or out of order
	ExitUsage  = 2
)

type options struct {
	conn       reach.Options
	scenario   *scenario
	clients    int
	subs       int
	qos        mqtt.QoS
	size       int
	messages   int
	duration   time.Duration
	warmup     time.Duration
	rate       int
	window     int
	inflight   int
	connecting int
	churn      int
	topic      string
	label      string
	pid        int

	part, parts int
	startAt     time.Time
	processes   int

	json, csv bool
	file      string
	live      bool
	lossy     bool
}

func defaults() *options {
	o := &options{
		conn: reach.Defaults(), clients: -1, subs: -1, qos: 255, size: 64, duration: 10 * time.Second, warmup: time.Second, rate: -1,
		window: -1, inflight: 20, connecting: 100, churn: 1, topic: "midge/bench", part: 1, parts: 1, processes: 1,
	}
	o.conn.KeepAlive = 0
	o.conn.Version = mqtt.V311
	return o
}

func (o *options) flags() []reach.Section {
	return []reach.Section{
		{Title: "Load", Flags: []reach.Flag{
			reach.Number("c", "clients", "N", "publishers, pairs, sessions or connections, by scenario", &o.clients, 1, 10_000_000),
			reach.Number("", "subscribers", "N", "subscribers of fan-out and retained", &o.subs, 1, 1_000_000),
			{Short: "q", Long: "qos", Arg: "QOS", Help: "QoS of publishing and subscribing (0; 1 for persistent and soak)", Set: func(v string) error {
				if len(v) != 1 || v[0] < '0' || v[0] > '2' {
					return fmt.Errorf("%q is none of 0, 1, 2", v)
				}
				o.qos = mqtt.QoS(v[0] - '0')
				return nil
			}},
			reach.Number("s", "size", "BYTES", "payload, at least 28 (64)", &o.size, headerSize, 256<<20),
			reach.Number("n", "messages", "N", "messages of each publisher, or topics of retained (as many as the duration allows; 100 for persistent, 10000 for retained)", &o.messages, 1, 1<<40),
			reach.Duration("d", "duration", "SECONDS", "how long to measure (10)", &o.duration),
			reach.Duration("", "warmup", "SECONDS", "how long to run before that (1)", &o.warmup),
			reach.Number("r", "rate", "N", "messages or connections a second in all, 0 as fast as possible (0; 1000 for soak)", &o.rate, 0, 1<<30),
			reach.Number("w", "window", "N", "messages of a publisher that are out and not delivered, when there are subscribers", &o.window, 1, 1<<30),
			reach.Number("", "inflight", "N", "unacknowledged QoS 1 and 2 messages of a publisher (20, less if the broker says so)", &o.inflight, 1, 65535),
			reach.Number("", "connecting", "N", "connections being made at the same time (100)", &o.connecting, 1, 10000),
			reach.Number("", "churn", "N", "subscribers of soak that reconnect each second (1)", &o.churn, 0, 10000),
			reach.Text("t", "topic", "TOPIC", "prefix of the topics (midge/bench)", &o.topic),
		}},
		{Title: "Several processes or hosts", Flags: []reach.Flag{
			reach.Number("", "processes", "N", "run N processes on this machine and add up their results (1)", &o.processes, 1, 256),
			{Long: "part", Arg: "I/N", Help: "be part I of N: client identifiers and topics of its own", Set: o.setPart},
			{Long: "start-at", Arg: "TIME", Help: "begin the measurement at this time, RFC 3339 or seconds since 1970", Set: o.setStart},
		}},
		{Title: "Results", Flags: []reach.Flag{
			reach.Switch("", "json", "print the result as JSON, with the histogram for 'midge bench merge'", &o.json),
			reach.Switch("", "csv", "print the result as CSV with a header", &o.csv),
			reach.Text("o", "output", "FILE", "write the JSON result to a file too", &o.file),
			reach.Switch("", "live", "print the rates each second to stderr, without a terminal too", &o.live),
			reach.Switch("", "allow-loss", "lost messages do not change the exit status", &o.lossy),
			reach.Number("", "pid", "PID", "process of the broker on this machine, to report its CPU and memory (Linux)", &o.pid, 1, 1<<30),
			reach.Text("", "label", "TEXT", "name of the broker in the result", &o.label),
		}},
		{Title: "Connection", Flags: o.conn.Flags("c")},
	}
}

func (o *options) setPart(v string) error {
	i, n, ok := strings.Cut(v, "/")
	part, err1 := strconv.Atoi(i)
	parts, err2 := strconv.Atoi(n)
	if !ok || err1 != nil || err2 != nil || part < 1 || part > parts {
		return fmt.Errorf("%q is not of the form 2/4", v)
	}
	o.part, o.parts = part, parts
	return nil
}

func (o *options) setStart(v string) error {
	if f, err := strconv.ParseFloat(v, 64); err == nil && f > 0 && f < 1e11 {
		o.startAt = time.UnixMilli(int64(f * 1000))
		return nil
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return fmt.Errorf("%q is neither a time as 2026-01-31T12:00:00Z nor seconds since 1970", v)
	}
	o.startAt = t
	return nil
}

// Command describes midge bench.
func Command() flagtable.Command { return *describe(defaults().flags()) }

func describe(sections []reach.Section) *flagtable.Command {
	text := []string{
		"Loads a broker by a scenario and reports rates, latencies and faults. Publishers send as fast as the broker passes messages on: " +
			"at most --window messages of each are out at a time. A pub of QoS 0 asks the broker by PINGREQ how far it is.",
		"The scenarios:",
	}
	for i := range scenarios {
		text = append(text, scenarios[i].name+": "+scenarios[i].about)
	}
	text = append(text,
		"Several hosts join by running the same scenario with --part 1/N to N/N and one --start-at, each with -o FILE; "+
			"'midge bench merge FILE…' adds the results up, histograms included. For one stream across hosts run sub on some and pub on others.")
	return reach.Describe(flagtable.Command{
		Name: "bench", Summary: "load a broker and measure it",
		Synopsis: []string{"SCENARIO [FLAGS] [URL | HOST[:PORT]]", "merge FILE…"},
		Text:     text,
		Operands: []flagtable.Operand{
			{Name: "SCENARIO", Help: "conn, pub, sub, p2p, fan-in, fan-out, retained, persistent, soak, or merge", Values: append(scenarioNames(), "merge")},
			{Name: "URL", Help: "the broker, in place of -b and -p", Offer: flagtable.Hosts},
		},
		Statuses: []flagtable.Note{
			{Name: "0", Text: "the run is complete and without fault"},
			{Name: "1", Text: "the run failed, or messages were lost, came twice or out of order"},
			{Name: "2", Text: "wrong arguments"},
		},
		Examples: []flagtable.Note{
			{Name: "midge bench p2p -c 50 -q 1 broker.example", Text: "50 pairs, QoS 1"},
			{Name: "midge bench fan-in --json --pid $(pidof mosquitto)", Text: "with the broker's CPU for each message"},
		},
	}, sections...)
}

var errCheck = errors.New("wrong arguments")

func parse(args []string) (o *options, command *flagtable.Command, files []string, err error) {
	o = defaults()
	sections := o.flags()
	command = describe(sections)
	rest, err := reach.Parse(args, command, sections...)
	if err != nil {
		return o, command, nil, err
	}
	if len(rest) == 0 {
		return o, command, nil, fmt.Errorf("%w: no scenario; one of %s", errCheck, strings.Join(scenarioNames(), ", "))
	}
	if rest[0] == "merge" {
		if len(rest) < 2 {
			return o, command, nil, fmt.Errorf("%w: merge needs files", errCheck)
		}
		return o, command, rest[1:], nil
	}
	if o.scenario = scenarioOf(rest[0]); o.scenario == nil {
		return o, command, nil, fmt.Errorf("%w: scenario %q is none of %s", errCheck, rest[0], strings.Join(scenarioNames(), ", "))
	}
	if len(rest) > 2 {
		return o, command, nil, fmt.Errorf("%w: unexpected argument %q", errCheck, rest[2])
	}
	if len(rest) == 2 {
		if err := o.conn.SetURL(rest[1]); err != nil {
			return o, command, nil, fmt.Errorf("broker: %w", err)
		}
	}
	return o, command, nil, o.complete()
}

// complete fills in the scenario's numbers and judges the whole.
func (o *options) complete() error {
	s := o.scenario
	defaultWindow := o.window < 0
	for _, f := range []struct {
		to   *int
		from int
	}{{&o.clients, s.clients}, {&o.subs, s.subs}, {&o.rate, s.rate}, {&o.window, s.window}} {
		if *f.to < 0 {
			*f.to = f.from
		}
	}
	if o.qos > 2 {
		o.qos = s.qos
	}
	if o.qos == mqtt.ExactlyOnce && defaultWindow {
		// Mosquitto 2.0.11 forgets to go on with QoS 2 messages that had to wait behind its 20 in flight.
		o.window = min(o.window, 20)
	}
	if o.messages == 0 {
		o.messages = s.messages
	}
	if o.parts > 1 {
		o.topic += "/" + strconv.Itoa(o.part)
	}
	if s.name == "persistent" && o.qos == 0 || s.name == "soak" && o.qos == 0 {
		return fmt.Errorf("%w: %s needs QoS 1 or 2: with QoS 0 a broker may drop what a client away would have got", errCheck, s.name)
	}
	if o.processes > 1 && (s.name == "sub" || !o.startAt.IsZero() || o.parts > 1) {
		return fmt.Errorf("%w: --processes goes neither with sub nor with --part and --start-at", errCheck)
	}
	if err := mqtt.CheckTopicName(o.topic); err != nil {
		return fmt.Errorf("%w: flag -t/--topic: %w", errCheck, err)
	}
	if o.conn.Version == 0 {
		o.conn.Version = mqtt.V5
	}
	return nil
}

// Run is the command. It returns the exit status.
func Run(e *reach.Env, args []string) int {
	o, command, files, err := parse(args)
	if errors.Is(err, reach.ErrHelp) {
		command.Help(e.Stdout)
		return ExitOK
	}
	if err != nil {
		fmt.Fprintf(e.Stderr, "%s: %v\nSee '%s --help'.\n", e.Program, err, e.Program)
		return ExitUsage
	}
	var res *result
	switch {
	case files != nil:
		res, err = mergeFiles(files)
	case o.processes > 1:
		res, err = spread(e, o, args)
	default:
		res, err = measure(e, o)
	}
	if err != nil {
		fmt.Fprintf(e.Stderr, "%s: %v\n", e.Program, err)
		return ExitFaults
	}
	if err := o.deliver(e.Stdout, res); err != nil {
		fmt.Fprintf(e.Stderr, "%s: %v\n", e.Program, err)
		return ExitFaults
	}
	if res.faulty(o.lossy) {
		return ExitFaults
	}
	return ExitOK
}

// deliver prints the result in the form asked for.
func (o *options) deliver(w io.Writer, res *result) error {
	if o.file != "" {
		if err := os.WriteFile(o.file, append(res.encode(), '\n'), 0o600); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
	}
	switch {
	case o.json:
		_, err := w.Write(append(res.encode(), '\n'))
		return err
	case o.csv:
		return res.csv(w)
	}
	return res.text(w)
}

// measure runs the scenario in this process.
func measure(e *reach.Env, o *options) (*result, error) {
	if err := o.resolve(); err != nil {
		return nil, err
	}
	p := newProgress(e.Stderr, o.live)
	r := newRun(e.Context, o, p)
	err := o.scenario.run(r)
	p.stop()
	if err != nil {
		for _, c := range r.wires {
			c.nc.Close()
		}
		return nil, err
	}
	return r.result(), nil
}

// resolve looks the broker's name up once, not for each connection.
func (o *options) resolve() error {
	if o.conn.Unix != "" || net.ParseIP(o.conn.Host) != nil {
		return nil
	}
	found, err := net.LookupHost(o.conn.Host)
	if err != nil {
		return fmt.Errorf("look up %s: %w", o.conn.Host, err)
	}
	for _, a := range found { // 127.0.0.1 before ::1: more brokers listen there
		if net.ParseIP(a).To4() != nil {
			found[0] = a
			break
		}
	}
	if o.conn.ServerName == "" {
		o.conn.ServerName = o.conn.Host
	}
	o.conn.Host = found[0]
	return nil
}
