package clientlib

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/client/outbox"
	"github.com/midgemq/midge/mqtt"
)

const (
	childEnv   = "MIDGE_CLIENTLIB_CHILD"
	killRounds = 200
)

// child is the process that is killed: it publishes numbered messages of QoS 1 and 2 through a disk outbox and says on its output
// which ones it promised ("S", saved) and which were acknowledged ("A"). With the number -1 it only empties the outbox.
func child() {
	args := strings.Split(os.Getenv(childEnv), "|")
	addr, path := args[0], args[1]
	next, _ := strconv.Atoi(args[2])
	store, err := outbox.Open(path, outbox.Options{Sync: outbox.SyncNever, CompactAt: 4096})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	o := client.Options{
		Servers: []string{addr}, Version: mqtt.V5, ClientID: "killed", SessionExpiry: time.Hour, Store: store,
		Backoff: client.Backoff{Min: time.Millisecond, Max: 10 * time.Millisecond},
	}
	c, err := client.New(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	c.Start()
	ctx := context.Background()
	if next < 0 {
		if err := c.Flush(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		c.Close()
		return
	}
	for ; ; next++ {
		q := mqtt.QoS(1 + next%2)
		p, err := c.PublishAsync(ctx, mqtt.Message{Topic: "kill", Payload: fmt.Appendf(nil, "%d", next), QoS: q})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		n := next
		go func() {
			if p.Wait(ctx) == nil {
				fmt.Printf("A %d\n", n)
			}
		}()
		if p.Saved(ctx) == nil {
			fmt.Printf("S %d\n", next)
		}
	}
}

func runChild(addr, path string, next int) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%d", childEnv, addr, path, next))
	cmd.Stderr = os.Stderr
	return cmd
}

// The client's process is killed 200 times at random moments. What it had promised or had acknowledged arrives, QoS 2 once and only
// once.
//
// covers: 5:U5-4.1-2 5:4.3.3-5
func TestKillTheClient(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *broker) {
		sub := connect(t, options(b.addr, mqtt.V5, "sub"))
		r := collect(t, sub, "kill", 2)
		path := filepath.Join(t.TempDir(), "outbox")
		promised := map[int]bool{}
		next, killed := 0, 0
		for range killRounds / 2 { // for each of the two brokers
			cmd := runChild(b.addr, path, next)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			stopAt := 1 + rand.IntN(40)
			for seen := 0; lines.Scan(); seen++ {
				var what string
				var n int
				if _, err := fmt.Sscanf(lines.Text(), "%s %d", &what, &n); err != nil {
					continue // cut short by the kill
				}
				promised[n] = true
				next = max(next, n+1)
				if seen == stopAt {
					cmd.Process.Kill()
				}
			}
			if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() == -1 {
				killed++
			}
			next += 1000 // beyond whatever was accepted and not said
		}
		if err := runChild(b.addr, path, -1).Run(); err != nil {
			t.Fatalf("empty the outbox: %v", err)
		}
		for n := range promised {
			r.waitFor(t, fmt.Sprint(n))
		}
		pub := connect(t, options(b.addr, mqtt.V5, "last"))
		if err := pub.Publish(within(t), mqtt.Message{Topic: "kill", Payload: []byte("last"), QoS: 2}); err != nil {
			t.Fatal(err)
		}
		r.waitFor(t, "last")
		r.mu.Lock()
		defer r.mu.Unlock()
		for p, times := range r.count {
			if n, err := strconv.Atoi(p); err == nil && n%2 == 1 && times != 1 {
				t.Errorf("message %d of QoS 2 came %d times", n, times)
			}
		}
		if killed != killRounds/2 || len(promised) < killRounds {
			t.Errorf("%d processes killed, %d messages promised", killed, len(promised))
		}
		t.Logf("%d messages promised, %d received", len(promised), len(r.count))
	})
}

// Two brokers; the one in use is killed under load. What its handles reported as delivered before the kill had been acknowledged by
// a broker; every other message arrives at the second one, and the client is there within its back-off.
func TestFailOver(t *testing.T) {
	for _, name := range []string{"midge", "mosquitto"} {
		t.Run(name, func(t *testing.T) { failOver(t, name) })
	}
}

func failOver(t *testing.T, name string) {
	const flushed, killed, all = 1000, 1500, 2000
	one, two := start(t, name, ""), start(t, name, "")
	r1 := collect(t, connect(t, options(one.addr, mqtt.V5, "sub1")), "f", 1)
	r2 := collect(t, connect(t, options(two.addr, mqtt.V5, "sub2")), "f", 1)
	o := options(one.addr, mqtt.V5, "pub")
	o.Servers = append(o.Servers, two.addr)
	o.Backoff = client.Backoff{Min: 500 * time.Millisecond, Max: 500 * time.Millisecond}
	type change struct {
		server string
		at     time.Time
	}
	changes := make(chan change, 8)
	o.OnConnect = func(i client.ConnectInfo) { changes <- change{i.Server, time.Now()} }
	o.OnDisconnect = func(error) { changes <- change{"", time.Now()} }
	c := connect(t, o)
	<-changes
	var handles []*client.Publication
	publish := func(n int) {
		t.Helper()
		for len(handles) < n {
			p, err := c.PublishAsync(within(t), mqtt.Message{Topic: "f", Payload: fmt.Append(nil, len(handles)), QoS: 1})
			if err != nil {
				t.Fatal(err)
			}
			handles = append(handles, p)
		}
	}
	// What the broker has acknowledged it must have handed on before it dies, or the loss is the broker's.
	publish(flushed)
	if err := c.Flush(within(t)); err != nil {
		t.Fatal(err)
	}
	r1.waitFor(t, fmt.Sprint(flushed-1))
	publish(killed)
	one.kill()
	publish(all)
	lost := <-changes
	acknowledged := make([]bool, all)
	for i, h := range handles {
		select {
		case <-h.Done():
			acknowledged[i] = h.Err() == nil
		default:
		}
	}
	back := <-changes
	if lost.server != "" || back.server != two.addr {
		t.Errorf("from %q to %q, want to %q", lost.server, back.server, two.addr)
	}
	const slack = 1500 * time.Millisecond // of a busy machine, for two dials and a handshake
	if d := back.at.Sub(lost.at); d > o.Backoff.Max+slack {
		t.Errorf("back after %v, the back-off is at most %v", d, o.Backoff.Max)
	}
	for i, h := range handles {
		if err := h.Wait(within(t)); err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	again := 0
	for i := range handles {
		p := fmt.Sprint(i)
		switch {
		case i < flushed && r1.times(p) == 0:
			t.Errorf("message %d was delivered before the kill and is lost", i)
		case !acknowledged[i]:
			again++
			r2.waitFor(t, p)
		}
	}
	if again == 0 {
		t.Error("nothing was under way when the broker died")
	}
	t.Logf("%d messages went to the second broker", again)
}

// The broker is killed and started again under load, with nothing kept. The subscriber subscribes again by itself, every handle
// ends (QoS 1 delivered, QoS 2 delivered or unknown), and no QoS 2 message comes twice.
//
// covers: E193
func TestKillTheBroker(t *testing.T) {
	for _, name := range []string{"midge", "mosquitto"} {
		t.Run(name, func(t *testing.T) {
			addr := freeAddr(t)
			b := start(t, name, addr)
			lasting := func(id string) client.Options {
				o := options(addr, mqtt.V5, id)
				o.SessionExpiry = time.Hour
				return o
			}
			r := collect(t, connect(t, lasting("sub")), "k", 2)
			c := connect(t, lasting("pub"))
			var handles []*client.Publication
			publish := func() {
				t.Helper()
				n := len(handles)
				p, err := c.PublishAsync(within(t), mqtt.Message{Topic: "k", Payload: fmt.Append(nil, n), QoS: mqtt.QoS(1 + n%2)})
				if err != nil {
					t.Fatal(err)
				}
				handles = append(handles, p)
			}
			for range 10 {
				for range 50 + rand.IntN(200) {
					publish()
				}
				b.kill()
				for range 50 {
					publish() // queued
				}
				b = start(t, name, addr)
			}
			unknown := 0
			for i, h := range handles {
				if err := h.Wait(within(t)); err != nil {
					if unknown++; client.OutcomeOf(err) != client.Unknown || i%2 == 0 {
						t.Errorf("message %d: %v", i, err)
					}
				}
			}
			deadline := time.Now().Add(20 * time.Second)
			for r.times("last") == 0 { // until the subscriber is back
				if time.Now().After(deadline) {
					t.Fatal("the subscriber gets nothing any more")
				}
				if err := c.Publish(within(t), mqtt.Message{Topic: "k", Payload: []byte("last"), QoS: 1}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond)
			}
			for i := 1; i < len(handles); i += 2 {
				if n := r.times(fmt.Sprint(i)); n > 1 {
					t.Errorf("message %d of QoS 2 came %d times", i, n)
				}
			}
			t.Logf("%d messages, %d with an unknown end", len(handles), unknown)
		})
	}
}
