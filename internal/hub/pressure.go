package hub

import (
	"errors"
	"strings"

	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// What ClientPublish answers for a message that cannot be taken at present, in
// place of an end: the connection keeps the packet, reads no further and offers
// it again.
var (
	// Wait: when what it gives to Stall is called. Too much is on its way to the
	// disk.
	Wait = &End{Text: "wait"}
	// WaitOrEnd: after a moment; in the end the connection is closed with what it
	// says, and the message is not acknowledged.
	WaitOrEnd = &End{Code: mqtt.QuotaExceeded, Reason: logging.ReasonQuotaExceeded, Text: "no room for messages"}
)

// Stall has again called, on the loop, when what is on its way to the disk has
// come down.
func (sh *Shard) Stall(again func()) { sh.stalled = append(sh.stalled, again) }

// Failing returns why nothing can be made durable at present, nil when it can.
// Any goroutine.
func (h *Hub) Failing() error {
	if why := h.trouble.Load(); why != nil {
		return errors.New(*why)
	}
	if h.failing != nil {
		return h.failing.Failing()
	}
	return nil
}

// SetTrouble tells that nothing should be stored at present, and why, or, with "",
// that it may be again: before the last of the room on a disk is gone, so that
// messages are refused and no commit has to wait. Any goroutine.
func (h *Hub) SetTrouble(why string) {
	if why == "" {
		h.trouble.Store(nil)
	} else {
		h.trouble.Store(&why)
	}
}

// QueuedBytes returns the payload bytes that wait in all queues. Any goroutine.
func (h *Hub) QueuedBytes() int64 { return h.queued.Load() }

// pressure decides whether a message that would have to be kept can be taken now.
// MQTT 5 is told with a reason code; 3.x knows none, so its publisher waits.
func (sh *Shard) pressure(c *Client, p *packet.Publish, topic []byte) (mqtt.ReasonCode, string, *End) {
	cfg := sh.Hub.Cfg()
	if p.QoS == mqtt.AtMostOnce || sh.Hub.immediate && !cfg.Refuse || p.QoS == mqtt.ExactlyOnce && c.S.InUse(p.PacketID) {
		return mqtt.Success, "", nil
	}
	err := sh.Hub.Failing()
	why := ""
	switch {
	case err != nil && sh.keeps(c, p, topic):
		why = "unable to store: " + err.Error()
	case cfg.Refuse && sh.refuses(cfg, topic):
		why = "the queue of a receiver is full"
	case err == nil && sh.pending >= maxPending:
		return mqtt.Success, "", Wait
	default:
		return mqtt.Success, "", nil
	}
	if c.S.Version() == mqtt.V5 {
		return mqtt.QuotaExceeded, why, nil
	}
	return mqtt.Success, "", WaitOrEnd
}

// keeps reports whether a message would change what is stored.
func (sh *Shard) keeps(c *Client, p *packet.Publish, topic []byte) bool {
	if p.Retain || p.QoS == mqtt.ExactlyOnce && c.S.Persistent() {
		return true
	}
	res := sh.cache.Lookup(topic)
	defer sh.cache.Done(res)
	for i := range res.Plain {
		if t := &res.Plain[i]; t.QoS > 0 && t.Sub.stored.Load() != 0 {
			return true
		}
	}
	return len(res.Groups) > 0
}

// refuses reports whether a receiver has no room for a message.
func (sh *Shard) refuses(cfg *Config, topic []byte) bool {
	total := cfg.MaxTotalQueued > 0 && sh.Hub.queued.Load()+sh.queued >= cfg.MaxTotalQueued
	res := sh.cache.Lookup(topic)
	defer sh.cache.Done(res)
	for i := range res.Plain {
		t := &res.Plain[i]
		if t.QoS == 0 {
			continue
		}
		if live := t.Sub.live.Load(); live&liveFull != 0 || total && live&liveOnline == 0 {
			return true
		}
	}
	return false
}

// noMemory is what clients are told when memory_limit is reached.
const noMemory = "memory_limit is reached"

// roomToRetain reports whether a message may become the retained message of its
// topic. When memory_limit is reached only what needs no more than the one before
// may; $SYS is bounded by itself.
func (sh *Shard) roomToRetain(m *record.Message) bool {
	if !sh.Hub.scarce.Load() || len(m.Payload) == 0 || strings.HasPrefix(m.Topic, "$SYS/") {
		return true
	}
	old, had := sh.Hub.Retained.Get(m.Topic)
	return had && len(m.Payload)+len(m.Props) <= len(old.Payload)+len(old.Props)
}

// noRoom reports whether all queues together are at their limit.
func (sh *Shard) noRoom() bool {
	limit := sh.Hub.Cfg().MaxTotalQueued
	return sh.Hub.scarce.Load() || limit > 0 && sh.Hub.queued.Load()+sh.queued >= limit
}

// levelOf is how durable a message has to be: what is said about its topic or the
// listener it came by, the stronger of both, else what holds for the broker.
func (sh *Shard) levelOf(c *Client, topic string) store.Level {
	if f := sh.Hub.Cfg().TopicLevel; f != nil {
		if l, ok := f(topic); ok {
			if c.ownLevel {
				l = max(l, c.level)
			}
			return l
		}
	}
	return c.level
}

// saveUnsaved stores retained messages that changed while nothing could be stored.
func (sh *Shard) saveUnsaved() {
	if len(sh.unsaved) == 0 || sh.Hub.Failing() != nil {
		return
	}
	for topic := range sh.unsaved {
		if m, ok := sh.Hub.Retained.Get(topic); ok {
			sh.persist(record.Op{Kind: record.PutRetained, Entry: record.Queued{Msg: m}})
		} else {
			sh.persist(record.Op{Kind: record.DeleteRetained, Filter: topic})
		}
	}
	clear(sh.unsaved)
}
