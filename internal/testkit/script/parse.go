// Package script is the behaviour-script language: readable text that says what
// clients send and which packets must come back, run unchanged against the
// broker's engine in process, the whole broker over TCP and a foreign broker.
// test/scripts/README.md describes the language.
//
// The package parses and runs; it never starts a broker (package target does)
// and never uses the product's codec (package rawmqtt). A Script is immutable
// after Parse and may be run by several goroutines at once, each with its own
// target.
package script

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Script is one section of a script file.
type Script struct {
	File, Name string
	Line       int
	About      string
	Covers     []string // statement tags such as 5:3.3.1-9 or E110
	Versions   []byte   // protocol levels it is run for
	Targets    []string // sim, tcp, ws, mosquitto
	Config     []string // mosquitto.conf lines, and test_auth lines
	Watch      bool     // a watcher on '#' must see only what the script expects
	Epilogue   bool     // leftovers and the broker's health are checked at the end
	body       []*stmt
}

// stmt is one statement, with a block when it ends in { … }.
type stmt struct {
	line  int
	cond  string
	words []word
	block []*stmt
}

var (
	reSection = regexp.MustCompile(`^-- (\S+) --$`)
	reHeader  = regexp.MustCompile(`^([a-z]+):\s*(.*)$`)
	reTag     = regexp.MustCompile(`^((3|5|31):(U3|U5|U31|U311)?-?[0-9.]+[0-9.-]*|E[0-9]{3})$`)
)

// MaxTags is how many statements one script may claim, so that a claim stays
// close to what is sent and asserted.
const MaxTags = 3

// Parse reads a script file: sections that begin with "-- name --", each with a
// header of "key: value" lines and a body. Header lines before the first section
// are defaults for all of them.
func Parse(file string, data string) ([]*Script, error) {
	p := &parser{file: file, defaults: Script{
		Versions: []byte{3, 4, 5}, Targets: []string{"sim", "tcp"}, Epilogue: true,
	}}
	for i, line := range strings.Split(data, "\n") {
		if err := p.feed(strings.TrimRight(line, " \t\r"), i+1); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	if err := p.finish(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	names := map[string]bool{}
	for _, s := range p.scripts {
		if names[s.Name] {
			return nil, fmt.Errorf("%s: line %d: section %s exists twice", file, s.Line, s.Name)
		}
		names[s.Name] = true
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return p.scripts, nil
}

type parser struct {
	file     string
	defaults Script
	cur      *Script
	inBody   bool
	words    []word
	scripts  []*Script
}

func (p *parser) feed(line string, no int) error {
	if m := reSection.FindStringSubmatch(line); m != nil {
		if err := p.finish(); err != nil {
			return err
		}
		s := p.defaults
		s.Config = append([]string(nil), p.defaults.Config...)
		s.File, s.Name, s.Line = p.file, m[1], no
		p.cur, p.inBody, p.words = &s, false, nil
		return nil
	}
	if strings.HasPrefix(line, "-- ") {
		return fmt.Errorf("line %d: a section starts with \"-- name --\"", no)
	}
	if !p.inBody {
		trim := strings.TrimSpace(line)
		if trim == "" || trim[0] == '#' {
			return nil
		}
		if m := reHeader.FindStringSubmatch(line); m != nil {
			s := p.cur
			if s == nil {
				s = &p.defaults
			}
			if err := s.header(m[1], m[2]); err != nil {
				return fmt.Errorf("line %d: %w", no, err)
			}
			return nil
		}
		if p.cur == nil {
			return fmt.Errorf("line %d: statement before the first section", no)
		}
		p.inBody = true
	}
	w, err := lex(line, no)
	p.words = append(p.words, w...)
	return err
}

func (p *parser) finish() error {
	if p.cur == nil {
		return nil
	}
	body, rest, err := block(p.words, false)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("line %d: } without {", rest[0].line)
	}
	p.cur.body = body
	p.scripts = append(p.scripts, p.cur)
	return nil
}

// block collects statements up to a closing brace (inner) or the end.
func block(words []word, inner bool) (out []*stmt, rest []word, err error) {
	var cur *stmt
	end := func() {
		if cur != nil {
			out = append(out, cur)
			cur = nil
		}
	}
	for len(words) > 0 {
		w := words[0]
		words = words[1:]
		switch w.stop {
		case '\n', ';':
			end()
		case '}':
			end()
			if !inner {
				return out, append([]word{w}, words...), nil
			}
			return out, words, nil
		case '{':
			if cur == nil {
				return nil, nil, fmt.Errorf("line %d: { without a statement before it", w.line)
			}
			if cur.block, words, err = block(words, true); err != nil {
				return nil, nil, err
			}
			end()
		default:
			if cur == nil {
				cur = &stmt{line: w.line}
				if w.src == "" && w.cond != "" {
					cur.cond = w.cond
					continue
				}
			}
			cur.words = append(cur.words, w)
		}
	}
	if inner {
		return nil, nil, fmt.Errorf("{ is never closed")
	}
	end()
	return out, nil, nil
}

func (s *Script) header(key, value string) error {
	fields := strings.Fields(value)
	switch key {
	case "about":
		s.About = value
	case "covers":
		s.Covers = fields
		if len(fields) > MaxTags {
			return fmt.Errorf("covers: %d tags, at most %d are allowed", len(fields), MaxTags)
		}
		for _, t := range fields {
			if !reTag.MatchString(t) {
				return fmt.Errorf("covers: %q is no tag such as 5:3.3.1-9, 3:U311-3.1.2-1, 31:U31-05 or E110", t)
			}
		}
	case "versions":
		s.Versions = nil
		for _, f := range fields {
			if f != "3" && f != "4" && f != "5" {
				return fmt.Errorf("versions: %q is not 3, 4 or 5", f)
			}
			s.Versions = append(s.Versions, f[0]-'0')
		}
	case "targets":
		s.Targets = fields
		for _, f := range fields {
			if f != "sim" && f != "tcp" && f != "ws" && f != "tls" && f != "mosquitto" {
				return fmt.Errorf("targets: %q is not sim, tcp, ws, tls or mosquitto", f)
			}
		}
	case "config":
		s.Config = append(s.Config, value)
	case "watch", "epilogue":
		if value != "on" && value != "off" {
			return fmt.Errorf("%s: on or off is wanted", key)
		}
		if key == "watch" {
			s.Watch = value == "on"
		} else {
			s.Epilogue = value == "on"
		}
	default:
		return fmt.Errorf("unknown header %q", key)
	}
	return nil
}

// check holds what can be said without running: every statement builds for
// every version, and every tag's version is among those the script runs for.
func (s *Script) check() error {
	if len(s.Versions) == 0 || len(s.Targets) == 0 {
		return fmt.Errorf("line %d: %s: versions and targets must not be empty", s.Line, s.Name)
	}
	if len(s.body) == 0 {
		return fmt.Errorf("line %d: %s: no statement", s.Line, s.Name)
	}
	for _, t := range s.Covers {
		set, _, ok := strings.Cut(t, ":")
		level := map[string]byte{"31": 3, "3": 4, "5": 5}[set]
		if ok && !strings.Contains(string(s.Versions), string(rune(level))) {
			return fmt.Errorf("line %d: %s: tag %s needs version %d among its versions", s.Line, s.Name, t, level)
		}
	}
	for _, v := range s.Versions {
		for _, t := range s.Targets {
			e := &env{version: v, target: t, vars: map[string]string{}, check: true}
			if err := s.checkBlock(e, s.body, map[string]byte{}); err != nil {
				return fmt.Errorf("%s (version %d): %w", s.Name, v, err)
			}
		}
	}
	return nil
}

// Has tells whether the script names that target.
func (s *Script) Has(target string) bool { return slices.Contains(s.Targets, target) }
