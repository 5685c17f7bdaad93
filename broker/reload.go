package broker

import (
	"errors"
	"fmt"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/config"
)

// reloadStep is one part's share in a reload. It is called in two phases, so
// that a configuration with an error changes nothing: prepare reads and checks
// what the part needs (files, certificates, rules) and changes nothing; the
// function it returns puts that in force and cannot fail. A nil function means
// that the part has nothing to do. Every prepare runs before the first apply;
// both run on the goroutine of the reload, one reload at a time.
type reloadStep struct {
	name    string // for error messages
	prepare func(now *config.Config) (apply func(), err error)
}

// onReload adds a step. Parts do so while New or Start runs; steps run in the
// order in which they were added.
func (b *Broker) onReload(name string, prepare func(now *config.Config) (apply func(), err error)) {
	b.reloading.Lock()
	defer b.reloading.Unlock()
	b.reloadSteps = append(b.reloadSteps, reloadStep{name, prepare})
}

// Reload puts a newly read configuration in force, as far as it can be without
// a restart. Either all of it applies or, when a part refuses it, nothing; the
// error then joins what every part said. Any goroutine may call it; it must not
// be called on a loop, as it waits for them.
func (b *Broker) Reload(now *config.Config) error {
	b.reloading.Lock()
	defer b.reloading.Unlock()
	var errs []error
	var apply []func()
	for _, s := range b.reloadSteps {
		f, err := s.prepare(now)
		if err != nil {
			if _, whole := errors.AsType[*auth.FileError](err); !whole {
				err = fmt.Errorf("%s: %w", s.name, err)
			}
			errs = append(errs, err)
			continue
		}
		if f != nil {
			apply = append(apply, f)
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	for _, f := range apply {
		f()
	}
	b.current.Store(now)
	return nil
}

// Config returns the configuration in force: that of New, or of the last
// Reload. It must not be changed.
func (b *Broker) Config() *config.Config { return b.current.Load() }
