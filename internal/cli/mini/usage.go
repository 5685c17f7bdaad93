package mini

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

const sharedUsage = ` -A : local address of the connection.
 -c : keep the session when the program ends (needs -i).
 -d : print what is sent and received.
 -h : host of the broker. Default localhost.
 -i : client id. -I : client id that begins so and ends in the process id.
 -k : keep-alive in seconds, 5 to 65535. Default 60.
 -L : mqtt://[user[:password]@]host[:port]/topic instead of -h, -p, -u, -P, -t.
 -M : QoS 1 and 2 messages in flight. Default 20.
 -o : file with flags, one a line, instead of the one in ~/.config.
 -p : port of the broker. Default 1883.
 -P : password. -u : user name.
 --quiet : no error messages.
 --unix : Unix socket of the broker instead of host and port.
 -V : protocol version: mqttv31, mqttv311 (default) or mqttv5.
 --will-topic, --will-payload, --will-qos, --will-retain : the will.
 --help, --version
`

func pubUsage(w io.Writer, e *Env) {
	fmt.Fprintf(w, `%[1]s publishes messages on one topic and ends.
%[2]s
Usage: %[1]s [-h host] [-p port] -t topic {-f file | -l | -m message | -n | -s} [flags]

 -t : topic.
 -f : send the content of a file as the message.
 -l : send each line of standard input as a message.
 -m : the message.
 -n : send an empty message.
 -s : send all of standard input as one message.
 -q : QoS, 0 (default), 1 or 2.
 -r : have the broker retain the message.
 --repeat, --repeat-delay : how often, and how many seconds between.
%[3]s`, e.Program, versionLine(e), sharedUsage)
}

func subUsage(w io.Writer, e *Env) {
	fmt.Fprintf(w, `%[1]s subscribes to topics and prints the messages.
%[2]s
Usage: %[1]s [-h host] [-p port] -t topic... [flags]

 -t : topic filter; may be repeated.
 -C : end after this many messages.
 -E : end when the broker has acknowledged the subscription.
 -N : no line feed after a message.
 -q : QoS of the subscription, 0 (default), 1 or 2.
 -R : leave out retained messages.
 -T : leave out messages on topics that match this filter; may be repeated.
 -v : print the topic before the message.
 -W : give up after this many seconds.
%[3]s`, e.Program, versionLine(e), sharedUsage)
}

func versionLine(e *Env) string {
	return fmt.Sprintf("%s version %s (midge %s) running on midge %s.", e.Program, e.Compatible, e.Version, e.Version)
}

// begin parses and does what needs no connection. done means that the tool
// ends with status.
func begin(e *Env, tool int, args []string) (o *options, status int, done bool) {
	usage := pubUsage
	if tool == inSub {
		usage = subUsage
	}
	o, err := parse(tool, args)
	switch {
	case errors.Is(err, errIncomplete):
		fmt.Fprintln(e.Stderr, err)
		usage(e.Stderr, e)
		return nil, exitFailed, true
	case err != nil:
		fmt.Fprintf(e.Stderr, "%v\n\nUse '%s --help' to see usage.\n", err, e.Program)
		return nil, exitFailed, true
	case o.help:
		usage(e.Stdout, e)
		return nil, exitFailed, true
	case o.showVersion:
		fmt.Fprintln(e.Stdout, versionLine(e))
		return nil, exitFailed, true
	}
	return o, exitOK, false
}

// complain prints an error line unless --quiet was given.
func complain(e *Env, o *options, text string) {
	if !o.quiet {
		fmt.Fprintln(e.Stderr, strings.TrimRight(text, "\n"))
	}
}
