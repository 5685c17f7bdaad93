package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/metrics"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/memstore"
	"github.com/midgemq/midge/internal/store/pebblestore"
	"github.com/midgemq/midge/internal/store/salvage"
	"github.com/midgemq/midge/mqtt"
)

const (
	// storeName is the directory below persistence_location.
	storeName = "midge.store"
	// reserve is the free space in bytes below which messages are refused, so that
	// what is under way can still be written, and reserveShare the same as a share
	// of the file system, for small ones: one in so many.
	reserve      = 64 << 20
	reserveShare = 20
	// reclaimFrom is the free space in bytes that giving room back needs itself: a
	// new log, and tables of what is still wanted.
	reclaimFrom = 4 << 20
	// spaceEvery is how often free space is looked at, ten times as often while it
	// changes near the reserve.
	spaceEvery = 500 * time.Millisecond
	// lossEvery is how often at most a line says that records were damaged, and one
	// that tables could not be written.
	lossEvery = time.Minute
)

// StoreDirectory is where a broker with this configuration keeps its store. It
// may be relative to the current directory.
func StoreDirectory(c *config.Config) string {
	return filepath.Join(c.Storage.Directory(), storeName)
}

// SchemaError is returned by New for a store that a newer version wrote.
type SchemaError = pebblestore.SchemaError

// refusedStore is a store that this version must not touch.
type refusedStore struct {
	*SchemaError
	dir string
}

func (e *refusedStore) Error() string { return e.dir + ": " + e.SchemaError.Error() }
func (e *refusedStore) Unwrap() error { return e.SchemaError }

// ExitStatus is what the process ends with, as for a configuration that cannot
// be used.
func (e *refusedStore) ExitStatus() int { return 3 }

// disk is the store on disk with what the broker does around it.
type disk struct {
	b        *Broker
	dir      string
	store    *pebblestore.Store
	exporter exporter
	// when a loss, and that the store could not tidy up, were last logged, in Unix seconds
	lost, untold atomic.Int64
	// reclaiming: a goroutine has the store give room back.
	reclaiming atomic.Bool
	// missing is what damage found at the opening has cost.
	missing int64
}

// openStore opens the store, on disk or in memory, unless the caller brought one.
func (b *Broker) openStore() error {
	switch {
	case b.store != nil:
		return nil
	case b.cfg.Persistence:
		return b.openDisk()
	}
	b.mem = memstore.New()
	b.store = b.mem
	return nil
}

// closeStore ends the store; nobody changes it any more.
func (b *Broker) closeStore(ctx context.Context) error {
	if b.disk != nil {
		return b.disk.close(ctx)
	}
	return b.store.Close()
}

// startDisk begins what goes on beside the store.
func (b *Broker) startDisk() {
	if b.disk == nil {
		return
	}
	goes := []func(){b.disk.watchSpace}
	if b.disk.exports() {
		goes = append(goes, b.disk.autosave)
	}
	for _, f := range goes {
		b.wg.Add(1)
		go func() {
			defer b.wg.Done()
			f()
		}()
	}
}

// openDisk opens the store that the configuration asks for.
func (b *Broker) openDisk() error {
	d := &disk{b: b, dir: StoreDirectory(b.cfg)}
	if err := os.MkdirAll(filepath.Dir(d.dir), 0o700); err != nil {
		return fmt.Errorf("create persistence_location: %w", err)
	}
	if err := d.beforeOpen(); err != nil {
		return err
	}
	st, r, err := salvage.Open(d.dir, pebblestore.Options{
		Clock:         func() (record.Instant, time.Time) { return b.clock.Now(), time.Now() },
		Interval:      b.cfg.Storage.Interval,
		Event:         d.event,
		MemTableBytes: memTable(d.dir),
	})
	if e, ok := errors.AsType[*SchemaError](err); ok {
		return &refusedStore{e, d.dir}
	}
	if err != nil {
		return err
	}
	if r.Damaged() {
		d.missing = r.Losses()
		b.log.Error("Error: %s", r.Line())
	}
	d.store, b.store, b.disk = st, st, d
	d.say()
	return nil
}

// memTable is how much is gathered in memory before it becomes a table; 0: as the
// store thinks fit. On a small disk less: up to five logs of that size exist, and
// four tables in memory have to fit into the reserve when it is full.
func memTable(dir string) int {
	_, size, ok := diskSpace(filepath.Dir(dir))
	if !ok || size >= 2<<30 {
		return 0
	}
	return int(max(size/128, 1<<20))
}

// say tells what an acknowledgement is worth.
func (d *disk) say() {
	s := &d.b.cfg.Storage
	promise := map[config.Sync]string{
		config.SyncFlush: "on stable storage: it survives power loss",
		config.SyncWrite: "handed to the operating system: it survives the end of the broker, not that of the machine",
		config.SyncInterval: fmt.Sprintf("not yet stored: up to %v of acknowledged messages are lost when the broker ends without a stop",
			max(s.Interval, time.Second)),
	}
	say := d.b.log.Info
	if s.Sync == config.SyncInterval {
		say = d.b.log.Warning
	}
	say("Persistence in %s. What is acknowledged is %s (persistence_sync %s).", d.dir, promise[s.Sync], s.Sync)
	for _, t := range s.SyncTopics {
		d.b.log.Info("Messages on %s: what is acknowledged is %s.", t.Filter, promise[t.Sync])
	}
	for _, l := range d.b.cfg.Listeners {
		if l.Sync != "" {
			d.b.log.Info("Listener %s: what is acknowledged is %s.", l.Name(), promise[l.Sync])
		}
	}
}

// event logs what the engine tells. Any goroutine.
func (d *disk) event(e pebblestore.Event) {
	log := d.b.log
	switch e.Kind {
	case pebblestore.Unavailable:
		log.Error("Error: Storage takes nothing: %v. Messages that have to be stored are refused or wait until it does; QoS 0 goes on.", e.Err)
	case pebblestore.Available:
		log.Notice("Storage works again.")
	case pebblestore.Damaged, pebblestore.Lost:
		if due(&d.lost) {
			log.Error("Error: Stored data is lost: %v. The metric store_lost_total counts.", e.Err)
		}
	case pebblestore.Background:
		d.untidy(e.Err)
	case pebblestore.Slow:
		log.Warning("Warning: The disk is slow: %v.", e.Err)
	}
}

// untidy says that tables could not be written; the store tries many times a second.
func (d *disk) untidy(err error) {
	if due(&d.untold) {
		d.b.log.Warning("Warning: The store could not tidy up and tries again: %v.", err)
	}
}

// due reports whether something was last said lossEvery ago, and notes that it is
// said now.
func due(said *atomic.Int64) bool {
	now, last := time.Now().Unix(), said.Load()
	return now-last >= int64(lossEvery/time.Second) && said.CompareAndSwap(last, now)
}

// watchSpace refuses messages before the disk is full, until the broker ends.
func (d *disk) watchSpace() {
	t := time.NewTicker(spaceEvery)
	defer t.Stop()
	low, before := false, uint64(0)
	for {
		if free, size, ok := diskSpace(d.dir); ok {
			limit := min(reserve, size/reserveShare)
			if low {
				limit += limit / 4 // what tidying up needs for a moment comes and goes
			}
			if now := free < limit; now != low {
				low = now
				d.sayLow(low, free)
			}
			if low && free >= reclaimFrom {
				d.reclaim()
			}
			every := spaceEvery
			if free < 8*limit && free != before {
				every /= 10
			}
			before = free
			t.Reset(every)
		}
		select {
		case <-t.C:
		case <-d.b.done.Done():
			return
		}
	}
}

// reclaim has what was deleted leave the disk. It does not wait: writing may take
// long.
func (d *disk) reclaim() {
	if !d.reclaiming.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer d.reclaiming.Store(false)
		if err := d.store.Reclaim(); err != nil && !errors.Is(err, pebblestore.ErrUnavailable) {
			d.untidy(err)
		}
	}()
}

func (d *disk) sayLow(low bool, free uint64) {
	if !low {
		d.b.hub.SetTrouble("")
		d.b.log.Notice("There is room on the disk again.")
		return
	}
	d.b.hub.SetTrouble("the disk is full")
	d.b.log.Error("Error: The disk with %s is full: %d MiB are left. Messages that have to be stored are refused or wait; QoS 0 goes on.", d.dir, free>>20)
}

// measure adds the figures of storage.
func (b *Broker) measure(s *metrics.Snapshot) {
	s.QueuedBytes = b.hub.QueuedBytes()
	if b.hub.Failing() != nil {
		s.StorageDown = 1
	}
	if b.mem != nil {
		m := b.mem.Stats()
		s.StoredMessages, s.StoredBytes = int64(m.Messages), m.Bytes
	}
	if b.disk != nil {
		st := b.disk.store.Stats()
		s.NotDurable = st.NotDurable
		s.StoreLost = int64(st.Damaged+st.LostGroups) + b.disk.missing
	}
}

// levelOf translates a level of the configuration.
func levelOf(s config.Sync) store.Level {
	switch s {
	case config.SyncWrite:
		return store.Write
	case config.SyncInterval:
		return store.Interval
	default:
		return store.Flush
	}
}

// listenerLevel is listener_persistence_sync; nil: the broker's level holds.
func listenerLevel(l *config.Listener) *store.Level {
	if l.Sync == "" {
		return nil
	}
	level := levelOf(l.Sync)
	return &level
}

// storageRules adds what the options about storage and queues mean to the hub.
func storageRules(o *Options, h *hub.Config) {
	s := &o.Config.Storage
	h.Level = levelOf(s.Sync)
	h.MaxTotalQueued = int64(s.MaxTotalQueuedBytes)
	h.Refuse = s.QueuePolicy == config.Refuse
	h.Rules.DropOldest = s.QueuePolicy == config.DropOldest
	h.Rules.MaxQueuedAge = uint32(s.MaxQueuedAge / time.Second)
	h.Rules.Unload = o.Config.Persistence && o.Store == nil || o.Store != nil && !o.Store.Immediate()
	if list := s.SyncTopics; len(list) > 0 {
		h.TopicLevel = func(topic string) (level store.Level, ok bool) {
			for i := range list {
				if mqtt.Match(list[i].Filter, topic) {
					level, ok = max(level, levelOf(list[i].Sync)), true
				}
			}
			return level, ok
		}
	}
}
