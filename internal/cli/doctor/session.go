package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/internal/cli/reach"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// explainConnect finds out why CONNECT was not accepted.
func (r *report) explainConnect(ctx context.Context, e *reach.StepError) {
	o := &r.o.conn
	if code, ok := client.ReasonOf(e.Err); ok {
		r.explainRefusal(ctx, code, e.Err)
		return
	}
	text := e.Err.Error()
	switch {
	case clientCertificate(text):
		r.explainClientCertificate(text)
	case !o.TLS && o.Unix == "" && r.try(ctx, func(o *reach.Options) { o.TLS, o.Insecure = true, true }) || !o.TLS && o.Unix == "" && r.speaksTLS(ctx):
		r.bad("plain-to-tls-port", "connect with TLS: --tls, with --cafile if its authority is your own", "%s speaks TLS, this client does not", e.Address)
	case !o.WS && o.Unix == "" && r.try(ctx, func(o *reach.Options) { o.WS = true }):
		r.bad("mqtt-to-websocket-port", "connect with WebSocket (--ws), or use the port of a listener with 'protocol mqtt'", "%s speaks MQTT over WebSocket only", e.Address)
	case o.TLS && o.CertFile == "" && r.asksForCertificate(ctx):
		// The alert that says so can be lost when the connection is closed behind it.
		r.explainClientCertificate(describeError(e.Err))
	case errors.Is(e.Err, client.ErrNoConnack):
		r.bad("no-connack", "check whether this is the port of an MQTT broker", "%s accepts connections but does not answer CONNECT within %v", e.Address, o.Timeout)
	case errors.Is(e.Err, io.EOF), errors.Is(e.Err, io.ErrUnexpectedEOF), errors.Is(e.Err, syscall.ECONNRESET):
		r.bad("closed-without-answer", "check whether this is the port of an MQTT broker; if so its log says more (max_connections reached, protocol version or client identifier not allowed)",
			"%s closed the connection without an answer to CONNECT", e.Address)
	default:
		r.bad("no-mqtt", "check whether this is the port of an MQTT broker", "%s does not answer as an MQTT broker: %s", e.Address, describeError(e.Err))
	}
}

// speaksTLS reports whether a TLS handshake succeeds, whatever comes behind.
func (r *report) speaksTLS(ctx context.Context) bool {
	o := r.o.conn
	o.TLS, o.Insecure, o.WS, o.Timeout = true, true, false, min(o.Timeout, 3*time.Second)
	nc, _, err := o.Stream(ctx)
	if err != nil {
		return clientCertificate(err.Error())
	}
	nc.Close()
	return true
}

// explainRefusal words the broker's answer to CONNECT.
func (r *report) explainRefusal(ctx context.Context, code mqtt.ReasonCode, err error) {
	o := &r.o.conn
	words := ""
	if e, ok := errors.AsType[*client.Error](err); ok && e.Properties != nil && e.Properties.ReasonString != "" {
		words = " (" + e.Properties.ReasonString + ")"
	}
	switch code {
	case mqtt.NotAuthorized, mqtt.BadUserNameOrPassword:
		switch {
		case o.User == "" && o.Password == nil:
			r.bad("anonymous-refused", "give user name and password (-u, -P), or set 'allow_anonymous true' at the broker if everybody may connect", "the broker refuses clients without user name: %v%s", code, words)
		case o.Password == nil:
			r.bad("password-missing", "give the password (-P)", "the broker refuses %q without a password: %v%s", o.User, code, words)
		default:
			r.bad("wrong-password", "the broker does not tell which of the two is wrong; 'midge passwd FILE "+shell(o.User)+"' sets a new password, and the broker must then read the file again (SIGHUP)",
				"the broker refuses user name %q with this password: %v%s", o.User, code, words)
		}
	case mqtt.UnsupportedProtocolVersion:
		var works []string
		for _, v := range []mqtt.Version{mqtt.V5, mqtt.V311, mqtt.V31} {
			if v != o.Version && r.try(ctx, func(o *reach.Options) { o.Version = v }) {
				works = append(works, v.String())
			}
		}
		r.bad("version-refused", "use a version it takes: "+orNone(works), "the broker does not speak MQTT %v on this port%s", o.Version, words)
	case mqtt.ClientIDNotValid:
		r.bad("client-id-refused", "use another client identifier (-i); a broker may demand a prefix (clientid_prefixes) or refuse an empty one", "the broker refuses the client identifier %q%s", o.ClientID, words)
	case mqtt.ServerUnavailable, mqtt.ServerBusy:
		r.bad("broker-unavailable", "try later; the broker's log says more", "the broker says that it is not available: %v%s", code, words)
	case mqtt.Banned:
		r.bad("banned", "ask who runs the broker", "the broker has banned this client%s", words)
	case mqtt.UseAnotherServer, mqtt.ServerMoved:
		r.bad("moved", "connect to the server it names", "the broker sends clients elsewhere: %v%s", code, words)
	default:
		r.bad("refused", "", "the broker refuses the connection: %v%s", code, words)
	}
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none of 5.0, 3.1.1, 3.1 as it seems"
	}
	return strings.Join(list, ", ")
}

// shell quotes a word for a command line.
func shell(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// connected reports what the CONNACK said beyond yes.
func (r *report) connected(b *broker) {
	i := b.conn.Info()
	who := "without user name"
	if r.o.conn.User != "" {
		who = "as " + r.o.conn.User
	}
	r.ok("connect", "the broker accepts the connection %s, MQTT %v", who, i.Version)
	p := i.Properties
	if p == nil {
		return
	}
	var limits []string
	if p.MaximumQoS != nil {
		limits = append(limits, fmt.Sprintf("no QoS above %d", *p.MaximumQoS))
	}
	if p.RetainAvailable != nil && !*p.RetainAvailable {
		limits = append(limits, "no retained messages")
	}
	if p.WildcardAvailable != nil && !*p.WildcardAvailable {
		limits = append(limits, "no wildcards")
	}
	if p.SharedAvailable != nil && !*p.SharedAvailable {
		limits = append(limits, "no shared subscriptions")
	}
	if p.MaximumPacketSize != 0 {
		limits = append(limits, fmt.Sprintf("packets up to %d bytes", p.MaximumPacketSize))
	}
	if p.ServerKeepAlive != nil {
		limits = append(limits, fmt.Sprintf("keep alive %d s", *p.ServerKeepAlive))
	}
	if len(limits) > 0 {
		r.ok("limits", "the broker says: %s", strings.Join(limits, ", "))
	}
}

// topics checks the rights on the topic: to subscribe, to publish, to get what was published.
func (r *report) topics(b *broker) {
	topic, own := r.o.topic, false
	if topic == "" {
		topic, own = "midge/doctor/"+reach.RandomID(), true
	}
	publish := !r.o.noPublish && mqtt.CheckTopicName(topic) == nil
	t := &trial{b: b, topic: topic, timeout: min(r.o.conn.Timeout, 2*time.Second), text: []byte("midge doctor " + reach.RandomID())}
	t.run(publish)
	who := "this client"
	if r.o.conn.User != "" {
		who = r.o.conn.User
	}
	if own && (t.subscribe.IsError() || t.publish.IsError() || t.err != nil) {
		r.warn("topic-unknown", "give a topic you use with -t", "no rights on the topic %s, which was made up: that says nothing about yours", topic)
		return
	}
	switch {
	case t.err != nil && !t.answered:
		r.bad("closed-on-subscribe", "the broker's log says more", "the broker ended the connection when asked for %s: %s", topic, describeError(t.err))
		return
	case t.subscribe.IsError():
		r.bad("acl-subscribe", "let "+who+" read it: in acl_file 'topic read "+topic+"' below 'user "+who+"'", "%s may not subscribe to %s: %v", who, topic, t.subscribe)
	default:
		r.ok("subscribe", "%s may subscribe to %s", who, topic)
	}
	if !publish {
		return
	}
	silent := b.conn.Info().Version != mqtt.V5
	switch {
	case t.err != nil:
		r.bad("closed-on-publish", "the broker's log says more", "the broker ended the connection at a message to %s: %s", topic, describeError(t.err))
	case t.publish.IsError():
		r.bad("acl-publish", "let "+who+" write it: in acl_file 'topic write "+topic+"' below 'user "+who+"'", "%s may not publish to %s: %v", who, topic, t.publish)
	case t.back:
		r.ok("publish", "%s may publish to %s, and the message comes back", who, topic)
	case t.subscribe.IsError():
		r.ok("publish", "the broker takes messages of %s to %s", who, topic)
	case silent:
		r.bad("acl-silent", "check 'topic readwrite "+topic+"' for "+who+" in acl_file; with -V 5 the broker says which of the two it is",
			"a message of %s to %s does not come back: the right to write or to read it is missing, and MQTT %v brokers do not say which", who, topic, b.conn.Info().Version)
	default:
		r.bad("acl-read", "let "+who+" read it: in acl_file 'topic read "+topic+"' below 'user "+who+"'",
			"%s may publish to %s, but the message does not come back: the right to read is missing, although the broker granted the subscription", who, topic)
	}
}

// trial subscribes to a topic and publishes one message to it.
type trial struct {
	b       *broker
	topic   string
	text    []byte
	timeout time.Duration

	answered           bool // the SUBACK came
	subscribe, publish mqtt.ReasonCode
	back               bool
	err                error // the connection ended
}

func (t *trial) run(publish bool) {
	s := &packet.Subscribe{PacketID: 1}
	s.AddFilter(t.topic, packet.MakeSubOptions(mqtt.AtMostOnce, false, false, 0))
	if t.err = t.b.conn.WritePacket(s); t.err != nil {
		return
	}
	t.read(func() bool { return t.answered })
	if t.err != nil || !publish {
		return
	}
	acked := false
	t.err = t.b.conn.WritePacket(&packet.Publish{QoS: mqtt.AtLeastOnce, PacketID: 2, Topic: []byte(t.topic), Payload: t.text})
	t.readAck(&acked)
}

// read takes packets until done; the end of the time is no error.
func (t *trial) read(done func() bool) {
	t.b.tap.SetReadDeadline(time.Now().Add(t.timeout))
	for !done() && t.err == nil {
		t.take(nil)
	}
}

// readAck waits for the acknowledgement and, where the subscription was granted, for the message.
func (t *trial) readAck(acked *bool) {
	t.b.tap.SetReadDeadline(time.Now().Add(t.timeout))
	for t.err == nil && (!*acked || !t.back && !t.subscribe.IsError() && !t.publish.IsError()) {
		t.take(acked)
	}
	if *acked && errors.Is(t.err, os.ErrDeadlineExceeded) {
		t.err = nil // the message did not come back; that is what was to be found out
	}
}

func (t *trial) take(acked *bool) {
	p, err := t.b.conn.ReadPacket()
	if err != nil {
		t.err = err
		return
	}
	switch p := p.(type) {
	case *packet.Suback:
		t.answered = true
		if len(p.Codes) > 0 && p.Codes[0] >= 0x80 {
			t.subscribe = mqtt.ReasonCode(p.Codes[0])
		}
	case *packet.Publish:
		t.back = t.back || bytes.Equal(p.Payload, t.text)
	case *packet.Ack:
		if acked != nil && p.Type == packet.PUBACK {
			*acked, t.publish = true, p.Code
		}
	}
}
