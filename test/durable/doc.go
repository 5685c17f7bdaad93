// Package durable compares brokers: what clients are given must not depend on
// which engine keeps their sessions, nor on restarts between any two steps.
package durable
