// Package transport opens the sockets that clients connect to and accepts from
// them. It knows addresses, ports and socket options; which bytes a connection
// carries below MQTT is said by the layer it makes for each one
// ([Listener.NewLayer], package wsproto).
//
// It never reads from or writes to an accepted connection, and never waits for
// one: on Linux a [Listener] is a non-blocking descriptor which the event loop
// polls and whose Accept takes one waiting connection at a time; elsewhere, and
// under the build tag portable, Accept blocks in its own goroutine.
//
// Listen is called at start-up from one goroutine. A Listener belongs to the
// loop (or goroutine) that accepts from it.
package transport
