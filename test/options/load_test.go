package options

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

var load = flag.Bool("load", false, "reload 200 times with 2,000 clients in place of 40 times with 200")

// reader is a subscriber that acknowledges what it is given and counts it.
type reader struct {
	c    net.Conn
	got  atomic.Int64
	fail atomic.Pointer[string]
}

func (s *reader) run() {
	var rest []byte
	buf := make([]byte, 32<<10)
	for {
		n, err := s.c.Read(buf)
		if err != nil {
			text := err.Error()
			if !errors.Is(err, net.ErrClosed) {
				s.fail.Store(&text)
			}
			return
		}
		rest = append(rest, buf[:n]...)
		for {
			raw, left, err := rawmqtt.Split(rest)
			if err != nil {
				break
			}
			p, err := rawmqtt.Decode(4, raw, true)
			rest = left
			if err != nil || p.Type != rawmqtt.PUBLISH {
				text := fmt.Sprintf("%v %v", p, err)
				s.fail.Store(&text)
				return
			}
			s.got.Add(1)
			if _, err := s.c.Write((&rawmqtt.Packet{Type: rawmqtt.PUBACK, ID: p.ID}).Encode(4)); err != nil {
				return
			}
		}
	}
}

// TestReloadUnderLoad reloads again and again while messages flow: nobody is
// disconnected, nothing is lost, and a right that is taken or given counts from
// the reload on.
func TestReloadUnderLoad(t *testing.T) {
	clients, reloads := 200, 40
	if *load {
		clients, reloads = 2000, 200
	}
	const conf = head + "acl_file DIR/a\nlog_type error\nmax_queued_messages 0\n"
	const closedACL, openACL = "topic readwrite open/#\ntopic write secret/#\n", "topic readwrite open/#\ntopic readwrite secret/#\n"
	r := prepare(t)
	r.file("a", closedACL)
	r.run(conf)
	subscribers := make([]*reader, clients)
	var wg sync.WaitGroup
	for i := range subscribers {
		c := r.open(4, fmt.Sprintf("s%d", i))
		c.subscribe("#", 1)
		if err := c.c.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		s := &reader{c: c.c}
		subscribers[i] = s
		wg.Go(s.run)
	}
	defer wg.Wait()
	defer func() {
		for _, s := range subscribers {
			s.c.Close()
		}
	}()

	// One publisher goes on during the reloads.
	p := r.open(4, "p")
	stop, stopped := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { stopped <- n }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			n++
			if err := exchange(p, "open/t", uint16(n%60000+1)); err != nil {
				t.Errorf("publish: %v", err)
				return
			}
		}
	}()
	q, readable := r.open(4, "q"), 0
	for i := range reloads {
		open := i%2 == 0
		if r.file("a", closedACL); open {
			r.file("a", openACL)
			readable++
		}
		next := config.Reloaded(r.cfg, r.read(conf+fmt.Sprintf("max_keepalive %d\n", 100+i)))
		if err := r.b.Reload(next); err != nil {
			t.Fatal(err)
		}
		r.cfg = next
		q.publish("secret/t", strings.Repeat("x", 100), 1)
	}
	close(stop)
	sent := <-stopped
	want := int64(sent + readable)
	for i, s := range subscribers {
		r.await(fmt.Sprintf("client %d: %d messages", i, want), func() bool { return s.got.Load() >= want || s.fail.Load() != nil })
		if why := s.fail.Load(); why != nil {
			t.Fatalf("client %d after %d messages: %s", i, s.got.Load(), *why)
		}
	}
	q.nothing() // what is too much would have come before
	for i, s := range subscribers {
		if n := s.got.Load(); n != want {
			t.Errorf("client %d got %d messages, want %d", i, n, want)
		}
	}
	t.Logf("%d clients, %d reloads, %d messages to each", clients, reloads, want)
}

// exchange publishes at QoS 1 and reads the acknowledgement.
func exchange(c *client, topic string, id uint16) error {
	p := &rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: 2, ID: id, Topic: topic, Payload: []byte("x")}
	if _, err := c.c.Write(p.Encode(4)); err != nil {
		return err
	}
	if err := c.c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	buf := make([]byte, 4)
	n, err := c.c.Read(buf)
	if err != nil {
		return err
	}
	if n != 4 || buf[0] != 0x40 {
		return fmt.Errorf("answer % X", buf[:n])
	}
	return nil
}
