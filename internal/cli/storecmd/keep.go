package storecmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/midgemq/midge/internal/admin"
	"github.com/midgemq/midge/internal/cli/flagtable"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store/exemplar"
	"github.com/midgemq/midge/internal/store/pebblestore"
	"github.com/midgemq/midge/internal/store/salvage"
)

// keeping are the commands about the store as it is.
func keeping() []command {
	storeOperand := []flagtable.Operand{{Name: "DIR", Help: "store, midge.store in the current directory by default", Offer: flagtable.Files}}
	return []command{
		{
			flagtable.Command{
				Name: "store check", Summary: "look for damage in a store", Synopsis: []string{"[DIR]"},
				Text:     []string{"Reads every file of a store that no broker uses and changes none. A broker does the same at each start, and mends."},
				Operands: storeOperand,
				Flags:    []flagtable.Flag{helpFlag},
				Statuses: []flagtable.Note{{Name: "0", Text: "all of it checks"}, {Name: "1", Text: "it is damaged, or in use; what was found is printed"}, {Name: "2", Text: "wrong usage"}},
			},
			[2]int{0, 1},
			runCheck,
		},
		{
			flagtable.Command{
				Name: "store repair", Summary: "make a damaged store usable", Synopsis: []string{"[DIR]"},
				Text:     []string{"Makes a new store of the records that check. The damaged files are set aside beside it under a dated name. The report says what is lost."},
				Operands: storeOperand,
				Flags:    []flagtable.Flag{helpFlag},
				Statuses: statuses,
			},
			[2]int{0, 1},
			runRepair,
		},
		{
			flagtable.Command{
				Name: "store dump", Summary: "print what a store holds", Synopsis: []string{"[DIR]"},
				Text:     []string{"Prints one JSON object a line: each session with what it owns, in order, then the retained messages. Payloads that are no UTF-8 text are in base64. Times are in milliseconds from now on."},
				Operands: storeOperand,
				Flags:    []flagtable.Flag{helpFlag},
				Statuses: statuses,
			},
			[2]int{0, 1},
			runDump,
		},
		{
			flagtable.Command{
				Name: "store backup", Summary: "copy the store, of a running broker too", Synopsis: []string{"[--socket PATH | --from DIR] TO"},
				Text: []string{
					"Writes a copy that is a store of its own and holds everything acknowledged before. The broker that answers at the control socket goes on meanwhile; with --from the store of a broker that does not run is copied.",
					"TO should be on the file system of the store, which lets files be shared until they change.",
				},
				Operands: []flagtable.Operand{{Name: "TO", Help: "directory to make", Offer: flagtable.Files}},
				Flags: []flagtable.Flag{
					{Names: []string{"--socket"}, Arg: "PATH", Help: "control socket of the broker; by default where a broker of this user puts it", Offer: flagtable.Files},
					{Names: []string{"--from"}, Arg: "DIR", Help: "store that no broker uses", Offer: flagtable.Files},
					helpFlag,
				},
				Statuses: statuses,
			},
			[2]int{1, 1},
			runBackup,
		},
		{
			flagtable.Command{
				Name: "store restore", Summary: "put a backup in the place of a store", Synopsis: []string{"[--to DIR] [--replace] BACKUP"},
				Text:     []string{"Checks the backup, copies it and renames the copy, so that the store is there whole or not at all. The backup stays."},
				Operands: []flagtable.Operand{{Name: "BACKUP", Help: "what midge store backup has made", Offer: flagtable.Files}},
				Flags: []flagtable.Flag{
					storeFlag("--to", "store to make"),
					{Names: []string{"--replace"}, Help: "when there is a store already, set it aside under a dated name"},
					helpFlag,
				},
				Statuses: statuses,
			},
			[2]int{1, 1},
			runRestore,
		},
	}
}

// store is the operand, or the default.
func (c *call) store(e *Env) string {
	if len(c.operands) > 0 {
		return c.operands[0]
	}
	return e.Directory
}

func runCheck(e *Env, c *call) error {
	dir := c.store(e)
	r, err := salvage.Inspect(nil, dir)
	if err != nil {
		return err
	}
	if r.Damaged() {
		return errors.New(r.Line())
	}
	_, err = fmt.Fprintf(e.Stdout, "%s: everything checks.\n", dir)
	return err
}

func runRepair(e *Env, c *call) error {
	dir := c.store(e)
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	st, r, err := salvage.Open(dir, pebblestore.Options{})
	if err != nil {
		return err
	}
	if err := st.Close(); err != nil {
		return err
	}
	text := r.Line()
	if !r.Damaged() {
		text = dir + ": everything checks, nothing was changed."
	}
	_, err = fmt.Fprintln(e.Stdout, text)
	return err
}

func runDump(e *Env, c *call) (err error) {
	dir := c.store(e)
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	start := time.Now().Add(-time.Second)
	now := func() (record.Instant, time.Time) {
		t := time.Now()
		return record.Instant(t.Sub(start)), t
	}
	st, err := pebblestore.Open(dir, pebblestore.Options{Clock: now})
	if err != nil {
		return fmt.Errorf("%w; midge store check tells more", err)
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	at, _ := now()
	w := bufio.NewWriter(e.Stdout)
	if err := exemplar.Dump(w, st, at); err != nil {
		return err
	}
	return w.Flush()
}

// backupTime bounds an online backup.
const backupTime = time.Minute

func runBackup(e *Env, c *call) error {
	to, err := filepath.Abs(c.operands[0])
	if err != nil {
		return err
	}
	from, offline := c.flags["--from"]
	switch {
	case offline && c.has("--socket"):
		return errors.New("--socket and --from exclude each other")
	case offline:
		err = backupOffline(from, to)
	default:
		path, ok := c.flags["--socket"]
		if !ok {
			path = admin.DefaultPath()
		}
		err = backupOnline(path, to)
	}
	if err != nil {
		return err
	}
	r, err := salvage.Inspect(nil, to)
	if err != nil {
		return fmt.Errorf("look at the backup: %w", err)
	}
	if r.Damaged() {
		return fmt.Errorf("the backup was made, but it does not check: %s", r.Line())
	}
	_, err = fmt.Fprintf(e.Stdout, "The backup is in %s, everything in it checks.\n", to)
	return err
}

func backupOnline(socket, to string) error {
	ctx, cancel := context.WithTimeout(context.Background(), backupTime)
	defer cancel()
	conn, err := admin.Dial(ctx, socket)
	if err != nil {
		return fmt.Errorf("%w (is a broker running? --socket says where its control socket is, --from copies the store of one that does not run)", err)
	}
	defer conn.Close()
	return conn.Call(ctx, "store backup", map[string]string{"to": to}, nil)
}

func backupOffline(from, to string) error {
	if _, err := os.Stat(from); err != nil {
		return err
	}
	if _, err := os.Lstat(to); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: %w", to, os.ErrExist)
	}
	lock, err := salvage.Lock(from)
	if err != nil {
		return err
	}
	return errors.Join(copyStore(to, from), lock.Close())
}

// copyStore copies a store that nobody uses, for the eyes of its owner only.
func copyStore(to, from string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	files, err := os.ReadDir(to)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := syncFile(filepath.Join(to, f.Name())); err != nil {
			return err
		}
	}
	return nil
}

func syncFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func runRestore(e *Env, c *call) error {
	backup, dir := c.operands[0], c.dir(e, "--to")
	r, err := salvage.Inspect(nil, backup)
	if err != nil {
		return err
	}
	if r.Damaged() {
		return fmt.Errorf("the backup does not check: %s", r.Line())
	}
	made := dir + ".restore"
	if err := os.RemoveAll(made); err != nil {
		return err
	}
	defer os.RemoveAll(made) // after the rename there is nothing under this name
	if err := copyStore(made, backup); err != nil {
		return err
	}
	aside := ""
	if _, err := os.Lstat(dir); err == nil {
		if !c.has("--replace") {
			return fmt.Errorf("%s: %w; --replace sets it aside", dir, os.ErrExist)
		}
		// Nobody may use it.
		lock, err := salvage.Lock(dir)
		if err != nil {
			return err
		}
		if err := lock.Close(); err != nil {
			return err
		}
		aside = dir + ".replaced-" + time.Now().UTC().Format("20060102-150405")
		if err := os.Rename(dir, aside); err != nil {
			return err
		}
	}
	if err := os.Rename(made, dir); err != nil {
		return err
	}
	if aside != "" {
		fmt.Fprintf(e.Stdout, "What was in %s is in %s now.\n", dir, aside)
	}
	_, err = fmt.Fprintf(e.Stdout, "%s is restored.\n", dir)
	return err
}
