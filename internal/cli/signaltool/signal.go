// Package signaltool is midge signal, also called mosquitto_signal: it sends a
// running broker the signal that a word stands for.
//
// Run is called once, from the main goroutine. It reads /proc and sends
// signals, nothing else; on systems without /proc -a says so.
package signaltool

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/midgemq/midge/internal/cli/flagtable"
)

// Env is what the process gives the tool.
type Env struct {
	Program        string // the name in messages
	Midge          bool   // called as a command of midge
	Stdout, Stderr io.Writer

	// The system, replaced by tests; nil: the real one.
	Processes func() ([]Process, error)
	Kill      func(pid int, signal int) error
}

// Process is a running program.
type Process struct {
	PID  int
	Args []string
}

// Words are what the tool can be told, with the names of the signals they stand for.
var words = []struct{ word, signal string }{
	{"config-reload", "HUP"}, {"log-rotate", "HUP"}, {"shutdown", "INT"}, {"tree-print", "USR2"}, {"xtreport", "RTMIN"},
}

// Command describes the tool.
func Command() flagtable.Command {
	names := make([]string, len(words))
	for i, w := range words {
		names[i] = w.word
	}
	return flagtable.Command{
		Name: "signal", Program: "mosquitto_signal", Summary: "send a running broker a signal",
		Synopsis: []string{"{-a | -p PID} WORD"},
		Text: []string{
			"config-reload reads configuration, rules, passwords and certificates again. log-rotate opens the log file anew. shutdown saves " +
				"and ends the broker. tree-print writes who has subscribed to what into the log. xtreport is known for Mosquitto's sake: " +
				"midge ignores its signal.",
		},
		Operands: []flagtable.Operand{{Name: "WORD", Help: "what to do", Values: names}},
		Flags: []flagtable.Flag{
			{Names: []string{"-a"}, Midge: []string{"--all"}, Help: "every broker on this machine: processes whose program is called mosquitto, or midge and runs serve"},
			{Names: []string{"-p"}, Midge: []string{"--pid"}, Arg: "PID", Needs: "process ID", Help: "the broker with this process id"},
			{Names: []string{"--help"}, Help: "show the help and end"},
		},
		Statuses: []flagtable.Note{{Name: "0", Text: "done, also when a signal could not be delivered, which is printed"}, {Name: "1", Text: "wrong arguments"}},
		Examples: []flagtable.Note{{Name: "midge signal -a config-reload", Text: "has all brokers read their configuration again"}},
	}
}

// Run returns the exit status.
func Run(e *Env, args []string) int {
	if e.Processes == nil {
		e.Processes = processes
	}
	if e.Kill == nil {
		e.Kill = kill
	}
	table := Command()
	all, pid, help := false, 0, false
	wrong := ""
	operands, err := table.Parse(args, e.Midge, func(f *flagtable.Flag, v []string) error {
		switch f.Key() {
		case "-a":
			all = true
		case "-p":
			n, err := strconv.Atoi(v[0])
			if err != nil || n < 1 {
				wrong = fmt.Sprintf("Error: Invalid process ID '%s'.", v[0])
			}
			pid = n
		default:
			help = true
		}
		return nil
	})
	i := -1
	switch {
	case err != nil:
		wrong = "Error: " + err.Error() + "."
	case help:
		usage(e, &table, e.Stdout)
		if e.Midge {
			return 0
		}
		return 1
	case wrong != "":
	case all == (pid != 0):
		wrong = "Error: Exactly one of -a and -p PID must be given."
	case len(operands) != 1:
		wrong = "Error: Exactly one word must be given."
	default:
		if i = slices.IndexFunc(table.Operands[0].Values, func(w string) bool { return w == operands[0] }); i < 0 {
			wrong = fmt.Sprintf("Error: Unknown signal '%s'.", operands[0])
		}
	}
	if wrong != "" {
		fmt.Fprintln(e.Stderr, wrong)
		usage(e, &table, e.Stderr)
		return 1
	}
	return e.send(all, pid, words[i].signal)
}

func usage(e *Env, table *flagtable.Command, w io.Writer) {
	if e.Midge {
		table.Help(w)
		return
	}
	fmt.Fprintf(w, "Usage: %[1]s -a WORD\n       %[1]s -p PID WORD\n       %[1]s --help\n\n -a : every broker on this machine.\n -p : the broker with this process id.\n\nWords: %s.\n",
		e.Program, strings.Join(table.Operands[0].Values, ", "))
}

// send delivers a signal. A failure is printed and is no failure of the tool.
func (e *Env) send(all bool, pid int, name string) int {
	number, ok := signals[name]
	if !ok {
		fmt.Fprintf(e.Stderr, "Error: This system has no signal %s.\n", name)
		return 1
	}
	pids := []int{pid}
	if all {
		list, err := e.Processes()
		if err != nil {
			fmt.Fprintf(e.Stderr, "Error: Unable to list processes: %v.\n", err)
			return 1
		}
		pids = nil
		for _, p := range list {
			if isBroker(p.Args) {
				pids = append(pids, p.PID)
			}
		}
	}
	for _, pid := range pids {
		if err := e.Kill(pid, number); err != nil {
			fmt.Fprintf(e.Stderr, "Error: Unable to signal process %d: %v.\n", pid, err)
		}
	}
	return 0
}

// isBroker looks at the words of a command line: a program called mosquitto, or midge that serves.
func isBroker(args []string) bool {
	if len(args) == 0 {
		return false
	}
	name := args[0][strings.LastIndexByte(args[0], '/')+1:]
	return name == "mosquitto" || name == "midge" && len(args) > 1 && args[1] == "serve"
}
