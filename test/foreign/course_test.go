//go:build foreign

package foreign

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// courseRules are those of the exercise: samii may publish on status, aliceii may subscribe to it. Each may also leave a
// will, which the other one may read.
const courseRules = `user samii
topic write status
topic write will/samii
topic read will/aliceii
user aliceii
topic read status
topic write will/aliceii
topic read will/samii
`

// course starts a broker with password and ACL file.
func course(t *testing.T) *broker {
	t.Helper()
	dir := t.TempDir()
	passwd, acl := filepath.Join(dir, "passwd"), filepath.Join(dir, "acl")
	for i, user := range []string{"samii", "aliceii"} {
		args := []string{"passwd", "-b", passwd, user, user + "-pw"}
		if i == 0 {
			args = append([]string{"passwd", "-c"}, args[1:]...)
		}
		tool := brokerPath
		if !isMidge {
			tool, args = "/usr/bin/mosquitto_passwd", args[1:]
		}
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			t.Fatalf("passwd: %v\n%s", err, out)
		}
	}
	if err := os.WriteFile(acl, []byte(courseRules), 0o600); err != nil {
		t.Fatal(err)
	}
	return startBroker(t, "allow_anonymous false", "password_file "+passwd, "acl_file "+acl)
}

// as gives the flags of a user.
func as(user string, args ...string) []string {
	return append([]string{"-u", user, "-P", user + "-pw"}, args...)
}

// The exercise with each QoS: the two users can do what they may, everybody else is refused.
func TestCourse(t *testing.T) {
	b := course(t)
	for _, v := range []string{"311", "5"} {
		t.Run(versionOf(v), func(t *testing.T) {
			m := &mosquittoClients{t: t, port: b.tcp, version: v}
			for qos := range 3 {
				q := strconv.Itoa(qos)
				sub := m.sub(as("aliceii", "-t", "status", "-q", q)...)
				m.pub(as("samii", "-t", "status", "-m", "up "+q, "-q", q)...)
				sub.expect(fmt.Sprintf("status %d 0 up %d", qos, qos))
				// What she publishes herself and what goes elsewhere reaches nobody.
				_, _ = m.run(nil, "mosquitto_pub", as("aliceii", "-t", "status", "-m", "forged", "-q", q)...)
				_, _ = m.run(nil, "mosquitto_pub", as("samii", "-t", "other", "-m", "x", "-q", q)...)
				m.pub(as("samii", "-t", "status", "-m", "end", "-q", q)...)
				sub.expect(fmt.Sprintf("status %d 0 end", qos))
			}
			for name, flags := range map[string][]string{
				"nobody": {}, "a stranger": as("mallory"), "a wrong password": {"-u", "samii", "-P", "x"}, "no password": {"-u", "samii"},
			} {
				for _, tool := range []string{"mosquitto_pub", "mosquitto_sub"} {
					args := append([]string{"-t", "status"}, flags...)
					if tool == "mosquitto_pub" {
						args = append(args, "-m", "x")
					}
					_, err := m.run(nil, tool, args...)
					if err == nil || !strings.Contains(strings.ToLower(err.Error()), "not authori") {
						t.Errorf("%s with %s: %v", tool, name, err)
					}
				}
			}
		})
	}
}

// wire forwards to the broker until it is cut the way a network is: nothing arrives any more, and nobody is told.
type wire struct {
	port int
	dead chan struct{}
}

func newWire(t *testing.T, target int) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{port: ln.Addr().(*net.TCPAddr).Port, dead: make(chan struct{})}
	var mu sync.Mutex
	var ends []net.Conn
	forward := func(to, from net.Conn) {
		buf := make([]byte, 4096)
		for {
			n, err := from.Read(buf)
			select {
			case <-w.dead:
				if err != nil {
					return
				}
				continue // read, so that the sender notices nothing, and lost
			default:
			}
			if err != nil {
				to.Close()
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", target))
			if err != nil {
				c.Close()
				continue
			}
			mu.Lock()
			ends = append(ends, c, s)
			mu.Unlock()
			go forward(s, c)
			go forward(c, s)
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range ends {
			c.Close()
		}
	})
	return w
}

// With wills on both ends: when the network of one is cut, the other is told after one and a half keep alives.
func TestCourseNetworkCut(t *testing.T) {
	b := course(t)
	for _, keepAlive := range []int{5, 25} {
		for _, who := range [][2]string{{"samii", "aliceii"}, {"aliceii", "samii"}} {
			cut, other := who[0], who[1]
			t.Run(fmt.Sprintf("%s/%ds", cut, keepAlive), func(t *testing.T) {
				t.Parallel()
				w := newWire(t, b.tcp)
				payload := fmt.Sprintf("%s is gone (%d)", cut, keepAlive)
				watch := (&mosquittoClients{t: t, port: b.tcp, version: "311"}).sub(as(other, "-q", "1", "-t", "will/"+cut)...)
				far := &mosquittoClients{t: t, port: w.port, version: "311"}
				far.sub(as(cut, "-q", "1", "-t", "will/"+other, "-k", strconv.Itoa(keepAlive),
					"--will-topic", "will/"+cut, "--will-payload", payload, "--will-qos", "1")...)
				start := time.Now()
				close(w.dead)
				for got := ""; got != "will/"+cut+" 1 0 "+payload; {
					got = watch.message() // the will of the other keep alive may come, too
				}
				took, due := time.Since(start), time.Duration(keepAlive)*1500*time.Millisecond
				if took < due-time.Duration(keepAlive)*time.Second || took > due+10*time.Second {
					t.Errorf("the will came after %v, one and a half keep alives are %v", took, due)
				}
			})
		}
	}
}

// When the broker ends, both wills are published before the connections are closed.
func TestCourseBrokerCloses(t *testing.T) {
	b := course(t)
	m := &mosquittoClients{t: t, port: b.tcp, version: "311"}
	subs := make(map[string]*subscriber)
	for _, who := range [][2]string{{"samii", "aliceii"}, {"aliceii", "samii"}} {
		subs[who[0]] = m.sub(as(who[0], "-q", "1", "-t", "will/"+who[1], "-k", "25",
			"--will-topic", "will/"+who[0], "--will-payload", "gone", "--will-qos", "1")...)
	}
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	subs["samii"].expect("will/aliceii 1 0 gone")
	subs["aliceii"].expect("will/samii 1 0 gone")
}
