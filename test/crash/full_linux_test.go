package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// TestFullDisk: on a full disk nothing is acknowledged that is not kept. MQTT 5
// publishers are told 0x97 or wait, others wait and are disconnected; QoS 0 goes
// on; when there is room again the broker goes on without a restart, and what was
// acknowledged survives SIGKILL.
func TestFullDisk(t *testing.T) {
	w, data := smallDisk(t, "96m")
	if w == nil {
		return
	}
	away := newSubscriber(w, "away", rawmqtt.V5, 1)
	away.limited = true
	away.run()
	<-away.suback
	away.stop(true)

	acked, kept := 0, 0 // the last number, and how many
	p := w.mustDial("pub5", rawmqtt.V5)
	publish := func(n int) byte {
		pad := make([]byte, 20<<10)
		for i := range pad {
			pad[i] = byte('a' + rand.IntN(26))
		}
		must(t, p.send(&rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: 2, ID: 1, Topic: "p/x", Payload: []byte(fmt.Sprintf("%d %s", n, pad))}))
		k := w.next(p, rawmqtt.PUBACK)
		if k.code == 0 {
			acked = n
			kept++
		}
		return k.code
	}
	for n := 1; n <= 50; n++ {
		if code := publish(n); code != 0 {
			t.Fatalf("message %d: code 0x%02X before the disk is full", n, code)
		}
	}
	ballast := filepath.Join(data, "ballast")
	fill(t, ballast)
	began := time.Now()
	code := byte(0)
	n := acked
	for code == 0 && time.Since(began) < 30*time.Second {
		n++
		code = publishOrWait(t, w, p, n, &acked, &kept)
	}
	if code != 0x97 {
		t.Fatalf("no 0x97 on a full disk: code 0x%02X", code)
	}

	// QoS 0 goes on.
	live := w.mustDial("live", rawmqtt.V311)
	must(t, live.send(&rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, Flags: 2, ID: 1, Filters: []rawmqtt.Filter{{Filter: "zero"}}}))
	w.next(live, rawmqtt.SUBACK)
	must(t, live.send(&rawmqtt.Packet{Type: rawmqtt.PUBLISH, Topic: "zero", Payload: []byte("x")}))
	w.next(live, rawmqtt.PUBLISH)

	// An MQTT 3 publisher is not acknowledged, waits, and is closed.
	old := w.mustDial("pub3", rawmqtt.V311)
	must(t, old.send(&rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: 2, ID: 9, Topic: "p/y", Payload: []byte("1")}))
	_ = old.c.SetReadDeadline(time.Now().Add(25 * time.Second))
	if k, err := old.read(); err == nil {
		t.Fatalf("an MQTT 3 publisher got packet type %d on a full disk", k.kind)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	w.wait("the broker to go on", func() bool { n++; return publishOrWait(t, w, p, n, &acked, &kept) == 0 })
	for range 20 {
		n++
		if code := publish(n); code != 0 {
			t.Fatalf("message %d: code 0x%02X when there is room again", n, code)
		}
	}
	w.kill()
	w.launch()
	away.run()
	w.wait(fmt.Sprintf("message %d at the session that was away", acked), func() bool { return away.behind("p/x", acked) == 0 })
	away.m.Lock()
	if got := away.count["p/x"]; got < kept || got > kept+1 { // one was on its way when the disk filled up
		t.Errorf("%d messages came, %d were acknowledged", got, kept)
	}
	away.m.Unlock()
	away.stop(true)
	w.terminate()
	w.check()
}

// smallDisk launches a broker whose store is on a small file system; nil: that
// cannot be had here.
func smallDisk(t *testing.T, size string) (w *world, data string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Log("not run: a small file system can be mounted by root only")
		return nil, ""
	}
	w = newWorld(t, "max_queued_messages 0\nmax_inflight_messages 0\n")
	data = filepath.Join(w.dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size="+size); err != nil {
		t.Logf("not run: mount: %v", err)
		return nil, ""
	}
	t.Cleanup(func() {
		if w.cmd != nil {
			w.kill()
		}
		if err := syscall.Unmount(data, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	w.launch()
	return w, data
}

// TestFullOfQueue: a disk that is full of what waits for one session has room
// again when the session has got it, though next to nothing is written any more.
func TestFullOfQueue(t *testing.T) {
	w, _ := smallDisk(t, "200m")
	if w == nil {
		return
	}
	away := newSubscriber(w, "away", rawmqtt.V5, 1)
	away.limited = true
	away.run()
	<-away.suback
	away.stop(true)
	p := w.mustDial("pub5", rawmqtt.V5)
	pad := make([]byte, 64<<10) // tables are compressed
	for i := range pad {
		pad[i] = byte(rand.IntN(256))
	}
	n, kept := 0, 0
	publish := func() byte {
		n++
		must(t, p.send(&rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: 2, ID: 1, Topic: "p/x", Payload: []byte(fmt.Sprintf("%d %s", n, pad))}))
		k := w.next(p, rawmqtt.PUBACK)
		if k.code == 0 {
			kept++
		}
		return k.code
	}
	for code := byte(0); code == 0; {
		if code = publish(); n > 5000 {
			t.Fatal("200 MB hold 5,000 messages of 64 KiB")
		}
	}
	if kept < 500 {
		t.Errorf("full after %d messages of 64 KiB", kept)
	}
	away.run()
	w.wait("all that waited", func() bool { away.m.Lock(); defer away.m.Unlock(); return away.count["p/x"] >= kept })
	w.wait("room on the disk", func() bool { return publish() == 0 })
	away.stop(true)
	w.terminate()
	w.check()
}

// publishOrWait publishes on a connection that the broker may have closed
// meanwhile.
func publishOrWait(t *testing.T, w *world, p *link, n int, acked, kept *int) byte {
	t.Helper()
	for {
		err := p.send(&rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: 2, ID: 1, Topic: "p/x", Payload: []byte(fmt.Sprint(n))})
		if err == nil {
			_ = p.c.SetReadDeadline(time.Now().Add(30 * time.Second))
			var k *packet
			if k, err = p.read(); err == nil && k.kind == rawmqtt.PUBACK {
				if k.code == 0 {
					*acked = n
					*kept++
				}
				return k.code
			}
		}
		*p = *w.mustDial("pub5", rawmqtt.V5)
	}
}

// fill writes a file until there is no room left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}
