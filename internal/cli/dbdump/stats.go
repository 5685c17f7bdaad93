package dbdump

import (
	"fmt"
	"io"

	"github.com/midgemq/midge/internal/store/mosqdb"
)

// stats counts chunks.
type stats struct {
	w     io.Writer
	count [mosqdb.TypeClient + 1]int
}

func (s *stats) header(uint32, uint32) {}

func (s *stats) chunk(c *mosqdb.Chunk) { s.count[c.Type]++ }

func (s *stats) end() {
	for _, t := range []mosqdb.Type{
		mosqdb.TypeConfig, mosqdb.TypeMessage, mosqdb.TypeClientMessage, mosqdb.TypeRetained, mosqdb.TypeSubscription, mosqdb.TypeClient,
	} {
		fmt.Fprintf(s.w, "%-20s %d\n", t.String()+":", s.count[t])
	}
}

// clientStats adds up what each client has: subscriptions and messages, and the
// bytes of their chunks.
type clientStats struct {
	w        io.Writer
	order    []*clientSum
	byID     map[string]*clientSum
	messages map[uint64]uint32 // length by id
}

type clientSum struct {
	id                       string
	subs, subBytes, messages int
	messageBytes             int64
}

func newClientStats(w io.Writer) *clientStats {
	return &clientStats{w: w, byID: make(map[string]*clientSum), messages: make(map[uint64]uint32)}
}

func (s *clientStats) header(uint32, uint32) {}

func (s *clientStats) chunk(c *mosqdb.Chunk) {
	switch {
	case c.Message != nil:
		s.messages[c.Message.ID] = c.Length
	case c.Client != nil:
		if s.byID[c.Client.ID] == nil {
			sum := &clientSum{id: c.Client.ID}
			s.byID[sum.id] = sum
			s.order = append(s.order, sum)
		}
	case c.ClientMessage != nil:
		if sum := s.byID[c.ClientMessage.ClientID]; sum != nil {
			sum.messages++
			sum.messageBytes += int64(c.Length) + int64(s.messages[c.ClientMessage.MessageID])
		}
	case c.Subscription != nil:
		if sum := s.byID[c.Subscription.ClientID]; sum != nil {
			sum.subs++
			sum.subBytes += int(c.Length)
		}
	}
}

func (s *clientStats) end() {
	for _, c := range s.order {
		fmt.Fprintf(s.w, "SC: %d SS: %d MC: %d MS: %d   %s\n", c.subs, c.subBytes, c.messages, c.messageBytes, c.id)
	}
}
