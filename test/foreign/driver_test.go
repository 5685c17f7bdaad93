//go:build foreign

package foreign

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"
)

// properties are the MQTT 5 properties of a message that the drivers know.
type properties struct {
	ContentType   string      `json:"contentType,omitempty"`
	ResponseTopic string      `json:"responseTopic,omitempty"`
	Correlation   string      `json:"correlation,omitempty"` // hexadecimal
	User          [][2]string `json:"user,omitempty"`
	Format        int         `json:"format,omitempty"`
	Expiry        int         `json:"expiry,omitempty"`
	SubIDs        []int       `json:"subIDs,omitempty"`
}

type will struct {
	Topic   string `json:"topic"`
	Payload string `json:"payload"`
	QoS     int    `json:"qos"`
	Retain  bool   `json:"retain"`
}

// request is a line to a driver. op is connect (answered by connected), subscribe (subscribed), publish and burst
// (published, when all is acknowledged) or disconnect (disconnected). A burst publishes the numbers 0 to n-1 in order
// with at most window of them unacknowledged.
type request struct {
	Op string `json:"op"`
	C  string `json:"c"` // name of the client within the process

	Host      string `json:"host,omitempty"`
	Port      int    `json:"port,omitempty"`
	WS        bool   `json:"ws,omitempty"`
	ID        string `json:"id,omitempty"`
	Version   int    `json:"version,omitempty"` // protocol level
	Clean     bool   `json:"clean,omitempty"`
	KeepAlive int    `json:"keepalive,omitempty"`
	Expiry    int    `json:"expiry,omitempty"` // of the session, seconds
	Will      *will  `json:"will,omitempty"`
	Reconnect bool   `json:"reconnect,omitempty"` // by the library itself, keeping its session

	Topic   string      `json:"topic,omitempty"`
	QoS     int         `json:"qos"`
	SubID   int         `json:"subID,omitempty"`
	Payload string      `json:"payload,omitempty"`
	Size    int         `json:"size,omitempty"` // of a generated payload, see pattern
	Retain  bool        `json:"retain,omitempty"`
	Props   *properties `json:"props,omitempty"`
	N       int         `json:"n,omitempty"`
	Window  int         `json:"window,omitempty"`
}

// event is a line from a driver; besides the answers above: message, lost (the connection ended unasked) and failed.
type event struct {
	Ev    string `json:"ev"`
	C     string `json:"c"`
	SP    bool   `json:"sp"`   // connected: Session Present
	Code  int    `json:"code"` // connected, lost: the server's reason
	Codes []int  `json:"codes"`
	Op    string `json:"op"`
	Text  string `json:"text"`
	N     int    `json:"n"`

	Topic   string      `json:"topic"`
	QoS     int         `json:"qos"`
	Retain  bool        `json:"retain"`
	Dup     bool        `json:"dup"`
	ID      int         `json:"id"` // packet id, where the library tells it
	Size    int         `json:"size"`
	Payload string      `json:"payload"` // up to 1000 bytes
	SHA256  string      `json:"sha256"`  // of a larger payload
	Props   *properties `json:"props"`
}

// library is one foreign client.
type library struct {
	name     string
	command  func() []string
	versions []int
	ws       bool
	// redelivers says that the library hands a QoS 2 message to the application when the PUBLISH arrives and, if the
	// connection is cut before its PUBREC is through, once more with the repetition. A message that is flagged as a
	// duplicate and has the packet id and the payload of one seen before is then the library's repetition, not the
	// broker's.
	redelivers bool
	// resendsPublish says that the library repeats a QoS 2 PUBLISH after a reconnection although it has sent the PUBREL
	// before: the broker must take it for a new message. Its publisher is not cut.
	resendsPublish bool
	// hidesReason says that the library does not tell the reason of a short DISCONNECT: Paho Python 1.6 reads it only
	// from packets of three bytes and more.
	hidesReason bool
	// window is how many unacknowledged messages keep their order across a reconnection.
	window int
}

var libraries = []library{
	{
		name: "paho-python", versions: []int{3, 4, 5}, window: 20, hidesReason: true,
		command: func() []string { return []string{"/usr/bin/python3", "py/driver.py"} },
	},
	{
		name: "paho-go-v3", versions: []int{3, 4}, window: 1, redelivers: true, resendsPublish: true,
		command: func() []string { return []string{gopahoPath, "v3"} },
	},
	{
		name: "paho-go-v5", versions: []int{5}, window: 20, redelivers: true,
		command: func() []string { return []string{gopahoPath, "v5"} },
	},
	{
		name: "mqttjs", versions: []int{3, 4, 5}, window: 20,
		command: func() []string { return []string{"node", "js/driver.js"} },
	},
	{
		name: "mqttjs-ws", versions: []int{3, 4, 5}, window: 20, ws: true,
		command: func() []string { return []string{"node", "js/driver.js"} },
	},
}

// driver is a driver process. Its methods fail the test when an expectation is not met in time.
type driver struct {
	t     *testing.T // the running test, see use
	lib   library
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{}

	mu     sync.Mutex
	cond   *sync.Cond
	events map[string][]event // by client and kind
	failed *event
	over   bool
}

func startDriver(t *testing.T, lib library) *driver {
	t.Helper()
	args := lib.command()
	d := &driver{t: t, lib: lib, cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{}), events: map[string][]event{}}
	d.cond = sync.NewCond(&d.mu)
	d.cmd.Stderr = os.Stderr
	var err error
	if d.stdin, err = d.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go d.read(stdout)
	t.Cleanup(d.kill)
	return d
}

// use makes a test the one that fails when an expectation is not met.
func (d *driver) use(t *testing.T) *driver {
	d.t = t
	return d
}

func (d *driver) read(stdout io.Reader) {
	defer close(d.ended)
	in := bufio.NewScanner(stdout)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var e event
		err := json.Unmarshal(in.Bytes(), &e)
		d.mu.Lock()
		if err != nil {
			e = event{Ev: "failed", Text: fmt.Sprintf("driver wrote %q: %v", in.Bytes(), err)}
		}
		if e.Ev == "failed" && d.failed == nil {
			d.failed = &e
		}
		key := e.C + " " + e.Ev
		d.events[key] = append(d.events[key], e)
		d.cond.Broadcast()
		d.mu.Unlock()
	}
	d.mu.Lock()
	d.over = true
	d.cond.Broadcast()
	d.mu.Unlock()
}

// kill ends the process without a chance to say goodbye to the broker.
func (d *driver) kill() {
	d.cmd.Process.Kill()
	<-d.ended
	d.cmd.Wait() // killed: the status says nothing
}

func (d *driver) send(r request) {
	d.t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := d.stdin.Write(append(b, '\n')); err != nil {
		d.t.Fatalf("%s: %v", d.lib.name, err)
	}
}

// wait runs ready under the lock until it is true.
func (d *driver) wait(what string, ready func() bool) {
	d.t.Helper()
	expired := false
	timer := time.AfterFunc(patience, func() {
		d.mu.Lock()
		expired = true
		d.cond.Broadcast()
		d.mu.Unlock()
	})
	defer timer.Stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	for !ready() {
		switch {
		case d.failed != nil:
			d.t.Fatalf("%s: waiting for %s: client %s, %s: %s", d.lib.name, what, d.failed.C, d.failed.Op, d.failed.Text)
		case d.over:
			d.t.Fatalf("%s: waiting for %s: the driver ended", d.lib.name, what)
		case expired:
			d.t.Fatalf("%s: no %s within %v", d.lib.name, what, patience)
		}
		d.cond.Wait()
	}
}

// client is one client of a driver.
type client struct {
	d    *driver
	name string
	base request // as connected
}

// next returns the oldest event of a kind that has not been returned yet.
func (c *client) next(kind string) event {
	c.d.t.Helper()
	key := c.name + " " + kind
	var e event
	c.d.wait(kind+" of client "+c.name, func() bool {
		q := c.d.events[key]
		if len(q) == 0 {
			return false
		}
		e, c.d.events[key] = q[0], q[1:]
		return true
	})
	return e
}

// connect makes a connection which the broker must accept.
func (d *driver) connect(b *broker, name string, r request) (*client, event) {
	d.t.Helper()
	if r.Port == 0 {
		r.Port = b.tcp
		if d.lib.ws {
			r.Port = b.ws
		}
	}
	r.Op, r.C, r.Host, r.WS = "connect", name, "127.0.0.1", d.lib.ws
	if r.KeepAlive == 0 {
		r.KeepAlive = 60
	}
	if r.ID == "" {
		r.ID = name
	}
	d.send(r)
	c := &client{d: d, name: name, base: r}
	e := c.next("connected")
	if e.Code != 0 {
		d.t.Fatalf("%s: client %s was refused with %d", d.lib.name, name, e.Code)
	}
	return c, e
}

func (c *client) subscribe(filter string, qos, id int) {
	c.d.t.Helper()
	c.d.send(request{Op: "subscribe", C: c.name, Topic: filter, QoS: qos, SubID: id})
	if e := c.next("subscribed"); !slices.Equal(e.Codes, []int{qos}) {
		c.d.t.Fatalf("%s: SUBACK for %s with QoS %d: %v", c.d.lib.name, filter, qos, e.Codes)
	}
}

// publish waits for the acknowledgement.
func (c *client) publish(r request) {
	c.d.t.Helper()
	r.Op, r.C = "publish", c.name
	c.d.send(r)
	c.next("published")
}

func (c *client) disconnect() {
	c.d.t.Helper()
	c.d.send(request{Op: "disconnect", C: c.name})
	c.next("disconnected")
}

// message expects the next message to have this topic, payload and QoS.
func (c *client) message(topic, payload string, qos int) event {
	c.d.t.Helper()
	e := c.next("message")
	if e.Topic != topic || e.Payload != payload || e.QoS != qos {
		c.d.t.Fatalf("%s: got message %q %q QoS %d, want %q %q QoS %d",
			c.d.lib.name, e.Topic, e.Payload, e.QoS, topic, payload, qos)
	}
	return e
}
