package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/midgemq/midge/internal/admin"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/logging"
)

// load reads the configuration anew.
func (s *service) load() (*config.Config, error) {
	return config.Load(s.args.Args, func(t logging.Type, text string) { s.log.Printf(t, "%s", text) })
}

// reload reads the configuration again and puts in force what can be. An error
// changes nothing; every change that has to wait for a restart is named.
func (s *service) reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notify.reloading()
	defer s.notify.ready()
	s.log.Info("Reloading config.")
	if err := s.reloadLocked(); err != nil {
		logLines(s.log, err)
		s.log.Error("Error: The configuration was not reloaded, the one before stays in force.")
		return err
	}
	return nil
}

func (s *service) reloadLocked() error {
	read, err := s.load()
	if err != nil {
		return err
	}
	for _, c := range config.Diff(s.cfg, read) {
		if c.Effect == config.Restart {
			s.log.Warning("Warning: %s needs a restart.", describe(&c))
		}
	}
	next := config.Reloaded(s.cfg, read)
	if err := s.broker.Reload(next); err != nil {
		return err
	}
	s.cfg = next
	o := s.cfg.Logging()
	o.Stdout, o.Stderr = s.env.Stdout, s.env.Stderr
	if err := s.log.Reconfigure(o); err != nil {
		// The rest is in force and the log goes on as it can: no reason to undo.
		s.log.Error("Error: %v.", err)
	}
	return nil
}

// describe says what a change is, for people.
func describe(c *config.Change) string {
	where := ""
	if c.Listener != "" {
		where = " of listener " + c.Listener
	}
	switch {
	case c.Option == "listener" && c.From == "":
		return fmt.Sprintf("The new listener '%s'", c.To)
	case c.Option == "listener":
		return fmt.Sprintf("The end of listener '%s'", c.From)
	}
	return fmt.Sprintf("The change of '%s'%s from '%s' to '%s'", c.Option, where, c.From, c.To)
}

// saver is a broker that can write its state for others to read.
type saver interface {
	Save(ctx context.Context) error
}

// save is what SIGUSR1 asks for.
func (s *service) save() {
	b, ok := s.broker.(saver)
	if !ok {
		s.log.Info("Signal USR1: there is nothing to save, persistence is off.")
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if err := b.Save(ctx); err != nil {
		s.log.Error("Error: %v.", err)
	}
}

// dump is what SIGUSR2 asks for: the subscriptions, on stdout.
func (s *service) dump() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	w := bufio.NewWriter(s.env.Stdout)
	err := errors.Join(s.broker.DumpSubscriptions(ctx, w), w.Flush())
	if err != nil {
		s.log.Error("Error: %v.", err)
	}
}

// Change is an option whose value differs, in answers on the control socket.
type Change struct {
	Option   string `json:"option"`
	Listener string `json:"listener,omitempty"`
	From     string `json:"from"`
	To       string `json:"to"`
	Effect   string `json:"effect"` // at once, next connection, restart
}

// changes is the answer to config diff and reload.
type changes struct {
	Changes []Change `json:"changes"`
}

// addCommands gives the control socket what only the process can do.
func (s *service) addCommands(c *admin.Commands) {
	c.Add("config diff", func(_ context.Context, args json.RawMessage) (any, error) {
		if err := admin.NoArguments(args); err != nil {
			return nil, err
		}
		return s.diff()
	})
	c.Add("reload", func(_ context.Context, args json.RawMessage) (any, error) {
		if err := admin.NoArguments(args); err != nil {
			return nil, err
		}
		if err := s.reload(); err != nil {
			return nil, err
		}
		return s.diff()
	})
}

// diff is what the files now say beside what is in force.
func (s *service) diff() (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	read, err := s.load()
	if err != nil {
		return nil, err
	}
	return list(config.Diff(s.cfg, read)), nil
}

func list(diff []config.Change) changes {
	out := changes{Changes: []Change{}}
	for _, c := range diff {
		out.Changes = append(out.Changes, Change{c.Option, c.Listener, c.From, c.To, c.Effect.String()})
	}
	return out
}

type reloadCmd struct {
	controlFlags
}

// Run has the broker reload and says what is left for a restart.
func (c *reloadCmd) Run(e *Env) error {
	var got changes
	if err := c.call(e, "reload", nil, &got); err != nil || c.JSON {
		return err
	}
	fmt.Fprintln(e.Stdout, "The configuration was reloaded.")
	return printChanges(e, got.Changes)
}

type configCmd struct {
	Diff diffCmd `cmd:"" help:"Show what a reload would change, and what needs a restart."`
}

type diffCmd struct {
	controlFlags
}

// Run prints the changes.
func (c *diffCmd) Run(e *Env) error {
	var got changes
	if err := c.call(e, "config diff", nil, &got); err != nil || c.JSON {
		return err
	}
	if len(got.Changes) == 0 {
		_, err := fmt.Fprintln(e.Stdout, "Nothing has changed.")
		return err
	}
	return printChanges(e, got.Changes)
}

func printChanges(e *Env, list []Change) error {
	for _, c := range list {
		d := describe(&config.Change{Option: c.Option, Listener: c.Listener, From: c.From, To: c.To})
		what := map[string]string{"at once": "takes effect at once", "next connection": "takes effect for new connections"}[c.Effect]
		if what == "" {
			what = "needs a restart"
		}
		if _, err := fmt.Fprintf(e.Stdout, "%s %s.\n", d, what); err != nil {
			return err
		}
	}
	return nil
}
