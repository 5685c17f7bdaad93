// Package logging writes the broker's log: one line per event, under the types
// and to the destinations of mosquitto.conf's log_ options, in the words that
// people and scripts look for.
//
// It never decides what is worth a line: callers do, after asking Enabled,
// which costs one atomic load. It never closes the process, and a destination
// that fails never stops the others. A Logger may be used from any goroutine.
// Lines are written where they arise, under one mutex and without a queue
// behind it: the log is unbuffered, so that the last line before a crash is on
// the terminal, and a goroutine with a queue would lose exactly that one.
package logging

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// maxLine is the longest line in bytes, timestamp included and line feed
// excluded; the rest is cut off.
const maxLine = 999

// Options says what is logged where. The zero value logs nothing.
type Options struct {
	Types Type // log_type
	Dest  Dest // log_dest

	File     string // path behind `log_dest file`
	Facility int    // log_facility, 0 to 7 for local0 to local7; negative means daemon

	// JSON makes each line an object (log_format json); the timestamp options do
	// not apply to it.
	JSON bool

	Timestamp       bool   // log_timestamp
	TimestampFormat string // log_timestamp_format, strftime; empty means seconds since the epoch

	// HideConnections is connection_messages false: no lines about clients
	// that come and go.
	HideConnections bool

	Stdout, Stderr io.Writer        // nil means the process's own
	Now            func() time.Time // nil means time.Now
}

// Publisher receives the lines for the topic destination: suffix is what
// follows $SYS/broker/log/ and line has no line feed. It is called without
// any of the logger's locks held, from whatever goroutine logs, and must not
// block; line is the callee's to keep.
type Publisher func(suffix string, line []byte)

// Logger writes lines. Make one with New.
type Logger struct {
	types           atomic.Uint32 // mirrors opts.Types for Enabled
	hideConnections atomic.Bool
	json            atomic.Bool // mirrors opts.JSON
	publish         atomic.Pointer[Publisher]

	mu      sync.Mutex
	opts    Options
	file    *os.File
	checked time.Time // when the file's name was looked at last
	syslog  syslogWriter
	buf     []byte
}

// syslogWriter is the connection to the system's log daemon.
type syslogWriter interface {
	write(priority int, line string) error
	io.Closer
}

// New returns a logger by o. When a destination cannot be opened the logger is
// usable all the same and err says what happened; the line about a log file
// has been written to stderr by then, and only errors are logged from there
// on, also to stderr.
func New(o Options) (*Logger, error) {
	l := &Logger{buf: make([]byte, 0, maxLine+1)}
	return l, l.Reconfigure(o)
}

// Discard returns a logger that writes nothing, for tests and tools.
func Discard() *Logger {
	l, _ := New(Options{})
	return l
}

// Start returns the logger for the time before the configuration is read:
// errors, warnings, notices and information, with epoch seconds, on stderr.
func Start(stderr io.Writer) *Logger {
	l, _ := New(Options{Types: Default, Dest: ToStderr, Timestamp: true, Facility: -1, Stderr: stderr})
	return l
}

// Reconfigure puts new options in force and reopens the log file and the
// connection to syslog. On an error see New.
func (l *Logger) Reconfigure(o Options) error {
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opts = o
	l.hideConnections.Store(o.HideConnections)
	l.json.Store(o.JSON)
	err := l.openLocked()
	l.types.Store(uint32(l.opts.Types))
	return err
}

// Reopen closes and opens the log file, as log rotation needs it.
func (l *Logger) Reopen() error {
	l.mu.Lock()
	o := l.opts
	l.mu.Unlock()
	return l.Reconfigure(o)
}

// Close closes file and syslog. Lines logged afterwards go nowhere but to
// stdout and stderr.
func (l *Logger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opts.Dest &^= ToFile | ToSyslog
	return l.closeLocked()
}

// PublishTo sets the receiver of lines for the topic destination; nil takes it
// away. The broker sets it once it can publish.
func (l *Logger) PublishTo(p Publisher) {
	if p == nil {
		l.publish.Store(nil)
		return
	}
	l.publish.Store(&p)
}

// Enabled reports whether a line of type t would be written. Callers on the
// data path ask before they build arguments.
func (l *Logger) Enabled(t Type) bool { return Type(l.types.Load())&t != 0 }

// ConnectionsEnabled reports whether the notices about clients that come and
// go are wanted: type notice together with connection_messages.
func (l *Logger) ConnectionsEnabled() bool {
	return l.Enabled(Notice) && !l.hideConnections.Load()
}

// Printf writes one line of type t when that type is enabled.
func (l *Logger) Printf(t Type, format string, args ...any) {
	if !l.Enabled(t) {
		return
	}
	var small [256]byte
	l.write(t, fmt.Appendf(small[:0], format, args...), nil)
}

// Error writes a line of that type; likewise the methods below.
func (l *Logger) Error(format string, args ...any) { l.Printf(Error, format, args...) }

// Warning writes a line of that type.
func (l *Logger) Warning(format string, args ...any) { l.Printf(Warning, format, args...) }

// Notice writes a line of that type.
func (l *Logger) Notice(format string, args ...any) { l.Printf(Notice, format, args...) }

// Info writes a line of type information.
func (l *Logger) Info(format string, args ...any) { l.Printf(Information, format, args...) }

// Debug writes a line of that type.
func (l *Logger) Debug(format string, args ...any) { l.Printf(Debug, format, args...) }

// Internal writes a line of that type.
func (l *Logger) Internal(format string, args ...any) { l.Printf(Internal, format, args...) }

// write sends text to every destination, then to the topic without the lock:
// the publisher may itself log.
func (l *Logger) write(t Type, text []byte, pairs []any) {
	topic, line := l.writeLocal(t, text, pairs)
	if line == nil {
		return
	}
	if p := l.publish.Load(); p != nil {
		(*p)(topic, line)
	}
}

// writeLocal writes to everything but the topic. When the line is for the
// topic too it returns an own copy of it.
func (l *Logger) writeLocal(t Type, text []byte, pairs []any) (topic string, line []byte) {
	topic, priority := "", noSyslog
	for _, i := range typeInfo {
		if t&i.t != 0 {
			topic, priority = i.topic, i.priority
			break
		}
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	var b []byte
	if l.opts.JSON {
		b = l.appendJSONLocked(l.buf[:0], t, text, pairs)
	} else {
		b = l.appendTimestampLocked(l.buf[:0])
		b = appendText(b, text)
		if len(b) > maxLine {
			b = b[:maxLine]
		}
	}
	b = append(b, '\n')
	l.buf = b

	// A destination that cannot be written (closed terminal, full disk) has
	// no better place to report it; the others still get the line.
	d := l.opts.Dest
	if d&ToStdout != 0 {
		_, _ = l.opts.Stdout.Write(b)
	}
	if d&ToStderr != 0 {
		_, _ = l.opts.Stderr.Write(b)
	}
	if d&ToFile != 0 && l.file != nil {
		l.followRenameLocked()
		_, _ = l.file.Write(b)
	}
	if d&ToSyslog != 0 && l.syslog != nil && priority != noSyslog {
		_ = l.syslog.write(priority, string(b[:len(b)-1]))
	}
	if d&ToTopic != 0 && topic != "" {
		line = append(line, b[:len(b)-1]...)
	}
	return topic, line
}

// appendText copies text with control characters made visible: client ids and
// topics reach the log, and a line feed among them would forge a line. Tab
// stays, the debug lines use it.
func appendText(dst, text []byte) []byte {
	for _, c := range text {
		if (c < ' ' && c != '\t') || c == 0x7f {
			dst = append(dst, '\\', 'x')
			const hex = "0123456789abcdef"
			dst = append(dst, hex[c>>4], hex[c&15])
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

func (l *Logger) appendTimestampLocked(dst []byte) []byte {
	if !l.opts.Timestamp {
		return dst
	}
	now := l.opts.Now()
	if l.opts.TimestampFormat == "" {
		dst = strconv.AppendInt(dst, now.Unix(), 10)
		return append(dst, ": "...)
	}
	n := len(dst)
	dst = appendStrftime(dst, l.opts.TimestampFormat, now.Local())
	if len(dst) == n || len(dst)-n > maxLine {
		dst = append(dst[:n], "Time error"...)
	}
	return append(dst, ": "...)
}

func (l *Logger) closeLocked() error {
	var errs []error
	if l.file != nil {
		errs = append(errs, l.file.Close())
		l.file = nil
	}
	if l.syslog != nil {
		errs = append(errs, l.syslog.Close())
		l.syslog = nil
	}
	return errors.Join(errs...)
}

func (l *Logger) openLocked() error {
	errs := []error{l.closeLocked()}
	if l.opts.Dest&ToSyslog != 0 {
		s, err := dialSyslog(l.opts.Facility)
		if err != nil {
			errs = append(errs, fmt.Errorf("open syslog: %w", err))
		} else {
			l.syslog = s
		}
	}
	if l.opts.Dest&ToFile != 0 {
		f, err := openLogFile(l.opts.File)
		if err != nil {
			l.opts.Dest, l.opts.Types = ToStderr, Error
			b := l.appendTimestampLocked(l.buf[:0])
			b = fmt.Appendf(b, "Error: Unable to open log file %s for writing.\n", l.opts.File)
			l.buf = b
			_, _ = l.opts.Stderr.Write(b)
			errs = append(errs, fmt.Errorf("open log file: %w", err))
		} else {
			l.file, l.checked = f, l.opts.Now()
		}
	}
	return errors.Join(errs...)
}

// renameCheck is how often a busy log looks whether its file still has its name.
const renameCheck = time.Second

// followRenameLocked opens the log file anew when its path no longer names it,
// as after a rotation by rename. When that fails the old file goes on taking
// the lines: better there than nowhere.
func (l *Logger) followRenameLocked() {
	now := l.opts.Now()
	if d := now.Sub(l.checked); d >= 0 && d < renameCheck {
		return
	}
	l.checked = now
	is, err := l.file.Stat()
	if err != nil {
		return
	}
	if named, err := os.Stat(l.opts.File); err == nil && os.SameFile(is, named) {
		return
	}
	f, err := openLogFile(l.opts.File)
	if err != nil {
		return
	}
	_ = l.file.Close()
	l.file = f
}

// openLogFile opens path for appending under the rules for sensitive files: no
// symbolic link is followed unless the environment variable
// MOSQUITTO_UNSAFE_ALLOW_SYMLINKS is set, it must be a regular file, and a new
// one is for the owner alone.
func openLogFile(path string) (*os.File, error) {
	flags := os.O_APPEND | os.O_CREATE | os.O_WRONLY
	if _, allow := os.LookupEnv("MOSQUITTO_UNSAFE_ALLOW_SYMLINKS"); !allow {
		flags |= noFollow
	}
	// A named pipe without a reader would block the open for ever.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return os.OpenFile(path, flags, 0o600)
}
