// Package dial opens the byte stream below an MQTT connection: TCP or a Unix socket, a proxy on the way (SOCKS5 or HTTP CONNECT),
// TLS, and WebSocket. It also reads the URLs by which servers are named.
//
// It never speaks MQTT and keeps no state. Its functions may be called from any goroutine; the connections they return may be read
// by one goroutine while another one writes.
package dial
