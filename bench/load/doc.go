// Command load drives one running MQTT broker through one scenario and prints a
// JSON line: messages per second, the broker's own CPU and memory for each, and
// what was lost, out of order, doubled or closed.
//
// One epoll loop on one locked thread owns all connections. PUBLISH packets are
// encoded once and patched in place (time, publisher, sequence number, packet
// id), reads and writes are large, so that the load takes a fraction of the
// processor that the broker takes. It starts no broker, and connects to loopback
// addresses only. README.md above lists scenarios and fields.
package main
