package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"

	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/loop"
	"github.com/midgemq/midge/internal/tlsconf"
	"github.com/midgemq/midge/internal/tlslayer"
	"github.com/midgemq/midge/internal/transport"
	"github.com/midgemq/midge/internal/webfiles"
	"github.com/midgemq/midge/internal/workers"
	"github.com/midgemq/midge/internal/wsproto"
)

// doors are the broker's listeners with what stands behind TLS. They belong to
// Start and Close; sources do not change after Start.
type doors struct {
	b       *Broker
	pool    *tlslayer.Pool // nil without TLS
	release func()         // of the processors counted for handshakes
	sources map[string]*tlsconf.Source
	files   map[string]*webfiles.Dir // by http_dir
	keyLog  *os.File
}

// open opens the listeners of the configuration but those of the HTTP API, all or
// none. In local-only mode one address is enough.
func (d *doors) open() (opened []loop.Bound, err error) {
	b := d.b
	defer func() {
		if err != nil {
			for _, o := range opened {
				_ = o.Listener.Close()
			}
			opened = nil
		}
	}()
	if err := d.prepareTLS(); err != nil {
		return nil, err
	}
	if err := d.prepareFiles(); err != nil {
		return nil, err
	}
	inherited := transport.Activated(b.log)
	var unbound error
	for _, l := range b.cfg.Listeners {
		if l.Protocol == config.HTTPAPI {
			continue
		}
		spec := d.spec(l)
		spec.Inherited = inherited
		ls, err := transport.Listen(b.done, spec, b.log)
		if err != nil {
			unbound = where(l, err)
			if !b.cfg.LocalOnly {
				return opened, unbound
			}
			b.log.Warning("Warning: %v.", unbound)
			continue
		}
		s := Settings(&b.opts, l)
		b.guards.secure(l, s)
		for _, t := range ls {
			opened = append(opened, loop.Bound{Listener: t, Settings: s})
		}
	}
	inherited.CloseRest(b.log)
	if len(opened) == 0 && unbound != nil {
		return nil, unbound
	}
	b.onReload("tls", d.reloadTLS)
	b.onReload("websockets", func(now *config.Config) (func(), error) {
		return func() { d.reloadWebSockets(now, opened) }, nil
	})
	return opened, nil
}

// where adds the place of a listener in the configuration to its error.
func where(l *config.Listener, err error) error {
	if l.File == "" {
		return err
	}
	return fmt.Errorf("%w, listener %s at %s:%d", err, l.Name(), l.File, l.Line)
}

// spec translates a listener of the configuration.
func (d *doors) spec(l *config.Listener) transport.ListenSpec {
	s := transport.ListenSpec{
		Address: l.Address, Port: l.Port, Path: l.Path, Interface: l.BindInterface, NoDelay: d.b.cfg.SetTCPNodelay,
		Proxy: transport.ProxyOptions{Version: l.ProxyProtocol, RequireTLS: l.ProxyRequireTLS, RequireCertificate: l.TLS.RequireCertificate},
	}
	switch l.SocketDomain {
	case "ipv4":
		s.Network = transport.NetworkTCP4
	case "ipv6":
		s.Network = transport.NetworkTCP6
	}
	if l.Protocol == config.WebSockets {
		s.Protocol, s.WebSocket = transport.WebSockets, d.webSocket(d.b.cfg, l)
	}
	if src := d.sources[l.Name()]; src != nil {
		pool := d.pool
		s.NewTLS = func() wsproto.Layer { return tlslayer.NewServer(pool, src.Config(), tlsconf.Identity) }
	}
	return s
}

func (d *doors) webSocket(c *config.Config, l *config.Listener) wsproto.ServerOptions {
	o := wsproto.ServerOptions{MaxHeader: c.PacketBufferSize, Origins: l.WebSocketOrigins}
	if f := d.files[l.HTTPDir]; f != nil {
		o.Files = f
	}
	return o
}

// prepareFiles opens the directories that WebSocket listeners serve.
func (d *doors) prepareFiles() error {
	d.files = make(map[string]*webfiles.Dir)
	for _, l := range d.b.cfg.Listeners {
		if l.Protocol != config.WebSockets || l.HTTPDir == "" || d.files[l.HTTPDir] != nil {
			continue
		}
		f, err := webfiles.Open(l.HTTPDir)
		if err != nil {
			return where(l, fmt.Errorf("open http_dir: %w", err))
		}
		d.files[l.HTTPDir] = f
	}
	return nil
}

// prepareTLS reads the files of all listeners with TLS, those of the HTTP API
// included, and starts to follow them.
func (d *doors) prepareTLS() error {
	b := d.b
	var list []*tlsconf.Source
	for _, l := range b.cfg.Listeners {
		if !l.TLS.On() {
			continue
		}
		if b.cfg.TLSKeyLog != "" && d.keyLog == nil {
			f, err := tlsconf.OpenKeyLog(b.cfg.TLSKeyLog)
			if err != nil {
				return err
			}
			d.keyLog = f
			b.log.Notice("TLS key logging to '%s' enabled for all listeners.", b.cfg.TLSKeyLog)
			b.log.Notice("TLS key logging is for debugging only: whoever has the file can read all connections.")
		}
		src, err := tlsconf.New(l.Name(), d.tlsOptions(l), b.log)
		if err != nil {
			return where(l, err)
		}
		d.sources[l.Name()] = src
		list = append(list, src)
	}
	if len(list) == 0 {
		return nil
	}
	computing := max(1, runtime.NumCPU()/2)
	d.release = workers.Reserve(computing)
	d.pool = tlslayer.NewPool(computing, 0)
	b.wg.Add(1)
	go func() {
		defer b.wg.Done()
		tlsconf.Watch(b.done, list, tlsconf.PollInterval)
	}()
	return nil
}

func (d *doors) tlsOptions(l *config.Listener) tlsconf.Options {
	t := &l.TLS
	o := tlsconf.Options{
		CertFile: t.CertFile, KeyFile: t.KeyFile, CAFile: t.CAFile, CAPath: t.CAPath, CRLFile: t.CRLFile,
		Ciphers: t.Ciphers, Ciphers13: t.Ciphers13, Version: t.Version,
		RequireCertificate: t.RequireCertificate, AnyDates: t.DisableClientCertDateChecks,
	}
	if d.keyLog != nil {
		o.KeyLog = d.keyLog
	}
	return o
}

// reloadTLS reads all files anew. Whether a listener has TLS at all is decided
// when it is opened.
func (d *doors) reloadTLS(now *config.Config) (apply func(), err error) {
	var errs []error
	var all []func()
	for _, l := range now.Listeners {
		src := d.sources[l.Name()]
		if src == nil || !l.TLS.On() {
			continue
		}
		f, err := src.Prepare(d.tlsOptions(l))
		if err != nil {
			errs = append(errs, where(l, err))
			continue
		}
		all = append(all, f)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return func() {
		for _, f := range all {
			f()
		}
	}, nil
}

func (d *doors) reloadWebSockets(now *config.Config, opened []loop.Bound) {
	for _, l := range now.Listeners {
		for _, o := range opened {
			s := o.Spec()
			if l.Protocol == config.WebSockets && s.Protocol == transport.WebSockets && s.Port == l.Port && s.Address == l.Address && s.Path == l.Path {
				o.SetWebSocket(d.webSocket(now, l))
			}
		}
	}
}

// secure puts TLS on a listener of the HTTP API that has it configured.
func (d *doors) secure(ln net.Listener, l *config.Listener) net.Listener {
	src := d.sources[l.Name()]
	if src == nil {
		return ln
	}
	return tls.NewListener(ln, &tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return src.Config(), nil },
	})
}

// failures counts the TLS files that were refused after the start.
func (d *doors) failures() (n int64) {
	for _, s := range d.sources {
		n += s.Failed()
	}
	return n
}

// close ends what works for connections. After the loops.
func (d *doors) close() {
	if d.pool != nil {
		d.pool.Close()
		d.release()
		d.pool = nil
	}
	for _, f := range d.files {
		_ = f.Close()
	}
	d.files = nil
	if d.keyLog != nil {
		_ = d.keyLog.Close()
		d.keyLog = nil
	}
}
