package main

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	paho5 "github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
)

const topic = "bench/topic"

// window is how many messages a publisher has under way.
const window = 1000

// counter ends a receiving run.
type counter struct {
	left atomic.Int64
	done chan struct{}
}

func newCounter(n int) *counter {
	c := &counter{done: make(chan struct{})}
	c.left.Store(int64(n))
	return c
}

func (c *counter) one() {
	if c.left.Add(-1) == 0 {
		close(c.done)
	}
}

func runMidge(j job) error    { return midge(j, mqtt.V5) }
func runMidge311(j job) error { return midge(j, mqtt.V311) }

func midge(j job, v mqtt.Version) error {
	ctx := context.Background()
	c, err := client.Connect(ctx, client.Options{Servers: []string{j.addr}, Version: v, ClientID: "bench", MaxQueued: window, TopicAliases: -1})
	if err != nil {
		return err
	}
	defer c.Close()
	if j.receive {
		n := newCounter(j.n)
		if err := c.Handle(ctx, topic, mqtt.QoS(j.qos), func(*client.Message) { n.one() }); err != nil {
			return err
		}
		<-n.done
		return nil
	}
	m := mqtt.Message{Topic: topic, Payload: make([]byte, j.size), QoS: mqtt.QoS(j.qos)}
	for range j.n {
		if _, err := c.PublishAsync(ctx, m); err != nil {
			return err
		}
	}
	return c.Flush(ctx)
}

// runPaho3 keeps a window of tokens; QoS 0 needs none.
func runPaho3(j job) error {
	o := paho3.NewClientOptions().AddBroker("tcp://" + j.addr).SetClientID("bench").SetProtocolVersion(4)
	o.SetMessageChannelDepth(window)
	c := paho3.NewClient(o)
	if t := c.Connect(); t.Wait() && t.Error() != nil {
		return t.Error()
	}
	defer c.Disconnect(100)
	if j.receive {
		n := newCounter(j.n)
		if t := c.Subscribe(topic, byte(j.qos), func(paho3.Client, paho3.Message) { n.one() }); t.Wait() && t.Error() != nil {
			return t.Error()
		}
		<-n.done
		return nil
	}
	payload := make([]byte, j.size)
	tokens := make(chan paho3.Token, window)
	failed := make(chan error, 1)
	go func() {
		for t := range tokens {
			if t.Wait(); t.Error() != nil {
				failed <- t.Error()
				return
			}
		}
		failed <- nil
	}()
	for range j.n {
		tokens <- c.Publish(topic, byte(j.qos), false, payload)
	}
	close(tokens)
	return <-failed
}

// paho5Publishers is how many goroutines publish at once: the library's Publish waits for the acknowledgement.
const paho5Publishers = 100

func runPaho5(j job) error {
	ctx := context.Background()
	nc, err := net.Dial("tcp", j.addr)
	if err != nil {
		return err
	}
	n := newCounter(j.n)
	c := paho5.NewClient(paho5.ClientConfig{
		Conn: nc,
		OnPublishReceived: []func(paho5.PublishReceived) (bool, error){
			func(paho5.PublishReceived) (bool, error) { n.one(); return true, nil },
		},
	})
	if _, err := c.Connect(ctx, &paho5.Connect{ClientID: "bench", CleanStart: true, KeepAlive: 60}); err != nil {
		return err
	}
	defer c.Disconnect(&paho5.Disconnect{})
	if j.receive {
		s := &paho5.Subscribe{Subscriptions: []paho5.SubscribeOptions{{Topic: topic, QoS: byte(j.qos)}}}
		if _, err := c.Subscribe(ctx, s); err != nil {
			return err
		}
		<-n.done
		return nil
	}
	publishers := paho5Publishers
	if j.qos == 0 {
		publishers = 1
	}
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(j.n))
	errs := make(chan error, publishers)
	payload := make([]byte, j.size)
	for range publishers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := c.Publish(ctx, &paho5.Publish{Topic: topic, QoS: byte(j.qos), Payload: payload}); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}
