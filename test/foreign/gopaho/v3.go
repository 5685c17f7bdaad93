package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// reconnectInterval is how soon both libraries try again after a lost connection.
const reconnectInterval = 20 * time.Millisecond

// v3client is a client of paho.mqtt.golang (MQTT 3.1 and 3.1.1).
type v3client struct {
	c    mqtt.Client
	name string
}

func connectV3(r *request) (client, error) {
	scheme, path := "tcp", ""
	if r.WS {
		scheme, path = "ws", "/mqtt"
	}
	o := mqtt.NewClientOptions()
	o.AddBroker(fmt.Sprintf("%s://%s:%d%s", scheme, r.Host, r.Port, path))
	o.SetClientID(r.ID)
	o.SetProtocolVersion(uint(r.Version))
	o.SetCleanSession(r.Clean)
	o.SetKeepAlive(time.Duration(r.KeepAlive) * time.Second)
	o.SetAutoReconnect(r.Reconnect)
	o.SetMaxReconnectInterval(reconnectInterval)
	o.SetConnectRetryInterval(reconnectInterval)
	o.SetOrderMatters(true)
	o.SetStore(mqtt.NewOrderedMemoryStore())
	if r.Will != nil {
		o.SetBinaryWill(r.Will.Topic, []byte(r.Will.Payload), r.Will.QoS, r.Will.Retain)
	}
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
		e := event{
			Ev: "message", C: r.C, Topic: m.Topic(), QoS: m.Qos(), Retain: m.Retained(), Dup: m.Duplicate(), ID: m.MessageID(),
		}
		e.setPayload(m.Payload())
		emit(e)
	})
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) {
		emit(event{Ev: "lost", C: r.C, Text: err.Error()})
	})
	first := true
	o.SetOnConnectHandler(func(mqtt.Client) {
		// The first connect is reported below, with Session Present.
		if !first {
			emit(event{Ev: "connected", C: r.C, SP: true})
		}
		first = false
	})
	c := mqtt.NewClient(o)
	token := c.Connect().(*mqtt.ConnectToken)
	token.Wait()
	code := int(token.ReturnCode())
	if err := token.Error(); err != nil && code == 0 {
		return nil, err
	}
	emit(event{Ev: "connected", C: r.C, SP: token.SessionPresent(), Code: code})
	return &v3client{c: c, name: r.C}, nil
}

func wait(t mqtt.Token) error {
	t.Wait()
	return t.Error()
}

func (c *v3client) subscribe(r *request) error {
	t := c.c.Subscribe(r.Topic, r.QoS, nil).(*mqtt.SubscribeToken)
	if err := wait(t); err != nil {
		return err
	}
	// One entry, whose key is the filter without $share and group.
	e := event{Ev: "subscribed", C: r.C}
	for _, code := range t.Result() {
		e.Codes = append(e.Codes, int(code))
	}
	emit(e)
	return nil
}

func (c *v3client) publish(r *request) error {
	return wait(c.c.Publish(r.Topic, r.QoS, r.Retain, r.payload()))
}

// burst keeps at most Window messages unacknowledged. A message of which the library says that it was not taken is
// published again.
func (c *v3client) burst(r *request) error {
	var tokens []mqtt.Token
	for i := 0; i < r.N; {
		if len(tokens) == r.Window {
			if err := wait(tokens[0]); err != nil {
				return err
			}
			tokens = tokens[1:]
		}
		t := c.c.Publish(r.Topic, r.QoS, false, strconv.Itoa(i))
		select {
		case <-t.Done():
			if errors.Is(t.Error(), mqtt.ErrNotConnected) {
				// The library says so for an instant before it begins to reconnect, and offers nothing to wait on.
				time.Sleep(time.Millisecond)
				continue
			}
		default:
		}
		tokens = append(tokens, t)
		i++
	}
	for _, t := range tokens {
		if err := wait(t); err != nil {
			return err
		}
	}
	return nil
}

func (c *v3client) disconnect() error {
	c.c.Disconnect(5000)
	return nil
}
