// Package durable compares brokers: what clients are given must not depend on
// which engine keeps their sessions, nor on restarts between any two steps. It
// runs the engine without sockets, each broker and its clients on one goroutine,
// and never looks inside.
package durable
