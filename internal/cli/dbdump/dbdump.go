// Package dbdump is mosquitto_db_dump: it prints what a mosquitto.db file of
// versions 2 to 6 holds, in the words and the layout that scripts know.
//
// It only reads, speaks to no broker and keeps no more of the file in memory
// than one chunk, or with --json the text it prints. Run belongs to one
// goroutine.
package dbdump

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/midgemq/midge/internal/store/mosqdb"
)

// Env is what a process gives Run.
type Env struct {
	Program        string // as it was called, for the usage line
	Stdout, Stderr io.Writer
}

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
)

const usage = "[--stats | --client-stats | --json] <mosquitto db filename>"

// printer is one form of output.
type printer interface {
	header(version uint32, crc uint32)
	chunk(c *mosqdb.Chunk)
	// end is called when the whole file has been read.
	end()
}

// Run prints a file and returns the exit status: 1 for wrong usage, a file that
// is no database or a damaged one, 0 for one that cannot be opened, as Mosquitto
// has it.
func Run(e *Env, args []string) int {
	out := bufio.NewWriter(e.Stdout)
	var p printer
	switch {
	case len(args) == 1 && (args[0] == "--help" || args[0] == "-h"):
		fmt.Fprintf(out, "Usage: %s %s\n", e.Program, usage)
		out.Flush()
		return exitFailed
	case len(args) == 1:
		p = &plain{w: out}
	case len(args) == 2 && args[0] == "--stats":
		p = &stats{w: out}
	case len(args) == 2 && args[0] == "--client-stats":
		p = newClientStats(out)
	case len(args) == 2 && args[0] == "--json":
		p = &jsonTree{w: out}
	default:
		fmt.Fprintf(e.Stderr, "Usage: %s %s\n", e.Program, usage)
		return exitFailed
	}
	f, err := os.Open(args[len(args)-1])
	if err != nil {
		fmt.Fprintf(e.Stderr, "Error: Unable to open %s\n", args[len(args)-1])
		return exitOK
	}
	defer f.Close()
	status := dump(e, f, p)
	if err := out.Flush(); err != nil {
		fmt.Fprintf(e.Stderr, "Error: %v\n", err)
		return exitFailed
	}
	return status
}

func dump(e *Env, f io.Reader, p printer) int {
	r, err := mosqdb.NewReader(f)
	if r == nil {
		if errors.Is(err, mosqdb.ErrFormat) || errors.Is(err, mosqdb.ErrEmpty) {
			fmt.Fprintln(e.Stderr, "Error: Unrecognised file format.")
		} else {
			fmt.Fprintf(e.Stderr, "Error: %v.\n", err)
		}
		return exitFailed
	}
	p.header(r.Version, r.CRC)
	if err != nil {
		fmt.Fprintf(e.Stderr, "Error: %v.\n", err)
		return exitFailed
	}
	for {
		c, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			fmt.Fprintf(e.Stderr, "Error: Corrupt persistent database.\nError: %v.\n", err)
			return exitFailed
		}
		if c.Type < mosqdb.TypeConfig || c.Type > mosqdb.TypeClient {
			fmt.Fprintf(e.Stderr, "Warning: Unsupported chunk \"%d\" of length %d in persistent database file at position %d. Ignoring.\n",
				uint32(c.Type), c.Length, c.Body())
			continue
		}
		p.chunk(c)
	}
	p.end()
	return exitOK
}
