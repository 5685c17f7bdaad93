// Package hostile sends the broker what no honest client would, over TCP, and
// holds it to the same four promises each time: the connection ends with the
// stated reason code or a close, the log says who and why, everybody else is
// served meanwhile, and memory stays bounded.
package hostile

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/testkit"
)

// memoryLimit is how much heap one attack may leave behind, in bytes.
const memoryLimit = 64 << 20

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type rig struct {
	b    *broker.Broker
	addr string
	log  *lockedBuffer
}

func start(t *testing.T) *rig {
	t.Helper()
	testkit.VerifyNoLeaks(t)
	r := &rig{log: new(lockedBuffer)}
	log, err := logging.New(logging.Options{
		Types: logging.Error | logging.Warning | logging.Notice | logging.Information, Dest: logging.ToStderr, Stderr: r.log,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.SysInterval = 0
	c.Listeners = []*config.Listener{{
		Address: "127.0.0.1", Protocol: config.MQTT, Versions: config.AllVersions, AllowAnonymous: true, MaxTopicAlias: 10, MaxTopicAliasBroker: 10,
	}}
	if r.b, err = broker.New(broker.Options{Config: c, Logger: log, Version: "test"}); err != nil {
		t.Fatal(err)
	}
	if err := r.b.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	r.addr = r.b.Addresses()[0]
	return r
}

func (r *rig) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// write sends what it can: the broker may have closed already, which is the
// point of most cases.
func write(c net.Conn, b []byte) { _, _ = c.Write(b) }

func str(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

func varint(n int) (b []byte) {
	for {
		d := byte(n & 0x7f)
		if n >>= 7; n == 0 {
			return append(b, d)
		}
		b = append(b, d|0x80)
	}
}

func pkt(first byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	return append(append([]byte{first}, varint(len(body))...), body...)
}

func connect(level byte, id string) []byte {
	head := append(str("MQTT"), level, 2, 0, 0)
	if level == 3 {
		head = append(str("MQIsdp"), 3, 2, 0, 0)
	}
	if level == 5 {
		head = append(head, 0)
	}
	return pkt(0x10, head, str(id))
}

// admitted opens a connection that has its CONNACK.
func (r *rig) admitted(t *testing.T, level byte, id string) net.Conn {
	t.Helper()
	c := r.dial(t)
	write(c, connect(level, id))
	if first, body := packetOf(t, c); first != 0x20 || body[1] != 0 {
		t.Fatalf("CONNACK %x %x", first, body)
	}
	return c
}

func packetOf(t *testing.T, c net.Conn) (first byte, body []byte) {
	t.Helper()
	first, body, err := read(c)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return first, body
}

func read(c net.Conn) (first byte, body []byte, err error) {
	one := make([]byte, 1)
	if _, err = io.ReadFull(c, one); err != nil {
		return 0, nil, err
	}
	first = one[0]
	n, shift := 0, 0
	for {
		if _, err = io.ReadFull(c, one); err != nil {
			return 0, nil, err
		}
		n |= int(one[0]&0x7f) << shift
		if shift += 7; one[0] < 0x80 {
			break
		}
	}
	body = make([]byte, n)
	_, err = io.ReadFull(c, body)
	return first, body, err
}

// ending reads until the connection is over and returns the reason of DISCONNECT
// or CONNACK, -1 for none.
func ending(t *testing.T, c net.Conn) int {
	t.Helper()
	code := -1
	for {
		first, body, err := read(c)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("the connection stayed open")
			}
			if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("ended with %v", err)
			}
			return code
		}
		switch first {
		case 0xE0:
			code = 0
			if len(body) > 0 {
				code = int(body[0])
			}
		case 0x20:
			code = int(body[1])
		}
	}
}

// bystanders is a pair of honest clients; check sends one message and waits for
// it.
type bystanders struct {
	sub, pub net.Conn
	n        int
}

func (r *rig) bystanders(t *testing.T) *bystanders {
	t.Helper()
	b := &bystanders{sub: r.admitted(t, 4, "honest-sub"), pub: r.admitted(t, 5, "honest-pub")}
	write(b.sub, pkt(0x82, []byte{0, 1}, str("honest/#"), []byte{0}))
	packetOf(t, b.sub)
	return b
}

func (b *bystanders) check(t *testing.T) {
	t.Helper()
	b.n++
	want := fmt.Sprint("message ", b.n)
	_ = b.sub.SetDeadline(time.Now().Add(20 * time.Second))
	_ = b.pub.SetDeadline(time.Now().Add(20 * time.Second))
	write(b.pub, pkt(0x30, str("honest/x"), []byte{0}, []byte(want)))
	if _, body := packetOf(t, b.sub); !bytes.HasSuffix(body, []byte(want)) {
		t.Fatalf("bystander got %q", body)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

type attack struct {
	name  string
	level byte
	// before: sent in place of CONNECT; otherwise after CONNACK.
	before bool
	bytes  func() []byte
	codes  []int  // allowed reasons; -1: none
	log    string // must be in the log, besides who
}

func attacks() []attack {
	raw := func(b ...byte) func() []byte { return func() []byte { return b } }
	props := func(n int) []byte {
		var p []byte
		for range n {
			p = append(append(append(p, 0x26), str("k")...), str("v")...)
		}
		return append(varint(len(p)), p...)
	}
	return []attack{
		{"length of five bytes", 5, false, raw(0x30, 0x80, 0x80, 0x80, 0x80, 0x01), []int{0x81}, "malformed packet"},
		{"length of five bytes before CONNECT", 5, true, raw(0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F), []int{-1, 0x81}, ""},
		{"huge first packet", 4, true, raw(0x10, 0xFF, 0xFF, 0xFF, 0x7F), []int{-1}, "oversize packet"},
		{"huge PUBLISH", 5, false, raw(0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, 'a'), []int{0x95}, "oversize packet"},
		{"PUBLISH before CONNECT", 5, true, func() []byte { return pkt(0x30, str("t"), []byte{0}) }, []int{-1}, "First packet not CONNECT"},
		{"HTTP", 4, true, func() []byte { return []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n") }, []int{-1}, "First packet not CONNECT"},
		{"TLS hello", 4, true, raw(0x16, 3, 1, 0, 200, 1, 0, 0, 196), []int{-1}, "appears to be using TLS"},
		{"reserved type", 5, false, raw(0x00, 0x00), []int{0x81, 0x82}, "malformed packet"},
		{"server's packet", 5, false, raw(0x20, 3, 0, 0, 0), []int{0x81, 0x82}, "protocol error"},
		{"SUBACK from a client", 4, false, raw(0x90, 3, 0, 1, 0), []int{-1}, "protocol error"},
		{"CONNECT twice", 5, false, func() []byte { return connect(5, "again") }, []int{0x82}, "multiple CONNECT"},
		{"wrong flags", 5, false, raw(0x60, 2, 0, 1), []int{0x81}, "malformed packet"},
		{"QoS 3", 4, false, func() []byte { return pkt(0x36, str("t"), []byte{0, 1}) }, []int{-1}, "malformed packet"},
		{"truncated string", 5, false, raw(0x30, 4, 0, 200, 'a', 'b'), []int{0x81}, "malformed packet"},
		{"invalid UTF-8", 5, false, func() []byte { return pkt(0x30, str("a\xc3\x28"), []byte{0}) }, []int{0x81, 0x90}, "malformed packet"},
		{"surrogate in topic", 4, false, func() []byte { return pkt(0x30, str("a\xed\xa0\x80")) }, []int{-1}, "malformed packet"},
		{"NUL in client id", 5, true, func() []byte { return connect(5, "a\x00b") }, []int{-1, 0x81, 0x85}, "malformed packet"},
		{"wildcard in topic", 5, false, func() []byte { return pkt(0x30, str("a/#"), []byte{0}) }, []int{0x90, 0x81, 0x82}, "malformed packet"},
		{"ten thousand levels in topic", 5, false, func() []byte { return pkt(0x30, str(strings.Repeat("a/", 10_000)), []byte{0}) }, []int{0x90}, "malformed packet"},
		{"property bomb", 5, false, func() []byte {
			return pkt(0x30, str("t"), props(400_000))
		}, []int{0x95}, "oversize packet"},
		{"property bomb in DISCONNECT", 5, false, func() []byte { return pkt(0xE0, []byte{0}, props(5_000)) }, []int{0x95, 0x81, -1}, "oversize packet"},
		{"property length beyond the packet", 5, false, func() []byte { return pkt(0x30, str("t"), []byte{0xFF, 0x7F, 1, 0}) }, []int{0x81}, "malformed packet"},
		{"unknown property", 5, false, func() []byte { return pkt(0x30, str("t"), []byte{2, 0x7F, 0}) }, []int{0x81, 0x82}, ""},
		{"alias out of range", 5, false, func() []byte { return pkt(0x30, str("t"), []byte{3, 0x23, 0xFF, 0xFF}) }, []int{0x94}, "topic alias invalid"},
		{"packet id 0", 5, false, func() []byte { return pkt(0x82, []byte{0, 0, 0}, str("t"), []byte{0}) }, []int{0x81, 0x82}, "protocol error"},
		{"SUBSCRIBE without filters", 5, false, raw(0x82, 3, 0, 1, 0), []int{0x82}, "protocol error"},
		{"bytes behind PINGREQ", 4, false, raw(0xC0, 1, 0), []int{-1}, "malformed packet"},
		{"AUTH without method", 5, false, raw(0xF0, 0), []int{0x82}, "protocol error"},
		{"unknown protocol", 4, true, func() []byte { return pkt(0x10, str("MQTX"), []byte{4, 2, 0, 0}, str("x")) }, []int{-1, 1}, ""},
		{"will without payload", 4, true, func() []byte {
			return pkt(0x10, str("MQTT"), []byte{4, 0x06, 0, 0}, str("x"), str("will"))
		}, []int{-1}, "malformed packet"},
	}
}

// covers: E001 E003 E004
func TestMalformedStreams(t *testing.T) {
	r := start(t)
	by := r.bystanders(t)
	base := heap()
	for i, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			before := len(r.log.String())
			id := fmt.Sprintf("hostile-%d", i)
			var c net.Conn
			who := id
			if a.before {
				c = r.dial(t)
				who = c.LocalAddr().String()
			} else {
				c = r.admitted(t, a.level, id)
			}
			write(c, a.bytes())
			got := ending(t, c)
			ok := false
			for _, k := range a.codes {
				ok = ok || k == got
			}
			if !ok {
				t.Errorf("reason %#x, allowed %#x", got, a.codes)
			}
			by.check(t)
			testkit.WaitFor(t, 10*time.Second, "the log line", func() bool {
				for _, l := range strings.Split(r.log.String()[before:], "\n") {
					if strings.Contains(l, who) || strings.Contains(l, c.LocalAddr().String()) {
						if strings.Contains(r.log.String()[before:], a.log) && strings.Contains(l, "disconnected") {
							return true
						}
					}
				}
				return false
			})
		})
	}
	if grown := heap() - base; grown > memoryLimit {
		t.Errorf("heap grew by %d MB", grown>>20)
	}
}

// Random bytes, raw and behind a valid CONNECT, whole and bit by bit.
func TestRandomBytes(t *testing.T) {
	r := start(t)
	by := r.bystanders(t)
	base := heap()
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		c := r.dial(t)
		b := make([]byte, 1+rnd.IntN(4000))
		for k := range b {
			b[k] = byte(rnd.Uint32())
		}
		if i%2 == 0 {
			write(c, connect([]byte{3, 4, 5}[i%3], fmt.Sprint("random", i)))
		}
		write(c, b)
		_ = c.(*net.TCPConn).CloseWrite()
		ending(t, c)
		if i%20 == 0 {
			by.check(t)
		}
	}
	by.check(t)
	if grown := heap() - base; grown > memoryLimit {
		t.Errorf("heap grew by %d MB", grown>>20)
	}
}

// Every packet of a session cut short at every byte.
func TestTruncation(t *testing.T) {
	r := start(t)
	by := r.bystanders(t)
	whole := bytes.Join([][]byte{
		connect(5, "cut"), pkt(0x82, []byte{0, 1, 0}, str("cut/#"), []byte{2}),
		pkt(0x34, str("cut/x"), []byte{0, 9, 0}, []byte("payload")), pkt(0x62, []byte{0, 9}),
		{0xC0, 0},
		{0xE0, 0},
	}, nil)
	for n := 1; n < len(whole); n++ {
		c := r.dial(t)
		write(c, whole[:n])
		_ = c.(*net.TCPConn).CloseWrite()
		for {
			if _, _, err := read(c); err != nil {
				break
			}
		}
		_ = c.Close()
	}
	by.check(t)
}

// Connections that say nothing, or little by little, end at the connect timeout,
// and cost little until then. The broker's clock is moved; nothing waits.
// covers: 5:U5-3.1.4-1 E177
func TestSilentAndSlowSenders(t *testing.T) {
	r := start(t)
	by := r.bystanders(t)
	base := heap()
	var cs []net.Conn
	for i := range 300 {
		c := r.dial(t)
		if i%3 > 0 {
			write(c, connect(4, "slow")[:i%3*4])
		}
		cs = append(cs, c)
	}
	by.check(t) // by now all of them have been accepted
	if grown := heap() - base; grown > 16<<20 {
		t.Errorf("300 half-open connections take %d MB", grown>>20)
	}
	r.b.AdvanceForTest(20 * time.Second)
	for _, c := range cs {
		write(c, []byte{0}) // a byte now and then does not buy time
	}
	by.check(t)
	r.b.AdvanceForTest(11 * time.Second)
	for _, c := range cs {
		if code := ending(t, c); code > 0 && code != 0x81 {
			t.Fatalf("reason %#x", code)
		}
	}
	by.check(t)
	if !strings.Contains(r.log.String(), "exceeded timeout") {
		t.Error("the log does not say why")
	}
}

// A flood of subscriptions ends at the limit of one session, and the honest pair
// is served all the while.
func TestSubscriptionFlood(t *testing.T) {
	r := start(t)
	by := r.bystanders(t)
	c := r.admitted(t, 5, "flood")
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	const per, packets = 500, 220 // 110,000 filters, the limit is 100,000
	done := make(chan map[byte]int, 1)
	go func() {
		codes := map[byte]int{}
		for range packets {
			first, body, err := read(c)
			if err != nil || first != 0x90 {
				break
			}
			pl := int(body[2])
			for _, k := range body[3+pl:] {
				codes[k]++
			}
		}
		done <- codes
	}()
	for i := range packets {
		body := []byte{byte((i + 1) >> 8), byte(i + 1), 0}
		for k := range per {
			body = append(append(body, str(fmt.Sprintf("flood/%d/%d/+", i, k))...), 0)
		}
		write(c, pkt(0x82, body))
		if i%20 == 0 {
			by.check(t)
		}
	}
	codes := <-done
	if codes[0] != 100_000 || codes[0x97] != per*packets-100_000 {
		t.Errorf("SUBACK codes %v", codes)
	}
	by.check(t)
}

// A client that asks for answers and never reads them is not read from any more;
// memory stays bounded.
func TestUnreadAnswers(t *testing.T) {
	r := start(t)
	by := r.bystanders(t)
	base := heap()
	c := r.admitted(t, 4, "deaf")
	ping := bytes.Repeat([]byte{0xC0, 0}, 32<<10)
	_ = c.SetWriteDeadline(time.Now().Add(3 * time.Second))
	sent := 0
	for sent < 64<<20 {
		n, err := c.Write(ping)
		sent += n
		if err != nil {
			break
		}
	}
	if sent >= 64<<20 {
		t.Error("64 MB of requests were taken although no answer was read")
	}
	by.check(t)
	if grown := heap() - base; grown > memoryLimit {
		t.Errorf("heap grew by %d MB", grown>>20)
	}
}
