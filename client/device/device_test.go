package device_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/client/device"
	"github.com/midgemq/midge/internal/testkit"
	"github.com/midgemq/midge/mqtt"
)

func TestStatus(t *testing.T) {
	for _, retain := range []bool{false, true} {
		t.Run(fmt.Sprintf("retain %t", retain), func(t *testing.T) {
			eachBroker(t, func(t *testing.T, e *env) { testStatus(t, e, retain) })
		})
	}
}

func testStatus(t *testing.T, e *env, retain bool) {
	status := e.watch("laser")
	var network cuttable
	o := device.Options{Client: e.options("laser"), RetainStatus: retain}
	o.Client.Dial = network.dial
	d := e.device(o)
	e.want(status, "laser", "online", false)
	if err := d.Client().Flush(e.ctx); err != nil { // "online" without its PUBACK would be sent again
		t.Fatal(err)
	}
	network.cut() // no DISCONNECT: the will
	e.want(status, "laser", "offline", false)
	e.want(status, "laser", "online", false)
	if retain {
		e.want(e.watch("laser"), "laser", "online", true)
	}
	if err := d.Close(e.ctx); err != nil {
		t.Fatal(err)
	}
	e.want(status, "laser", "offline", false)
	late := e.watch("#")
	if retain {
		e.want(late, "laser", "offline", true)
	}
	// Without retained messages this is the first to come.
	other := e.device(device.Options{Client: e.options("other")})
	e.want(late, "other", "online", false)
	if err := other.Close(e.ctx); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(e.ctx); err != nil {
		t.Fatalf("second Close: %v", err)
	}
}

func TestStatusWords(t *testing.T) {
	eachBroker(t, func(t *testing.T, e *env) {
		status := e.watch("lab/laser")
		d := e.device(device.Options{Client: e.options("lab/laser"), Online: "up", Offline: "gone"})
		e.want(status, "lab/laser", "up", false)
		if err := d.Close(e.ctx); err != nil {
			t.Fatal(err)
		}
		e.want(status, "lab/laser", "gone", false)
	})
}

// TestCloseAtOnce closes while the status of the connection may be on its way: "online" must never be the last word.
func TestCloseAtOnce(t *testing.T) {
	eachBroker(t, func(t *testing.T, e *env) {
		for i := range 20 {
			id := fmt.Sprintf("d%d", i)
			d := e.device(device.Options{Client: e.options(id), RetainStatus: true})
			if err := d.Close(e.ctx); err != nil {
				t.Fatal(err)
			}
			e.want(e.watch(id), id, "offline", true)
		}
	})
}

// TestCloseInHaste has a context that is over before the acknowledgement can come.
func TestCloseInHaste(t *testing.T) {
	eachBroker(t, func(t *testing.T, e *env) {
		status := e.watch("laser")
		d := e.device(device.Options{Client: e.options("laser")})
		e.want(status, "laser", "online", false)
		over, cancel := context.WithCancel(e.ctx)
		cancel()
		// A broker that is quick may have acknowledged already; then all is well.
		err := d.Close(over)
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("Close with an ended context: %v", err)
		}
		if err == nil || e.v == mqtt.V5 {
			e.want(status, "laser", "offline", false)
		}
	})
}

func TestPublish(t *testing.T) {
	type reading struct {
		Volts float64 `json:"volts"`
		Raw   []byte  `json:"raw"`
	}
	four := 4
	cases := []struct {
		name  string
		value any
		how   device.How
		want  []string // topic below the prefix, a blank, payload
	}{
		{"number", 4.25, device.How{}, []string{"v 4.25"}},
		{"pointer", &four, device.How{QoS: 1}, []string{"v 4"}},
		{"nothing", nil, device.How{QoS: 2}, []string{"v null"}},
		{"text", "a<b & \"c\"", device.How{}, []string{`v "a<b & \"c\""`}},
		{"struct", reading{1.5, []byte{1, 2}}, device.How{}, []string{`v {"volts":1.5,"raw":"AQI="}`}},
		{"slice", []float64{1, 2.5}, device.How{}, []string{"v [1,2.5]"}},
		{"array", [2]bool{true}, device.How{}, []string{"v [true,false]"}},
		{"bytes", []byte{0, 255}, device.How{}, []string{"v [0,255]"}},
		{"no slice", []string(nil), device.How{}, []string{"v []"}},
		{"matrix", [][]byte{{1}, nil}, device.How{}, []string{"v [[1],[]]"}},
		{"address", net.IPv4(10, 0, 0, 1), device.How{Expand: true}, []string{`v "10.0.0.1"`}},
		{"mixed", []any{1, "x", nil, []int{2}}, device.How{}, []string{`v [1,"x",null,[2]]`}},
		{"expanded", []int{7, 8}, device.How{QoS: 1, Expand: true}, []string{"v [7,8]", "v/0 7", "v/1 8"}},
		{"expanded matrix", &[2][]uint8{{1, 2}, {3}}, device.How{Expand: true}, []string{"v [[1,2],[3]]", "v/0 [1,2]", "v/1 [3]"}},
		{"expanded scalar", 3, device.How{Expand: true}, []string{"v 3"}},
		{"expanded nothing", []int{}, device.How{Expand: true}, []string{"v []"}},
	}
	eachBroker(t, func(t *testing.T, e *env) {
		all := e.watch("laser/+/#")
		d := e.device(device.Options{Client: e.options("laser"), How: device.How{QoS: 1}})
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				if err := d.PublishAs(e.ctx, "v", c.value, c.how); err != nil {
					t.Fatal(err)
				}
				e.wantSet(all, c.want)
				if err := d.Publish(e.ctx, "end", true); err != nil {
					t.Fatal(err)
				}
				e.want(all, "laser/end", "true", false)
			})
		}
	})
}

// TestRetainedElements publishes a shorter array: the elements that are gone must not stay behind.
func TestRetainedElements(t *testing.T) {
	eachBroker(t, func(t *testing.T, e *env) {
		d := e.device(device.Options{Client: e.options("laser"), How: device.How{QoS: 1, Retain: true, Expand: true}})
		for _, v := range [][]int{{1, 2, 3}, {4}} {
			if err := d.Publish(e.ctx, "v", v); err != nil {
				t.Fatal(err)
			}
		}
		got := map[string]string{}
		all := e.watch("laser/v/#")
		for range 2 {
			select {
			case m := <-all:
				got[m.Topic] = string(m.Payload)
			case <-e.ctx.Done():
				t.Fatalf("retained: %v", got)
			}
		}
		if got["laser/v"] != "[4]" || got["laser/v/0"] != "4" {
			t.Fatalf("retained: %v", got)
		}
		if err := d.PublishAs(e.ctx, "v/end", 1, device.How{}); err != nil {
			t.Fatal(err)
		}
		e.want(all, "laser/v/end", "1", false) // and no laser/v/1 before it
	})
}

func TestPublishRefuses(t *testing.T) {
	eachBroker(t, func(t *testing.T, e *env) {
		all := e.watch("laser/+/#")
		d := e.device(device.Options{Client: e.options("laser"), How: device.How{QoS: 1, Expand: true}})
		loop := make([]any, 1)
		loop[0] = loop
		for _, c := range []struct {
			name  string
			value any
			text  string
		}{
			{"", 1, "name is empty"},
			{"a/+", 1, "wildcard"},
			{"v", math.NaN(), "NaN"},
			{"v", []float64{1, math.Inf(1)}, "Inf"},
			{"v", []any{1, make(chan int)}, "chan int"},
			{"v", loop, "nested deeper"},
		} {
			err := d.Publish(e.ctx, c.name, c.value)
			if err == nil || !strings.Contains(err.Error(), c.text) || client.OutcomeOf(err) != client.NotSent {
				t.Errorf("Publish(%q, %T): %v, want one with %q, not sent", c.name, c.value, err, c.text)
			}
		}
		if err := d.Publish(e.ctx, "end", 1); err != nil {
			t.Fatal(err)
		}
		e.want(all, "laser/end", "1", false) // nothing was sent before it
	})
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		o    device.Options
		text string
	}{
		{device.Options{}, "is empty"},
		{device.Options{Client: client.Options{ClientID: "a+"}}, "wildcard"},
		{device.Options{Client: client.Options{ClientID: "a/"}}, "slash"},
		{device.Options{Client: client.Options{ClientID: "$a"}}, `"$"`},
		{device.Options{Client: client.Options{ClientID: "a"}}, "Servers"},
		{device.Options{Client: client.Options{ClientID: "a", Will: &client.Will{}}}, "Will"},
		{device.Options{Client: client.Options{ClientID: "a"}, How: device.How{QoS: 3}}, "QoS 3"},
	} {
		if _, err := device.New(c.o); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("New: %v, want an error with %q", err, c.text)
		}
	}
}

// recorder is a Receiver that notes its calls and makes sure that they do not overlap.
type recorder struct {
	t     *testing.T
	calls chan string
	inner sync.Mutex
}

func newRecorder(t *testing.T) *recorder { return &recorder{t: t, calls: make(chan string, 100)} }

func (r *recorder) note(s string) {
	if !r.inner.TryLock() {
		r.t.Error("two calls to one receiver at a time")
		return
	}
	defer r.inner.Unlock()
	r.calls <- s
}

func (r *recorder) Connected(i client.ConnectInfo) { r.note("connected as " + i.ClientID) }
func (r *recorder) Disconnected(error)             { r.note("disconnected") }
func (r *recorder) Received(m *device.Message) {
	var n int
	if err := m.Decode(&n); err != nil {
		r.note(err.Error())
		return
	}
	r.note(fmt.Sprintf("%s=%d", m.Name, n))
}

func (r *recorder) want(e *env, calls ...string) {
	e.t.Helper()
	for _, w := range calls {
		select {
		case got := <-r.calls:
			if got != w {
				e.t.Fatalf("receiver got %q, want %q", got, w)
			}
		case <-e.ctx.Done():
			e.t.Fatalf("receiver got nothing, want %q", w)
		}
	}
}

func TestReceivers(t *testing.T) {
	eachBroker(t, func(t *testing.T, e *env) {
		var network cuttable
		o := device.Options{Client: e.options("laser")}
		o.Client.Dial = network.dial
		o.Client.SessionExpiry = time.Minute // the server keeps what comes between two connections
		d := e.device(o)
		power, shutter, spare := newRecorder(t), newRecorder(t), newRecorder(t)
		for _, s := range []struct {
			r       *recorder
			filters []string
		}{{power, []string{"set/power"}}, {shutter, []string{"shutter/+"}}, {shutter, []string{"shutter/+"}}, {spare, nil}} {
			if err := d.Subscribe(e.ctx, s.r, mqtt.ExactlyOnce, s.filters...); err != nil {
				t.Fatal(err)
			}
		}
		boss := e.device(device.Options{Client: e.options("boss")}).Client()
		tell := func(topic, payload string) {
			t.Helper()
			if err := boss.Publish(e.ctx, mqtt.Message{Topic: topic, Payload: []byte(payload), QoS: mqtt.ExactlyOnce}); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range []*recorder{power, shutter, spare} {
			r.want(e, "connected as laser")
		}
		tell("laser/shutter/mode", "1")
		shutter.want(e, "shutter/mode=1")
		tell("laser/shutter/mode", "[]")
		shutter.want(e, `decode message on "laser/shutter/mode": json: cannot unmarshal array into Go value of type int`)

		network.cut()
		for _, r := range []*recorder{power, shutter, spare} {
			r.want(e, "disconnected", "connected as laser")
		}
		tell("laser/shutter/mode", "2")
		shutter.want(e, "shutter/mode=2")

		d.Unsubscribe(shutter, "shutter/+", "never/had")
		tell("laser/set/power", "3")
		power.want(e, "set/power=3")
		d.Detach(power)
		if err := d.Close(e.ctx); err != nil {
			t.Fatal(err)
		}
		shutter.want(e, "disconnected")
		spare.want(e, "disconnected")
		if len(power.calls) > 0 {
			t.Fatalf("a detached receiver was told %q", <-power.calls)
		}
	})
}

// TestOverlap has filters that overlap: on 5.0 each gets a message once.
func TestOverlap(t *testing.T) {
	eachBroker(t, func(t *testing.T, e *env) {
		d := e.device(device.Options{Client: e.options("laser")})
		one, two := newRecorder(t), newRecorder(t)
		for r, filter := range map[*recorder]string{one: "#", two: "a/+"} {
			if err := d.Subscribe(e.ctx, r, mqtt.AtLeastOnce, filter); err != nil {
				t.Fatal(err)
			}
			r.want(e, "connected as laser")
		}
		for i := range 3 {
			if err := d.Publish(e.ctx, "a/b", i); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range []*recorder{one, two} {
			// A server of 3.x may send a copy for each filter, and nothing in it tells which.
			var got []string
			for len(got) == 0 || got[len(got)-1] != "a/b=2" {
				select {
				case s := <-r.calls:
					if e.v == mqtt.V5 || !slices.Contains(got, s) {
						got = append(got, s)
					}
				case <-e.ctx.Done():
					t.Fatalf("receiver got %q", got)
				}
			}
			if !slices.Equal(got, []string{"a/b=0", "a/b=1", "a/b=2"}) {
				t.Fatalf("receiver got %q", got)
			}
		}
	})
}

// TestSlowReceiver blocks one receiver; another gets its messages of the same filter, and the device publishes from inside.
func TestSlowReceiver(t *testing.T) {
	eachBroker(t, func(t *testing.T, e *env) {
		d := e.device(device.Options{Client: e.options("laser")})
		release := make(chan struct{})
		entered := make(chan struct{})
		slow := &device.Funcs{OnMessage: func(m *device.Message) {
			close(entered)
			<-release
			if err := d.Publish(e.ctx, "answer", len(m.Payload)); err != nil {
				t.Error(err)
			}
		}}
		quick := newRecorder(t)
		for _, r := range []device.Receiver{slow, quick} {
			if err := d.Subscribe(e.ctx, r, mqtt.AtLeastOnce, "set"); err != nil {
				t.Fatal(err)
			}
		}
		answers := e.watch("laser/answer")
		quick.want(e, "connected as laser")
		if err := d.PublishAs(e.ctx, "set", 5, device.How{QoS: 1}); err != nil {
			t.Fatal(err)
		}
		quick.want(e, "set=5")
		<-entered
		close(release)
		e.want(answers, "laser/answer", "1", false)
	})
}

// TestSubscribeAgain has a subscription end behind the device's back.
func TestSubscribeAgain(t *testing.T) {
	eachBroker(t, func(t *testing.T, e *env) {
		d := e.device(device.Options{Client: e.options("laser")})
		r := newRecorder(t)
		if err := d.Subscribe(e.ctx, r, mqtt.AtLeastOnce, "a"); err != nil {
			t.Fatal(err)
		}
		r.want(e, "connected as laser")
		if err := d.Client().Unsubscribe(e.ctx, d.Topic("a")); err != nil {
			t.Fatal(err)
		}
		testkit.WaitFor(t, patience, "a subscription made again", func() bool {
			if err := d.Subscribe(e.ctx, r, mqtt.AtLeastOnce, "a"); err != nil {
				t.Fatal(err)
			}
			_, ok := d.Client().Granted(d.Topic("a"))
			return ok
		})
		if err := d.Publish(e.ctx, "a", 1); err != nil {
			t.Fatal(err)
		}
		r.want(e, "a=1")
	})
}

// bad is a Receiver whose type cannot be compared.
type bad struct {
	device.Funcs
}

func (bad) Connected(client.ConnectInfo) {}
func (bad) Disconnected(error)           {}
func (bad) Received(*device.Message)     {}

func TestSubscribeRefuses(t *testing.T) {
	eachBroker(t, func(t *testing.T, e *env) {
		d := e.device(device.Options{Client: e.options("laser")})
		r := newRecorder(t)
		for filter, text := range map[string]string{"a/#/b": "#", "$share/g/a": "shared", "": "empty"} {
			err := d.Subscribe(e.ctx, r, mqtt.AtMostOnce, "good", filter)
			if err == nil || !strings.Contains(err.Error(), text) || client.OutcomeOf(err) != client.NotSent {
				t.Errorf("Subscribe(%q): %v, want an error with %q", filter, err, text)
			}
		}
		for _, r := range []device.Receiver{nil, bad{}} {
			if err := d.Attach(r); err == nil || !strings.Contains(err.Error(), "comparable") {
				t.Errorf("Attach(%T): %v", r, err)
			}
			d.Unsubscribe(r, "a")
			d.Detach(r)
		}
		over, cancel := context.WithCancel(e.ctx)
		if err := d.Close(e.ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := d.Subscribe(over, r, mqtt.AtMostOnce, "a"); err == nil {
			t.Error("Subscribe after Close succeeded")
		}
		if err := d.Publish(e.ctx, "a", 1); !errors.Is(err, client.ErrClosed) {
			t.Errorf("Publish after Close: %v", err)
		}
	})
}
