package salvage

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/midgemq/midge/internal/record"
)

// putSchema writes another schema number into a closed store.
func putSchema(t testing.TB, fs vfs.FS, version uint32) {
	t.Helper()
	o := options(fs)
	o.FormatMajorVersion = pebble.FormatColumnarBlocks
	db, err := pebble.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	value := record.Seal(record.AppendSchema(record.Begin(nil, record.FormSchema), version), 0, schemaKey)
	if err := errors.Join(db.Set(schemaKey, value, pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
}
