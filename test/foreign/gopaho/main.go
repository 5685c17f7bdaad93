// Command gopaho drives Paho's two Go libraries by the line protocol described in driver.go of test/foreign: one JSON
// request a line on stdin, one JSON event a line on stdout. The argument chooses the library: v3
// (paho.mqtt.golang) or v5 (paho.golang). Any number of clients live in one process.
//
// It is a module of its own so that the broker's does not depend on other people's clients.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

// properties are the MQTT 5 properties of a message that the tests use.
type properties struct {
	ContentType   string      `json:"contentType,omitempty"`
	ResponseTopic string      `json:"responseTopic,omitempty"`
	Correlation   string      `json:"correlation,omitempty"` // hexadecimal
	User          [][2]string `json:"user,omitempty"`
	Format        byte        `json:"format,omitempty"`
	Expiry        uint32      `json:"expiry,omitempty"`
	SubIDs        []int       `json:"subIDs,omitempty"`
}

type will struct {
	Topic, Payload string
	QoS            byte
	Retain         bool
}

type request struct {
	Op, C string
	// connect
	Host      string
	Port      int
	WS        bool
	ID        string
	Version   byte
	Clean     bool
	KeepAlive uint16
	Expiry    uint32
	Will      *will
	Reconnect bool
	// subscribe, publish, burst
	Topic   string
	QoS     byte
	SubID   int
	Payload string
	Size    int
	Retain  bool
	Props   *properties
	N       int
	Window  int
}

// payload returns what to publish: the text, or Size bytes of a pattern.
func (r *request) payload() []byte {
	if r.Size == 0 {
		return []byte(r.Payload)
	}
	b := make([]byte, r.Size)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

type event struct {
	Ev      string      `json:"ev"`
	C       string      `json:"c"`
	SP      bool        `json:"sp,omitempty"`
	Code    int         `json:"code,omitempty"`
	Codes   []int       `json:"codes,omitempty"`
	Op      string      `json:"op,omitempty"`
	Text    string      `json:"text,omitempty"`
	N       int         `json:"n,omitempty"`
	Topic   string      `json:"topic,omitempty"`
	QoS     byte        `json:"qos,omitempty"`
	Retain  bool        `json:"retain,omitempty"`
	Dup     bool        `json:"dup,omitempty"`
	ID      uint16      `json:"id,omitempty"`
	Size    int         `json:"size,omitempty"`
	Payload string      `json:"payload,omitempty"`
	SHA256  string      `json:"sha256,omitempty"`
	Props   *properties `json:"props,omitempty"`
}

// setPayload puts a small payload into the event as it is, a large one as its hash.
func (e *event) setPayload(p []byte) {
	e.Size = len(p)
	if len(p) <= 1000 {
		e.Payload = string(p)
		return
	}
	sum := sha256.Sum256(p)
	e.SHA256 = hex.EncodeToString(sum[:])
}

var emitMu sync.Mutex

func emit(e event) {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	emitMu.Lock()
	defer emitMu.Unlock()
	os.Stdout.Write(append(b, '\n'))
}

// client is one connection of either library. Its methods may block; each client has a goroutine of its own.
type client interface {
	subscribe(r *request) error
	publish(r *request) error
	burst(r *request) error
	disconnect() error
}

func main() {
	connect := connectV3
	switch {
	case len(os.Args) != 2, os.Args[1] != "v3" && os.Args[1] != "v5":
		fmt.Fprintln(os.Stderr, "usage: gopaho v3|v5")
		os.Exit(2)
	case os.Args[1] == "v5":
		connect = connectV5
	}
	workers := map[string]chan *request{}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		r := new(request)
		if err := json.Unmarshal(in.Bytes(), r); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		w := workers[r.C]
		if w == nil {
			w = make(chan *request, 16)
			workers[r.C] = w
			go work(w, connect)
		}
		w <- r
	}
}

// work carries out the requests of one client in order.
func work(requests <-chan *request, connect func(*request) (client, error)) {
	var c client
	for r := range requests {
		var err error
		switch {
		case r.Op == "connect":
			c, err = connect(r)
		case c == nil:
			err = fmt.Errorf("no connection")
		case r.Op == "subscribe":
			err = c.subscribe(r)
		case r.Op == "publish":
			if err = c.publish(r); err == nil {
				emit(event{Ev: "published", C: r.C, N: 1})
			}
		case r.Op == "burst":
			if err = c.burst(r); err == nil {
				emit(event{Ev: "published", C: r.C, N: r.N})
			}
		case r.Op == "disconnect":
			if err = c.disconnect(); err == nil {
				emit(event{Ev: "disconnected", C: r.C})
			}
		default:
			err = fmt.Errorf("unknown op")
		}
		if err != nil {
			emit(event{Ev: "failed", C: r.C, Op: r.Op, Text: err.Error()})
		}
	}
}
