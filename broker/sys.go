package broker

import (
	"context"
	"os"
	"runtime/metrics"
	"slices"
	"time"

	"github.com/midgemq/midge/internal/admin"
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/logging"
	names "github.com/midgemq/midge/internal/metrics"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/session"
	"github.com/midgemq/midge/mqtt"
)

// startSys publishes the first $SYS update and keeps the tree up to date.
func (b *Broker) startSys() {
	tree := names.NewSysTree(b.opts.Version, b.cfg.SysInterval, b.started)
	ctx := b.done
	first := b.snapshot(ctx)
	b.api.publishedSys(&first)
	b.publishSys(ctx, tree.First(first, time.Now()))
	b.wg.Add(1)
	go func() {
		defer b.wg.Done()
		for {
			var tick <-chan time.Time
			var t *time.Timer
			if wait, on := tree.Next(time.Now()); on {
				t = time.NewTimer(wait)
				tick = t.C
			}
			select {
			case <-ctx.Done():
			case <-b.sysWake:
				b.changeSys(tree)
			case <-tick:
			}
			if t != nil {
				t.Stop()
			}
			if ctx.Err() != nil {
				return
			}
			if now := time.Now(); tree.Due(now) {
				s := b.snapshot(ctx)
				b.api.publishedSys(&s)
				b.publishSys(ctx, tree.Update(s, now))
			}
		}
	}()
}

// changeSys puts another interval in force. A tree that was off begins as at the
// start.
func (b *Broker) changeSys(tree *names.SysTree) {
	_, on := tree.Next(time.Now())
	tree.SetInterval(int(b.sysInterval.Load()))
	if !on {
		b.publishSys(b.done, tree.First(b.snapshot(b.done), time.Now()))
	}
}

// sysChanged tells the goroutine of $SYS about a new interval.
func (b *Broker) sysChanged(seconds int) {
	b.sysInterval.Store(int64(seconds))
	select {
	case b.sysWake <- struct{}{}:
	default: // it has been told and has not looked yet
	}
}

func (b *Broker) publishSys(ctx context.Context, list []names.SysMessage) {
	if len(list) == 0 || ctx.Err() != nil { // the counts in it may be missing
		return
	}
	sh := b.hub.Shards[0]
	done := make(chan struct{})
	if !sh.Post(func() {
		for _, m := range list {
			sh.Publish(&record.Message{Topic: m.Topic, Payload: m.Payload, QoS: names.SysQoS, Retain: true})
		}
		close(done)
	}) {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// publishLog is log_dest topic. It does not block: the line goes to a loop's
// inbox.
func (b *Broker) publishLog(suffix string, line []byte) {
	sh := b.hub.Shards[0]
	m := &record.Message{Topic: names.SysPrefix + "log/" + suffix, Payload: line, QoS: mqtt.ExactlyOnce}
	sh.Post(func() {
		m.Expires = sh.Now() + 20*record.Second
		sh.Publish(m)
	})
}

// snapshot adds up the counts of all loops; they are 0 when ctx ends before all
// have answered.
func (b *Broker) snapshot(ctx context.Context) names.Snapshot {
	s, _, _ := b.counts(ctx)
	return s
}

func (b *Broker) counts(ctx context.Context) (s names.Snapshot, drops [session.NumDrops]uint64, ends map[string]int64) {
	ends = make(map[string]int64)
	all := make([]hub.Counters, len(b.hub.Shards))
	if b.onAll(ctx, func(sh *hub.Shard) { all[sh.ID] = sh.Count }) != nil {
		return s, drops, ends // nobody waits any more, and loops may yet write to all
	}
	for i := range all {
		c := &all[i]
		s.PacketsReceived += int64(c.PacketsReceived)
		s.PacketsSent += int64(c.PacketsSent)
		s.BytesReceived += int64(c.BytesReceived)
		s.BytesSent += int64(c.BytesSent)
		s.PublishReceived += int64(c.PublishReceived)
		s.PublishSent += int64(c.PublishSent)
		s.PublishBytesReceived += int64(c.PublishBytesReceived)
		s.PublishBytesSent += int64(c.PublishBytesSent)
		s.PublishDropped += int64(c.PublishDropped)
		s.Sockets += int64(c.Sockets)
		s.Connects += int64(c.Connects)
		s.Moved += int64(c.Moved)
		s.OutBytes += c.OutBytes
		s.OutPackets += c.OutPackets
		for k, n := range c.Drops {
			drops[k] += n
		}
		for k, n := range c.Ends {
			if n > 0 {
				ends[logging.Cause(k).String()] += int64(n)
			}
		}
	}
	plain, shared := b.hub.Tree.Counts()
	s.Subscriptions, s.SharedSubscriptions = int64(plain), int64(shared)
	s.ClientsTotal = int64(b.hub.Sessions())
	s.ClientsConnected = b.engine.Open()
	s.ClientsExpired = int64(b.hub.Expired())
	s.Retained = int64(b.hub.Retained.Len())
	b.measure(&s)
	s.HeapBytes = heap()
	return s, drops, ends
}

func heap() int64 {
	v := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(v)
	return int64(v[0].Value.Uint64())
}

// Admin answers the control socket's commands.
func (b *Broker) Admin() admin.Broker { return (*adminFace)(b) }

type adminFace Broker

// Status implements admin.Broker.
func (f *adminFace) Status(ctx context.Context) (admin.Status, error) {
	b := (*Broker)(f)
	s, drops, ends := b.counts(ctx)
	st := admin.Status{
		Version: b.opts.Version, PID: os.Getpid(), Started: b.started, Uptime: int64(time.Since(b.started) / time.Second),
		Loops: len(b.hub.Shards), Metrics: s.Map(), Drops: dropMap(drops), Ends: ends,
	}
	st.Metrics["tls_files_refused"] = b.doors.failures()
	b.mu.Lock()
	for _, l := range b.bound {
		st.Listeners = append(st.Listeners, admin.Listener{
			Address: l.Where(), Protocol: l.Spec().Protocol.String(), Connections: l.Settings.Open.Load(),
		})
	}
	b.mu.Unlock()
	return st, ctx.Err()
}

// dropMap has every cause, also those that never happened.
func dropMap(d [session.NumDrops]uint64) map[string]int64 {
	m := make(map[string]int64, len(d))
	for k := session.DropNone + 1; k < session.NumDrops; k++ {
		m[k.String()] = int64(d[k])
	}
	return m
}

// Clients implements admin.Broker.
func (f *adminFace) Clients(ctx context.Context) ([]admin.Client, error) {
	b := (*Broker)(f)
	per := make([][]*hub.Client, len(b.hub.Shards))
	lists := make([][]admin.Client, len(per))
	err := b.still(ctx, func() error {
		b.hub.Clients(func(c *hub.Client) { per[c.Shard().ID] = append(per[c.Shard().ID], c) })
		strays := make([][]*hub.Client, len(per)) // they have begun to move: another loop owns them
		err := b.onAll(ctx, func(sh *hub.Shard) {
			for _, c := range per[sh.ID] {
				if sh.Owns(c) {
					lists[sh.ID] = append(lists[sh.ID], b.describe(c.Snapshot()))
				} else {
					strays[sh.ID] = append(strays[sh.ID], c)
				}
			}
		})
		if err != nil {
			return err // loops may yet write to strays
		}
		all := slices.Concat(strays...)
		if len(all) == 0 {
			return nil
		}
		return b.onAll(ctx, func(sh *hub.Shard) {
			for _, c := range all {
				if sh.Owns(c) {
					lists[sh.ID] = append(lists[sh.ID], b.describe(c.Snapshot()))
				}
			}
		})
	})
	if err != nil {
		return nil, err
	}
	var all []admin.Client
	for _, l := range lists {
		all = append(all, l...)
	}
	return all, nil
}

func (b *Broker) describe(s hub.Snapshot) admin.Client {
	c := admin.Client{
		ID: s.ID, Connected: s.Online, User: s.UserName, Version: int(s.Version), KeepAlive: int(s.KeepAlive), Clean: s.Clean,
		Address: s.Address, Expiry: s.Expiry, Subscriptions: s.Subscriptions, InflightIn: s.QoS2Open, InflightOut: s.Inflight,
		Queued: s.Queued, QueuedBytes: s.QueuedBytes, OutputBytes: int64(s.OutputBytes),
	}
	if s.Oldest != 0 {
		c.OldestAge = max(int64((b.clock.Now()-s.Oldest)/record.Second), 1)
	}
	if s.Since != 0 {
		c.Since = time.Now().Add(-time.Duration(b.clock.Now() - s.Since)).Round(time.Second)
	}
	for k, n := range s.Dropped {
		if n > 0 {
			if c.Drops == nil {
				c.Drops = make(map[string]int64)
			}
			c.Drops[session.Drop(k).String()] = int64(n)
		}
	}
	return c
}

// Disconnect implements admin.Broker.
func (f *adminFace) Disconnect(ctx context.Context, id string, code mqtt.ReasonCode, reference string) error {
	b := (*Broker)(f)
	c := b.hub.Find(id)
	if c == nil {
		return admin.ErrNoClient
	}
	done := make(chan bool, 1)
	if !c.Post(func(*hub.Shard) { done <- c.Disconnect(code, reference) }) {
		return errClosed
	}
	select {
	case had := <-done:
		if !had {
			return admin.ErrNoClient
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
