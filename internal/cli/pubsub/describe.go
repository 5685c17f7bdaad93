package pubsub

import (
	"fmt"
	"io"
	"strings"

	"github.com/midgemq/midge/internal/cli/flagtable"
)

// describe is what the table says beside the flags.
func describe(tool int) *flagtable.Command {
	c := &flagtable.Command{
		Statuses: []flagtable.Note{
			{Name: "0", Text: "done"},
			{Name: "1", Text: "a flag is wrong, an input cannot be read, or the first connection failed"},
			{Name: "1 to 5, 128 and above", Text: "code by which the broker refused the connection"},
			{Name: "7, 19", Text: "connection lost; broker silent"},
		},
		Files: []flagtable.Note{{
			Name: "$XDG_CONFIG_HOME/" + programs[tool] + ", ~/.config/" + programs[tool],
			Text: "flags that always apply, one a line: name, a blank, value to the end of the line; lines that begin with # are comments. " +
				"The command line comes after them and overrides. -D cannot stand there.",
		}},
	}
	switch tool {
	case inPub:
		c.Name, c.Summary = "pub", "publish messages on one topic and end"
		c.Synopsis = words("-t TOPIC {-m TEXT | -f FILE | -l | -n | -s} [FLAGS]", "-L URL {-m TEXT | -f FILE | -l | -n | -s} [FLAGS]")
		c.Examples = []flagtable.Note{
			{Name: "midge pub -t sensors/kitchen -m 21.5 -q 1 --retain", Text: "publishes a value that later subscribers get at once"},
			{Name: "midge pub -h broker.example -t log -l < file", Text: "publishes each line of a file"},
		}
	case inSub:
		c.Name, c.Summary = "sub", "subscribe to topics and print the messages"
		c.Synopsis = words("-t FILTER... [FLAGS]", "-L URL [FLAGS]")
		c.Text = words("Connects again by itself when the connection is lost. SIGINT and SIGTERM end it.")
		c.Statuses = append(c.Statuses, flagtable.Note{Name: "27", Text: "the time of -W is over"},
			flagtable.Note{Name: "255", Text: "ended by a signal or -W before the broker had answered"})
		c.Examples = []flagtable.Note{
			{Name: "midge sub -t 'sensors/#' -v", Text: "prints topics and messages"},
			{Name: "midge sub -t 'sensors/#' --json --count 1 --timeout 5", Text: "waits for one message and prints it as JSON"},
			{Name: "midge sub -t '#' --remove-retained --retained-only --timeout 2", Text: "removes all retained messages"},
		}
	default:
		c.Name, c.Summary = "rr", "publish a request and print the response"
		c.Synopsis = words("-t TOPIC -e TOPIC {-m TEXT | -f FILE | -n | -s} [FLAGS]")
		c.Statuses = append(c.Statuses, flagtable.Note{Name: "27", Text: "the time of -W is over"})
		c.Examples = []flagtable.Note{{Name: "midge rr -t service/time -e reply/1 -n --timeout 5", Text: "asks a service and waits at most five seconds"}}
	}
	c.Program = programs[tool]
	return c
}

// programs are Mosquitto's names of the tools; they name the options files too.
var programs = map[int]string{inPub: "mosquitto_pub", inSub: "mosquitto_sub", inRR: "mosquitto_rr"}

func versionLine(e *Env) string {
	return fmt.Sprintf("%s version %s running on midge %s.", e.Program, e.Compatible, e.Version)
}

// usage is the help under the name of Mosquitto's program: a line about the program, the version, the usage and one entry for each
// flag.
func usage(w io.Writer, e *Env, tool int) {
	c := table(tool)
	var b strings.Builder
	fmt.Fprintf(&b, "%s is an MQTT client: it can %s.\n%s\n\n", e.Program, c.Summary, versionLine(e))
	for i, s := range c.Synopsis {
		fmt.Fprintf(&b, "%s %s %s\n", []string{"Usage:", "      "}[min(i, 1)], e.Program, s)
	}
	fmt.Fprintf(&b, "       %s --help\n\n", e.Program)
	for i := range c.Flags {
		f := &c.Flags[i]
		if len(f.Names) == 0 {
			continue
		}
		help := f.Help
		if f.Refused != "" {
			help = "refused: " + f.Refused
		}
		if len(f.Values) > 0 {
			help += " (" + strings.Join(f.Values, ", ") + ")"
		}
		fmt.Fprintf(&b, " %s : %s.\n", strings.Join(f.Names, ", "), help)
	}
	io.WriteString(w, b.String())
}
