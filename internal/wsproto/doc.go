// Package wsproto speaks WebSocket (RFC 6455) on raw bytes, for both ends: the
// broker's listeners ([Server]) and the client library ([Client]). MQTT uses
// it as a byte stream: the borders of frames mean nothing to MQTT
// [MQTT-6.0.0-2], only binary frames carry it [MQTT-6.0.0-1].
//
// It never reads or writes a socket, starts a goroutine, reads a clock or
// keeps a payload: bytes go in, bytes come out, and what stays behind between
// two calls is a few dozen bytes of state (plus, until the handshake is
// complete, the header so far, bounded by MaxHeader).
//
// # Layers
//
// A [Layer] stands between the socket and MQTT. Layers are stacked by
// [Stack], the one next to the socket first: raw bytes → TLS → WebSocket →
// MQTT is Stack(tls, ws). What the lower layer decodes is what the upper one
// consumes; what the upper one wants sent passes through the lower one's
// Outbound. A connection without layers has a nil Layer and hands its bytes to
// MQTT as they are.
//
// A Layer belongs to one connection and is called by one goroutine at a time:
// in the broker the loop goroutine that owns the connection (it may change
// with the owner), in the client library whoever holds the connection's lock.
package wsproto

import "fmt"

// Layer converts between the bytes of a socket and the bytes of the protocol
// above. All methods append to the slice given and return it, as append does;
// none blocks.
type Layer interface {
	// Start appends what this end sends before it hears anything (a client's
	// handshake request; nothing for a server). Call it once, first.
	Start(out []byte) []byte

	// Inbound consumes raw, as read from the socket and in any split, and
	// appends the application bytes in it to dst and the bytes to be sent at
	// once (handshake reply, pong, closing frame) to out.
	//
	// raw is overwritten. dst may be raw[:0]: a layer never produces more
	// application bytes than it has consumed.
	//
	// A non-nil error ends the connection: the application bytes appended
	// before it are still to be processed, out is to be flushed, then the
	// socket is closed. It is a *HandshakeError or a *CloseError.
	Inbound(dst, raw, out []byte) (newDst, newOut []byte, err error)

	// Outbound appends the wire form of the application bytes app to out. It
	// appends nothing before Open, after Close and after an error of Inbound.
	Outbound(out, app []byte) []byte

	// Close appends this end's closing message, once; code is a WebSocket
	// status code (CloseNormal and others). After it, Inbound goes on
	// accepting bytes, discards data and reports the peer's answer as a
	// *CloseError.
	Close(out []byte, code uint16) []byte

	// Open reports whether the handshake is complete and Outbound works.
	Open() bool
}

// Status codes of closing frames (RFC 6455 section 7.4.1) that this package
// sends.
const (
	CloseNormal          uint16 = 1000 // the purpose is fulfilled
	CloseGoingAway       uint16 = 1001 // the server shuts down
	CloseProtocolError   uint16 = 1002 // broken framing
	CloseUnsupportedData uint16 = 1003 // a text frame
	CloseNoStatus        uint16 = 1005 // never on the wire: the peer's closing frame had no code
	CloseInvalidPayload  uint16 = 1007 // a close reason that is not UTF-8
	CloseTooBig          uint16 = 1009 // a frame above MaxFrame
)

// Limits.
const (
	// MaxFrame is the largest payload of one frame in bytes, in and out: the
	// largest Remaining Length of MQTT. It protects the length arithmetic; no
	// memory is reserved for a frame.
	MaxFrame = 268435455
	// DefaultMaxHeader is the default limit of a handshake in bytes
	// (packet_buffer_size, websockets_headers_size). It protects from peers
	// that send header lines for ever.
	DefaultMaxHeader = 4096
	// MaxHeaderLines is the largest number of header lines of a handshake. It
	// bounds the time spent on parsing one.
	MaxHeaderLines = 100
	// maxControl is the largest payload of a control frame (RFC 6455 5.5).
	maxControl = 125
	// clientMaxHeader is the client's default limit of a handshake reply;
	// servers behind proxies send long cookies and policies.
	clientMaxHeader = 16384
)

// Subprotocol names; SubprotocolMQTT is the standard's [MQTT-6.0.0-3],
// SubprotocolMQTT31 what clients of MQTT 3.1 offer.
const (
	SubprotocolMQTT   = "mqtt"
	SubprotocolMQTT31 = "mqttv3.1"
)

// CloseError says that the WebSocket connection is over after its handshake.
type CloseError struct {
	// Code is the status code: the one this end sent, or the one received
	// (CloseNoStatus when there was none).
	Code uint16
	// Reason is why this end closed, or the peer's text.
	Reason string
	// Remote is true when the peer closed.
	Remote bool
}

func (e *CloseError) Error() string {
	if e.Remote {
		if e.Reason != "" {
			return fmt.Sprintf("websocket closed by peer: code %d: %q", e.Code, e.Reason)
		}
		return fmt.Sprintf("websocket closed by peer: code %d", e.Code)
	}
	return fmt.Sprintf("websocket: %s (close code %d)", e.Reason, e.Code)
}

// HandshakeError says that the opening handshake failed.
type HandshakeError struct {
	// Status is the HTTP status this server answered, or the one the client
	// got; 0 when the peer did not speak HTTP and got no answer.
	Status int
	// Reason is the cause, in words for a log line.
	Reason string
	// TLS says that the peer speaks TLS where none is spoken.
	TLS bool
	// Quiet says that the peer did nothing wrong, as a health check does that
	// closes at once; Line is what the log is to say, besides or instead of the
	// connection's own line.
	Quiet bool
	Line  string
	// Location is where a server redirected the client to (status 3xx).
	Location string
}

func (e *HandshakeError) Error() string {
	if e.Status == 0 {
		return "websocket handshake: " + e.Reason
	}
	return fmt.Sprintf("websocket handshake: %s (HTTP status %d)", e.Reason, e.Status)
}
