package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/midgemq/midge/internal/cli/reach"
)

// spread runs the scenario in several processes of this program and adds up what they measured.
func spread(e *reach.Env, o *options, args []string) (*result, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("processes: %w", err)
	}
	// Connections are made before; a second for each thousand, and one for the start.
	lead := time.Second + time.Duration(o.clients+o.subs)*time.Millisecond
	startAt := time.Now().Add(lead).Format(time.RFC3339Nano)
	list := make([]*result, o.processes)
	errs := make([]error, o.processes)
	var wg sync.WaitGroup
	for i := range o.processes {
		wg.Add(1)
		go func() {
			defer wg.Done()
			list[i], errs[i] = child(e, self, append([]string{"bench"}, withPart(args, i+1, o.processes, startAt)...))
		}()
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return merge(list)
}

// withPart turns the arguments of the whole into those of one part. Flags that come later win.
func withPart(args []string, part, parts int, startAt string) []string {
	out := append([]string{}, args...)
	return append(out, "--processes", "1", "--part", strconv.Itoa(part)+"/"+strconv.Itoa(parts), "--start-at", startAt, "--json",
		"--output", "", "--allow-loss")
}

func child(e *reach.Env, self string, args []string) (*result, error) {
	cmd := exec.CommandContext(e.Context, self, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, struct{ io.Writer }{e.Stderr} // a pipe: several bars on one terminal would overwrite each other
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("process: %w", err)
	}
	var r result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return nil, fmt.Errorf("process: result: %w", err)
	}
	return &r, nil
}
