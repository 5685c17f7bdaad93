package behaviour

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/memstore"
	"github.com/midgemq/midge/internal/testkit/pki"
	"github.com/midgemq/midge/internal/testkit/target"
	"github.com/midgemq/midge/mqtt"
)

// options translates a script's wishes for midge's own brokers. The listener
// stands first, so that a script's lines may be of both kinds.
func options(cfg target.Config, port int) (broker.Options, *testAuth, error) {
	a := &testAuth{rules: cfg.Auth}
	o := broker.Options{Version: "test", Policy: a.policy()}
	lines := []string{
		fmt.Sprintf("listener %d 127.0.0.1", port),
		fmt.Sprintf("allow_anonymous %t", a.allowAnonymous()),
		"sys_interval 0",
	}
	lines = append(lines, cfg.Lines...)
	file := filepath.Join(cfg.Dir, "midge.conf")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return o, nil, err
	}
	var err error
	if o.Config, err = config.Load(config.Args{Files: []string{file}}, nil); err != nil {
		return o, nil, err
	}
	for name, value := range cfg.Options {
		switch name {
		case "no_wildcards":
			o.NoWildcards = true
		case "no_shared":
			o.NoShared = true
		case "no_subscription_ids":
			o.NoSubscriptionIDs = true
		case "response_information":
			o.ResponseInfo = value
		case "max_qos":
			n, err := strconv.ParseUint(value, 10, 8)
			if err != nil || n > 2 {
				return o, nil, fmt.Errorf("test_option max_qos %q", value)
			}
			q := mqtt.QoS(n)
			o.MaxQoS = &q
		default:
			return o, nil, fmt.Errorf("unknown test_option %q", name)
		}
	}
	return o, a, nil
}

// tcpTarget is the whole broker in this process, reached over loopback, plain or
// by WebSocket or TLS.
type tcpTarget struct {
	opts  broker.Options
	auth  *testAuth
	store *memstore.Store
	b     *broker.Broker
	name  string
	addr  string
	ca    string // with TLS
	// moving has connections change their loop all the time.
	moving bool
}

func newTCP(cfg target.Config) (target.Target, error) { return newNetwork("tcp", cfg) }

// newWebSocket is the same broker behind a WebSocket listener.
func newWebSocket(cfg target.Config) (target.Target, error) {
	cfg.Lines = append([]string{"protocol websockets"}, cfg.Lines...)
	return newNetwork("ws", cfg)
}

// newTLS is the same broker behind a listener with TLS.
func newTLS(cfg target.Config) (target.Target, error) {
	ca, err := pki.New(cfg.Dir, "ca")
	if err != nil {
		return nil, err
	}
	server, err := ca.Server("server")
	if err != nil {
		return nil, err
	}
	cfg.Lines = append([]string{"certfile " + server.CertFile, "keyfile " + server.KeyFile}, cfg.Lines...)
	t, err := newNetwork("tls", cfg)
	if err == nil {
		t.(*tcpTarget).ca = ca.File
	}
	return t, err
}

// moving is a broker of several loops whose connections move from one to the
// next all the time.
func moving(f target.Factory) target.Factory {
	return func(cfg target.Config) (target.Target, error) {
		cfg.Lines = append([]string{"loops 3"}, cfg.Lines...)
		cfg.Moving = true
		return f(cfg)
	}
}

// newNetwork tries again when another process took the free port first.
func newNetwork(name string, cfg target.Config) (target.Target, error) {
	for try := 0; ; try++ {
		port, err := target.FreePort()
		if err != nil {
			return nil, err
		}
		o, a, err := options(cfg, port)
		if err != nil {
			return nil, err
		}
		t := &tcpTarget{opts: o, auth: a, store: memstore.New(), name: name, moving: cfg.Moving}
		err = t.start()
		if err == nil {
			return t, nil
		}
		if try == 5 || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, err
		}
	}
}

func (t *tcpTarget) start() error {
	o := t.opts
	o.Store = store.Store(t.store)
	b, err := broker.New(o)
	if err != nil {
		return err
	}
	b.SlowForTest(100) // a script's margins are of half a second, which a busy machine may take
	if t.moving {
		b.MoveForTest(1)
	}
	if err := b.Start(); err != nil {
		return err
	}
	t.b, t.addr = b, b.Addresses()[0]
	return nil
}

func (t *tcpTarget) Name() string      { return t.name }
func (t *tcpTarget) Synchronous() bool { return false }

func (t *tcpTarget) Open() (target.Pipe, error) {
	switch t.name {
	case "ws":
		return target.DialWebSocket(t.addr)
	case "tls":
		return target.DialTLS(t.addr, t.ca)
	}
	return target.DialTCP(t.addr)
}

func (t *tcpTarget) Advance(d time.Duration) error {
	t.b.AdvanceForTest(d)
	return nil
}

func (t *tcpTarget) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return t.b.Close(ctx)
}

// Control implements target.Controller.
func (t *tcpTarget) Control(words []string) error {
	id, code, ref, ok, err := disconnectRule(words)
	if err != nil {
		return err
	}
	if !ok {
		return t.auth.add(words)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return t.b.Admin().Disconnect(ctx, id, code, ref)
}

// disconnectRule reads "disconnect ID REASON [SERVER]"; ok false: it is another
// rule.
func disconnectRule(words []string) (id string, code mqtt.ReasonCode, ref string, ok bool, err error) {
	if words[0] != "disconnect" {
		return "", 0, "", false, nil
	}
	switch len(words) {
	case 3:
	case 4:
		ref = words[3]
	default:
		return "", 0, "", false, fmt.Errorf("broker disconnect wants a client identifier, a reason and perhaps a server")
	}
	n, err := strconv.ParseUint(words[2], 0, 8)
	return words[1], mqtt.ReasonCode(n), ref, true, err
}

// Restart implements target.Restarter: the broker ends and comes back on what
// its store kept.
func (t *tcpTarget) Restart() error {
	if err := t.Close(); err != nil {
		return err
	}
	t.store.Reopen()
	return t.start()
}
