package metrics

import (
	"math"
	"strconv"
	"time"
)

// SysPrefix begins every topic of the tree.
const SysPrefix = "$SYS/broker/"

// SysQoS is the QoS of every message of the tree. All are retained, unless
// retained messages are switched off, and have no expiry.
const SysQoS = 2

// SysMessage is one message to publish.
type SysMessage struct {
	Topic   string
	Payload []byte
}

// loadPeriods are the time constants of the averages, with the last level of
// their topics.
var loadPeriods = []struct {
	name    string
	seconds float64
}{{"1min", 60}, {"5min", 300}, {"15min", 900}}

// SysTree decides which topics of $SYS are due with which payload.
//
// Updates happen when the second of the wall clock is a multiple of the
// interval, so that several brokers publish together; rates are computed from
// the monotonic clock. A plain figure is published when it differs from the
// one before, starting from 1, an oddity of Mosquitto's that clients can see:
// a figure that is 1 from the beginning stays unpublished until it changes. The
// figures that only midge has are published at the start whatever they are: one
// loss must not be the one that nobody is told of.
type SysTree struct {
	version  string
	interval int64 // seconds; 0 publishes nothing
	start    time.Time

	served    int64     // wall clock second of the last update
	lastTime  time.Time // of the last update, for rates
	last      Snapshot  // counters at the last update, for rates
	published []int64   // by field, the value published last
	loads     []float64 // by field and period
}

// NewSysTree returns the tree of a broker that started at start. version is the
// payload of $SYS/broker/version, interval is sys_interval in seconds.
func NewSysTree(version string, interval int, start time.Time) *SysTree {
	t := &SysTree{
		version:   version,
		start:     start,
		interval:  int64(interval),
		published: make([]int64, len(fields)),
		loads:     make([]float64, len(fields)*len(loadPeriods)),
	}
	for i := range t.published {
		t.published[i] = 1
		if fields[i].ours {
			t.published[i] = -1
		}
	}
	return t
}

// SetInterval changes sys_interval, in seconds.
func (t *SysTree) SetInterval(seconds int) { t.interval = int64(seconds) }

// First returns what is published at start, before any listener is open: the
// version, the uptime, the figures, and every average as 0.00. It is nothing
// when the interval is 0.
func (t *SysTree) First(s Snapshot, now time.Time) []SysMessage {
	if t.interval == 0 {
		return nil
	}
	out := []SysMessage{{SysPrefix + "version", []byte(t.version)}}
	out = t.update(out, &s, now)
	for i := range fields {
		if fields[i].load == "" {
			continue
		}
		for _, p := range loadPeriods {
			out = append(out, SysMessage{loadTopic(&fields[i], p.name), []byte("0.00")})
		}
	}
	return out
}

// Due reports whether Update is to be called: the wall clock shows a multiple
// of the interval that was not served yet.
func (t *SysTree) Due(now time.Time) bool {
	sec := now.Unix()
	return t.interval > 0 && sec%t.interval == 0 && sec != t.served
}

// Next returns how long to wait after now before asking Due again, at least
// one millisecond; false means that nothing will be due.
func (t *SysTree) Next(now time.Time) (time.Duration, bool) {
	if t.interval == 0 {
		return 0, false
	}
	sec := now.Unix()
	next := time.Unix((sec/t.interval+1)*t.interval, 0)
	return max(next.Sub(now.Round(0)), time.Millisecond), true
}

// Update returns what has changed since the update before, in a fixed order.
func (t *SysTree) Update(s Snapshot, now time.Time) []SysMessage {
	if t.interval == 0 {
		return nil
	}
	out := t.update(nil, &s, now)
	return t.appendLoads(out, &s, now)
}

// update appends uptime and figures and leaves s as the base of the next rates
// to appendLoads, or, at the start, is the only one to set it.
func (t *SysTree) update(out []SysMessage, s *Snapshot, now time.Time) []SysMessage {
	t.served = now.Unix()
	s.ClientsMaximum = s.ClientsTotal
	s.HeapMaximum = s.HeapBytes
	s.ClientsDisconnected = s.disconnected()

	uptime := strconv.AppendInt(nil, int64(now.Sub(t.start)/time.Second), 10)
	out = append(out, SysMessage{SysPrefix + "uptime", append(uptime, " seconds"...)})
	for i := range fields {
		f := &fields[i]
		v := f.Value(s)
		if f.topics == nil || v == t.published[i] || (f.increase && v < t.published[i]) {
			continue
		}
		t.published[i] = v
		for _, topic := range f.topics {
			out = append(out, SysMessage{SysPrefix + topic, strconv.AppendInt(nil, v, 10)})
		}
	}
	if t.lastTime.IsZero() {
		t.last, t.lastTime = *s, now
	}
	return out
}

// appendLoads moves the averages and appends those that moved by 0.01 or more.
// The comparison is with the update before and not with what was published
// last, so that a slow drift may stay unpublished.
func (t *SysTree) appendLoads(out []SysMessage, s *Snapshot, now time.Time) []SysMessage {
	dt := math.Trunc(now.Sub(t.lastTime).Seconds())
	if dt < 1 {
		return out
	}
	for i := range fields {
		f := &fields[i]
		if f.load == "" {
			continue
		}
		rate := float64(f.Value(s)-f.Value(&t.last)) * 60 / dt
		for j, p := range loadPeriods {
			load := &t.loads[i*len(loadPeriods)+j]
			old := *load
			*load = rate + math.Exp(-dt/p.seconds)*(old-rate)
			if math.Abs(*load-old) >= 0.01 {
				out = append(out, SysMessage{loadTopic(f, p.name), strconv.AppendFloat(nil, *load, 'f', 2, 64)})
			}
		}
	}
	t.last, t.lastTime = *s, now
	return out
}

func loadTopic(f *Field, period string) string {
	return SysPrefix + "load/" + f.load + "/" + period
}
