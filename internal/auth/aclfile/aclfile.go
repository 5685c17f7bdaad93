// Package aclfile decides on topics by an ACL file of Mosquitto's form, with
// denials for read, write and subscribe apart; docs/acl.md describes it.
//
// It fails closed: a file that cannot be read or understood is an error, an
// empty one permits nothing. A List is immutable, and Authorize neither blocks
// nor allocates: it may be called from any loop.
package aclfile

import (
	"strings"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/mqtt"
)

// right is a set of what a rule may be about.
type right uint8

const (
	mayRead right = 1 << iota
	mayWrite
	maySubscribe
)

func rightOf(a auth.Action) right {
	switch a {
	case auth.Receive:
		return mayRead
	case auth.Publish:
		return mayWrite
	case auth.Subscribe:
		return maySubscribe
	}
	return 0
}

type levelKind uint8

const (
	literal levelKind = iota
	plus
	hash
	clientID // %c
	userName // %u
)

// level is one level of a rule's filter.
type level struct {
	text string
	kind levelKind
}

// rule is one topic or pattern line.
type rule struct {
	text   string
	levels []level
	line   int
	allow  right
	deny   right
	dollar bool // the filter begins with $
	vars   bool // it holds %c or %u
	user   bool // it holds %u
}

// section is the rules of one user, of those without a user name, or the
// patterns. Whatever denies wins over whatever allows.
type section struct {
	denies, allows []rule
	deny, allow    buckets
}

// buckets finds the rules that may match by the first level of a topic.
type buckets struct {
	first map[string][]*rule
	other []*rule // first level is a wildcard or a variable
}

func (s *section) index() {
	s.deny.fill(s.denies)
	s.allow.fill(s.allows)
}

func (b *buckets) fill(rules []rule) {
	for i := range rules {
		r := &rules[i]
		if l := r.levels[0]; l.kind == literal {
			if b.first == nil {
				b.first = make(map[string][]*rule)
			}
			b.first[l.text] = append(b.first[l.text], r)
		} else {
			b.other = append(b.other, r)
		}
	}
}

// find returns the first rule of the file that covers the topic and is about the
// right.
func (b *buckets) find(c *auth.Client, a auth.Action, topic string) *rule {
	first, _, _ := strings.Cut(topic, "/")
	want := rightOf(a)
	r := pick(b.first[first], c, want, topic)
	if o := pick(b.other, c, want, topic); o != nil && (r == nil || o.line < r.line) {
		r = o
	}
	return r
}

func pick(rules []*rule, c *auth.Client, want right, topic string) *rule {
	for _, r := range rules {
		if (r.allow|r.deny)&want != 0 && r.covers(c, topic) {
			return r
		}
	}
	return nil
}

// overlapping is find for the filter of a SUBSCRIBE: a rule is about it when a
// topic exists that both match.
func overlapping(rules []rule, c *auth.Client, filter string) *rule {
	for i := range rules {
		if r := &rules[i]; r.deny&maySubscribe != 0 && r.overlaps(c, filter) {
			return r
		}
	}
	return nil
}

// List is an ACL file that was read.
type List struct {
	path      string
	anonymous *section
	users     map[string]*section
	patterns  *section

	// DenySlash refuses the patterns to clients whose user name or client id holds
	// a slash. Set before use.
	DenySlash bool
	// Notice, when set, is told why patterns do not count for a client. Set before
	// use.
	Notice func(format string, args ...any)
}

// Generation implements auth.Steady: a list never changes its mind.
func (*List) Generation() uint64 { return 0 }

// Authorize implements auth.Authorizer.
func (l *List) Authorize(c *auth.Client, a auth.Action, topic string) mqtt.ReasonCode {
	if v := l.decide(c, a, topic); !v.ok {
		if v.danger != "" && l.Notice != nil {
			l.Notice("ACL denying access to client with dangerous %s \"%s\"", v.danger, v.name)
		}
		return mqtt.NotAuthorized
	}
	return mqtt.Success
}

// verdict is a decision and what it stands on.
type verdict struct {
	rule *rule // nil: no rule decided
	// danger is "username" or "client id" when its value, name, keeps the patterns
	// from being used.
	danger, name string
	ok           bool
}

func (l *List) decide(c *auth.Client, a auth.Action, topic string) verdict {
	if topic == "" || c.ID == "" {
		return verdict{}
	}
	own := l.anonymous
	if c.HasUserName {
		own = l.users[c.UserName] // may be nil
	}
	if a == auth.Subscribe {
		return l.subscribe(own, c, topic)
	}
	if own != nil {
		if v, done := own.judge(c, a, topic); done {
			return v
		}
	}
	if !l.patterns.empty() {
		if danger, name := l.dangerous(c); danger != "" {
			return verdict{danger: danger, name: name}
		}
		if v, done := l.patterns.judge(c, a, topic); done {
			return v
		}
	}
	return verdict{}
}

// subscribe permits all that no rule denies: what a subscription brings is
// decided when it is delivered.
func (l *List) subscribe(own *section, c *auth.Client, filter string) verdict {
	if own != nil {
		if r := overlapping(own.denies, c, filter); r != nil {
			return verdict{rule: r}
		}
	}
	for i := range l.patterns.denies {
		if l.patterns.denies[i].deny&maySubscribe == 0 {
			continue
		}
		if danger, name := l.dangerous(c); danger != "" {
			return verdict{danger: danger, name: name}
		}
		break
	}
	if r := overlapping(l.patterns.denies, c, filter); r != nil {
		return verdict{rule: r}
	}
	return verdict{ok: true}
}

func (s *section) empty() bool { return len(s.denies) == 0 && len(s.allows) == 0 }

// judge asks the rules of a section; done false: none is about the topic.
func (s *section) judge(c *auth.Client, a auth.Action, topic string) (v verdict, done bool) {
	if r := s.deny.find(c, a, topic); r != nil {
		return verdict{rule: r}, true
	}
	if r := s.allow.find(c, a, topic); r != nil {
		return verdict{rule: r, ok: true}, true
	}
	return verdict{}, false
}

// dangerous reports whether a name that patterns would put in could be taken for
// a wildcard, or, by DenySlash, for several levels.
func (l *List) dangerous(c *auth.Client) (what, name string) {
	bad := "+#"
	if l.DenySlash {
		bad = "+#/"
	}
	if strings.ContainsAny(c.UserName, bad) {
		return "username", c.UserName
	}
	if strings.ContainsAny(c.ID, bad) {
		return "client id", c.ID
	}
	return "", ""
}

// value is the text of a level for a client; ok false: it matches nothing.
func (l *level) value(c *auth.Client) (s string, ok bool) {
	switch l.kind {
	case clientID:
		return c.ID, c.ID != ""
	case userName:
		return c.UserName, c.UserName != ""
	default:
		return l.text, true
	}
}

// covers reports whether the topic is one of the rule's filter. What stands for
// a variable is compared within its level, so a slash in it never matches.
func (r *rule) covers(c *auth.Client, topic string) bool {
	if r.dollar != (topic[0] == '$') || r.user && !c.HasUserName {
		return false
	}
	rest, more := topic, true
	for i := range r.levels {
		l := &r.levels[i]
		if l.kind == hash {
			return true // its parent, too
		}
		if !more {
			return false
		}
		var word string
		word, rest, more = strings.Cut(rest, "/")
		if l.kind == plus {
			continue
		}
		if v, ok := l.value(c); !ok || v != word {
			return false
		}
	}
	return !more
}

// overlaps reports whether a topic exists that both the rule and the filter of a
// subscription match.
func (r *rule) overlaps(c *auth.Client, filter string) bool {
	if r.dollar != (filter[0] == '$') || r.user && !c.HasUserName {
		return false
	}
	rest, more := filter, true
	for i := range r.levels {
		l := &r.levels[i]
		if l.kind == hash {
			return true
		}
		if !more {
			return false
		}
		var word string
		word, rest, more = strings.Cut(rest, "/")
		if word == "#" {
			return true
		}
		v, ok := l.value(c)
		if !ok || strings.IndexByte(v, '/') >= 0 {
			return false
		}
		if l.kind != plus && word != "+" && v != word {
			return false
		}
	}
	return !more || rest == "#"
}
