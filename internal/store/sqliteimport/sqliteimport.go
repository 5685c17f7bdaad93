// Package sqliteimport reads the database of Mosquitto's persist-sqlite plug-in,
// schema 1.0 and 1.1, into the form that package mosqdb carries into a store.
//
// It is the only package that links the SQLite driver. The database is copied
// before it is opened, with what its write-ahead log still holds, so that the
// original stays as it was. Read belongs to one goroutine.
package sqliteimport

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite" // registers the driver

	"github.com/midgemq/midge/internal/store/jsonprops"
	"github.com/midgemq/midge/internal/store/mosqdb"
)

var _ = sqlite.Driver{}

// ErrFormat: the file is no database of SQLite, or not one of the plug-in.
var ErrFormat = errors.New("no database of the persist-sqlite plug-in")

// ErrVersion: the plug-in's schema is newer than what is read.
var ErrVersion = errors.New("unsupported schema")

// magic opens every database of SQLite.
const magic = "SQLite format 3\x00"

// Is reports whether a file begins as a database of SQLite does.
func Is(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, len(magic))
	_, err = io.ReadFull(f, b)
	return err == nil && string(b) == magic
}

// Read reads a database. What could be read is returned also with an error. The
// copy is made below scratch, the system's directory for temporary files when "",
// and is removed again.
func Read(ctx context.Context, path, scratch string) (*mosqdb.DB, error) {
	out := &mosqdb.DB{}
	if !Is(path) {
		if _, err := os.Stat(path); err != nil {
			return out, fmt.Errorf("read %s: %w", path, err)
		}
		return out, fmt.Errorf("read %s: %w", path, ErrFormat)
	}
	dir, err := os.MkdirTemp(scratch, "midge-sqlite-")
	if err != nil {
		return out, fmt.Errorf("read %s: %w", path, err)
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "db")
	for _, suffix := range []string{"", "-wal"} {
		if err := copyFile(name+suffix, path+suffix); err != nil && (suffix == "" || !errors.Is(err, os.ErrNotExist)) {
			return out, fmt.Errorf("read %s: %w", path, err)
		}
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: url.PathEscape(name)}).String())
	if err != nil {
		return out, fmt.Errorf("read %s: %w", path, err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	r := &reader{ctx: ctx, db: db, out: out}
	if err := r.read(); err != nil {
		return out, fmt.Errorf("read %s: %w", path, err)
	}
	return out, nil
}

func copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		return err
	}
	return dst.Close()
}

// reader is the state of one Read.
type reader struct {
	ctx context.Context
	db  *sql.DB
	out *mosqdb.DB
}

func (r *reader) read() error {
	tables, err := r.tables()
	if err != nil {
		return err
	}
	for _, name := range []string{"base_msgs", "retains", "clients", "subscriptions", "client_msgs"} {
		if !tables[name] {
			return fmt.Errorf("%w: table %s is missing", ErrFormat, name)
		}
	}
	if tables["version_info"] {
		if err := r.version(); err != nil {
			return err
		}
	}
	// A table that breaks off does not keep the others from being read.
	errs := []error{r.messages(), r.retained(), r.clients(), r.subscriptions(), r.clientMessages()}
	if tables["wills"] {
		errs = append(errs, r.wills())
	}
	r.out.Sift()
	return errors.Join(errs...)
}

// rows calls f for each row of a query.
func (r *reader) rows(what, query string, f func(scan func(...any) error) error) error {
	rows, err := r.db.QueryContext(r.ctx, query)
	if err != nil {
		return fmt.Errorf("table %s: %w", what, err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		n++
		if err := f(rows.Scan); err != nil {
			r.problem("table %s, row %d: %v", what, n, err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("table %s after %d rows: %w", what, n, err)
	}
	return nil
}

func (r *reader) problem(format string, args ...any) {
	r.out.Problems = append(r.out.Problems, fmt.Sprintf(format, args...))
}

// properties encodes the properties of a message; what it tells of names whose
// they are.
func (r *reader) properties(text, whose string) []byte {
	return jsonprops.Encode(text, func(err error) { r.problem("%s: %v", whose, err) })
}

func (r *reader) tables() (map[string]bool, error) {
	t := make(map[string]bool)
	err := r.rows("sqlite_master", "SELECT name FROM sqlite_master WHERE type='table'", func(scan func(...any) error) error {
		var name string
		err := scan(&name)
		t[name] = true
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return t, nil
}

func (r *reader) version() error {
	var major, minor, patch int
	err := r.db.QueryRowContext(r.ctx, "SELECT major, minor, patch FROM version_info WHERE component='database_schema'").Scan(&major, &minor, &patch)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("table version_info: %w", err)
	}
	if major != 1 || minor > 1 {
		return fmt.Errorf("%w %d.%d.%d (1.0 and 1.1 are read)", ErrVersion, major, minor, patch)
	}
	return nil
}

// The plug-in declares its texts as STRING, which SQLite takes for numbers: a
// topic "42" is stored as the number 42. CAST gives it back.

func (r *reader) messages() error {
	const query = "SELECT store_id, expiry_time, CAST(topic AS TEXT), CAST(payload AS BLOB), CAST(source_id AS TEXT)," +
		" CAST(source_username AS TEXT), source_mid, source_port, qos, retain, properties FROM base_msgs ORDER BY store_id"
	return r.rows("base_msgs", query, func(scan func(...any) error) error {
		var id, expiry, mid, port, qos, retain sql.NullInt64
		var topic, source, user, props sql.NullString
		m := mosqdb.Message{}
		if err := scan(&id, &expiry, &topic, &m.Payload, &source, &user, &mid, &port, &qos, &retain, &props); err != nil {
			return err
		}
		m.ID, m.Expiry, m.Topic = uint64(id.Int64), expiry.Int64, topic.String
		m.SourceID, m.SourceUserName, m.SourceMID, m.SourcePort = source.String, user.String, uint16(mid.Int64), uint16(port.Int64)
		m.QoS, m.Retain = level(qos), retain.Int64 != 0
		m.Properties = r.properties(props.String, fmt.Sprintf("message %d", m.ID))
		r.out.Messages = append(r.out.Messages, m)
		return nil
	})
}

func (r *reader) retained() error {
	return r.rows("retains", "SELECT store_id FROM retains", func(scan func(...any) error) error {
		var id int64
		if err := scan(&id); err != nil {
			return err
		}
		r.out.Retained = append(r.out.Retained, uint64(id))
		return nil
	})
}

func (r *reader) clients() error {
	const query = "SELECT client_id, username, session_expiry_time, session_expiry_interval, listener_port FROM clients"
	return r.rows("clients", query, func(scan func(...any) error) error {
		var id, user sql.NullString
		var until, interval, port sql.NullInt64
		if err := scan(&id, &user, &until, &interval, &port); err != nil {
			return err
		}
		r.out.Clients = append(r.out.Clients, mosqdb.Client{
			ID: id.String, UserName: user.String, ExpiryTime: until.Int64, ExpiryInterval: uint32(interval.Int64), ListenerPort: uint16(port.Int64),
		})
		return nil
	})
}

func (r *reader) subscriptions() error {
	const query = "SELECT client_id, topic, subscription_options, subscription_identifier FROM subscriptions"
	return r.rows("subscriptions", query, func(scan func(...any) error) error {
		var id, filter sql.NullString
		var options, ident sql.NullInt64
		if err := scan(&id, &filter, &options, &ident); err != nil {
			return err
		}
		r.out.Subscriptions = append(r.out.Subscriptions, mosqdb.Subscription{
			ClientID: id.String, Filter: filter.String, ID: uint32(ident.Int64), QoS: uint8(options.Int64 & 3), Options: uint8(options.Int64 &^ 3),
		})
		return nil
	})
}

func (r *reader) clientMessages() error {
	const query = "SELECT client_id, store_id, dup, direction, mid, qos, retain, state, subscription_identifier FROM client_msgs ORDER BY rowid"
	return r.rows("client_msgs", query, func(scan func(...any) error) error {
		var client sql.NullString
		var id, dup, direction, mid, qos, retain, state, ident sql.NullInt64
		if err := scan(&client, &id, &dup, &direction, &mid, &qos, &retain, &state, &ident); err != nil {
			return err
		}
		m := mosqdb.ClientMessage{
			ClientID: client.String, MessageID: uint64(id.Int64), SubscriptionID: uint32(ident.Int64), MID: uint16(mid.Int64),
			QoS: level(qos), State: mosqdb.State(level(state)), Direction: level(direction),
		}
		if retain.Int64 != 0 {
			m.RetainDup = 0x10
		}
		if dup.Int64 != 0 {
			m.RetainDup |= 1
		}
		r.out.ClientMessages = append(r.out.ClientMessages, m)
		return nil
	})
}

func (r *reader) wills() error {
	const query = "SELECT w.client_id, CAST(w.topic AS TEXT), CAST(w.payload AS BLOB), w.qos, w.retain, w.properties, c.will_delay_interval" +
		" FROM wills w LEFT OUTER JOIN clients c ON c.client_id = w.client_id"
	return r.rows("wills", query, func(scan func(...any) error) error {
		var client, topic, props sql.NullString
		var qos, retain, delay sql.NullInt64
		w := mosqdb.Will{}
		if err := scan(&client, &topic, &w.Payload, &qos, &retain, &props, &delay); err != nil {
			return err
		}
		w.ClientID, w.Topic, w.QoS, w.Retain, w.Delay = client.String, topic.String, level(qos), retain.Int64 != 0, uint32(delay.Int64)
		w.Properties = r.properties(props.String, fmt.Sprintf("client %q: will", w.ClientID))
		r.out.Wills = append(r.out.Wills, w)
		return nil
	})
}

// level takes a small number; what is none becomes one that Sift finds odd.
func level(v sql.NullInt64) uint8 {
	if v.Int64 < 0 || v.Int64 > 255 {
		return 255
	}
	return uint8(v.Int64)
}
