package pubsub

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// connectTime bounds the opening of a connection up to CONNACK.
const connectTime = 30 * time.Second

// link is one connection. The goroutine of the tool's loop writes; a second one reads packets and hands them over one by one.
type link struct {
	env  *Env
	o    *options
	conn *client.Conn
	info client.ConnectInfo

	in   chan packet.Packet // closed with the reason in err
	next chan struct{}      // the loop is done with the packet
	stop chan struct{}      // closed by close
	err  error              // valid once in is closed

	window   int       // QoS 1 and 2 that the broker takes at once
	pinged   time.Time // of a PINGREQ without answer
	lastSent time.Time
	before   func() error // an acknowledgement that waits until its message was printed; a goodbye sends it first
}

// refusedError is a CONNACK that refuses.
type refusedError struct {
	code byte // as it was on the wire
	text string
}

func (e *refusedError) Error() string { return e.text }

// dialer opens connections with one set of options. TLS files are read once.
type dialer struct {
	env     *Env
	o       *options
	opts    client.Options
	id      string // in debug lines
	closing func()
}

// newDialer judges what the connection needs from files. The caller calls closing at the end.
func newDialer(e *Env, o *options) (*dialer, error) {
	if o.version == mqtt.V31 && o.clientID == "" {
		o.clientID = "mosq-" + rand.Text()[:18]
	}
	d := &dialer{env: e, o: o, id: o.clientID, closing: func() {}}
	d.opts = client.Options{
		Version: o.version, ClientID: o.clientID, UserName: value(o.user), KeepAlive: seconds(int(o.keepAlive)),
		ConnectTimeout: connectTime, Proxy: o.proxy, Resume: o.persistent, Dial: d.socket,
		Warn: func(s string) { complain(e, o, "Warning: "+s) },
	}
	if o.password != nil {
		d.opts.Password = []byte(*o.password)
	}
	d.properties()
	if o.will {
		d.opts.Will = &client.Will{Topic: o.willTopic, Payload: []byte(value(o.willPayload)), QoS: o.willQoS, Retain: o.willRetain}
		if o.version == mqtt.V5 {
			d.opts.Will.Properties = &o.props.will
		}
	}
	if o.secure() {
		c, closing, err := o.tls.config(o.host, func(s string) { complain(e, o, s) })
		if err != nil {
			return nil, usagef("Problem setting TLS options: %v.", err)
		}
		d.opts.TLS, d.closing = c, closing
	}
	return d, nil
}

// properties fills in what CONNECT of MQTT 5 carries. The receive maximum is libmosquitto's, and no more than -C wants.
func (d *dialer) properties() {
	o, p := d.o, &d.opts
	p.TopicAliases = -1
	if o.persistent && o.version != mqtt.V5 {
		p.SessionExpiry = client.Forever
	}
	if o.version != mqtt.V5 {
		return
	}
	c := o.props.connect
	p.ReceiveMaximum = 20
	if o.count > 0 && o.count < 20 {
		p.ReceiveMaximum = uint16(o.count)
	}
	if c.ReceiveMaximum != 0 {
		p.ReceiveMaximum = c.ReceiveMaximum
	}
	p.MaximumPacketSize = c.MaximumPacketSize
	if c.TopicAliasMaximum > 0 {
		p.TopicAliases = int(c.TopicAliasMaximum)
	}
	if e := o.sessionExpiry; e != nil && *e == mqtt.NeverExpires {
		p.SessionExpiry = client.Forever
	} else if e != nil {
		p.SessionExpiry = time.Duration(*e) * time.Second
	}
	if c.AuthMethod != "" {
		p.Auth = &staticAuth{c.AuthMethod, c.AuthData}
	}
	p.Properties = &mqtt.Properties{User: c.User, RequestProblemInfo: c.RequestProblemInfo, RequestResponseInfo: c.RequestResponseInfo}
}

// socket makes the network connection below TLS and WebSocket.
func (d *dialer) socket(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{}
	if d.o.unix != "" {
		return dialer.DialContext(ctx, "unix", d.o.unix)
	}
	if d.o.bind != "" {
		ip, err := net.ResolveIPAddr("ip", d.o.bind)
		if err != nil {
			return nil, err
		}
		dialer.LocalAddr = &net.TCPAddr{IP: ip.IP, Zone: ip.Zone}
	}
	return dialer.DialContext(ctx, network, address)
}

// server is the URL of the broker for package client.
func (d *dialer) server(ctx context.Context) (string, error) {
	o := d.o
	if o.unix != "" {
		return "unix:///socket", nil // socket knows the path
	}
	host, port := o.host, o.port
	if o.srv {
		service := "mqtt"
		if o.secure() {
			service = "secure-mqtt"
		}
		_, targets, err := net.DefaultResolver.LookupSRV(ctx, service, "tcp", host)
		if err != nil {
			return "", err
		}
		if len(targets) == 0 {
			return "", fmt.Errorf("no SRV record of _%s._tcp.%s", service, host)
		}
		host, port = strings.TrimSuffix(targets[0].Target, "."), int(targets[0].Port)
	}
	scheme := "mqtt"
	if o.ws {
		scheme = "ws"
	}
	if o.secure() {
		scheme = map[string]string{"mqtt": "mqtts", "ws": "wss"}[scheme]
	}
	return scheme + "://" + strings.ReplaceAll(net.JoinHostPort(host, strconv.Itoa(port)), "%", "%25"), nil
}

// open connects. The error is a *refusedError, or what went wrong on the way.
func (d *dialer) open(ctx context.Context) (*link, error) {
	server, err := d.server(ctx)
	if err != nil {
		return nil, err
	}
	d.opts.Servers = []string{server}
	nc, err := client.OpenStream(ctx, d.opts)
	if err != nil {
		return nil, err
	}
	d.debugf("Client %s sending CONNECT", d.name())
	conn, err := client.NewConn(ctx, nc, d.opts)
	if code, refused := client.ReasonOf(err); refused {
		wire := byte(code)
		if d.o.version != mqtt.V5 {
			if v3, ok := mqtt.ConnackCodeV3(code); ok {
				wire = v3
			}
		}
		d.debugf("Client %s received CONNACK (%d)", d.name(), wire)
		return nil, &refusedError{wire, refusal(d.o.version, wire)}
	}
	if err != nil {
		return nil, err
	}
	l := &link{
		env: d.env, o: d.o, conn: conn, info: conn.Info(), in: make(chan packet.Packet), next: make(chan struct{}),
		stop: make(chan struct{}), window: mqtt.MaxReceiveMaximum, lastSent: time.Now(),
	}
	if id := l.info.ClientID; id != "" {
		d.id = id
	}
	l.info.ClientID = d.name()
	d.debugf("Client %s received CONNACK (0)", d.name())
	if p := l.info.Properties; p != nil && p.ReceiveMaximum != 0 {
		l.window = int(p.ReceiveMaximum)
	}
	go l.read()
	return l, nil
}

// name is the client identifier in debug lines.
func (d *dialer) name() string {
	if d.id == "" {
		return "null"
	}
	return d.id
}

func (d *dialer) debugf(format string, args ...any) {
	if d.o.debug {
		fmt.Fprintf(d.env.Stdout, format+"\n", args...)
	}
}

func (l *link) debugf(format string, args ...any) {
	if l.o.debug {
		fmt.Fprintf(l.env.Stdout, format+"\n", args...)
	}
}

// read is the reading goroutine. A packet points into the connection's buffer, so the next one is read when the loop says so.
func (l *link) read() {
	defer close(l.in)
	for {
		p, err := l.conn.ReadPacket()
		if err != nil {
			l.err = err
			return
		}
		select {
		case l.in <- p:
		case <-l.stop:
			l.err = net.ErrClosed
			return
		}
		select {
		case <-l.next:
		case <-l.stop:
			l.err = net.ErrClosed
			return
		}
	}
}

func (l *link) send(p ...packet.Packet) error {
	if err := l.conn.WritePacket(p...); err != nil {
		return err
	}
	l.lastSent = time.Now()
	return nil
}

// close ends the connection and waits for the reader.
func (l *link) close() {
	_ = l.conn.Close()
	close(l.stop)
	for range l.in {
		continue // drained so that the reader can end
	}
}

// flush sends the acknowledgement that waits.
func (l *link) flush() error {
	f := l.before
	l.before = nil
	if f == nil {
		return nil
	}
	return f()
}

// disconnect says goodbye and closes.
func (l *link) disconnect(code mqtt.ReasonCode) {
	_ = l.flush()
	l.debugf("Client %s sending DISCONNECT", l.info.ClientID)
	l.leave(code)
}

// leave is disconnect without a line about it.
func (l *link) leave(code mqtt.ReasonCode) {
	_ = l.flush()
	var props *mqtt.Properties
	if l.o.version == mqtt.V5 {
		props = &l.o.props.disconnect
	} else if code != mqtt.NormalDisconnection {
		code = mqtt.NormalDisconnection // 3.x has no word for the will
	}
	_ = l.conn.Disconnect(code, props)
	l.close()
}

// control handles what is the same in every tool; done is false for packets of a tool's own.
func (l *link) control(p packet.Packet) (done bool) {
	if _, ok := p.(*packet.Pingresp); ok {
		l.debugf("Client %s received PINGRESP", l.info.ClientID)
		l.pinged = time.Time{}
		return true
	}
	return false
}

// refusal is the text for a CONNACK that refuses.
func refusal(v mqtt.Version, code byte) string {
	if v == mqtt.V5 {
		text := "Connection error: " + mqtt.ReasonCode(code).String()
		if mqtt.ReasonCode(code) == mqtt.UnsupportedProtocolVersion {
			return text + ". Try connecting to an MQTT v5 broker, or use MQTT v3.x mode."
		}
		return text
	}
	why := "unknown reason"
	if reasons := []string{
		1: "unacceptable protocol version", 2: "identifier rejected", 3: "broker unavailable",
		4: "bad user name or password", 5: "not authorised",
	}; code > 0 && int(code) < len(reasons) {
		why = reasons[code]
	}
	return "Connection error: Connection Refused: " + why + "."
}

// untilPing is how long until keepPing has something to do; 0 means never.
func (l *link) untilPing(now time.Time) time.Duration {
	if l.info.KeepAlive == 0 {
		return 0
	}
	from := l.lastSent
	if !l.pinged.IsZero() {
		from = l.pinged
	}
	return max(l.info.KeepAlive-now.Sub(from), time.Millisecond)
}

// keepPing sends PINGREQ when it is time for it.
func (l *link) keepPing(now time.Time) error {
	switch {
	case l.info.KeepAlive == 0:
		return nil
	case !l.pinged.IsZero():
		if now.Sub(l.pinged) >= l.info.KeepAlive {
			return client.ErrKeepAlive
		}
		return nil
	case now.Sub(l.lastSent) < l.info.KeepAlive:
		return nil
	}
	l.debugf("Client %s sending PINGREQ", l.info.ClientID)
	if err := l.send(&packet.Pingreq{}); err != nil {
		return err
	}
	l.pinged = now
	return nil
}

// pingTimer is a channel that fires when keepPing is due, nil without keep-alive. stop gives the timer back.
func (l *link) pingTimer() (c <-chan time.Time, stop func()) {
	wait := l.untilPing(time.Now())
	if wait == 0 {
		return nil, func() {}
	}
	t := time.NewTimer(wait)
	return t.C, func() { t.Stop() }
}

// ids gives packet identifiers, 1 to 65535, as libmosquitto: one for every message, also of QoS 0.
type ids struct{ last uint16 }

func (i *ids) next() uint16 {
	if i.last++; i.last == 0 {
		i.last = 1
	}
	return i.last
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// disconnected is the server's DISCONNECT in an error.
func disconnected(err error) (mqtt.ReasonCode, bool) {
	e, ok := errors.AsType[*client.DisconnectError](err)
	if !ok {
		return 0, false
	}
	return e.Code, true
}
