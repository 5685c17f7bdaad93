// Package monitor shows what a broker's topics say: as a screen on a terminal, as lines elsewhere.
//
// Run is called once, from the main goroutine. What is known (board), what is seen of it (screen) and how it is drawn (view) are
// pure: time is an argument, nothing blocks. One goroutine uses them; the client's goroutines hand messages over through source.
// Payloads and topics are untrusted: nothing of them reaches the terminal unescaped. It publishes only what the user asks for.
package monitor

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/internal/cli/flagtable"
	"github.com/midgemq/midge/internal/cli/reach"
	"github.com/midgemq/midge/mqtt"
)

// Exit statuses.
const (
	ExitOK     = 0
	ExitFailed = 1 // the connection was refused for good, or the terminal failed
	ExitUsage  = 2
)

type options struct {
	conn   reach.Options
	topics []string
	qos    mqtt.QoS
	all    bool
	list   bool
	sys    bool
	plain  bool
	json   bool
	count  int
	delay  time.Duration
	frames bool
}

func defaults() *options {
	return &options{conn: reach.Defaults(), delay: 100 * time.Millisecond}
}

func (o *options) flags() []reach.Section {
	return []reach.Section{
		{Title: "What to show", Flags: []reach.Flag{
			{Short: "t", Long: "topic", Arg: "FILTER", Help: "topics to show, may be given several times (#, all but $SYS)", Set: func(v string) error {
				if err := mqtt.CheckFilter(v); err != nil {
					return err
				}
				o.topics = append(o.topics, v)
				return nil
			}},
			{Short: "q", Long: "qos", Arg: "QOS", Help: "QoS of the subscriptions (0)", Set: func(v string) error {
				if len(v) != 1 || v[0] < '0' || v[0] > '2' {
					return fmt.Errorf("%q is none of 0, 1, 2", v)
				}
				o.qos = mqtt.QoS(v[0] - '0')
				return nil
			}},
			reach.Switch("", "sys", "the broker's own topics ($SYS) too", &o.sys),
			{Short: "c", Long: "changes", Help: "only values that differ from the one before (the default)", Set: func(string) error { o.all = false; return nil }},
			reach.Switch("a", "all", "every message", &o.all),
		}},
		{Title: "How to show it", Flags: []reach.Flag{
			reach.Duration("d", "delay", "SECONDS", "time from one picture to the next, 0.02 to 60 (0.1)", &o.delay),
			reach.Switch("", "list", "begin with a flat list, not with the tree", &o.list),
			reach.Switch("", "plain", "lines in place of a screen, as when stdout is no terminal", &o.plain),
			reach.Switch("", "json", "lines in JSON", &o.json),
			reach.Number("n", "count", "N", "end after N lines", &o.count, 1, 1<<40),
			reach.Switch("", "frame-times", "say at the end what the pictures cost", &o.frames),
		}},
		{Title: "Connection", Flags: o.conn.Flags("")},
	}
}

// Command describes midge monitor.
func Command() flagtable.Command { return *describe(defaults().flags()) }

func describe(sections []reach.Section) *flagtable.Command {
	return reach.Describe(flagtable.Command{
		Name: "monitor", Summary: "watch topics",
		Synopsis: []string{"[FLAGS] [URL | HOST[:PORT]]"},
		Text: []string{
			"On a terminal: a topic tree or list with the last value of each topic, its age, its rate, whether a message is retained, and a " +
				"sparkline where the values are numbers. Keys filter, pause, publish, delete retained messages and copy; ? explains them.",
			"Elsewhere: a line for each value that differs from the topic's one before, with time, R for retained, topic and value.",
			"Control characters and what else could disturb a terminal are shown as escapes.",
		},
		Operands: []flagtable.Operand{{Name: "URL", Help: "the broker, in place of -b and -p", Offer: flagtable.Hosts}},
		Statuses: []flagtable.Note{
			{Name: "0", Text: "ended by the user, a signal or --count"},
			{Name: "1", Text: "the broker refused the connection for good, or the terminal failed"},
			{Name: "2", Text: "wrong arguments"},
		},
		Examples: []flagtable.Note{
			{Name: "midge monitor -b broker.example -t 'home/#'", Text: "what the house says"},
			{Name: "midge monitor --json -n 10 | jq .topic", Text: "the topics of the next ten changes"},
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
	if o.conn.Topic != "" {
		o.topics = append(o.topics, o.conn.Topic)
	}
	if len(o.topics) == 0 {
		o.topics = []string{"#"}
	}
	if o.sys {
		o.topics = append(o.topics, "$SYS/#")
	}
	if o.delay < 20*time.Millisecond || o.delay > time.Minute {
		return o, command, fmt.Errorf("flag -d/--delay: %v is not between 0.02 and 60 seconds", o.delay)
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
	if err := run(e, o); err != nil {
		fmt.Fprintf(e.Stderr, "%s: %s\n", e.Program, text(err))
		return ExitFailed
	}
	return ExitOK
}

func run(e *reach.Env, o *options) error {
	s, err := dial(o)
	if err != nil {
		return err
	}
	defer s.client.Close()
	s.client.Start()
	if o.plain || o.json || !terminal(e.Stdout) {
		err := follow(e.Context, o, s, e.Stdout, e.Stderr)
		if errors.Is(err, client.ErrClosed) {
			return nil
		}
		return err
	}
	before := reach.CPU()
	p, err := show(e.Context, o, s, e.Stdin, e.Stdout)
	if o.frames {
		p.report(e.Stderr, reach.CPU()-before)
	}
	return err
}

func terminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
