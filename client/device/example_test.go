package device_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/client/device"
	"github.com/midgemq/midge/mqtt"
)

// A cryostat publishes its temperature and is told what to heat to.
func Example() {
	server, stop := exampleBroker()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	d, err := device.Connect(ctx, device.Options{
		Client:       client.Options{Servers: []string{server}, ClientID: "cryostat"},
		RetainStatus: true,
		How:          device.How{QoS: mqtt.AtLeastOnce, Retain: true},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close(ctx)

	done := make(chan bool)
	heater := &device.Funcs{OnMessage: func(m *device.Message) {
		var kelvin float64
		if err := m.Decode(&kelvin); err != nil {
			fmt.Println(err)
		}
		fmt.Printf("%s: heat to %v K\n", m.Name, kelvin)
		close(done)
	}}
	if err := d.Subscribe(ctx, heater, mqtt.AtLeastOnce, "set/temperature"); err != nil {
		fmt.Println(err)
	}
	if err := d.Publish(ctx, "temperature", 4.2); err != nil {
		fmt.Println(err)
	}
	// Anybody may do this; here the device writes to itself.
	if err := d.PublishAs(ctx, "set/temperature", 77, device.How{}); err != nil {
		fmt.Println(err)
	}
	<-done
	// Output: set/temperature: heat to 77 K
}

// An array is published as a whole and element by element.
func ExampleDevice_PublishAs() {
	server, stop := exampleBroker()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	d, err := device.Connect(ctx, device.Options{Client: client.Options{Servers: []string{server}, ClientID: "scope"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close(ctx)
	if err := d.PublishAs(ctx, "trace", []float64{0.5, 1}, device.How{Retain: true, Expand: true}); err != nil {
		fmt.Println(err)
	}

	all, err := d.Client().Stream(ctx, client.Subscription{Filter: "scope/+/#"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer all.Close()
	for range 3 {
		m, err := all.Next(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s %s\n", m.Topic, m.Payload)
	}
	// Unordered output:
	// scope/trace [0.5,1]
	// scope/trace/0 0.5
	// scope/trace/1 1
}

func exampleBroker() (server string, stop func()) {
	dir, err := os.MkdirTemp("", "midge-example-")
	if err != nil {
		panic(err)
	}
	addr, end, err := startMidge(dir)
	if err != nil {
		panic(err)
	}
	return "mqtt://" + addr, func() {
		if err := end(); err != nil {
			panic(err)
		}
		os.RemoveAll(dir)
	}
}
