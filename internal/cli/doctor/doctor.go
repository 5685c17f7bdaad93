// Package doctor finds out why a client does not get through to a broker, or why a broker does not start with its configuration,
// and names the setting that is wrong.
//
// Run is called once, from the main goroutine; it looks at one thing after the other and stops where nothing further can be told.
// It changes nothing but what its documentation says: with a topic it publishes one message there. Passwords are never printed.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/midgemq/midge/internal/cli/flagtable"
	"github.com/midgemq/midge/internal/cli/reach"
	"github.com/midgemq/midge/mqtt"
)

// Exit statuses.
const (
	ExitOK      = 0 // nothing wrong, warnings perhaps
	ExitProblem = 1 // at least one finding is a problem
	ExitUsage   = 2 // wrong arguments
)

type options struct {
	conn      reach.Options
	file      string // a configuration, in place of a broker
	topic     string
	noPublish bool
	running   bool
	json      bool
	quiet     bool
}

func (o *options) flags() []reach.Section {
	return []reach.Section{
		{Title: "What to look at", Flags: []reach.Flag{
			reach.Text("c", "config", "FILE", "examine this configuration file, not a broker", &o.file),
			reach.Text("t", "topic", "TOPIC", "check the rights for this topic or filter; one message is published there (a topic of its own)", &o.topic),
			reach.Switch("", "no-publish", "publish nothing: rights to publish are then not checked", &o.noPublish),
			reach.Switch("", "running", "the broker of the configuration is running: its ports are rightly in use", &o.running),
		}},
		{Title: "Results", Flags: []reach.Flag{
			reach.Switch("", "json", "print the findings as JSON", &o.json),
			reach.Switch("", "quiet", "print problems and warnings only", &o.quiet),
		}},
		{Title: "Connection", Flags: o.conn.Flags("c")},
	}
}

func defaults() *options {
	o := &options{conn: reach.Defaults()}
	o.conn.Timeout = 5e9
	return o
}

// Command describes midge doctor.
func Command() flagtable.Command { return *describe(defaults().flags()) }

func describe(sections []reach.Section) *flagtable.Command {
	return reach.Describe(flagtable.Command{
		Name: "doctor", Summary: "find the wrong setting of a client or a broker",
		Synopsis: []string{"[FLAGS] [URL | HOST[:PORT]]", "[FLAGS] CONFIG-FILE"},
		Text: []string{
			"With a broker it goes the way of a client, step by step, and where that ends it looks for the reason: what listens there, " +
				"which certificate it shows, whom it refuses, which rights are missing.",
			"With a configuration file it checks the file itself, every file and directory it names for the user the broker runs as, " +
				"certificates with their keys, and whether the ports are free.",
		},
		Operands: []flagtable.Operand{
			{Name: "URL", Help: "the broker (mqtt://localhost)", Offer: flagtable.Hosts},
			{Name: "CONFIG-FILE", Help: "a file that exists, or a name that ends in .conf", Offer: flagtable.Files},
		},
		Statuses: []flagtable.Note{
			{Name: "0", Text: "nothing is wrong; there may be warnings"},
			{Name: "1", Text: "something is wrong"},
			{Name: "2", Text: "wrong arguments"},
		},
		Examples: []flagtable.Note{
			{Name: "midge doctor mqtts://broker.example -u anna -P secret -t home/door", Text: "why does anna not see the door?"},
			{Name: "midge doctor /etc/mosquitto/mosquitto.conf", Text: "why does the broker not start?"},
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
	if len(rest) > 1 {
		return o, command, fmt.Errorf("unexpected argument %q", rest[1])
	}
	if len(rest) == 1 {
		if isFile(rest[0]) {
			o.file = rest[0]
		} else if err := o.conn.SetURL(rest[0]); err != nil {
			return o, command, fmt.Errorf("broker: %w", err)
		}
	}
	if o.topic == "" {
		o.topic = o.conn.Topic
	}
	if o.topic != "" {
		if err := mqtt.CheckFilter(o.topic); err != nil {
			return o, command, fmt.Errorf("flag -t/--topic: %w", err)
		}
	}
	return o, command, nil
}

// isFile tells a configuration from a broker.
func isFile(arg string) bool {
	if strings.Contains(arg, "://") {
		return false
	}
	if strings.HasSuffix(arg, ".conf") || strings.ContainsRune(arg, os.PathSeparator) {
		return true
	}
	info, err := os.Stat(arg)
	return err == nil && info.Mode().IsRegular()
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
	r := &report{o: o, out: e.Stdout}
	r.begin()
	if o.file != "" {
		r.examineConfig(e.Context)
	} else {
		r.examineBroker(e.Context)
	}
	return r.end()
}

// examineBroker goes the way of a client.
func (r *report) examineBroker(ctx context.Context) {
	r.files()
	if r.problems > 0 {
		return // a certificate that cannot be read explains whatever would follow
	}
	c, times, err := r.connect(ctx)
	if err != nil {
		r.explain(ctx, err)
		return
	}
	defer c.close()
	r.steps(&times)
	r.connected(c)
	r.topics(c)
}
