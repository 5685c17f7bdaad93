package aclfile

import (
	"fmt"

	"github.com/midgemq/midge/internal/auth"
)

// Explain decides as Authorize does and says what the decision stands on, for
// people.
func (l *List) Explain(c *auth.Client, a auth.Action, topic string) auth.Explanation {
	v := l.decide(c, a, topic)
	e := auth.Explanation{Allowed: v.ok, File: l.path}
	switch {
	case v.rule != nil:
		e.Line, e.Rule = v.rule.line, v.rule.text
	case v.danger != "":
		e.Why = fmt.Sprintf("patterns are not used for a client with dangerous %s %q", v.danger, v.name)
	case v.ok:
		e.Why = "no rule denies the subscription; what it brings is decided when it is delivered"
	case c.HasUserName && l.users[c.UserName] == nil && l.patterns.empty():
		e.Why = fmt.Sprintf("there is no section for user %q, and no pattern", c.UserName)
	case c.HasUserName && l.users[c.UserName] == nil:
		e.Why = fmt.Sprintf("there is no section for user %q, and no pattern permits it", c.UserName)
	default:
		e.Why = "no rule permits it"
	}
	return e
}
