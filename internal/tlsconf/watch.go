package tlsconf

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Times of Watch.
const (
	// PollInterval is how often files are read without a hint of the system: for
	// file systems that give none, and for hints that got lost.
	PollInterval = time.Minute
	// settle is how long after a hint the files are read: one renewal touches
	// several, several times.
	settle = 300 * time.Millisecond
	// patience is how long files that do not fit together may stay so before that
	// is an error.
	patience = 3 * time.Second
)

// Watch keeps the sources up to date with their files until ctx ends. poll is
// usually PollInterval. It runs on the goroutine of its caller.
func Watch(ctx context.Context, sources []*Source, poll time.Duration) {
	watch(ctx, sources, poll, settle, patience)
}

func watch(ctx context.Context, sources []*Source, poll, settle, patience time.Duration) {
	if len(sources) == 0 {
		return
	}
	var events chan fsnotify.Event
	var errors chan error
	w, err := fsnotify.NewWatcher()
	if err != nil {
		sources[0].log.Warning("Warning: Changed TLS files are found by looking every %v only: %v.", poll, err)
	} else {
		defer w.Close()
		events, errors = w.Events, w.Errors
		follow(w, sources)
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	timer.Stop()
	var since time.Time // when files began not to fit together
	look := func() {
		insist := !since.IsZero() && time.Since(since) >= patience
		pending := false
		for _, s := range sources {
			pending = s.refresh(insist) || pending
		}
		switch {
		case !pending:
			since = time.Time{}
		default:
			if since.IsZero() {
				since = time.Now()
			}
			timer.Reset(settle)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			timer.Reset(settle)
		case <-errors: // hints got lost
			timer.Reset(settle)
		case <-timer.C:
			look()
		case <-tick.C:
			if w != nil {
				follow(w, sources) // a reload may have named others
			}
			look()
		}
	}
}

// follow asks for hints about the directories: a file that is replaced by another
// under its name would take a watch on itself with it. Links are followed one
// step, as mounted secrets are exchanged behind one.
func follow(w *fsnotify.Watcher, sources []*Source) {
	dirs := map[string]bool{}
	for _, s := range sources {
		s.mu.Lock()
		o := s.opts
		s.mu.Unlock()
		for _, f := range o.Files() {
			dirs[filepath.Dir(f)] = true
			if f == o.CAPath {
				dirs[f] = true
			}
			if real, err := filepath.EvalSymlinks(f); err == nil {
				dirs[filepath.Dir(real)] = true
			}
		}
	}
	for _, known := range w.WatchList() {
		delete(dirs, known)
	}
	for d := range dirs {
		_ = w.Add(d) // what cannot be watched is looked at
	}
}
