package script

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
	"github.com/midgemq/midge/internal/testkit/target"
)

// toy is a broker of a few lines, synchronous and wrong on demand: it routes
// QoS 0 and 1 by equal topic names, and faults names what it does wrong.
type toy struct {
	pipes  []*toyPipe
	faults []string
	now    time.Duration
	rules  []string
}

type toyPipe struct {
	b      *toy
	v      byte
	in     []byte
	out    []byte
	subs   map[string]byte
	closed bool
	gone   bool
}

func (b *toy) Name() string                  { return "sim" }
func (b *toy) Synchronous() bool             { return true }
func (b *toy) Advance(d time.Duration) error { b.now += d; return nil }
func (b *toy) Close() error                  { return nil }
func (b *toy) Control(w []string) error      { b.rules = append(b.rules, strings.Join(w, " ")); return nil }
func (b *toy) fault(s string) bool           { return slices.Contains(b.faults, s) }

func (b *toy) Open() (target.Pipe, error) {
	p := &toyPipe{b: b, subs: map[string]byte{}}
	b.pipes = append(b.pipes, p)
	return p, nil
}

func (p *toyPipe) Recv(time.Duration) ([]byte, error) {
	if len(p.out) > 0 {
		o := p.out
		p.out = nil
		return o, nil
	}
	if p.closed {
		return nil, io.EOF
	}
	return nil, target.ErrQuiet
}
func (p *toyPipe) CloseWrite() error { p.closed = true; return nil }
func (p *toyPipe) Close() error      { p.closed, p.gone = true, true; return nil }

func (p *toyPipe) Send(b []byte) error {
	p.in = append(p.in, b...)
	for {
		raw, rest, err := rawmqtt.Split(p.in)
		if err != nil {
			return nil
		}
		p.in = rest
		if p.v == 0 {
			p.v = 4
			if strings.Contains(string(raw[:14]), "MQTT\x05") {
				p.v = 5
			}
		}
		q, err := rawmqtt.Decode(p.v, raw, false)
		if err != nil {
			p.closed = true
			return nil
		}
		p.packet(q)
	}
}

func (p *toyPipe) send(q *rawmqtt.Packet) { p.out = append(p.out, q.Encode(p.v)...) }

func (p *toyPipe) packet(q *rawmqtt.Packet) {
	switch q.Type {
	case rawmqtt.CONNECT:
		p.send(&rawmqtt.Packet{Type: rawmqtt.CONNACK})
	case rawmqtt.PINGREQ:
		p.send(&rawmqtt.Packet{Type: rawmqtt.PINGRESP})
	case rawmqtt.DISCONNECT:
		p.closed = true
	case rawmqtt.SUBSCRIBE:
		s := &rawmqtt.Packet{Type: rawmqtt.SUBACK, ID: q.ID}
		for _, f := range q.Filters {
			p.subs[f.Filter] = f.Options & 3
			s.Codes = append(s.Codes, f.Options&3)
		}
		p.send(s)
	case rawmqtt.PUBLISH:
		if q.Topic == "bad" {
			if p.v == 5 {
				p.send(&rawmqtt.Packet{Type: rawmqtt.DISCONNECT, Reason: 0x82})
			}
			p.closed = true
			return
		}
		if q.QoS() == 1 {
			p.send(&rawmqtt.Packet{Type: rawmqtt.PUBACK, ID: q.ID})
		}
		for _, o := range p.b.pipes {
			qos, ok := o.subs[q.Topic]
			if !ok {
				continue
			}
			d := &rawmqtt.Packet{Type: rawmqtt.PUBLISH, Topic: q.Topic, Payload: q.Payload, ID: 1, Props: q.Props}
			d.Flags = min(qos, q.QoS()) << 1
			if p.b.fault("retain") {
				d.Flags |= 1
			}
			if p.b.fault("flags") {
				o.out = append(o.out, 0xD1, 0)
			}
			o.send(d)
			if p.b.fault("double") {
				o.send(d)
			}
		}
	}
}

func runToy(t *testing.T, v byte, text string, faults ...string) (*toy, error) {
	t.Helper()
	list, err := Parse("f.txt", "-- s --\nversions: 4 5\n"+text)
	if err != nil {
		t.Fatal(err)
	}
	b := &toy{faults: faults}
	err = list[0].Run(v, func(target.Config) (target.Target, error) { return b, nil }, Options{Wait: time.Second})
	return b, err
}

const subscribed = "client s connect id=s\ns subscribe t qos=1\nclient p connect id=p\n"

func TestRunPasses(t *testing.T) {
	tests := []struct{ name, text string }{
		{"implicit answers", subscribed + "p publish t \"x\" qos=1\ns <- PUBLISH t \"x\" qos=1 ack\n"},
		{"explicit answers", subscribed + "p publish t \"x\" qos=1 id=9\ns <- PUBLISH t \"x\" qos=1\np <- PUBACK id=9\n"},
		{"variables", subscribed + "p publish t \"x\" qos=1\ns <- PUBLISH $t $p qos=1 id=$m\nassert $t == t\nassert $m >= 1\ns puback id=$m\n"},
		{"loops", subscribed + "for a in x y { repeat 2 i { p publish t \"$a$i\" ; s <- PUBLISH t \"$a$i\" } }\n"},
		{"unordered", subscribed + "s subscribe u\np publish t \"1\" ; p publish u \"2\"\nunordered { s <- PUBLISH u \"2\" ; s <- PUBLISH t \"1\" }\n"},
		{"alternatives", subscribed + "p publish t \"1\"\ns <- PUBLISH u * | PUBLISH t \"1\"\n"},
		{"either client", subscribed + "p subscribe t\np publish t \"1\"\ns|p <- PUBLISH t \"1\"\ns|p <- PUBLISH t \"1\"\n"},
		{"optional", subscribed + "p publish bad \"\"\n[v5] p <- PUBACK? then DISCONNECT? reason=0x82 then CLOSE\n[v4] p <- PINGRESP? then CLOSE\n"},
		{"properties", "[v5] client s connect id=s\n[v5] s subscribe t\n[v5] s publish t \"\" user-property=a:1 user-property=a:2 content-type=x\n[v5] s <- PUBLISH t \"\" content-type=x user-property=a:1 user-property=a:2\n[v4] client s connect id=s\n"},
		{"batch", "client s connect id=s\ns batch { s subscribe t id=4 ; s publish t \"x\" ; s pingreq }\ns <- SUBACK id=4 codes=0\ns <- PUBLISH t \"x\"\ns <- PINGRESP\n"},
		{"chunks", "client s open\ns chunk 1\ns again id=s\ns <- CONNACK\ns subscribe t\n"},
		{"name again", "client s connect id=s\ns disconnect\nclient s connect id=s\ns drop\nclient s connect id=s\ns cut\n"},
		{"bytes", "client s open\ns raw 10 rl( str:\"MQTT\" 04 02 0000 str:\"a\" ) C0 00\n[v4] s <- BYTES 20 02 00 00\n[v4] s <- PINGRESP\n[v5] s cut\n"},
	}
	for _, tt := range tests {
		for _, v := range []byte{4, 5} {
			if _, err := runToy(t, v, tt.text); err != nil {
				t.Errorf("%s (version %d): %v", tt.name, v, err)
			}
		}
	}
}

func TestRunFails(t *testing.T) {
	tests := []struct {
		name, text, want string
		faults           []string
	}{
		{"missing", subscribed + "s <- PUBLISH t \"x\"\n", "nothing came", nil},
		{"other payload", subscribed + "p publish t \"x\"\ns <- PUBLISH t \"y\"\n", `payload "x" instead of "y"`, nil},
		{"other topic", subscribed + "p publish t \"x\"\ns <- PUBLISH u \"x\"\n", `topic "t" instead of "u"`, nil},
		{"qos default", subscribed + "p publish t \"x\" qos=1\ns <- PUBLISH t \"x\"\n", "qos 1", nil},
		{"retain default", subscribed + "p publish t \"x\"\ns <- PUBLISH t \"x\"\n", "retain 1", []string{"retain"}},
		{"leftover", subscribed + "p publish t \"x\"\ns <- PUBLISH t \"x\"\n", "epilogue: s: nothing was awaited", []string{"double"}},
		{"nothing", subscribed + "p publish t \"x\"\ns <- NOTHING\n", "nothing was awaited", nil},
		{"broken packet", subscribed + "p publish t \"x\"\ns <- PUBLISH t \"x\"\n", "broke the standard", []string{"flags"}},
		{"property unexpected", "client s connect v=5 id=s\ns subscribe t\ns publish t \"\" content-type=x\ns <- PUBLISH t \"\"\n", "is not expected", nil},
		{"property missing", "client s connect v=5 id=s\ns subscribe t\ns publish t \"\"\ns <- PUBLISH t \"\" content-type=x\n", "0 of content-type instead of 1", nil},
		{"property order", "client s connect v=5 id=s\ns subscribe t\ns publish t \"\" user-property=a:1 user-property=b:2\ns <- PUBLISH t \"\" user-property=b:2 user-property=a:1\n", "user-property", nil},
		{"close awaited", subscribed + "s <- CLOSE\n", "does not close", nil},
		{"packet before close", subscribed + "p publish bad \"\"\np <- CLOSE\n", "a close was awaited, DISCONNECT", nil},
		{"closed instead", subscribed + "p publish bad \"\"\np <- DISCONNECT reason=0x82\np <- PINGRESP\n", "the broker closed", nil},
		{"wrong reason", subscribed + "p publish bad \"\"\np <- ERROR 0x81\n", "reason 130", nil},
		{"still connected", "client s connect id=s\nclient s connect id=s\n", "still connected", nil},
		{"unset variable", subscribed + "p publish t \"$nothing\"\n", "variable $nothing is not set", nil},
		{"bound variable", subscribed + "p publish t \"x\"\ns <- PUBLISH t $a\np publish t \"y\"\ns <- PUBLISH t $a\n", `"y" instead of "x"`, nil},
		{"assert", subscribed + "assert 1 == 2\n", "does not hold", nil},
		{"unordered extra", subscribed + "p publish t \"1\"\nunordered { s <- PUBLISH t \"2\" ; s <- PUBLISH t \"3\" }\n", "expected one of", nil},
		{"codes", "client s connect id=s\ns subscribe t qos=1\ns subscribe t qos=1\ns <- SUBACK codes=0\n", "codes 01 instead of 0", nil},
		{"suback qos", "client s connect id=s\ns subscribe t qos=1 opts=0x03\n", "not one this sender may use", nil},
		{"no restart", subscribed + "restart\n", "cannot do this", nil},
	}
	for _, tt := range tests {
		_, err := runToy(t, 5, tt.text, tt.faults...)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want …%s…", tt.name, err, tt.want)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "f.txt:") {
			t.Errorf("%s: the error does not name file and line: %v", tt.name, err)
		}
	}
}

func TestRunControls(t *testing.T) {
	b, err := runToy(t, 4, "client s connect id=s\nadvance 90s\nbroker deny-read a/#\nbroker disconnect x 0x98\n")
	if err != nil {
		t.Fatal(err)
	}
	if b.now != 90*time.Second || !slices.Equal(b.rules, []string{"deny-read a/#", "disconnect x 0x98"}) {
		t.Fatalf("clock %v, rules %q", b.now, b.rules)
	}
}

func TestRunReportsAFailingBroker(t *testing.T) {
	list, err := Parse("f.txt", "-- s --\nclient s connect\n")
	if err != nil {
		t.Fatal(err)
	}
	no := errors.New("no broker today")
	err = list[0].Run(4, func(target.Config) (target.Target, error) { return nil, no }, Options{})
	if !errors.Is(err, no) {
		t.Fatalf("got %v", err)
	}
}
