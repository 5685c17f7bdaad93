package logging

import (
	"fmt"
	"net"
)

// The lines below are looked for by scripts, fail2ban filters among them, so
// each text exists once, here. The ones about clients that come and go obey
// connection_messages.

// Reason is why a connection ended, in the words of the log line
// `Client ID [A:P] disconnected: REASON.`.
type Reason string

// The reasons. A regular DISCONNECT has none.
const (
	ReasonNone                Reason = ""
	ReasonMalformed           Reason = "malformed packet"
	ReasonProtocolError       Reason = "protocol error"
	ReasonClosedByClient      Reason = "connection closed by client"
	ReasonNotAuthorised       Reason = "not authorised"
	ReasonTimeout             Reason = "exceeded timeout"
	ReasonOversizePacket      Reason = "oversize packet"
	ReasonOversizePayload     Reason = "oversize payload"
	ReasonOutOfMemory         Reason = "out of memory"
	ReasonDisallowedFeature   Reason = "used disallowed feature (QoS too high, retain not supported, or bad AUTH method)"
	ReasonQoS                 Reason = "QoS not supported"
	ReasonRetain              Reason = "retain not supported"
	ReasonAdministrative      Reason = "administrative action"
	ReasonReceiveMaximum      Reason = "receive maximum exceeded"
	ReasonImplementation      Reason = "implementation specific error"
	ReasonClientIDNotValid    Reason = "client identifier not valid"
	ReasonBadUserNamePassword Reason = "bad username or password"
	ReasonServerUnavailable   Reason = "server unavailable"
	ReasonServerBusy          Reason = "server busy"
	ReasonBanned              Reason = "client banned"
	ReasonBadAuthMethod       Reason = "bad authentication method"
	ReasonQuotaExceeded       Reason = "quota exceeded"
	ReasonConnectionRate      Reason = "connection rate exceeded"
	ReasonTakenOver           Reason = "session taken over"
	ReasonTopicAlias          Reason = "topic alias invalid"
	ReasonOrigin              Reason = "non-matching http origin"
)

const socketPrefix = "bad socket read/write: "

// SocketReason is the reason of a connection that ended by an error of its
// socket.
func SocketReason(err error) Reason {
	return Reason(socketPrefix + err.Error())
}

// NewConnection says that a socket was accepted; addr is A:P of the peer and
// port the listener's.
func (l *Logger) NewConnection(addr string, port int) {
	if l.ConnectionsEnabled() {
		l.Notice("New connection from %s on port %d.", addr, port)
	}
}

// Connected says that a client was admitted. version is the protocol level 3, 4
// or 5, keepAlive in seconds as the client asked for it; user is nil when it
// gave no user name.
func (l *Logger) Connected(addr, id string, version int, clean bool, keepAlive uint16, user *string) {
	if !l.ConnectionsEnabled() {
		return
	}
	name := ""
	if user != nil {
		name = ", u'" + *user + "'"
	}
	text := fmt.Sprintf("New client connected from %s as %s (p%d, c%d, k%d%s).", addr, id, version, bit(clean), keepAlive, name)
	if !l.json.Load() {
		l.Notice("%s", text)
		return
	}
	f := []any{"event", "connected", "client", id, "address", addr, "version", version, "clean", clean, "keep_alive", keepAlive}
	if user != nil {
		f = append(f, "user", *user)
	}
	l.fields(Notice, f, text)
}

// DeniedMaxConnections says that a limit on connections closed a new socket.
func (l *Logger) DeniedMaxConnections(addr string) {
	if l.ConnectionsEnabled() {
		l.Notice("Client connection from %s denied: max_connections exceeded.", addr)
	}
}

// DeniedRate says that max_connection_rate closed a new socket.
func (l *Logger) DeniedRate(addr string) {
	if l.ConnectionsEnabled() {
		l.Notice("Client connection from %s denied: max_connection_rate exceeded.", addr)
	}
}

// LooksLikeTLS says that the first bytes were a TLS handshake.
func (l *Logger) LooksLikeTLS(addr string) {
	l.Notice("Client from %s appears to be using TLS to connect to a non-TLS listener.", addr)
}

// Negotiated says how the connection of a client is encrypted; who is the client
// id. It obeys no option.
func (l *Logger) Negotiated(who, version, cipher string) {
	l.Notice("Client %s negotiated %s cipher %s", who, version, cipher)
}

// NegotiatedBefore says how the connection of a client to a proxy is encrypted, by
// the proxy's word.
func (l *Logger) NegotiatedBefore(addr, version, cipher string) {
	l.Notice("Connection from %s negotiated %s cipher %s", addr, version, cipher)
}

// SecondConnect says that a connected client sent CONNECT again.
func (l *Logger) SecondConnect(addr string) {
	l.Notice("Bad client %s sending multiple CONNECT messages.", addr)
}

// Dropping says, once per connection, that messages for id are dropped by a
// limit.
func (l *Logger) Dropping(id string) {
	l.Notice("Outgoing messages are being dropped for client %s.", id)
}

// Expired says that a session reached its expiry.
func (l *Logger) Expired(id string) {
	l.Notice("Expiring client %s due to timeout.", id)
}

// TooLarge says that a PUBLISH of n bytes exceeds the client's maximum packet
// size.
func (l *Logger) TooLarge(id string, n int) {
	l.Notice("Dropping too large outgoing PUBLISH for %s (%d bytes)", id, n)
}

// ReceiveMaximumExceeded warns of a client that has more in flight than it may.
func (l *Logger) ReceiveMaximumExceeded(id string) {
	l.Warning("Client %s has exceeded its receive-maximum quota. This behaviour must be fixed on the client.", id)
}

// OutOfSockets warns that accept failed for want of file descriptors.
func (l *Logger) OutOfSockets() {
	l.Warning(`Unable to accept new connection, system socket count has been exceeded. Try increasing "ulimit -n" or equivalent.`)
}

// ProtocolErrorf writes the line about a peer that broke the protocol; who is
// the client id, or the address before CONNECT.
func (l *Logger) ProtocolErrorf(who, format string, args ...any) {
	if l.Enabled(Information) {
		l.Info("Protocol error from "+"%s: "+format+".", append([]any{who}, args...)...)
	}
}

// Subscribed writes the line of type subscribe.
func (l *Logger) Subscribed(id string, qos byte, filter string) {
	if l.Enabled(Subscribe) {
		l.Printf(Subscribe, "%s %d %s", id, qos, filter)
	}
}

// Unsubscribed writes the line of type unsubscribe.
func (l *Logger) Unsubscribed(id, filter string) {
	if l.Enabled(Unsubscribe) {
		l.Printf(Unsubscribe, "%s %s", id, filter)
	}
}

// PublishLine is what the debug lines say about one PUBLISH.
type PublishLine struct {
	Dup, Retain bool
	QoS         byte
	PacketID    uint16
	Topic       string
	Bytes       int // of the payload
}

// publish lines differ only in their first words.
func (l *Logger) publishLine(head, id string, p PublishLine) {
	l.Debug("%s %s (d%d, q%d, r%d, m%d, '%s', ... (%d bytes))",
		head, id, bit(p.Dup), p.QoS, bit(p.Retain), p.PacketID, p.Topic, p.Bytes)
}

// ReceivedPublish writes the debug line; callers ask Enabled(Debug) first.
func (l *Logger) ReceivedPublish(id string, p PublishLine) {
	l.publishLine("Received PUBLISH from", id, p)
}

// SendingPublish writes the debug line; callers ask Enabled(Debug) first.
func (l *Logger) SendingPublish(id string, p PublishLine) { l.publishLine("Sending PUBLISH to", id, p) }

// DeniedPublish writes the debug line about a PUBLISH without permission.
func (l *Logger) DeniedPublish(id string, p PublishLine) { l.publishLine("Denied PUBLISH from", id, p) }

// DroppedTooLarge writes the debug line about a payload above
// message_size_limit.
func (l *Logger) DroppedTooLarge(id string, p PublishLine) {
	l.publishLine("Dropped too large PUBLISH from", id, p)
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// PeerName gives the peer's address as the log writes it: A:P, IPv6 without
// brackets, and PATH:0 for a peer on a Unix socket.
func PeerName(a net.Addr) string {
	switch a := a.(type) {
	case *net.TCPAddr:
		if a.IP.To4() != nil {
			return a.String()
		}
		return trimBrackets(a.String())
	case *net.UnixAddr:
		return a.Name + ":0"
	}
	return a.String()
}

// trimBrackets turns [::1]:1883 into ::1:1883.
func trimBrackets(s string) string {
	for i := 1; i < len(s); i++ {
		if s[0] == '[' && s[i] == ']' {
			return s[1:i] + s[i+1:]
		}
	}
	return s
}
