package pubsub

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
)

// connectFault is the line and the exit status for a connection that could not be opened.
func connectFault(err error) (text string, status int) {
	if e, ok := errors.AsType[*refusedError](err); ok {
		return e.text, int(e.code)
	}
	if d, ok := errors.AsType[*net.DNSError](err); ok && (d.IsNotFound || d.IsTemporary) {
		return "Unable to connect (Lookup error).", exitFailed
	}
	if isTLS(err) {
		return tlsFault(cause(err)), exitFailed
	}
	return "Error: " + systemText(err), exitFailed
}

// isTLS reports whether the fault is one of TLS.
func isTLS(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	return strings.Contains(err.Error(), "tls: ")
}

// cause is the error without what package client says around it.
func cause(err error) error {
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*client.Error](err); ok && e.Err != nil {
		return e.Err
	}
	return err
}

// systemText is the system's words for an error, as C programs print them.
func systemText(err error) string {
	text := cause(err).Error()
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		text = e.Error()
	}
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// lostFault is the line and the exit status for an established connection that ended.
func lostFault(err error) (text string, status int) {
	if code, ok := disconnected(err); ok {
		return "Error: The broker disconnected: " + code.String() + ".", int(code)
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "Error: The connection was lost.", exitLost
	case errors.Is(err, client.ErrKeepAlive):
		return "Error: Keepalive exceeded", exitKeepAlive
	case errors.Is(err, client.ErrPacketTooLarge):
		return "Error: Message payload is too large for the broker.", exitTooLarge
	}
	if e, ok := errors.AsType[*client.ProtocolError](err); ok {
		status := exitProtocol
		if e.Code == mqtt.MalformedPacket {
			status = exitMalformed
		}
		return "Error: " + systemText(e), status
	}
	return "Error: " + systemText(err), exitLost
}

// timedOut tells of the end of -W; greeted: the broker had accepted the connection.
func timedOut(e *Env, o *options, greeted bool) int {
	complain(e, o, "Timed out")
	if !greeted {
		return exitNoConnack
	}
	return exitTimeout
}
