// Package pubsub is midge pub, sub and rr, which are also called mosquitto_pub,
// mosquitto_sub and mosquitto_rr: their flags, configuration files, output
// bytes, debug lines and exit statuses.
//
// Each tool keeps one connection of package client and no store: what was not
// acknowledged when the process ends is lost. Messages go to standard output,
// and so do the lines of -d, as with Mosquitto's tools; all else goes to
// standard error. Pub, Sub and RR are called once, from the main goroutine.
package pubsub

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/midgemq/midge/internal/cli/flagtable"
)

// Env is what the process gives a tool.
type Env struct {
	Program        string // the name in messages
	Midge          bool   // called as a command of midge, not by the name of Mosquitto's program
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Version        string
	Compatible     string // release of Mosquitto in the version line

	// Now and Random replace the clock of formats and the dice of --random-filter; nil: the real ones.
	Now    func() time.Time
	Random func(n int) int
}

func (e *Env) now() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

func (e *Env) random(n int) int {
	if e.Random != nil {
		return e.Random(n)
	}
	return rand.IntN(n)
}

// Exit statuses, Mosquitto's library error numbers.
const (
	exitOK        = 0
	exitFailed    = 1
	exitProtocol  = 2
	exitLost      = 7
	exitTooLarge  = 9
	exitMalformed = 21
	exitKeepAlive = 19
	exitTimeout   = 27
	exitNoConnack = 255
)

// which of the tools, as bits for the table of flags.
const (
	inPub = 1 << iota
	inSub
	inRR
	inAll = inPub | inSub | inRR
)

// begin parses and does what needs no connection. done means that the tool ends with status.
func begin(e *Env, tool int, args []string) (o *options, status int, done bool) {
	o, err := parse(e, tool, args)
	switch {
	case errors.Is(err, errHelp):
		if e.Midge {
			table(tool).Help(e.Stdout)
			return nil, exitOK, true
		}
		usage(e.Stdout, e, tool)
		return nil, exitFailed, true
	case errors.Is(err, errVersion):
		fmt.Fprintln(e.Stdout, versionLine(e))
		if e.Midge {
			return nil, exitOK, true
		}
		return nil, exitFailed, true
	case errors.Is(err, errIncomplete) && !e.Midge:
		fmt.Fprintln(e.Stderr, err)
		usage(e.Stderr, e, tool)
		return nil, exitFailed, true
	case err != nil:
		fmt.Fprintf(e.Stderr, "%v\n\nUse '%s --help' to see usage.\n", err, e.Program)
		return nil, exitFailed, true
	}
	for _, w := range o.warnings {
		complain(e, o, "Warning: "+w)
	}
	return o, exitOK, false
}

// complain prints an error line unless --quiet was given.
func complain(e *Env, o *options, text string) {
	if !o.quiet {
		fmt.Fprintln(e.Stderr, strings.TrimRight(text, "\n"))
	}
}

// usageError is a fault of the user's with the text that Mosquitto's tools print for it.
type usageError string

func (e usageError) Error() string { return string(e) }

func usagef(format string, args ...any) error {
	return usageError("Error: " + fmt.Sprintf(format, args...))
}

// Tables are the commands' descriptions.
func Tables() []flagtable.Command {
	return []flagtable.Command{*table(inPub), *table(inSub), *table(inRR)}
}
