package script

import (
	"fmt"
	"slices"
	"strings"
)

// checkBlock builds every statement without running it, so that a slip shows up
// even where no broker is at hand. versions maps clients to their protocol level.
func (s *Script) checkBlock(e *env, list []*stmt, versions map[string]byte) error {
	for _, st := range list {
		if !e.holds(st.cond) {
			continue
		}
		if err := s.checkStmt(e, st, versions); err != nil {
			return fmt.Errorf("line %d: %w", st.line, err)
		}
	}
	return nil
}

// blockWords are the statements that own a block, each with the number of words
// that it has at least.
var blockWords = map[string]int{"repeat": 2, "for": 4, "unordered": 1}

// plainWords are statements about the run, with the number of words they have at least.
var plainWords = map[string]int{"advance": 2, "assert": 4, "broker": 2, "restart": 1}

func (s *Script) checkStmt(e *env, st *stmt, versions map[string]byte) error {
	if len(st.words) == 0 {
		return fmt.Errorf("a condition without a statement")
	}
	first := st.words[0].value
	if n, ok := blockWords[first]; ok {
		if len(st.words) < n || st.block == nil {
			return fmt.Errorf("%s: too few words or no block", first)
		}
		return s.checkLoop(e, st, versions)
	}
	isBatch := len(st.words) == 2 && st.words[1].is("batch")
	if st.block != nil && !isBatch {
		return fmt.Errorf("%s takes no block", first)
	}
	if n, ok := plainWords[first]; ok {
		if len(st.words) < n {
			return fmt.Errorf("%s: too few words", first)
		}
		return nil
	}
	words := st.words
	if first == "client" {
		words = words[1:]
	}
	if len(words) < 2 {
		return fmt.Errorf("a client's name and a verb are wanted")
	}
	// A name made of variables is only known when it runs; any version will do.
	names := strings.Split(words[0].value, "|")
	declared := first == "client"
	v := e.version
	for _, n := range names {
		if have, ok := versions[n]; ok {
			v = have
		} else if !declared && !madeByLoop(versions, n) && !strings.Contains(n, "$") && !(s.Watch && n == "watch") {
			return fmt.Errorf("no client %q: declare it with \"client %s connect …\"", n, n)
		}
	}
	if isBatch {
		return s.checkBlock(e, st.block, versions)
	}
	if words[1].is("<-") {
		_, err := e.buildExpect(words[2:], v)
		return err
	}
	return s.checkVerb(e, names[0], words[1].value, words[2:], v, versions)
}

// madeByLoop tells whether a loop declares clients like n: c$i stands for c30.
func madeByLoop(versions map[string]byte, n string) bool {
	for name := range versions {
		if head, _, ok := strings.Cut(name, "$"); ok && strings.HasPrefix(n, head) {
			return true
		}
	}
	return false
}

// checkLoop checks a block once for each value that its variable takes in a for.
func (s *Script) checkLoop(e *env, st *stmt, versions map[string]byte) error {
	if st.words[0].value != "for" {
		return s.checkBlock(e, st.block, versions)
	}
	for _, w := range st.words[3:] {
		if !e.holds(w.cond) {
			continue
		}
		v, err := e.text(w)
		if err != nil {
			return err
		}
		e.vars[st.words[1].value] = v
		if err := s.checkBlock(e, st.block, versions); err != nil {
			return err
		}
	}
	return nil
}

func (s *Script) checkVerb(e *env, name, verb string, args []word, v byte, versions map[string]byte) error {
	switch verb {
	case "drop", "cut", "halfclose", "stall", "unstall":
		if len(args) > 0 {
			return fmt.Errorf("%s takes nothing behind it", verb)
		}
		return nil
	case "chunk":
		if len(args) != 1 {
			return fmt.Errorf("chunk wants a number of bytes")
		}
		_, err := e.number(args[0], 1<<20)
		return err
	case "connect", "open":
		v = e.version
		for _, w := range args {
			if w.name == "v" && e.holds(w.cond) {
				n, err := e.number(w, 255)
				if err != nil {
					return err
				}
				v = byte(n)
			}
		}
		versions[name] = v
	}
	switch verb {
	case "open":
		if slices.ContainsFunc(args, func(w word) bool { return w.name != "v" }) {
			return fmt.Errorf("open takes v= only")
		}
		return nil
	case "again":
		verb = "connect"
	}
	_, err := e.buildSend(verb, args, v)
	return err
}
