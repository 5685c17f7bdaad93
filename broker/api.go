package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/midgemq/midge/internal/admin/controlapi"
	"github.com/midgemq/midge/internal/admin/httpapi"
	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/config"
	names "github.com/midgemq/midge/internal/metrics"
	"github.com/midgemq/midge/mqtt"
)

const (
	// localHTTP is where the HTTP API listens without a configuration, as
	// Mosquitto's does.
	localHTTP = "127.0.0.1:9883"
	// controlWaiting bounds the control requests that wait, each at most a packet
	// long; more are refused by having no answer, and logged.
	controlWaiting = 64
	brokerTopic    = controlapi.Prefix + "broker/v1"
)

// api is what the two doors for programs share: HTTP, and $CONTROL over MQTT.
type api struct {
	b       *Broker
	figures atomic.Pointer[map[string]int64]
	control chan controlRequest

	mu      sync.Mutex
	servers []*http.Server
}

type controlRequest struct {
	from    controlapi.Caller
	topic   string
	payload []byte
}

func newAPI(b *Broker) *api {
	return &api{b: b, control: make(chan controlRequest, controlWaiting)}
}

// startAPI opens the doors that are configured.
func (b *Broker) startAPI() error {
	b.wg.Add(1)
	go func() {
		defer b.wg.Done()
		b.api.answer(b.done)
	}()
	if err := b.api.openHTTP(); err != nil {
		return fmt.Errorf("open http api listener: %w", err)
	}
	return nil
}

// publishedSys keeps the figures of an update of $SYS for HTTP.
func (a *api) publishedSys(s *names.Snapshot) {
	f := s.Figures()
	f[names.SysPrefix+"uptime"] = int64(time.Since(a.b.started) / time.Second)
	a.figures.Store(&f)
}

// SysTree implements httpapi.Source.
func (a *api) SysTree() map[string]int64 {
	if f := a.figures.Load(); f != nil {
		return *f
	}
	return map[string]int64{}
}

// Listeners implements httpapi.Source.
func (a *api) Listeners() []httpapi.Listener {
	list := []httpapi.Listener{}
	for _, l := range a.b.Config().Listeners {
		p := string(l.Protocol)
		if l.Protocol == config.HTTPAPI {
			p = "httpapi"
		}
		list = append(list, httpapi.Listener{
			Port: l.Port, Path: l.Path, Protocol: p, TLS: l.TLS.On(), MutualTLS: l.TLS.On() && l.TLS.RequireCertificate,
			AllowAnonymous: l.AllowAnonymous,
		})
	}
	return list
}

// source is the API as one HTTP listener shows it.
type source struct {
	*api
	l *config.Listener
}

// Policy implements httpapi.Source.
func (s source) Policy() (auth.Policy, bool) {
	sec := s.b.guards.of(s.l)
	return sec.Policy, sec.AllowAnonymous
}

// openHTTP opens the listeners with `protocol http_api`.
func (a *api) openHTTP() error {
	c := a.b.cfg
	for _, l := range c.Listeners {
		if l.Protocol != config.HTTPAPI {
			continue
		}
		network := "tcp"
		switch l.SocketDomain {
		case "ipv4":
			network = "tcp4"
		case "ipv6":
			network = "tcp6"
		}
		address := net.JoinHostPort(l.Address, strconv.Itoa(l.Port))
		if l.Path != "" {
			network, address = "unix", l.Path
		}
		a.b.log.Info("Opening http api listen socket on port %d.", l.Port)
		ln, err := net.Listen(network, address)
		if err != nil {
			return err
		}
		if err := a.serve(a.b.doors.secure(ln, l), l); err != nil {
			return err
		}
	}
	if !c.LocalOnly {
		return nil
	}
	// Whoever has the port already is another broker of this machine; the API is
	// an extra that must not end the start.
	ln, err := net.Listen("tcp", localHTTP)
	if err != nil {
		return nil
	}
	return a.serve(ln, &config.Listener{Protocol: config.HTTPAPI, AllowAnonymous: c.AllowAnonymous})
}

func (a *api) serve(ln net.Listener, l *config.Listener) error {
	h, err := httpapi.New(httpapi.Options{Source: source{a, l}, Version: a.b.opts.Version, Dir: l.HTTPDir})
	if err != nil {
		_ = ln.Close()
		return err
	}
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second, WriteTimeout: 60 * time.Second,
		IdleTimeout: 60 * time.Second, MaxHeaderBytes: 16 << 10,
	}
	a.mu.Lock()
	a.servers = append(a.servers, s)
	a.mu.Unlock()
	a.b.wg.Add(1)
	go func() {
		defer a.b.wg.Done()
		if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			a.b.log.Error("Error: HTTP API on %s: %v", ln.Addr(), err)
		}
	}()
	return nil
}

// close ends the HTTP servers; requests under way are cut off.
func (a *api) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.servers {
		_ = s.Close()
	}
}

// request takes a message below $CONTROL on a loop and leaves it to the
// goroutine of answer.
func (a *api) request(from *auth.Client, topic string, payload []byte) {
	select {
	case a.control <- controlRequest{controlapi.Caller{ID: from.ID, UserName: from.UserName}, topic, payload}:
	default:
		a.b.log.Warning("Warning: control request of %s on %s refused, too many are waiting.", from.ID, topic)
	}
}

// answer works on control requests until the broker ends.
func (a *api) answer(ctx context.Context) {
	table := controlapi.API{brokerTopic: {"listPlugins": a.listPlugins, "listListeners": a.listListeners}}
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-a.control:
			if reply := table.Handle(r.from, r.topic, r.payload); reply != nil {
				_ = a.b.Publish(r.topic+controlapi.Suffix, reply, mqtt.AtMostOnce, false)
			}
		}
	}
}

func (a *api) listPlugins(from controlapi.Caller, _ json.RawMessage) (any, error) {
	a.b.log.Info("Broker: %s/%s | listPlugins", from.ID, from.UserName)
	type plugin struct{}
	return struct {
		Plugins []plugin `json:"plugins"`
	}{[]plugin{}}, nil
}

func (a *api) listListeners(from controlapi.Caller, _ json.RawMessage) (any, error) {
	a.b.log.Info("Broker: %s/%s | listListeners", from.ID, from.UserName)
	type listener struct {
		Port     int    `json:"port"`
		Protocol string `json:"protocol,omitempty"`
		Bind     string `json:"bind-address,omitempty"`
		Path     string `json:"socket-path,omitempty"`
		TLS      bool   `json:"tls"`
	}
	list := []listener{}
	for _, l := range a.b.Config().Listeners {
		e := listener{Port: l.Port, Bind: l.Address, Path: l.Path, TLS: l.TLS.On()}
		switch l.Protocol {
		case config.MQTT:
			e.Protocol = "mqtt"
		case config.WebSockets:
			e.Protocol = "mqtt+websockets"
		case config.HTTPAPI: // has none
		}
		list = append(list, e)
	}
	return struct {
		Listeners []listener `json:"listeners"`
	}{list}, nil
}
