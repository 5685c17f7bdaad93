package broker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/midgemq/midge/internal/store/migrate"
	"github.com/midgemq/midge/internal/store/mosqdb"
	"github.com/midgemq/midge/internal/store/pebblestore"
)

// savePoll is how often autosave looks whether it is due.
const savePoll = 100 * time.Millisecond

// exporter writes what the store holds to persistence_file, in Mosquitto's
// format: the way back to it. midge itself never reads the file again.
type exporter struct {
	mu sync.Mutex // one export at a time
}

// database is persistence_file with its directory.
func (d *disk) database() string {
	s := &d.b.cfg.Storage
	return filepath.Join(s.Directory(), s.Database())
}

// exports reports whether persistence_file is written at all.
func (d *disk) exports() bool { return d.b.cfg.Storage.File != "" || d.b.opts.AsMosquitto }

// beforeOpen makes the store from what Mosquitto has left, when there is none yet.
func (d *disk) beforeOpen() error {
	sources := []string{d.database()}
	if db := d.b.cfg.Storage.SQLite; db != "" {
		sources = append([]string{db}, sources...)
	}
	r, err := migrate.FirstStart(context.Background(), d.dir, sources...)
	if err != nil {
		return fmt.Errorf("%w; move the file away to start without it", err)
	}
	for _, l := range r.Lines() {
		d.b.log.Notice("%s", l)
	}
	return nil
}

// export writes the file. shutdown: the broker is ending.
func (d *disk) export(ctx context.Context, shutdown bool) error {
	d.exporter.mu.Lock()
	defer d.exporter.mu.Unlock()
	began := time.Now()
	var r mosqdb.ExportReport
	err := d.store.Stand(func(st *pebblestore.Standing) (err error) {
		r, err = mosqdb.Export(ctx, st, d.database(), mosqdb.ExportOptions{Now: d.b.clock.Now(), Wall: time.Now(), Shutdown: shutdown})
		return err
	})
	if err != nil {
		return err
	}
	d.b.log.Info("Saving in-memory database to %s.", d.database())
	for _, l := range r.Lines() {
		d.b.log.Info("%s.", l)
	}
	if took := time.Since(began); took > time.Second {
		d.b.log.Info("The export took %v.", took.Round(time.Millisecond))
	}
	return nil
}

// Save exports the store to persistence_file, as SIGUSR1 asks for. Without
// persistence, or where nothing is exported, it says so.
func (b *Broker) Save(ctx context.Context) error {
	switch {
	case b.disk == nil:
		b.log.Info("There is nothing to save: persistence is off.")
		return nil
	case !b.disk.exports():
		b.log.Info("Everything acknowledged is in %s already. Set 'persistence_file' to export it in Mosquitto's format.", b.disk.dir)
		return nil
	}
	return b.disk.export(ctx, false)
}

// autosave exports as autosave_interval and autosave_on_changes say, until the
// broker ends.
func (d *disk) autosave() {
	t := time.NewTicker(savePoll)
	defer t.Stop()
	last, changes := time.Now(), d.changes()
	for {
		select {
		case <-t.C:
		case <-d.b.done.Done():
			return
		}
		s := &d.b.Config().Storage
		n := d.changes()
		due := !s.AutosaveOnChanges && time.Since(last) >= time.Duration(s.AutosaveInterval)*time.Second && n != changes
		due = due || s.AutosaveOnChanges && n-changes >= uint64(s.AutosaveInterval)
		if s.AutosaveInterval == 0 || !due || d.store.Failing() != nil {
			continue
		}
		last, changes = time.Now(), n
		if err := d.export(d.b.done, false); err != nil && !errors.Is(err, context.Canceled) {
			d.b.log.Error("Error: %v.", err)
		}
	}
}

// changes counts what autosave_on_changes counts: every change that is stored.
func (d *disk) changes() uint64 { return d.store.Stats().Changes }

// close ends the store, after a last export.
func (d *disk) close(ctx context.Context) error {
	var err error
	if d.exports() && d.store.Failing() == nil {
		err = d.export(ctx, true)
	}
	return errors.Join(err, d.store.Close())
}
