// Package mqtt holds the words of the MQTT standards: protocol versions, quality of service, reason codes, topic names and
// filters, the friendly form of properties and messages, and every limit that guards a decoder.
//
// It never reads or writes bytes of packets (package mqtt/packet does), never keeps state, starts no goroutine, reads no clock
// and touches no file or socket. Everything here may be called from any goroutine; the struct types are plain values that belong
// to whoever holds them.
package mqtt
