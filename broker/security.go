package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/auth/aclfile"
	"github.com/midgemq/midge/internal/auth/lockout"
	"github.com/midgemq/midge/internal/auth/passwdfile"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/workers"
	"github.com/midgemq/midge/mqtt"
)

// autoIDPrefix is what the client ids that the broker makes begin with, where
// the configuration does not say.
const autoIDPrefix = "auto-"

// plainSecurity is what a listener asks of its clients without any file: what
// the configuration says, and the policy of whoever uses the library.
func plainSecurity(o *Options, l *config.Listener) *auth.Security {
	s := &auth.Security{
		Policy: o.Policy, AllowAnonymous: l.AllowAnonymous, RefuseEmptyID: l.Security.RefuseEmptyClientID,
		IDPrefix: o.Config.ClientIDPrefix, AutoIDPrefix: l.Security.AutoIDPrefix, UserNameAsID: l.UseUsernameAsClientID,
	}
	if s.AutoIDPrefix == "" {
		s.AutoIDPrefix = autoIDPrefix
	}
	return s
}

// guards are the security files and options in force. A reload reads them all
// and puts them in force together, or leaves everything as it was.
type guards struct {
	b     *Broker
	lock  *lockout.State
	start sync.Once
	pool  *workers.Pool // nil until there is a password file

	mu    sync.Mutex
	table map[string]*auth.Security // by name of the listener
	at    map[string][]*hub.Listener
}

func newGuards(b *Broker) *guards {
	return &guards{b: b, lock: lockout.NewState(time.Now), at: make(map[string][]*hub.Listener)}
}

// Do implements passwdfile.Runner. Half of the processors, at low priority, are
// for password hashes: a storm of logins must leave the loops theirs.
func (g *guards) Do(ctx context.Context, f func()) error {
	g.start.Do(func() { g.pool = workers.New(workers.Processors() / 2) })
	if g.pool == nil {
		return workers.ErrClosed
	}
	return g.pool.Do(ctx, f)
}

func (g *guards) close() {
	g.start.Do(func() {})
	if g.pool != nil {
		g.pool.Close()
	}
}

// files are what one reading of the security files found; a file that several
// listeners name is read once.
type files struct {
	g         *guards
	passwords map[string]*passwdfile.File
	lists     map[string]*aclfile.List
	denySlash bool
}

func (f *files) passwordFile(path string) (*passwdfile.File, error) {
	if p := f.passwords[path]; p != nil {
		return p, nil
	}
	p, warnings, err := passwdfile.Load(path, f.g)
	f.warn(warnings)
	if err == nil {
		f.passwords[path] = p
	}
	return p, err
}

func (f *files) list(path string) (*aclfile.List, error) {
	if l := f.lists[path]; l != nil {
		return l, nil
	}
	l, warnings, err := aclfile.Load(path)
	f.warn(warnings)
	if err == nil {
		l.DenySlash, l.Notice = f.denySlash, f.g.b.log.Notice
		f.lists[path] = l
	}
	return l, err
}

func (f *files) warn(lines []string) {
	for _, w := range lines {
		f.g.b.log.Printf(logging.Warning, "%s", w)
	}
}

// build reads the files and makes the table of a configuration.
func (g *guards) build(c *config.Config) (map[string]*auth.Security, error) {
	f := &files{g: g, passwords: make(map[string]*passwdfile.File), lists: make(map[string]*aclfile.List), denySlash: c.Login.DenySlash}
	o := g.b.opts
	o.Config = c
	table := make(map[string]*auth.Security)
	var errs []error
	for _, l := range c.Listeners {
		s, err := f.security(&o, l)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		table[l.Name()] = s
	}
	return table, first(errs)
}

// first joins errors, each text once: listeners share files.
func first(errs []error) error {
	seen := make(map[string]bool)
	var list []error
	for _, err := range errs {
		if !seen[err.Error()] {
			seen[err.Error()] = true
			list = append(list, err)
		}
	}
	return errors.Join(list...)
}

// security puts together what one listener asks.
func (f *files) security(o *Options, l *config.Listener) (*auth.Security, error) {
	s := plainSecurity(o, l)
	if path := l.Security.PasswordFile; path != "" {
		p, err := f.passwordFile(path)
		if err != nil {
			return nil, err
		}
		var chain auth.Chain
		if o.Policy.Authenticator != nil {
			chain = append(chain, auth.Backend{Name: "library", Authenticator: o.Policy.Authenticator})
		}
		s.Authenticator = append(chain, auth.Backend{Name: "password_file", Authenticator: p})
	}
	in := &o.Config.Login
	rules := lockout.Rules{
		Address: in.FailuresAddress, User: in.FailuresUser,
		Time: time.Duration(in.Lockout) * time.Second, Max: time.Duration(max(in.Lockout, in.LockoutMax)) * time.Second,
	}
	if s.Authenticator != nil && rules.On() {
		s.Authenticator = &lockout.Guard{Next: s.Authenticator, Rules: rules, State: f.g.lock, Notice: f.g.b.log.Notice}
	}
	if path := l.Security.ACLFile; path != "" {
		a, err := f.list(path)
		if err != nil {
			return nil, err
		}
		s.Authorizer = a
		if o.Policy.Authorizer != nil {
			s.Authorizer = both{o.Policy.Authorizer, a}
		}
	}
	return s, nil
}

// both permits what both permit.
type both struct {
	library auth.Authorizer
	file    *aclfile.List
}

// Authorize implements auth.Authorizer.
func (b both) Authorize(c *auth.Client, a auth.Action, topic string) mqtt.ReasonCode {
	if code := b.library.Authorize(c, a, topic); code.IsError() {
		return code
	}
	return b.file.Authorize(c, a, topic)
}

// anyOf permits what one of several listeners permits: for sessions and messages
// from before a restart, whose listener is not known.
type anyOf []*auth.Security

// Authorize implements auth.Authorizer.
func (list anyOf) Authorize(c *auth.Client, a auth.Action, topic string) mqtt.ReasonCode {
	for _, s := range list {
		if s.Authorizer == nil || !s.Authorizer.Authorize(c, a, topic).IsError() {
			return mqtt.Success
		}
	}
	return mqtt.NotAuthorized
}

// put puts a table in force.
func (g *guards) put(c *config.Config, table map[string]*auth.Security) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.table = table
	for name, list := range g.at {
		for _, l := range list {
			if s := table[name]; s != nil {
				l.Secure(s)
			}
		}
	}
	// Without per_listener_settings they all ask the same.
	orphans := new(auth.Security)
	if len(c.Listeners) > 0 {
		orphans.Authorizer = table[c.Listeners[0].Name()].Authorizer
	}
	if c.PerListenerSettings {
		all := make(anyOf, 0, len(table))
		for _, l := range c.Listeners {
			all = append(all, table[l.Name()])
		}
		orphans.Authorizer = all
	}
	g.b.hub.SecureOrphans(orphans)
}

// secure gives a listener that is being opened what it asks of its clients.
func (g *guards) secure(l *config.Listener, s *hub.Listener) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at[l.Name()] = append(g.at[l.Name()], s)
	s.Secure(g.table[l.Name()])
}

// of returns what holds for a listener of the configuration; for one that is not
// in it, the HTTP API of local-only mode, what holds for the first.
func (g *guards) of(l *config.Listener) *auth.Security {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.table[l.Name()]; s != nil {
		return s
	}
	return g.table[g.b.cfg.Listeners[0].Name()]
}

// reload is the step of a reload: old rules stay when a file cannot be read.
func (g *guards) reload(now *config.Config) (apply func(), err error) {
	table, err := g.build(now)
	if err != nil {
		return nil, err
	}
	return func() {
		g.put(now, table)
		_ = g.b.onAll(context.Background(), func(sh *hub.Shard) { sh.Review() }) // fails only when the broker ends
	}, nil
}
