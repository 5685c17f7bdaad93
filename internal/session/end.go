package session

import (
	"github.com/midgemq/midge/internal/flow"
	"github.com/midgemq/midge/internal/record"
)

// Ending says how a connection ended.
type Ending struct {
	// Normal: DISCONNECT 0x00 came, which discards the will [MQTT-3.14.4-3].
	Normal bool
	// TakenOver: another connection with the same client id; CleanStart and its
	// effect on the will are those of the new one [U5-3.1.3.2.2-3].
	TakenOver bool
	// HasExpiry: DISCONNECT changed the session expiry interval to Expiry.
	HasExpiry bool
	Expiry    uint32
}

// MayChangeExpiry reports whether DISCONNECT may set the interval: not from 0 to
// more [U5-3.14.2.2.2-2].
func (s *Session) MayChangeExpiry(to uint32) bool { return s.asked != 0 || to == 0 }

// Detach ends the connection and reports whether the session ends with it; then
// the caller calls End.
func (s *Session) Detach(e Ending, now record.Instant, fx *Effects) (ended bool) {
	s.online = false
	s.pendingQ1 = 0
	if e.HasExpiry {
		s.rec.Expiry = e.Expiry
	}
	if e.Normal {
		s.dropWill(fx)
	}
	s.rec.Disconnected = now
	if s.rec.Expiry == 0 {
		// A session with interval 0 ends with its connection, never earlier
		// [MQTT-4.1.0-1].
		return true
	}
	if s.will != nil && s.will.Delay == 0 {
		s.publishWill(fx)
	}
	s.setDeadlines(now)
	if s.out != nil && s.rules.Unload {
		s.out.q.unload()
	}
	fx.Ops = append(fx.Ops, record.Op{Kind: record.PutSession, Key: s.rec.Key, Session: s.Record()})
	return false
}

func (s *Session) setDeadlines(now record.Instant) {
	s.dueWill, s.dueEnd = 0, 0
	if s.will != nil {
		s.dueWill = now + record.Instant(s.will.Delay)*record.Second
	}
	if e := s.limitExpiry(s.rec.Expiry); e != NeverExpires {
		s.dueEnd = now + record.Instant(e)*record.Second
	}
}

const (
	// willGrace is what clients have to come back in after the broker ended without
	// a stop, before their wills are published.
	willGrace = 30 * record.Second
	// willSpread keeps the wills of many sessions from going out in one moment.
	willSpread = 10 * record.Second
)

// restart sets the deadlines of a session that a store kept. What has passed of
// an interval before the restart stays passed. One that was connected when the
// broker ended counts as disconnected now, and is reported.
func (s *Session) restart(now record.Instant) (wasOnline bool) {
	wasOnline = s.rec.Disconnected == 0
	if wasOnline || s.rec.Disconnected > now {
		s.rec.Disconnected = now
	}
	s.setDeadlines(s.rec.Disconnected)
	if s.will == nil {
		return wasOnline
	}
	if wasOnline {
		s.dueWill = max(s.dueWill, now+willGrace) + record.Instant(s.rec.Key%1000)*(willSpread/1000)
	}
	return wasOnline
}

// Due is when Timer wants to be called next; 0: never.
func (s *Session) Due() record.Instant {
	if s.online {
		return 0
	}
	first := s.dueEnd
	for _, at := range [...]record.Instant{s.dueWill, s.dueAge()} {
		if at != 0 && (first == 0 || at < first) {
			first = at
		}
	}
	return first
}

// Timer carries out what is due and reports whether the session has ended; then
// the caller calls End. A will is due after its delay or at the session's end,
// whichever is first [MQTT-3.1.2-8].
func (s *Session) Timer(now record.Instant, fx *Effects) (ended bool) {
	if s.online {
		return false
	}
	if s.dueEnd != 0 && now >= s.dueEnd {
		return true // the interval has passed [MQTT-4.1.0-2]
	}
	if s.dueWill != 0 && now >= s.dueWill {
		s.publishWill(fx)
	}
	if at := s.dueAge(); at != 0 && now >= at {
		s.shed(now, fx)
	}
	return false
}

// PublishWill publishes the will now, whatever it waits for.
func (s *Session) PublishWill(fx *Effects) { s.publishWill(fx) }

func (s *Session) publishWill(fx *Effects) {
	if s.will == nil {
		return
	}
	fx.Publish = append(fx.Publish, s.will)
	s.dropWill(fx)
}

func (s *Session) dropWill(fx *Effects) {
	if s.will == nil {
		return
	}
	s.will, s.dueWill = nil, 0 // published at most once [MQTT-3.1.2-10]
	if s.persistent {
		fx.Ops = append(fx.Ops, record.Op{Kind: record.DeleteWill, Key: s.rec.Key})
	}
}

// End ends the session: the will that still waits is published, QoS 1 messages
// of shared subscriptions are handed on, and the store forgets the rest. QoS 2
// messages whose sending has begun go to nobody else [MQTT-4.8.2-5].
func (s *Session) End(fx *Effects) {
	s.publishWill(fx)
	if s.out != nil {
		s.out.snd.All(func(_ uint16, st flow.State, e record.Queued) bool {
			if e.Group != "" && st == flow.AwaitPuback {
				fx.Handed = append(fx.Handed, e)
			}
			return true
		})
		for {
			e, ok := s.out.q.pop()
			if !ok {
				break
			}
			if e.Group != "" {
				fx.Handed = append(fx.Handed, e)
			}
		}
		s.out = nil
	}
	if s.persistent {
		fx.Ops = append(fx.Ops, record.Op{Kind: record.DeleteSession, Key: s.rec.Key})
	}
}

// Handing reports whether messages of shared subscriptions may be in the store
// alone, so that the caller reads them, from QueueFrom on, and hands them on.
func (s *Session) Handing() bool { return s.out != nil && s.out.q.spilled > 0 && s.out.q.handing }

// Will returns the will in force, nil for none.
func (s *Session) Will() *record.Will { return s.will }

// QoS2Open returns how many incoming QoS 2 messages await their PUBREL.
func (s *Session) QoS2Open() int {
	if s.in == nil {
		return 0
	}
	return s.in.Len()
}
