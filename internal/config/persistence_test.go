package config

import (
	"path/filepath"
	"testing"
	"time"
)

// TestInterval: the shortest interval that was written counts.
func TestInterval(t *testing.T) {
	c, _, err := load(t, "persistence_sync interval 7\npersistence_sync_topic a interval 3\nlistener 1884\nlistener_persistence_sync interval 5\n", Args{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Storage.Interval != 3*time.Second {
		t.Errorf("interval %v", c.Storage.Interval)
	}
}

// TestStorageDirectory: the environment replaces persistence_location.
func TestStorageDirectory(t *testing.T) {
	t.Setenv(LocationEnv, "")
	s := new(Storage)
	if s.Directory() != "." || s.Database() != "mosquitto.db" {
		t.Errorf("without options: %s %s", s.Directory(), s.Database())
	}
	s.Location, s.File = "/var/lib/x/", "y.db"
	if s.Directory() != "/var/lib/x/" || s.Database() != "y.db" {
		t.Errorf("with options: %s %s", s.Directory(), s.Database())
	}
	t.Setenv(LocationEnv, "/elsewhere")
	if s.Directory() != "/elsewhere" {
		t.Errorf("with the environment: %s", s.Directory())
	}
}

// TestSQLitePlugin: the plugin of Mosquitto switches midge's own store on.
func TestSQLitePlugin(t *testing.T) {
	t.Setenv(LocationEnv, "")
	const plugin = "listener 1884\nplugin /x/mosquitto_persist_sqlite.so\n"
	for _, tc := range []struct {
		text, db string
		sync     Sync
	}{
		{plugin, "mosquitto.sqlite3", SyncFlush},
		{plugin + "plugin_opt_sync full\nplugin_opt_db_file a.db\n", "a.db", SyncFlush},
		{plugin + "plugin_opt_sync normal\npersistence_location /p\nplugin_opt_db_file a.db\n", filepath.FromSlash("/p/mosquitto.sqlite3"), SyncWrite},
		{plugin + "plugin_opt_sync off\n", "mosquitto.sqlite3", SyncInterval},
		{"persistence_sync flush\n" + plugin + "plugin_opt_sync off\n", "mosquitto.sqlite3", SyncFlush},
	} {
		c, _, err := load(t, tc.text, Args{})
		if err != nil {
			t.Errorf("%q: %v", tc.text, err)
			continue
		}
		if s := &c.Storage; !c.Persistence || s.SQLite != tc.db || s.Sync != tc.sync {
			t.Errorf("%q: persistence %t, database %s, sync %s", tc.text, c.Persistence, s.SQLite, s.Sync)
		}
	}
}
