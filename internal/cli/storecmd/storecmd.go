// Package storecmd is midge store: what can be done with a store that no broker
// uses, and the online backup of one that a broker does use.
//
// It takes the store's lock, so that it never works beside a broker by mistake.
// Run belongs to one goroutine. Answers go to stdout, everything else to stderr.
package storecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/midgemq/midge/internal/cli/flagtable"
	"github.com/midgemq/midge/internal/store/exemplar"
	"github.com/midgemq/midge/internal/store/migrate"
	"github.com/midgemq/midge/internal/store/mosqdb"
)

// Env is what a process gives Run.
type Env struct {
	Program        string // as it was called: "midge store"
	Stdout, Stderr io.Writer
	// Directory is where a broker with the default configuration has its store.
	Directory string
}

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// command is one word behind "midge store".
type command struct {
	table flagtable.Command
	// operands is how many there must be at least and at most.
	operands [2]int
	run      func(e *Env, c *call) error
}

// call is what was asked for.
type call struct {
	operands []string
	flags    map[string]string
}

func (c *call) has(name string) bool { _, ok := c.flags[name]; return ok }

// dir is --to or --from, the broker's default otherwise.
func (c *call) dir(e *Env, name string) string {
	if d, ok := c.flags[name]; ok {
		return d
	}
	return e.Directory
}

var (
	helpFlag = flagtable.Flag{Names: []string{"--help"}, Help: "show the help and end"}
	fileKind = "persistence file of Mosquitto (mosquitto.db, versions 2 to 6) or database of its persist-sqlite plug-in"
	statuses = []flagtable.Note{{Name: "0", Text: "done"}, {Name: "1", Text: "it failed; stderr says why"}, {Name: "2", Text: "wrong usage"}}
)

func storeFlag(name, what string) flagtable.Flag {
	return flagtable.Flag{Names: []string{name}, Arg: "DIR", Help: what + ", midge.store in the current directory by default", Offer: flagtable.Files}
}

func commands() []command { return append(keeping(), moving()...) }

// moving are the commands that carry a store to and from somewhere.
func moving() []command {
	return []command{
		{
			flagtable.Command{
				Name: "store import", Summary: "take over what Mosquitto has stored", Synopsis: []string{"[--to DIR] [--replace] FILE"},
				Text: []string{
					"Reads sessions, subscriptions, queues, exchanges under way and retained messages into a store. The file stays as it is. A broker without a store does the same by itself at its first start.",
					"Lines say what was brought over, and what was left out and why.",
				},
				Operands: []flagtable.Operand{{Name: "FILE", Help: fileKind, Offer: flagtable.Files}},
				Flags: []flagtable.Flag{
					storeFlag("--to", "store to import into, made when it is not there"),
					{Names: []string{"--replace"}, Help: "import also into a store that holds something; sessions and retained messages of the file take the place of those of the store"},
					helpFlag,
				},
				Statuses: statuses,
			},
			[2]int{1, 1},
			runImport,
		},
		{
			flagtable.Command{
				Name: "store export", Summary: "write a file that Mosquitto starts from", Synopsis: []string{"[--from DIR] FILE"},
				Text:     []string{"Writes a mosquitto.db of version 6. Lines say what it has no place for."},
				Operands: []flagtable.Operand{{Name: "FILE", Help: "file to write; one that exists is replaced", Offer: flagtable.Files}},
				Flags:    []flagtable.Flag{storeFlag("--from", "store to read"), helpFlag},
				Statuses: statuses,
			},
			[2]int{1, 1},
			runExport,
		},
		{
			flagtable.Command{
				Name: "store gen-testdata", Summary: "make a store of known content", Synopsis: []string{"DIR"},
				Text:     []string{"Makes a store with every kind of record, against which midge store verify-data of any later release can be run."},
				Operands: []flagtable.Operand{{Name: "DIR", Help: "directory to make", Offer: flagtable.Files}},
				Flags:    []flagtable.Flag{helpFlag},
				Statuses: statuses,
			},
			[2]int{1, 1},
			func(_ *Env, c *call) error { return exemplar.Generate(c.operands[0]) },
		},
		{
			flagtable.Command{
				Name: "store verify-data", Summary: "check a store of known content", Synopsis: []string{"DIR"},
				Text:     []string{"Checks that a store made by midge store gen-testdata, of this or an earlier release, holds what it should. The store stays as it is."},
				Operands: []flagtable.Operand{{Name: "DIR", Help: "store", Offer: flagtable.Files}},
				Flags:    []flagtable.Flag{helpFlag},
				Statuses: statuses,
			},
			[2]int{1, 1},
			runVerify,
		},
	}
}

// Commands describes all commands, for help, manual and completion.
func Commands() []flagtable.Command {
	var t []flagtable.Command
	for _, c := range commands() {
		t = append(t, c.table)
	}
	return t
}

// Run carries out a command and returns the exit status.
func Run(e *Env, args []string) int {
	all := commands()
	if len(args) == 0 || args[0] == "--help" || args[0] == "-h" {
		w, status := e.Stdout, exitOK
		if len(args) == 0 {
			w, status = e.Stderr, exitUsage
		}
		fmt.Fprintf(w, "Usage: %s COMMAND\n\n", e.Program)
		for _, c := range all {
			fmt.Fprintf(w, "  %-20s %s\n", c.table.Name[len("store "):], c.table.Summary)
		}
		return status
	}
	i := slices.IndexFunc(all, func(c command) bool { return c.table.Name == "store "+args[0] })
	if i < 0 {
		fmt.Fprintf(e.Stderr, "%s: unknown command %q; %s --help lists them\n", e.Program, args[0], e.Program)
		return exitUsage
	}
	cmd := &all[i]
	c := &call{flags: make(map[string]string)}
	var err error
	c.operands, err = cmd.table.Parse(args[1:], true, func(f *flagtable.Flag, values []string) error {
		c.flags[f.Key()] = ""
		if len(values) > 0 {
			c.flags[f.Key()] = values[0]
		}
		return nil
	})
	if c.has("--help") {
		cmd.table.Help(e.Stdout)
		return exitOK
	}
	if err == nil && (len(c.operands) < cmd.operands[0] || len(c.operands) > cmd.operands[1]) {
		err = fmt.Errorf("%d operands, see %s %s --help", len(c.operands), e.Program, args[0])
	}
	if err != nil {
		fmt.Fprintf(e.Stderr, "%s %s: %v\n", e.Program, args[0], err)
		return exitUsage
	}
	if err := cmd.run(e, c); err != nil {
		fmt.Fprintf(e.Stderr, "%s %s: %v\n", e.Program, args[0], err)
		return exitFailed
	}
	return exitOK
}

func runImport(e *Env, c *call) error {
	dir := c.dir(e, "--to")
	r, err := migrate.Import(context.Background(), c.operands[0], dir, c.has("--replace"))
	if errors.Is(err, mosqdb.ErrNotEmpty) {
		return fmt.Errorf("%s: %w; with --replace the file takes the place of what is there", dir, err)
	}
	if err != nil {
		return err
	}
	for _, line := range r.Lines() {
		fmt.Fprintln(e.Stdout, line)
	}
	return nil
}

func runExport(e *Env, c *call) error {
	r, err := migrate.Export(context.Background(), c.dir(e, "--from"), c.operands[0])
	if err != nil {
		return err
	}
	for _, line := range r.Lines() {
		fmt.Fprintln(e.Stdout, line)
	}
	return nil
}

func runVerify(e *Env, c *call) error {
	if err := exemplar.Verify(c.operands[0]); err != nil {
		return err
	}
	_, err := fmt.Fprintf(e.Stdout, "%s holds what it should.\n", c.operands[0])
	return err
}
