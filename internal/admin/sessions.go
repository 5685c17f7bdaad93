package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
)

// Session is what one session holds.
type Session struct {
	ID        string `json:"id"`
	Connected bool   `json:"connected"`
	Messages  int    `json:"messages"`   // waiting and in flight
	Bytes     int64  `json:"bytes"`      // payload of those that wait
	OldestAge int64  `json:"oldest_age"` // seconds that the first of them has waited; 0: none waits
	Expiry    uint32 `json:"session_expiry"`

	Dropped int64            `json:"dropped"`
	Drops   map[string]int64 `json:"drops,omitempty"` // by cause
}

// SessionList is the result of the command sessions.
type SessionList struct {
	Sessions []Session `json:"sessions"` // those that hold most first
	Count    int       `json:"count"`    // of all sessions, also of those that limit cut off
	Messages int64     `json:"messages"` // of all sessions
	Bytes    int64     `json:"bytes"`
}

// sessions says who holds how much, most bytes first; the argument limit cuts
// the list.
func (c *Commands) sessions(ctx context.Context, args json.RawMessage) (any, error) {
	var a struct {
		Limit int `json:"limit"`
	}
	if err := arguments(args, &a); err != nil {
		return nil, err
	}
	if a.Limit < 0 {
		return nil, badRequest("args: limit is negative")
	}
	all, err := c.broker.Clients(ctx)
	if err != nil {
		return nil, err
	}
	list := SessionList{Sessions: make([]Session, 0, len(all)), Count: len(all)}
	for i := range all {
		v := &all[i]
		s := Session{
			ID: v.ID, Connected: v.Connected, Messages: v.Queued + v.InflightOut, Bytes: v.QueuedBytes,
			OldestAge: v.OldestAge, Expiry: v.Expiry, Drops: v.Drops,
		}
		for _, n := range v.Drops {
			s.Dropped += n
		}
		list.Messages += int64(s.Messages)
		list.Bytes += s.Bytes
		list.Sessions = append(list.Sessions, s)
	}
	slices.SortFunc(list.Sessions, func(a, b Session) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(b.Messages, a.Messages), cmp.Compare(b.Dropped, a.Dropped), cmp.Compare(a.ID, b.ID))
	})
	if a.Limit > 0 && len(list.Sessions) > a.Limit {
		list.Sessions = list.Sessions[:a.Limit]
	}
	return list, nil
}
