package reach

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
)

// Times are what each step took; 0 for a step that was not needed.
type Times struct {
	DNS, TCP, TLS, WebSocket, Connect time.Duration
	Address                           string // where TCP got through
}

// Total is the whole way.
func (t *Times) Total() time.Duration { return t.DNS + t.TCP + t.TLS + t.WebSocket + t.Connect }

// Stream opens the byte stream below MQTT. The error is a *StepError.
func (o *Options) Stream(ctx context.Context) (net.Conn, Times, error) {
	var t Times
	nc, err := o.socket(ctx, &t)
	if err != nil {
		return nil, t, err
	}
	if o.TLS {
		cfg, err := o.tlsConfig()
		if err != nil {
			nc.Close()
			return nil, t, &StepError{TLS, "", err}
		}
		begin := time.Now()
		tc := tls.Client(nc, cfg)
		step, cancel := context.WithTimeout(ctx, o.Timeout)
		err = tc.HandshakeContext(step)
		cancel()
		t.TLS = time.Since(begin)
		if err != nil {
			nc.Close()
			return nil, t, &StepError{TLS, t.Address, err}
		}
		nc = tc
	}
	if o.WS {
		begin := time.Now()
		step, cancel := context.WithTimeout(ctx, o.Timeout)
		wc, err := o.upgrade(step, nc)
		cancel()
		t.WebSocket = time.Since(begin)
		if err != nil {
			nc.Close()
			return nil, t, &StepError{WebSocket, t.Address, err}
		}
		nc = wc
	}
	return nc, t, nil
}

// socket looks the name up and tries its addresses in turn.
func (o *Options) socket(ctx context.Context, t *Times) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*o.Timeout) // the name, then TCP
	defer cancel()
	var d net.Dialer
	if o.Unix != "" {
		begin := time.Now()
		nc, err := d.DialContext(ctx, "unix", o.Unix)
		t.TCP, t.Address = time.Since(begin), o.Unix
		if err != nil {
			return nil, &StepError{TCP, o.Unix, err}
		}
		return nc, nil
	}
	addresses := []string{o.Host}
	if net.ParseIP(o.Host) == nil {
		begin := time.Now()
		found, err := net.DefaultResolver.LookupHost(ctx, o.Host)
		t.DNS = time.Since(begin)
		if err != nil {
			return nil, &StepError{Name, o.Host, err}
		}
		addresses = found
	}
	var first error
	begin := time.Now()
	for i, a := range addresses {
		address := net.JoinHostPort(a, strconv.Itoa(o.port()))
		step, done := context.WithTimeout(ctx, o.Timeout/time.Duration(min(len(addresses)-i, 2)))
		nc, err := d.DialContext(step, "tcp", address)
		done()
		if err == nil {
			t.TCP, t.Address = time.Since(begin), address
			return nc, nil
		}
		if first == nil {
			t.Address, first = address, err
		}
	}
	t.TCP = time.Since(begin)
	return nil, &StepError{TCP, t.Address, first}
}

// Conn opens the stream, taps it and makes an MQTT connection on it; modify may change what CONNECT says. Version 0 tries 5.0 and, where the
// broker refuses that version, 3.1.1. The error is a *StepError.
func (o *Options) Conn(ctx context.Context, modify func(*client.Options)) (*client.Conn, *Tap, Times, error) {
	c, tap, t, err := o.conn(ctx, orVersion(o.Version, mqtt.V5), modify)
	if err == nil || o.Version != 0 {
		return c, tap, t, err
	}
	code, refused := client.ReasonOf(err)
	if !refused || code != mqtt.UnsupportedProtocolVersion {
		return nil, nil, t, err
	}
	return o.conn(ctx, mqtt.V311, modify)
}

func orVersion(v, other mqtt.Version) mqtt.Version {
	if v == 0 {
		return other
	}
	return v
}

func (o *Options) conn(ctx context.Context, v mqtt.Version, modify func(*client.Options)) (*client.Conn, *Tap, Times, error) {
	co, err := o.Client()
	if err != nil {
		return nil, nil, Times{}, &StepError{TLS, "", err}
	}
	nc, t, err := o.Stream(ctx)
	if err != nil {
		return nil, nil, t, err
	}
	co.Version = v
	if co.ClientID == "" && v != mqtt.V5 {
		co.ClientID = RandomID()
	}
	if modify != nil {
		modify(&co)
	}
	begin := time.Now()
	tap := &Tap{Conn: nc}
	c, err := client.NewConn(ctx, tap, co)
	t.Connect = time.Since(begin)
	if err != nil {
		return nil, nil, t, &StepError{Connect, t.Address, err}
	}
	return c, tap, t, nil
}

// RandomID makes a client identifier that every version takes.
func RandomID() string { return "midge-" + strings.ToLower(rand.Text()[:12]) }

// Reached reports whether the error came after TCP had been established, so that a port is open there.
func Reached(err error) bool {
	e, ok := errors.AsType[*StepError](err)
	return ok && e.Step != Name && e.Step != TCP
}
