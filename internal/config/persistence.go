package config

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/midgemq/midge/mqtt"
)

// Sync says how durable a change is when it is acknowledged.
type Sync string

// The levels of persistence_sync, strongest first.
const (
	SyncFlush    Sync = "flush"    // on stable storage: survives power loss
	SyncWrite    Sync = "write"    // handed to the operating system: survives the end of the process
	SyncInterval Sync = "interval" // within an interval of time
)

// SyncTopic is one persistence_sync_topic line.
type SyncTopic struct {
	Filter string
	Sync   Sync
}

// The policies of queue_policy: what happens when a queue is at its limit.
const (
	DropNewest = "drop-newest" // the message that comes is dropped
	DropOldest = "drop-oldest" // those that have waited longest are dropped
	Refuse     = "refuse"      // the message is not accepted from its publisher
)

// Storage says what survives a restart, how safely, and how much may wait.
type Storage struct {
	Location string // persistence_location; empty means the current directory
	File     string // persistence_file; empty when it was not written

	Sync       Sync          // persistence_sync
	Interval   time.Duration // the shortest that a line with `interval` gave
	SyncTopics []SyncTopic   // persistence_sync_topic, in the order of the file

	AutosaveInterval  int  // seconds, or changes with AutosaveOnChanges, between exports; 0 means none
	AutosaveOnChanges bool // AutosaveInterval counts changes

	QueuePolicy         string        // DropNewest, DropOldest or Refuse
	MaxQueuedAge        time.Duration // how long a message may wait in a queue; 0 means no limit
	MaxTotalQueuedBytes int           // payload bytes in all queues together; 0 means no limit

	// SQLite is the database of the persist-sqlite plugin, empty without the
	// plugin: what it holds is taken over at the first start.
	SQLite string
}

// LocationEnv is the environment variable that replaces persistence_location.
const LocationEnv = "MOSQUITTO_PERSISTENCE_LOCATION"

// defaultDatabase is the name of Mosquitto's own file.
const defaultDatabase = "mosquitto.db"

// Directory is where everything persistent is, the environment considered; it
// may be relative to the current directory.
func (s *Storage) Directory() string {
	if dir := os.Getenv(LocationEnv); dir != "" {
		return dir
	}
	if s.Location == "" {
		return "."
	}
	return s.Location
}

// Database is the name of Mosquitto's own file in that directory.
func (s *Storage) Database() string {
	if s.File == "" {
		return defaultDatabase
	}
	return s.File
}

const (
	syncValues  = "`flush`, `write`, `interval` or `interval` and seconds"
	maxInterval = 24 * 3600
)

// persistenceOptions say what survives a restart, and where it is kept.
var persistenceOptions = []Option{
	{
		Name: "autosave_interval", Section: "global", Values: "seconds", Default: "1800", Reload: AtOnce,
		Meaning: "Time between exports to `persistence_file`; 0 or less means at the end and on SIGUSR1 only. midge's own store needs none of them.",
		field:   intField{at: func(t target) *int { return &t.g.Storage.AutosaveInterval }, check: notNegative},
	},
	{
		Name: "autosave_on_changes", Section: "global", Values: boolValues, Default: "false", Reload: AtOnce,
		Meaning: "Whether `autosave_interval` counts changes of subscriptions, retained and queued messages, in place of seconds.",
		field:   boolField{at: func(t target) *bool { return &t.g.Storage.AutosaveOnChanges }},
	},
	{
		Name: "listener_persistence_sync", Section: "listener", Own: true, place: inListener, Values: syncValues,
		Meaning: "`persistence_sync` for what clients of this listener do.",
		field:   syncField{at: func(t target) *Sync { return &t.l.Sync }}, Reload: NextConnection,
	},
	{
		Name: "max_queued_age", Section: "global", Own: true, Reload: AtOnce,
		Values:  "number and `s`, `h`, `d`, `w`, `m` (30 days) or `y` (365 days)",
		Meaning: "How long a message may wait in a client's queue; older ones are dropped and counted. Without the option there is no limit.",
		field:   ageField{},
	},
	{
		Name: "max_total_queued_bytes", Section: "global", Own: true, Values: "bytes", Default: "0", Reload: AtOnce,
		Meaning: "Payload bytes that may wait in all queues together; 0 means no limit.",
		field:   intField{at: func(t target) *int { return &t.g.Storage.MaxTotalQueuedBytes }, check: notNegative},
	},
	{
		Name: "persistence", Section: "global", Values: boolValues, Default: "false",
		Meaning: "Whether sessions, queues and retained messages survive a restart.",
		field:   boolField{at: func(t target) *bool { return &t.g.Persistence }},
	},
	{
		Name: "persistence_file", Section: "global", Values: "file name",
		Meaning: "Name of a file in Mosquitto's format, in `persistence_location`: taken over at the first start, and, when the option is written or midge was called as `mosquitto`, exported to at the end, on SIGUSR1 and by `autosave_interval`. Without the option: `mosquitto.db`.",
		field:   textField{at: func(t target) *string { return &t.g.Storage.File }},
	},
	{
		Name: "persistence_location", Section: "global", Values: "directory",
		Meaning: "Directory of everything persistent; without the option the current one. The environment variable `MOSQUITTO_PERSISTENCE_LOCATION` takes its place.",
		field:   textField{at: func(t target) *string { return &t.g.Storage.Location }},
	},
	{
		Name: "persistence_sync", Section: "global", Own: true, Values: syncValues, Default: "flush",
		Meaning: "How safe a message is when it is acknowledged. `flush`: on stable storage, it survives power loss. `write`: handed to the operating system, it survives the end of the process. `interval`: written within so many seconds, 1 without a number.",
		field:   syncField{at: func(t target) *Sync { return &t.g.Storage.Sync }},
	},
	{
		Name: "persistence_sync_topic", Section: "global", Own: true, Values: "topic filter, then " + syncValues,
		Meaning: "`persistence_sync` for messages on topics that match. May be repeated; where several apply, with that of the listener, the strongest holds.",
		field:   syncTopicField{},
	},
	{
		Name: "queue_policy", Section: "global", Own: true, Values: "`drop-newest`, `drop-oldest` or `refuse`", Default: DropNewest, Reload: AtOnce,
		Meaning: "What happens to a message for a queue that is at a limit. `refuse`: it is not accepted; MQTT 5 publishers get 0x97, others wait and are disconnected without acknowledgement after 10 seconds.",
		field: wordField{
			at:    func(t target) *string { return &t.g.Storage.QueuePolicy },
			words: []string{DropNewest, DropOldest, Refuse},
			wrong: "Error: Invalid 'queue_policy' value (%s).",
		},
	},
	{
		Name: "retained_persistence", Section: "global", Values: boolValues,
		Meaning: "Same as `persistence`.",
		field:   boolField{at: func(t target) *bool { return &t.g.Persistence }},
	},
}

// syncField is a level.
type syncField struct{ at func(t target) *Sync }

func (f syncField) parse(p *parser, o *Option, rest string) error {
	level, err := p.parseSync(o.Name, rest)
	if err != nil {
		return err
	}
	*f.at(p.target()) = level
	return nil
}

func (f syncField) format(t target) string {
	s := *f.at(t)
	if s == SyncInterval {
		return fmt.Sprintf("%s %d", s, t.g.Storage.Interval/time.Second)
	}
	return string(s)
}
func (f syncField) carry(to, from target) { *f.at(to) = *f.at(from) }

// parseSync reads a level and, behind interval, its seconds.
func (p *parser) parseSync(name, rest string) (Sync, error) {
	w, err := p.word(name, rest)
	if err != nil {
		return "", err
	}
	level := Sync(w)
	switch level {
	case SyncFlush, SyncWrite:
		return level, nil
	case SyncInterval:
	default:
		return "", p.errorf("Error: Invalid '%s' value (%s).", name, w)
	}
	_, rest = cutWord(rest)
	seconds := 1
	if w, _ := cutWord(rest); w != "" {
		if seconds, err = p.parseInt(name, rest); err != nil {
			return "", err
		}
		if seconds < 1 || seconds > maxInterval {
			return "", p.errorf("Error: Invalid '%s' interval (%d).", name, seconds)
		}
	}
	s := &p.c.Storage
	if d := time.Duration(seconds) * time.Second; s.Interval == 0 || d < s.Interval {
		s.Interval = d
	}
	return level, nil
}

// syncTopicField is persistence_sync_topic.
type syncTopicField struct{}

func (syncTopicField) parse(p *parser, o *Option, rest string) error {
	filter, err := p.word(o.Name, rest)
	if err != nil {
		return err
	}
	if err := mqtt.CheckFilter(filter); err != nil {
		return p.errorf("Error: Invalid '%s' topic filter (%s): %v.", o.Name, filter, err)
	}
	_, rest = cutWord(rest)
	level, err := p.parseSync(o.Name, rest)
	if err != nil {
		return err
	}
	s := &p.c.Storage
	s.SyncTopics = append(s.SyncTopics, SyncTopic{filter, level})
	return nil
}

func (syncTopicField) format(t target) string {
	var out []string
	for _, s := range t.g.Storage.SyncTopics {
		out = append(out, s.Filter+" "+string(s.Sync))
	}
	return strings.Join(out, ", ")
}

func (syncTopicField) carry(to, from target) {
	to.g.Storage.SyncTopics = slices.Clone(from.g.Storage.SyncTopics)
}

// ageField is max_queued_age.
type ageField struct{}

func (ageField) parse(p *parser, o *Option, rest string) error {
	w, err := p.word(o.Name, rest)
	if err != nil {
		return err
	}
	unit := expirationUnits[w[len(w)-1]]
	n, err := strconv.ParseInt(w[:len(w)-1], 10, 32)
	if unit == 0 || err != nil || n < 1 || n > math.MaxUint32/int64(unit/time.Second) {
		return p.errorf("Error: Invalid '%s' duration in configuration.", o.Name)
	}
	p.c.Storage.MaxQueuedAge = time.Duration(n) * unit
	return nil
}

func (ageField) format(t target) string {
	if t.g.Storage.MaxQueuedAge == 0 {
		return ""
	}
	return fmt.Sprintf("%ds", int64(t.g.Storage.MaxQueuedAge/time.Second))
}

func (ageField) carry(to, from target) { to.g.Storage.MaxQueuedAge = from.g.Storage.MaxQueuedAge }

// usePersistence is the choice of midge's own store by the persist-sqlite
// plugin. Its sync says how safe an acknowledgement is, as it does there.
func (p *parser) usePersistence(g *Plugin) error {
	p.c.Persistence = true
	s := &p.c.Storage
	s.SQLite = filepath.Join(s.Directory(), "mosquitto.sqlite3")
	for _, o := range g.Options {
		switch strings.ToLower(o.Key) {
		case "db_file":
			if s.Location == "" && os.Getenv(LocationEnv) == "" {
				s.SQLite = o.Value
			}
		case "sync":
			if p.given["persistence_sync"] {
				continue
			}
			switch o.Value {
			case "extra", "full":
				s.Sync = SyncFlush
			case "normal":
				s.Sync = SyncWrite
			default:
				s.Sync, s.Interval = SyncInterval, time.Second
			}
		default: // flush_period and page_size say how SQLite does it
		}
	}
	return nil
}
