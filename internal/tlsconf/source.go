package tlsconf

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// Source is the TLS configuration of one listener in force, and where it came
// from. New connections take Config; those that exist keep theirs.
type Source struct {
	name string // for the log: the listener
	log  Log

	config atomic.Pointer[tls.Config]
	failed atomic.Int64

	mu    sync.Mutex
	opts  Options
	print [sha256.Size]byte // of the files in force
	bad   [sha256.Size]byte // of files that were refused, so that they are so once
}

// New reads the files of o. name says which listener it is, as log lines about
// later reloads are to say. The error is an *Error.
func New(name string, o Options, log Log) (*Source, error) {
	print := fingerprint(&o)
	c, err := load(&o, log.Warning)
	if err != nil {
		return nil, err
	}
	s := &Source{name: name, log: log, opts: o, print: print}
	s.config.Store(c)
	return s, nil
}

// Config returns the configuration for a new connection. It must not be changed.
func (s *Source) Config() *tls.Config { return s.config.Load() }

// Failed returns how often files were refused since New.
func (s *Source) Failed() int64 { return s.failed.Load() }

// Prepare reads the files anew, under new options, and returns what puts them in
// force. After an error everything stays as it is, and the failure is counted.
// Sessions that clients hold from before are not resumed after apply.
func (s *Source) Prepare(o Options) (apply func(), err error) {
	print := fingerprint(&o)
	c, err := load(&o, s.log.Warning)
	if err != nil {
		s.failed.Add(1)
		return nil, err
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.opts, s.print, s.bad = o, print, [sha256.Size]byte{}
		s.config.Store(c)
	}, nil
}

// refresh looks whether the files have changed and puts them in force. With
// insist, new files that cannot be used are an error and logged; without, they
// are looked at again later: certificate and key are two files, and somebody may
// be between the two. pending says that this is so.
func (s *Source) refresh(insist bool) (pending bool) {
	s.mu.Lock()
	o, was, bad := s.opts, s.print, s.bad
	s.mu.Unlock()
	now := fingerprint(&o)
	if now == was || now == bad {
		return false
	}
	var warnings []string
	c, err := load(&o, func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) })
	if err != nil && !insist {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opts != o || s.print != was {
		return false // a reload came between
	}
	for _, w := range warnings {
		s.log.Warning("%s", w)
	}
	if err != nil {
		s.bad = now
		s.failed.Add(1)
		s.log.Error("Error: %v The files of listener %s changed, but those read before stay in force.", err, s.name)
		return false
	}
	s.print = now
	s.config.Store(c)
	s.log.Info("The TLS files of listener %s changed and were read again.", s.name)
	return false
}

// Files lists the files and directories that the options name.
func (o *Options) Files() []string {
	var out []string
	for _, f := range []string{o.CertFile, o.KeyFile, o.CAFile, o.CAPath, o.CRLFile} {
		if f != "" {
			out = append(out, f)
		}
	}
	return out
}

// fingerprint tells contents of files apart. Hashing them finds also what keeps
// name, time and size, as mounted secrets do.
func fingerprint(o *Options) (sum [sha256.Size]byte) {
	h := sha256.New()
	add := func(path string) {
		data, err := readFile(path)
		fmt.Fprintf(h, "%q %v %d\n", path, errors.Is(err, os.ErrNotExist), len(data))
		h.Write(data)
	}
	for _, f := range o.Files() {
		if f != o.CAPath {
			add(f)
			continue
		}
		entries, _ := os.ReadDir(f) // what cannot be read, load reports
		for _, e := range entries {
			if hashed.MatchString(e.Name()) {
				add(filepath.Join(f, e.Name()))
			}
		}
	}
	h.Sum(sum[:0])
	return sum
}
