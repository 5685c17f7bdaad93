//go:build !fuzz

package pubsub

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// printedAs prints one message with a format at a fixed time.
func printedAs(t *testing.T, format string, m *packet.Publish) (out, errOut string) {
	t.Helper()
	pieces, err := parseFormat(format)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	e := &Env{Stdout: &stdout, Stderr: &stderr, Now: func() time.Time { return time.Date(2026, 1, 4, 15, 4, 5, 6, time.UTC) }}
	if err := newPrinter(e, &options{format: pieces, noNewline: true}).print(m); err != nil {
		t.Fatal(err)
	}
	return stdout.String(), stderr.String()
}

// TestFormatsOf21 has the conversions that Debian's tools do not know, so that no script can compare them.
func TestFormatsOf21(t *testing.T) {
	for _, tc := range []struct{ format, payload, want, err string }{
		{"%.2x", "hello", "68 65 6c 6c 6f", ""},
		{"%.4:X", "hello", "6865:6C6C:6F", ""},
		{"%.1-x", "hi", "6-8-6-9", ""},
		{"%-.2.x|", "hi", "68.69|", ""},
		{"%20.1_x", "hi", "                 6_8", ""}, // the width lets half of the bytes through
		{"%f", "\x00\x00\x80?", "1.000000", ""},
		{"%10.2f|%-10.2f|%010.2f", "\x00\x00\x80?", "      1.00|1.00      |0000001.00", ""},
		{"%.1d", "\x00\x00\x00\x00\x00\x00\xf0?", "1.0", ""},
		{"%d", "abc", "", "Error: Message payload on topic t is 3 bytes long, %d needs 8.\n"},
		{"@U @W @V @G @j @u @w @e @k @l @g @C", "", "01 00 01 2026 004 7 0  4 15  3 26 20", ""},
		{"%I %U @N", "", "2026-01-04T15:04:05+0000 1767539045.000000006 000000006", ""},
	} {
		out, errOut := printedAs(t, tc.format, &packet.Publish{Topic: []byte("t"), Payload: []byte(tc.payload)})
		if out != tc.want || errOut != tc.err {
			t.Errorf("%s: printed %q, %q; want %q, %q", tc.format, out, errOut, tc.want, tc.err)
		}
	}
	for _, bad := range []string{"%", "%5", "%y", "%:p", "@", `\`, `\q`, "%20000p", "%.99999999999999999999t"} {
		if _, err := parseFormat(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// TestEveryFlagIsSet: each flag of a table sets something, or is refused.
func TestEveryFlagIsSet(t *testing.T) {
	for _, tool := range []int{inPub, inSub, inRR} {
		names := make(map[string]bool)
		for _, f := range table(tool).Flags {
			if (setter(tool, f.Key()) == nil) != (f.Refused != "") {
				t.Errorf("%s %s: neither set nor refused", table(tool).Name, f.Key())
			}
			if f.Arg != "" && f.Needs == "" {
				t.Errorf("%s %s: no message for the missing argument", table(tool).Name, f.Key())
			}
			for _, n := range f.All(true) {
				if names[n] {
					t.Errorf("%s %s stands twice", table(tool).Name, n)
				}
				names[n] = true
			}
		}
	}
}

// sentBy runs a tool against a peer and returns the first packet after CONNECT, and CONNECT.
func sentBy(t *testing.T, f func(*Env, []string) int, args ...string) (*packet.Connect, packet.Packet) {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	r := run(f, "", append([]string{"-h", "127.0.0.1", "-p", port}, args...)...)
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	first, err := readPacket(in, mqtt.V5)
	if err != nil {
		t.Fatalf("%v; %s", err, r.err.String())
	}
	connect := first.(*packet.Connect)
	_, _ = c.Write([]byte{0x20, 10, 0, 0, 7, 0x22, 0, 9, 0x15, 0, 1, 'M'})
	p, err := readPacket(in, mqtt.V5)
	if err != nil {
		t.Fatal(err)
	}
	return connect, p
}

func TestPropertiesOnTheWire(t *testing.T) {
	args := `-t t -q 1 -m x -x 7 --will-topic w -D will will-delay-interval 5 -D will user-property a b
		-D connect receive-maximum 9 -D connect maximum-packet-size 1000 -D connect topic-alias-maximum 3 -D connect user-property c d
		-D connect request-problem-information 1 -D connect authentication-method M -D connect authentication-data D
		-D PUBLISH Content-Type text -D publish topic-alias 4 -D publish correlation-data x`
	connect, p := sentBy(t, Pub, strings.Fields(args)...)
	got := connect.Props.Parse()
	if got.ReceiveMaximum != 9 || got.MaximumPacketSize != 1000 || got.TopicAliasMaximum != 3 || *got.SessionExpiry != 7 || !*got.RequestProblemInfo ||
		got.AuthMethod != "M" || string(got.AuthData) != "D" || len(got.User) != 1 || got.User[0] != (mqtt.UserProperty{Key: "c", Value: "d"}) {
		t.Errorf("CONNECT has %+v", got)
	}
	if w := connect.WillProps.Parse(); w.WillDelay != 5 || len(w.User) != 1 {
		t.Errorf("will has %+v", w)
	}
	pb, ok := p.(*packet.Publish)
	if !ok {
		t.Fatalf("sent %v", p.Kind())
	}
	if props := pb.Props.Parse(); props.ContentType != "text" || props.TopicAlias != 4 || string(props.CorrelationData) != "x" || string(pb.Topic) != "t" {
		t.Errorf("PUBLISH %s has %+v", pb.Topic, props)
	}
}

// TestLinesGoOnOverANewConnection: with -l a lost connection is made again, and what was not acknowledged is sent again.
func TestLinesGoOnOverANewConnection(t *testing.T) {
	n := 0
	var got []string
	port := peer(t, []byte{0x20, 2, 0, 0}, func(c net.Conn, in *bufio.Reader) {
		n++
		for {
			p, err := readPacket(in, mqtt.V311)
			pb, ok := p.(*packet.Publish)
			if err != nil || !ok || n == 1 {
				return // the first one is lost without an acknowledgement
			}
			got = append(got, string(pb.Payload)+" "+strconv.FormatBool(pb.Dup))
			_, _ = c.Write(packet.AppendAck(nil, packet.PUBACK, mqtt.V311, pb.PacketID, 0))
		}
	})
	r := run(Pub, "one\ntwo\n", "-h", "127.0.0.1", "-p", port, "-q", "1", "-t", "a", "-l")
	if status := r.wait(t); status != 0 || strings.Join(got, ",") != "one false,two false" {
		t.Errorf("status %d, received %q, said %q", status, got, r.err.String())
	}
}

// full takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// TestWhatIsNotPrintedIsNotAcknowledged: an output that takes nothing ends sub with 1, without a PUBACK.
func TestWhatIsNotPrintedIsNotAcknowledged(t *testing.T) {
	seen := make(chan packet.Type, 10)
	port := peer(t, []byte{0x20, 2, 0, 0}, func(c net.Conn, in *bufio.Reader) {
		defer close(seen)
		_, _ = c.Write([]byte{0x32, 6, 0, 1, 'a', 0, 1, 'x'})
		for {
			p, err := readPacket(in, mqtt.V311)
			if err != nil {
				return
			}
			seen <- p.Kind()
		}
	})
	var errOut bytes.Buffer
	e := &Env{Program: "mosquitto_x", Stdin: strings.NewReader(""), Stdout: full{}, Stderr: &errOut, Version: "7", Compatible: "2.1.2"}
	if status := Sub(e, []string{"-h", "127.0.0.1", "-p", port, "-t", "a", "-q", "1"}); status != 1 {
		t.Errorf("status %d, %q", status, errOut.String())
	}
	var kinds []packet.Type
	for k := range seen {
		kinds = append(kinds, k)
	}
	if len(kinds) != 2 || kinds[0] != packet.SUBSCRIBE || kinds[1] != packet.DISCONNECT {
		t.Errorf("sent %v", kinds)
	}
}
