package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"time"

	"github.com/midgemq/midge/client/internal/dial"
	"github.com/midgemq/midge/client/outbox"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// Forever is the SessionExpiry of a session without end.
const Forever time.Duration = math.MaxInt64

// Limits and defaults, each with what it protects from.
const (
	defaultConnectTimeout = 30 * time.Second // a server that accepts and stays silent
	defaultKeepAlive      = time.Minute
	defaultPingTimeout    = 10 * time.Second // a dead peer that TCP would notice after a quarter of an hour
	defaultBackoffMin     = 250 * time.Millisecond
	defaultBackoffMax     = time.Minute // ten thousand clients hammering a broker that is down
	defaultMaxInflight    = 1000        // memory, and the broker's patience: unacknowledged messages
	defaultMaxQueued      = 10000       // memory: messages accepted and not done
	defaultMaxQueuedBytes = 64 << 20
	defaultReceiveMaximum = 1000     // memory: unacknowledged messages the server may send
	defaultMaxBacklog     = 10000    // memory: received messages that wait for a handler
	defaultMaxBacklogSize = 64 << 20 // bytes
	defaultHandlers       = 8        // goroutines that run handlers
	defaultAliases        = 64       // topic aliases used or offered: one map entry each
	maxOutput             = 1 << 20  // bytes encoded and not yet written; above it QoS 0 waits
	maxRedirects          = 5        // a ring of servers that refer to each other
)

// FullPolicy says what Publish does when MaxQueued or MaxQueuedBytes is reached.
type FullPolicy uint8

// Policies of a full queue.
const (
	// WaitForRoom waits until there is room or the context ends.
	WaitForRoom FullPolicy = iota
	// RejectNew returns ErrQueueFull at once.
	RejectNew
	// DropOldest ends the oldest message that has not been sent with ErrDropped; if all have been, it rejects the new one.
	DropOldest
)

// SessionLoss says what becomes of messages that were sent and not acknowledged when the server turns out to have lost the session.
type SessionLoss uint8

// Policies of a lost session.
const (
	// RequeueQoS1 sends QoS 1 messages again as new ones (they may arrive twice, as QoS 1 allows) and ends QoS 2 messages with
	// ErrSessionLost, for nobody can tell whether they arrived.
	RequeueQoS1 SessionLoss = iota
	// RequeueAll sends all again as new ones: nothing is lost, but a QoS 2 message may arrive twice.
	RequeueAll
	// FailAll ends all with ErrSessionLost.
	FailAll
)

// Backoff is the pause between attempts to connect: it doubles from Min to Max, and each pause is a random time between half of it
// and all of it, so that many clients do not return at the same moment.
type Backoff struct {
	Min time.Duration // 0: 250 ms
	Max time.Duration // 0: one minute
}

// Will is the message the server publishes when the connection ends without a DISCONNECT.
type Will struct {
	Topic   string
	Payload []byte
	QoS     mqtt.QoS
	Retain  bool
	// Properties of 5.0: will delay, payload format, message expiry, content type, response topic, correlation data, user.
	Properties *mqtt.Properties
}

// Options say how a Client or a Conn behaves. The zero value with one server connects with 5.0 (then 3.1.1, then 3.1, if refused),
// a random client identifier and a session that ends with the connection. A Client keeps its own copy; what the pointers, slices
// and functions in it lead to must not be changed afterwards.
type Options struct {
	// Servers are URLs in order of preference: mqtt:// or tcp:// (1883), mqtts://, tls:// or ssl:// (8883), ws:// (80), wss:// (443)
	// with a path ("/mqtt" when empty), unix:///path. Without a scheme "host" and "host:port" mean mqtt. A server that says that it
	// has the session (Session Present) is believed: servers that share sessions may stand beside each other, others must not know
	// this client identifier from elsewhere.
	Servers []string
	// Weights, one for each server, make each round try them in a random order in which a server of weight 2 comes first twice as
	// often as one of weight 1. Nil: always in the given order.
	Weights []int
	// FailBack is how often a client connected to another than the first server looks whether the first accepts connections again
	// and, if so, moves there. 0: never. Not used with Weights.
	FailBack time.Duration

	// Version is the protocol version; 0 tries 5.0, and 3.1.1 and 3.1 when the server refuses it for its version.
	Version mqtt.Version
	// ClientID names the session. Empty: with 5.0 the server assigns one, which is kept for reconnections; with 3.x a random one
	// of 23 characters is made.
	ClientID string
	UserName string
	Password []byte // nil: none; 3.x needs a user name with it
	// Credentials, when set, is asked before each attempt in place of UserName and Password: for tokens that expire. It runs on the
	// goroutine that connects and must not wait for the client, as Close does.
	Credentials func(ctx context.Context) (userName string, password []byte, err error)
	// Auth is the enhanced authentication of 5.0, for example of package client/scram.
	Auth AuthMethod
	Will *Will
	// Properties of CONNECT beside those that have a field here: user properties, RequestProblemInfo, RequestResponseInfo.
	Properties *mqtt.Properties

	// KeepAlive is rounded up to seconds, at most 65,535. 0: one minute. Negative: off. The server of 5.0 may replace it.
	KeepAlive time.Duration
	// PingTimeout is how long the server may be silent after a PINGREQ. 0: 10 s.
	PingTimeout time.Duration
	// ConnectTimeout bounds one attempt: name look-up, TCP, TLS, proxy, WebSocket and CONNACK. 0: 30 s.
	ConnectTimeout time.Duration

	// Resume continues the session that an earlier run left under this ClientID: the first CONNECT has Clean Start 0. False: the
	// first connection of this Client begins a new session.
	Resume bool
	// SessionExpiry is how long the session outlives a connection, rounded up to seconds. 0: it ends with the connection, as
	// 5.0 has it; with 3.x any value above 0 means CleanSession 0. What is in flight survives a lost connection only in a session
	// that does.
	SessionExpiry time.Duration
	// AfterSessionLoss is for messages in flight when the session is gone.
	AfterSessionLoss SessionLoss

	// ReceiveMaximum bounds the QoS 1 and 2 messages the server may have under way to this client. 0: 1,000.
	ReceiveMaximum uint16
	// MaximumPacketSize is the largest packet taken from the server, in bytes. 0: no limit but the protocol's.
	MaximumPacketSize uint32
	// TopicAliases is how many topic aliases are offered to the server and used towards it, each where the other side allows it.
	// 0: 64. Negative: none.
	TopicAliases int

	// TLS is the configuration of mqtts and wss. Client certificates, roots and ALPN go here. A server certificate that has a
	// Common Name and no subject alternative name is accepted for that name, with a warning; crypto/tls alone would refuse it.
	TLS *tls.Config
	// PSKIdentity is refused with ErrNoPSK; the field exists so that a configuration with one is not taken for one without.
	PSKIdentity string
	// Header is sent with the WebSocket request.
	Header http.Header
	// Proxy is the URL of a proxy, http://, https:// or socks5://, with user and password if it wants them. Empty: none.
	Proxy string
	// Dial replaces the making of the network connection below TLS and WebSocket; network is "tcp" or "unix".
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// MaxInflight bounds the QoS 1 and 2 messages sent and not acknowledged, below what the server allows. 0: 1,000.
	MaxInflight int
	// MaxQueued and MaxQueuedBytes bound the messages accepted from the program and not done. 0: 10,000 and 64 MiB.
	MaxQueued      int
	MaxQueuedBytes int
	WhenFull       FullPolicy
	// QueueQoS0 keeps QoS 0 messages while there is no connection; otherwise they fail with ErrNotConnected.
	QueueQoS0 bool
	// Store keeps unacknowledged messages beyond the end of the process; see package client/outbox. Nil: memory only.
	Store outbox.Store

	// Handlers is the number of goroutines that run handlers at most. 0: 8.
	Handlers int
	// Parallel gives up the order of messages on one topic: any free goroutine handles the next message.
	Parallel bool
	// ManualAck leaves acknowledgement of QoS 1 and 2 messages to Message.Ack; otherwise the end of the handler acknowledges.
	ManualAck bool
	// DefaultHandler gets messages that no subscription of this client matches. They are acknowledged with or without it.
	DefaultHandler func(*Message)
	// MaxBacklog and MaxBacklogBytes bound the messages that wait for a handler. Beyond it reading from the server pauses. If
	// then no handler ends for one second (perhaps it waits for an acknowledgement that stands behind), reading goes on and QoS 0
	// messages are dropped and counted. 0: 10,000 and 64 MiB.
	MaxBacklog      int
	MaxBacklogBytes int
	// SubscriptionIDs gives each subscription an identifier where the server allows it, so that a message reaches exactly the
	// handlers of the subscriptions that caused it, even if the server sends one copy for each of several overlapping ones.
	SubscriptionIDs bool

	Backoff Backoff
	// NoReconnect ends the client with the first connection that is lost.
	NoReconnect bool
	// StopOnTakeover ends the client when another connection takes its session over (0x8E); otherwise it waits Backoff.Max.
	StopOnTakeover bool

	// OnConnect, OnDisconnect and OnError are called one after the other, in the order of events, on a goroutine of their own; they
	// may use the client. OnError gets what has no other way to the program: failed attempts, refused resubscriptions.
	OnConnect    func(ConnectInfo)
	OnDisconnect func(error)
	OnError      func(error)
	// Warn gets advice for people, as on a certificate without subject alternative name. Nil: dropped.
	Warn func(string)
}

// ConnectInfo tells what the server said in its CONNACK.
type ConnectInfo struct {
	Server         string
	Version        mqtt.Version
	ClientID       string // the assigned one, if the server assigned it
	SessionPresent bool
	KeepAlive      time.Duration // in force; 0: off
	// Properties are those of the CONNACK, nil for 3.x.
	Properties *mqtt.Properties
}

// withDefaults fills in what is 0 and judges the rest. The error names the option.
func (o Options) withDefaults() (Options, error) {
	set(&o.KeepAlive, defaultKeepAlive)
	set(&o.PingTimeout, defaultPingTimeout)
	set(&o.ConnectTimeout, defaultConnectTimeout)
	set(&o.Backoff.Min, defaultBackoffMin)
	set(&o.Backoff.Max, max(defaultBackoffMax, o.Backoff.Min))
	set(&o.MaxInflight, defaultMaxInflight)
	set(&o.MaxQueued, defaultMaxQueued)
	set(&o.MaxQueuedBytes, defaultMaxQueuedBytes)
	set(&o.ReceiveMaximum, defaultReceiveMaximum)
	set(&o.MaxBacklog, defaultMaxBacklog)
	set(&o.MaxBacklogBytes, defaultMaxBacklogSize)
	set(&o.Handlers, defaultHandlers)
	set(&o.TopicAliases, defaultAliases)
	o.TopicAliases = min(max(o.TopicAliases, 0), math.MaxUint16)
	return o, o.check()
}

func set[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

func (o *Options) check() error {
	if o.PSKIdentity != "" {
		return fmt.Errorf("option PSKIdentity: %w", ErrNoPSK)
	}
	if o.Version != 0 && !o.Version.Valid() {
		return fmt.Errorf("option Version: %d is no protocol version", o.Version)
	}
	if o.Weights != nil && len(o.Weights) != len(o.Servers) {
		return fmt.Errorf("option Weights: %d weights for %d servers", len(o.Weights), len(o.Servers))
	}
	for _, w := range o.Weights {
		if w <= 0 {
			return fmt.Errorf("option Weights: %d is not above 0", w)
		}
	}
	for _, n := range []int{o.MaxInflight, o.MaxQueued, o.MaxQueuedBytes, o.Handlers, o.MaxBacklog, o.MaxBacklogBytes} {
		if n < 0 {
			return fmt.Errorf("options: %d is a negative limit", n)
		}
	}
	if o.KeepAlive > mqtt.MaxKeepAlive*time.Second {
		return fmt.Errorf("option KeepAlive: %v is above 65535 s", o.KeepAlive)
	}
	if o.SessionExpiry < 0 {
		return fmt.Errorf("option SessionExpiry: %v is negative", o.SessionExpiry)
	}
	if o.Backoff.Min < 0 || o.Backoff.Max < o.Backoff.Min {
		return fmt.Errorf("option Backoff: Min %v, Max %v", o.Backoff.Min, o.Backoff.Max)
	}
	if o.Resume && o.ClientID == "" {
		return errors.New("option Resume: needs a ClientID")
	}
	for _, s := range []struct{ name, text string }{{"ClientID", o.ClientID}, {"UserName", o.UserName}} {
		if err := checkText(s.text); err != nil {
			return fmt.Errorf("option %s: %w", s.name, err)
		}
	}
	if len(o.Password) > mqtt.MaxString {
		return errors.New("option Password: longer than 65535 bytes")
	}
	if o.Auth != nil && o.Version != 0 && o.Version != mqtt.V5 {
		return fmt.Errorf("option Auth: %v has no enhanced authentication", o.Version)
	}
	if err := packet.CheckProperties(packet.CONNECT, o.Properties); err != nil {
		return fmt.Errorf("option Properties: %w", err)
	}
	return o.checkWill()
}

func (o *Options) checkWill() error {
	w := o.Will
	if w == nil {
		return nil
	}
	if err := mqtt.CheckTopicName(w.Topic); err != nil {
		return fmt.Errorf("option Will: topic %q: %w", w.Topic, err)
	}
	if !w.QoS.Valid() {
		return fmt.Errorf("option Will: QoS %d", w.QoS)
	}
	if len(w.Payload) > mqtt.MaxString {
		return fmt.Errorf("option Will: payload of %d bytes is longer than 65535", len(w.Payload))
	}
	if err := packet.CheckProperties(packet.WILL, w.Properties); err != nil {
		return fmt.Errorf("option Will: %w", err)
	}
	return nil
}

func checkText(s string) error {
	if len(s) > mqtt.MaxString {
		return errors.New("longer than 65535 bytes")
	}
	if !mqtt.ValidString(s) {
		return errors.New("not valid UTF-8, or has control characters")
	}
	return nil
}

// seconds rounds up; a session of half a second would otherwise be none.
func seconds(d time.Duration) uint32 {
	if d == Forever {
		return mqtt.NeverExpires
	}
	s := int64((d + time.Second - 1) / time.Second)
	if s >= mqtt.NeverExpires {
		return mqtt.NeverExpires
	}
	return uint32(max(s, 0))
}

// dial takes out what package dial needs.
func (o *Options) dial(v mqtt.Version) *dial.Options {
	return &dial.Options{Version: v, TLS: o.TLS, Header: o.Header, Proxy: o.Proxy, Dial: o.Dial, Warn: o.Warn}
}
