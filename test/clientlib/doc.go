// Package clientlib tests the client library against real brokers, midge itself and Debian's Mosquitto, over real sockets: what the
// two say to each other, connections cut at every byte, the client's process killed, one of two brokers killed. It holds tests
// only; each runs on the goroutine of its test and starts processes that end with it.
package clientlib
