// Package store is the contract between the broker and what keeps its sessions,
// queues and retained messages. storetest is the suite that every engine
// passes; memstore keeps everything in memory.
//
// The engine may call completions from any goroutine, never from inside the
// call that submitted them unless Immediate says so; the broker carries them to
// the loop that submitted. Everything else is called from one loop at a time
// per session key, and from several loops for different ones.
package store

import (
	"errors"

	"github.com/midgemq/midge/internal/record"
)

// Level is how durable a batch must be before its completion.
type Level uint8

// Levels, weakest first.
const (
	// Interval: within the engine's own interval; completes at once.
	Interval Level = iota
	// Write: handed to the operating system; survives the end of the process.
	Write
	// Flush: on stable storage; survives power loss.
	Flush
)

// ErrClosed is given to completions of an engine that was closed meanwhile.
var ErrClosed = errors.New("store: closed")

// Batch is a list of changes that takes effect whole or not at all, in order.
// The broker reuses it after the completion; engines keep the records that the
// changes point to (they are immutable) but not the slice.
type Batch struct {
	Ops []record.Op
	// Lazy: nobody waits for the completion; an engine may keep the batch for some
	// milliseconds, to write it together with others. It keeps its place.
	Lazy bool
}

// Inflight is an outgoing exchange that was under way.
type Inflight struct {
	Entry    record.Queued
	PacketID uint16
	State    uint8
}

// Saved is one session as found at start. Its queue is read with ReadQueue.
type Saved struct {
	Session  record.Session
	Subs     []record.Subscription
	Inflight []Inflight // in the order they were first sent
	Inbound  []uint16
	Will     *record.Will
	// Queued and QueuedBytes count the entries behind those in flight.
	Queued      int
	QueuedBytes int64
	// FirstSeq is the first of them.
	FirstSeq uint64
	// LastSeq is the highest Seq that an entry of the session has ever had, those
	// in flight or gone by now too; 0: none. The broker goes on above it.
	LastSeq uint64
}

// Failing is what an engine on real storage implements beside Store. While
// storage refuses (full, read-only, gone) such an engine fails no batch: it
// keeps what was submitted, in order, tries again by itself, and completes it
// when storage works again, so that no later change overtakes an earlier one.
// Only Close fails what is left.
type Failing interface {
	// Failing returns why commits do not complete at present, nil when they do.
	// Any goroutine; it costs one atomic load.
	Failing() error
}

// Store is an engine.
type Store interface {
	// Commit submits a batch and returns at once. done runs when the batch is as
	// durable as level asks, or with the error that prevented it; then nothing of
	// the batch is in force. A change that lacks its record or is of unknown kind
	// is such an error; one to a session that is not there, or no more, hits
	// nothing and is none. Completions run in the order of the commits of one
	// session key. With Immediate true done runs before Commit returns.
	Commit(b *Batch, level Level, done func(error))
	// Immediate reports that commits and reads complete inside the call.
	Immediate() bool
	// ReadQueue gives up to max entries of a session's queue with Seq >= from that
	// are not in flight, in order, and sees every batch completed before the call.
	// The slice is the caller's. A session that is not there has no entries.
	ReadQueue(key record.SessionKey, from uint64, max int, done func([]record.Queued, error))
	// LoadSessions calls f for each stored session; f owns what it is given.
	LoadSessions(f func(*Saved) error) error
	// LoadRetained calls f for each retained message.
	LoadRetained(f func(*record.Message) error) error
	// Close flushes, completes or fails what is outstanding, and ends the engine;
	// later calls fail with ErrClosed.
	Close() error
}
