// Package conformance holds those tests of the standard's statements that a
// behaviour script cannot say: large numbers of messages, stores that take their
// time or fail, several loops, log lines and counters. They drive the engine
// without sockets or clock, or the whole broker over TCP, with the test codec.
package conformance
