package main

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session"
	"github.com/eclipse/paho.golang/paho/session/state"
	"github.com/gorilla/websocket"
)

// v5client is a client of paho.golang (MQTT 5). The library's Client is one connection; the session outlives it here.
type v5client struct {
	req     *request
	session *state.State

	mu     sync.Mutex
	up     chan struct{} // closed while connected
	conn   *paho.Client
	ending bool
}

func connectV5(r *request) (client, error) {
	c := &v5client{req: r, session: state.NewInMemory(), up: make(chan struct{})}
	if err := c.dial(r.Clean); err != nil {
		return nil, err
	}
	return c, nil
}

// dial makes one connection and reports it.
func (c *v5client) dial(clean bool) error {
	r := c.req
	conn, err := openSocket(r)
	if err != nil {
		return err
	}
	lost := make(chan event, 2)
	cli := paho.NewClient(paho.ClientConfig{
		Conn:    conn,
		Session: c.session,
		OnServerDisconnect: func(d *paho.Disconnect) {
			select {
			case lost <- event{Ev: "lost", C: r.C, Code: int(d.ReasonCode)}:
			default:
			}
		},
		OnClientError: func(err error) {
			select {
			case lost <- event{Ev: "lost", C: r.C, Text: err.Error()}:
			default:
			}
		},
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			emit(received(r.C, p.Packet))
			return true, nil
		}},
	})
	cp := &paho.Connect{ClientID: r.ID, CleanStart: clean, KeepAlive: r.KeepAlive}
	if r.Expiry > 0 {
		cp.Properties = &paho.ConnectProperties{SessionExpiryInterval: &r.Expiry}
	}
	if w := r.Will; w != nil {
		cp.WillMessage = &paho.WillMessage{Topic: w.Topic, Payload: []byte(w.Payload), QoS: w.QoS, Retain: w.Retain}
		cp.WillProperties = &paho.WillProperties{}
	}
	ack, err := cli.Connect(context.Background(), cp)
	if err != nil {
		if ack != nil && ack.ReasonCode >= 0x80 {
			emit(event{Ev: "connected", C: r.C, Code: int(ack.ReasonCode)})
			return nil
		}
		return err
	}
	emit(event{Ev: "connected", C: r.C, SP: ack.SessionPresent})
	c.mu.Lock()
	c.conn = cli
	close(c.up)
	c.mu.Unlock()
	go c.watch(cli, lost)
	return nil
}

// watch reports the end of a connection and makes the next one.
func (c *v5client) watch(cli *paho.Client, lost <-chan event) {
	<-cli.Done()
	c.mu.Lock()
	c.up = make(chan struct{})
	ending := c.ending
	c.mu.Unlock()
	if ending {
		return
	}
	// The library calls back from goroutines of its own, possibly later.
	emit(<-lost)
	if !c.req.Reconnect {
		return
	}
	for c.dial(false) != nil {
		time.Sleep(reconnectInterval)
	}
}

// connected waits for a connection.
func (c *v5client) connected() *paho.Client {
	c.mu.Lock()
	up := c.up
	c.mu.Unlock()
	<-up
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

func (c *v5client) subscribe(r *request) error {
	s := &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: r.Topic, QoS: r.QoS}}}
	if r.SubID > 0 {
		s.Properties = &paho.SubscribeProperties{SubscriptionIdentifier: &r.SubID}
	}
	ack, err := c.connected().Subscribe(context.Background(), s)
	if err != nil {
		return err
	}
	e := event{Ev: "subscribed", C: r.C}
	for _, reason := range ack.Reasons {
		e.Codes = append(e.Codes, int(reason))
	}
	emit(e)
	return nil
}

func (c *v5client) publish(r *request) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := c.connected().Publish(ctx, &paho.Publish{
		Topic: r.Topic, QoS: r.QoS, Retain: r.Retain, Payload: r.payload(), Properties: toProperties(r.Props),
	})
	return err
}

// burst hands over all messages in order; the library keeps to the server's receive maximum. When the last one is
// acknowledged the others are, because acknowledgements come in order.
func (c *v5client) burst(r *request) error {
	for i := 0; i < r.N; {
		p := &paho.Publish{Topic: r.Topic, QoS: r.QoS, Payload: []byte(strconv.Itoa(i))}
		o := paho.PublishOptions{Method: paho.PublishMethod_AsyncSend}
		if i == r.N-1 {
			o.Method = paho.PublishMethod_Blocking
		}
		_, err := c.connected().PublishWithOptions(context.Background(), p, o)
		switch {
		case err == nil, errors.Is(err, paho.ErrNetworkErrorAfterStored):
			i++
		case errors.Is(err, session.ErrNoConnection):
			// The library knows of the loss before it says so: wait for it to be done.
			c.mu.Lock()
			cli := c.conn
			c.mu.Unlock()
			<-cli.Done()
		default:
			return err
		}
	}
	return nil
}

func (c *v5client) disconnect() error {
	c.mu.Lock()
	c.ending = true
	cli := c.conn
	c.mu.Unlock()
	err := cli.Disconnect(&paho.Disconnect{})
	<-cli.Done()
	return err
}

func openSocket(r *request) (net.Conn, error) {
	addr := net.JoinHostPort(r.Host, strconv.Itoa(r.Port))
	if !r.WS {
		return net.Dial("tcp", addr)
	}
	d := websocket.Dialer{Subprotocols: []string{"mqtt"}}
	u := url.URL{Scheme: "ws", Host: addr, Path: "/mqtt"}
	ws, _, err := d.Dial(u.String(), nil)
	if err != nil {
		return nil, err
	}
	return &wsConn{Conn: ws.NetConn(), ws: ws}, nil
}

// wsConn makes a byte stream of WebSocket messages.
type wsConn struct {
	net.Conn
	ws   *websocket.Conn
	rest []byte
	mu   sync.Mutex // the library writes from several goroutines
}

func (w *wsConn) Read(p []byte) (int, error) {
	for len(w.rest) == 0 {
		_, b, err := w.ws.ReadMessage()
		if err != nil {
			return 0, err
		}
		w.rest = b
	}
	n := copy(p, w.rest)
	w.rest = w.rest[n:]
	return n, nil
}

func (w *wsConn) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func toProperties(p *properties) *paho.PublishProperties {
	if p == nil {
		return nil
	}
	out := &paho.PublishProperties{ContentType: p.ContentType, ResponseTopic: p.ResponseTopic}
	if p.Correlation != "" {
		b, err := hex.DecodeString(p.Correlation)
		if err != nil {
			panic(err)
		}
		out.CorrelationData = b
	}
	if p.Format != 0 {
		out.PayloadFormat = &p.Format
	}
	if p.Expiry != 0 {
		out.MessageExpiry = &p.Expiry
	}
	for _, u := range p.User {
		out.User.Add(u[0], u[1])
	}
	return out
}

func received(name string, p *paho.Publish) event {
	e := event{
		Ev: "message", C: name, Topic: p.Topic, QoS: p.QoS, Retain: p.Retain, Dup: p.Duplicate(), ID: p.PacketID,
		Props: &properties{},
	}
	e.setPayload(p.Payload)
	if in := p.Properties; in != nil {
		e.Props.ContentType, e.Props.ResponseTopic = in.ContentType, in.ResponseTopic
		e.Props.Correlation = hex.EncodeToString(in.CorrelationData)
		if in.PayloadFormat != nil {
			e.Props.Format = *in.PayloadFormat
		}
		if in.MessageExpiry != nil {
			e.Props.Expiry = *in.MessageExpiry
		}
		if in.SubscriptionIdentifier != nil {
			e.Props.SubIDs = []int{*in.SubscriptionIdentifier}
		}
		for _, u := range in.User {
			e.Props.User = append(e.Props.User, [2]string{u.Key, u.Value})
		}
	}
	return e
}
