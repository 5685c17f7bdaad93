package logging

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
)

// Cause is why a connection ended, as a code that does not change between
// releases; docs/disconnects.md explains each.
type Cause uint8

// The causes.
const (
	CauseNone            Cause = iota // a regular DISCONNECT
	CauseClosed                       // the peer closed the socket without DISCONNECT
	CauseNetwork                      // an error of the socket
	CauseKeepAlive                    // silence beyond one and a half keep alives
	CauseConnectTimeout               // no CONNECT, or no end of the login, in time
	CauseMalformed                    // bytes that are no packet
	CauseProtocol                     // a packet that may not be
	CausePacketTooLarge               // max_packet_size, or the client's own limit
	CausePayloadTooLarge              // message_size_limit, for a will
	CauseFeature                      // QoS, retain or a kind of subscription that is switched off
	CauseReceiveMaximum               // more in flight than announced
	CauseTopicAlias                   // an alias out of range
	CauseClientID                     // a client id that is not admitted
	CausePassword                     // wrong user name or password
	CauseNotAuthorised                // no right to connect, or to the will's topic
	CauseBanned                       // banned
	CauseAuthMethod                   // enhanced authentication with an unknown method
	CauseTakenOver                    // the client id connected again
	CauseAdministrative               // disconnected by an operator, a reload or the end of the broker
	CauseStore                        // the store could not keep what had to be kept
	CauseBusy                         // the broker could not take it on
	CauseQuota                        // a limit on what the client may use
	CauseConnectionRate               // too many connections in a time
	CauseOutOfMemory                  // memory_limit
	CauseOrigin                       // a WebSocket from a page that is not admitted
	NumCauses
)

var causeNames = [NumCauses]string{
	"client-disconnect", "closed", "network-error", "keep-alive-timeout", "connect-timeout", "malformed-packet",
	"protocol-error", "packet-too-large", "payload-too-large", "feature-not-available", "receive-maximum", "topic-alias",
	"client-id", "bad-password", "not-authorised", "banned", "auth-method", "taken-over", "administrative", "store-failed",
	"busy", "quota", "connection-rate", "out-of-memory", "origin",
}

// String is the code.
func (c Cause) String() string {
	if c >= NumCauses {
		return "unknown"
	}
	return causeNames[c]
}

var causeOf = map[Reason]Cause{
	ReasonNone: CauseNone, ReasonMalformed: CauseMalformed, ReasonProtocolError: CauseProtocol, ReasonClosedByClient: CauseClosed,
	ReasonNotAuthorised: CauseNotAuthorised, ReasonTimeout: CauseKeepAlive, ReasonOversizePacket: CausePacketTooLarge,
	ReasonOversizePayload: CausePayloadTooLarge, ReasonOutOfMemory: CauseOutOfMemory, ReasonDisallowedFeature: CauseFeature,
	ReasonQoS: CauseFeature, ReasonRetain: CauseFeature,
	ReasonAdministrative: CauseAdministrative, ReasonReceiveMaximum: CauseReceiveMaximum, ReasonImplementation: CauseStore,
	ReasonClientIDNotValid: CauseClientID, ReasonBadUserNamePassword: CausePassword, ReasonServerUnavailable: CauseBusy,
	ReasonServerBusy: CauseBusy, ReasonBanned: CauseBanned, ReasonBadAuthMethod: CauseAuthMethod, ReasonQuotaExceeded: CauseQuota,
	ReasonConnectionRate: CauseConnectionRate, ReasonTakenOver: CauseTakenOver, ReasonTopicAlias: CauseTopicAlias, ReasonOrigin: CauseOrigin,
}

// Phases of a connection.
const (
	PhaseConnect = "connect" // CONNECT is awaited; handshakes below MQTT included
	PhaseLogin   = "login"   // CONNECT has come, CONNACK has not left
	PhaseOpen    = "open"
)

// Disconnect is the end of one connection.
type Disconnect struct {
	// ID is the client id, the address before there is one.
	ID, Addr, User string
	Why            Reason
	Phase          string
	// LastPacket is the type of the last packet the client sent, "" for none.
	LastPacket string
	// Detail says more than the cause, for MQTT 5 what the reason string says.
	Detail string
}

// Cause is the code for why.
func (d *Disconnect) Cause() Cause {
	if strings.HasPrefix(string(d.Why), socketPrefix) {
		return CauseNetwork
	}
	c, ok := causeOf[d.Why]
	switch {
	case !ok:
		return CauseProtocol
	case c == CauseKeepAlive && d.Phase != PhaseOpen:
		return CauseConnectTimeout
	}
	return c
}

// By says who ended the connection: "client", "broker" or "network".
func (d *Disconnect) By() string {
	switch d.Cause() {
	case CauseNone, CauseClosed:
		return "client"
	case CauseNetwork:
		return "network"
	default: // the broker, for a reason of its own
		return "broker"
	}
}

// Disconnected says that a connection ended.
func (l *Logger) Disconnected(d *Disconnect) {
	if !l.ConnectionsEnabled() {
		return
	}
	why := ""
	if d.Why != ReasonNone {
		why = ": " + string(d.Why)
	}
	if !l.json.Load() {
		l.Notice("Client %s [%s] disconnected%s.", d.ID, d.Addr, why)
		return
	}
	f := []any{"event", "disconnected", "client", d.ID, "address", d.Addr, "cause", d.Cause().String(), "by", d.By(), "phase", d.Phase}
	for _, o := range [...]struct{ key, value string }{{"user", d.User}, {"last_packet", d.LastPacket}, {"detail", d.Detail}} {
		if o.value != "" {
			f = append(f, o.key, o.value)
		}
	}
	l.fields(Notice, f, "Client "+d.ID+" ["+d.Addr+"] disconnected"+why+".")
}

// fields writes a line of a JSON log with members of its own; pairs are keys and
// values in turn. Callers ask json first: on a log of text the members would be
// made for nothing, for every connection.
func (l *Logger) fields(t Type, pairs []any, text string) {
	if l.Enabled(t) {
		l.write(t, []byte(text), pairs)
	}
}

// maxMember bounds one text of a JSON line in bytes: client ids have up to 65,535,
// and every line is written under a lock.
const maxMember = 1024

// appendJSONLocked appends one line as a JSON object.
func (l *Logger) appendJSONLocked(dst []byte, t Type, text []byte, pairs []any) []byte {
	dst = append(dst, `{"time":"`...)
	dst = l.opts.Now().UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","type":`...)
	dst = appendJSON(dst, t.String())
	dst = append(dst, `,"text":`...)
	dst = appendJSON(dst, string(text))
	for i := 0; i+1 < len(pairs); i += 2 {
		dst = append(dst, ',')
		dst = appendJSON(dst, pairs[i])
		dst = append(dst, ':')
		dst = appendJSON(dst, pairs[i+1])
	}
	return append(dst, '}')
}

func appendJSON(dst []byte, v any) []byte {
	if s, ok := v.(string); ok && len(s) > maxMember {
		v = strings.ToValidUTF8(s[:maxMember], "") + "…"
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // a log is no web page
	if err := e.Encode(v); err != nil {
		return append(dst, `null`...) // no such value is passed
	}
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte{'\n'})...)
}
