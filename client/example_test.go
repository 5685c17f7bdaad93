package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/client/outbox"
	"github.com/midgemq/midge/client/scram"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// Connect to a server, publish a message and leave.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.Connect(ctx, client.Options{Servers: []string{serverURL}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	err = c.Publish(ctx, mqtt.Message{Topic: "greeting", Payload: []byte("hello"), QoS: mqtt.AtLeastOnce})
	fmt.Println("delivered:", err == nil)
	// Output: delivered: true
}

// Subscribe with a handler. It runs on a goroutine of the client and may use the client.
func ExampleClient_Handle() {
	ctx := context.Background()
	c, err := client.Connect(ctx, client.Options{Servers: []string{serverURL}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	done := make(chan struct{})
	err = c.Handle(ctx, "rooms/+/temperature", mqtt.AtLeastOnce, func(m *client.Message) {
		fmt.Printf("%s is %s\n", m.Topic, m.Payload)
		close(done)
	})
	if err != nil {
		log.Fatal(err)
	}
	c.Publish(ctx, mqtt.Message{Topic: "rooms/kitchen/temperature", Payload: []byte("21.5")})
	<-done
	// Output: rooms/kitchen/temperature is 21.5
}

// Receive in a loop. Leaving the loop withdraws the subscription; a message is acknowledged when the loop asks for the next.
func ExampleClient_Messages() {
	ctx := context.Background()
	c, err := client.Connect(ctx, client.Options{Servers: []string{serverURL}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	c.Publish(ctx, mqtt.Message{Topic: "loop/a", Payload: []byte("kept for you"), Retain: true})
	for msg := range c.Messages(ctx, "loop/#") {
		fmt.Println(string(msg.Payload))
		break
	}
	// Output: kept for you
}

// Publish many messages without waiting for each, then wait for all.
func ExampleClient_PublishAsync() {
	ctx := context.Background()
	c, err := client.Connect(ctx, client.Options{Servers: []string{serverURL}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	var handles []*client.Publication
	for i := range 1000 {
		p, err := c.PublishAsync(ctx, mqtt.Message{Topic: "numbers", Payload: fmt.Append(nil, i), QoS: mqtt.ExactlyOnce})
		if err != nil {
			log.Fatal(err) // not accepted
		}
		handles = append(handles, p)
	}
	failed := 0
	for _, p := range handles {
		if err := p.Wait(ctx); err != nil {
			failed++
		}
	}
	fmt.Println("failed:", failed)
	// Output: failed: 0
}

// Ask a service and wait for its answer, in one call.
func ExampleClient_Request() {
	ctx := context.Background()
	service, err := client.Connect(ctx, client.Options{Servers: []string{serverURL}})
	if err != nil {
		log.Fatal(err)
	}
	defer service.Close()
	service.Handle(ctx, "service/upper", mqtt.AtLeastOnce, func(m *client.Message) {
		m.Respond(ctx, append(m.Payload, '!'))
	})

	c, err := client.Connect(ctx, client.Options{Servers: []string{serverURL}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	answer, err := c.Request(ctx, "service/upper", []byte("hello"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(answer.Payload))
	// Output: hello!
}

// Keep a session at the server while the program is away: messages of QoS 1 and 2 wait there. DefaultHandler gets what comes before
// the program has declared its subscriptions again.
func ExampleOptions_session() {
	ctx := context.Background()
	c, err := client.Connect(ctx, client.Options{
		Servers:        []string{serverURL},
		ClientID:       "archive",
		Resume:         true,
		SessionExpiry:  24 * time.Hour,
		DefaultHandler: func(m *client.Message) { fmt.Println("waited for us:", m.Topic) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	info, _ := c.Connected()
	fmt.Println("session was there:", info.SessionPresent)
	// Output: session was there: false
}

// Messages that survive the end of the program: they are in a file before they are sent, and a later run sends what this one could
// not.
func ExampleOptions_outbox() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "outbox")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := outbox.Open(filepath.Join(dir, "outbox"), outbox.Options{Sync: outbox.SyncAlways})
	if err != nil {
		log.Fatal(err)
	}
	c, err := client.New(client.Options{
		Servers: []string{serverURL}, ClientID: "logger", SessionExpiry: time.Hour, Store: store,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	// There is no connection yet, and perhaps there will be none today.
	p, err := c.PublishAsync(ctx, mqtt.Message{Topic: "log", Payload: []byte("important"), QoS: mqtt.AtLeastOnce})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("saved:", p.Saved(ctx) == nil)
	c.Start()
	fmt.Println("delivered:", p.Wait(ctx) == nil)
	// Output:
	// saved: true
	// delivered: true
}

// A will is published by the server when the connection ends without a goodbye.
func ExampleOptions_will() {
	ctx := context.Background()
	c, err := client.Connect(ctx, client.Options{
		Servers: []string{serverURL},
		Will:    &client.Will{Topic: "status/pump", Payload: []byte("gone"), QoS: mqtt.AtLeastOnce, Retain: true},
	})
	if err != nil {
		log.Fatal(err)
	}
	// Close says goodbye, and no will is published; with this code it is.
	err = c.CloseWith(mqtt.DisconnectWithWill, nil)
	fmt.Println(err)
	// Output: <nil>
}

// TLS with a client certificate, user name and password, two servers of which the first is preferred.
func ExampleOptions_secure() {
	cert, err := tls.LoadX509KeyPair("client.crt", "client.key")
	if err != nil {
		log.Print(err)
	}
	c, err := client.New(client.Options{
		Servers:  []string{"mqtts://one.example.com", "wss://two.example.com/mqtt"},
		FailBack: time.Minute,
		TLS:      &tls.Config{Certificates: []tls.Certificate{cert}},
		UserName: "user",
		Password: []byte("secret"),
		OnConnect: func(i client.ConnectInfo) {
			log.Printf("connected to %s, MQTT %v", i.Server, i.Version)
		},
		OnDisconnect: func(err error) { log.Printf("connection lost: %v", err) },
	})
	if err != nil {
		log.Fatal(err)
	}
	c.Start()
	defer c.Close()
}

// SCRAM in place of a password that travels.
func ExampleOptions_scram() {
	c, err := client.New(client.Options{
		Servers: []string{"mqtts://broker.example.com"}, Auth: scram.SHA256("user", "secret"),
	})
	if err != nil {
		log.Fatal(err)
	}
	c.Start()
	defer c.Close()
}

// What an error says: whether to try again, and why the server refused.
func ExampleSafeToRetry() {
	ctx := context.Background()
	c, err := client.New(client.Options{Servers: []string{serverURL}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	err = c.Publish(ctx, mqtt.Message{Topic: "t"}) // not started: QoS 0 is not kept
	fmt.Println(client.SafeToRetry(err), errors.Is(err, client.ErrNotConnected))
	if code, refused := client.ReasonOf(err); refused {
		fmt.Println("the server said", code)
	}
	// Output: true true
}

// Acknowledge only when the work is done; until then the server keeps the message.
func ExampleMessage_Ack() {
	ctx := context.Background()
	c, err := client.Connect(ctx, client.Options{Servers: []string{serverURL}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	work := make(chan *client.Message, 10)
	c.Subscribe(ctx, client.Subscription{
		Filter: "jobs", QoS: mqtt.AtLeastOnce, ManualAck: true, Handler: func(m *client.Message) { work <- m },
	})
	c.Publish(ctx, mqtt.Message{Topic: "jobs", Payload: []byte("dig"), QoS: mqtt.AtLeastOnce})
	m := <-work
	fmt.Println(string(m.Payload), m.Ack())
	// Output: dig <nil>
}

// serverURL is a small server for the examples.
var serverURL = startServer()

func startServer() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	s := &server{conns: map[net.Conn]map[string]bool{}, retained: map[string]*packet.Publish{}}
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(nc)
		}
	}()
	return "mqtt://" + l.Addr().String()
}

// server delivers everything with QoS 0.
type server struct {
	mu       sync.Mutex
	conns    map[net.Conn]map[string]bool
	retained map[string]*packet.Publish
}

func (s *server) serve(nc net.Conn) {
	p := &peer{nc: nc, v: mqtt.V5}
	defer func() {
		s.mu.Lock()
		delete(s.conns, nc)
		s.mu.Unlock()
		nc.Close()
	}()
	for {
		k, err := p.read()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.answer(nc, k)
		s.mu.Unlock()
	}
}

func (s *server) answer(nc net.Conn, k packet.Packet) {
	send := func(k packet.Packet) { nc.Write(k.Append(nil, mqtt.V5)) }
	switch k := k.(type) {
	case *packet.Connect:
		s.conns[nc] = map[string]bool{}
		send(&packet.Connack{})
	case *packet.Subscribe:
		send(&packet.Suback{PacketID: k.PacketID, Codes: make([]byte, k.Len())})
		it, f := k.Filters(), packet.SubFilter{}
		for it.Next(&f) {
			s.conns[nc][string(f.Filter)] = true
			for topic, m := range s.retained {
				if mqtt.Match(string(f.Filter), topic) {
					send(m)
				}
			}
		}
	case *packet.Unsubscribe:
		send(&packet.Unsuback{PacketID: k.PacketID, Codes: make([]byte, k.Len())})
	case *packet.Publish:
		switch k.QoS {
		case 1:
			send(&packet.Ack{Type: packet.PUBACK, PacketID: k.PacketID})
		case 2:
			send(&packet.Ack{Type: packet.PUBREC, PacketID: k.PacketID})
		default: // QoS 0 has no answer
		}
		k.QoS, k.PacketID = 0, 0
		if k.Retain {
			s.retained[string(k.Topic)] = k
		}
		for other, filters := range s.conns {
			for f := range filters {
				if mqtt.Match(f, string(k.Topic)) {
					other.Write(k.Append(nil, mqtt.V5))
				}
			}
		}
	case *packet.Ack:
		if k.Type == packet.PUBREL {
			send(&packet.Ack{Type: packet.PUBCOMP, PacketID: k.PacketID})
		}
	}
}
