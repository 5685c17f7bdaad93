package cli

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/midgemq/midge/internal/admin"
)

type sessionsCmd struct {
	controlFlags
	Limit int `short:"n" default:"20" help:"Show so many, those that hold most; 0 for all."`
}

// Run prints who holds how much.
func (c *sessionsCmd) Run(e *Env) error {
	if c.Limit < 0 {
		return fmt.Errorf("--limit must not be negative")
	}
	var list admin.SessionList
	if err := c.call(e, "sessions", map[string]int{"limit": c.Limit}, &list); err != nil || c.JSON {
		return err
	}
	return printSessions(e.Stdout, &list)
}

func printSessions(out io.Writer, list *admin.SessionList) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CLIENT\tSTATE\tMESSAGES\tBYTES\tOLDEST\tDROPPED")
	for i := range list.Sessions {
		s := &list.Sessions[i]
		state, oldest := "away", "-"
		if s.Connected {
			state = "connected"
		}
		if s.OldestAge > 0 {
			oldest = (time.Duration(s.OldestAge) * time.Second).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%d\n", printable(s.ID), state, s.Messages, s.Bytes, oldest, s.Dropped)
	}
	fmt.Fprintf(w, "%d sessions\t\t%d\t%d\t\t\n", list.Count, list.Messages, list.Bytes)
	return w.Flush()
}
