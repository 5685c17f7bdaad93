package memstore

import (
	"testing"

	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/storetest"
)

func open(testing.TB) store.Store { return New() }

func TestConformance(t *testing.T) { storetest.Run(t, open, nil) }

// TestConformanceReopened runs it with a restart within the process.
func TestConformanceReopened(t *testing.T) {
	storetest.Run(t, open, func(_ testing.TB, old store.Store) store.Store {
		s := old.(*Store)
		s.Reopen()
		return s
	})
}
