// Package device gives a laboratory program its place on a broker. The client identifier is the program's name and the
// first level of all its topics: what it measures goes to "name/…", what it is told comes from "name/…", and the topic
// "name" itself says whether the program is there.
//
//	d, err := device.Connect(ctx, device.Options{
//		Client:       client.Options{Servers: []string{"mqtt://localhost"}, ClientID: "cryostat"},
//		RetainStatus: true,
//	})
//	…
//	err = d.Publish(ctx, "temperature", 4.2)               // cryostat/temperature: 4.2
//	err = d.Subscribe(ctx, heater, mqtt.AtLeastOnce, "heater/+") // heater.Received gets cryostat/heater/…
//
// # Status
//
// The topic equal to the client identifier carries "online" after each connection and "offline" after Close, with QoS 1.
// The will says "offline" too, so that the broker tells of a program that crashed or whose network broke.
//
// # Values
//
// Publish takes any value that encoding/json can encode. Arrays and slices become one JSON array, []byte included (an array
// of numbers, not base64; base64 is what encoding/json makes of a []byte inside a struct or a map) and nil ones (an empty
// array). With How.Expand each element is published under its index as well: "samples" and then "samples/0", "samples/1" and
// so on.
//
// # Receivers
//
// Any number of receivers share a device. Each is told of connections, of their end and of its messages, one call at a
// time and in order; receivers do not wait for each other.
//
// A Device may be used from any goroutine, from the methods of receivers too. What the package does not do, such as
// publishing outside the prefix, TLS or a disk outbox, is done with Options.Client and Device.Client.
package device
