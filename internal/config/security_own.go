package config

import "math"

// LoginRules are midge's own options against guessing passwords, and on names in
// access rules.
type LoginRules struct {
	FailuresAddress int // failed logins from one address that bring a lock-out; 0 means any number
	FailuresUser    int // the same with one user name
	Lockout         int // seconds of the first lock-out
	LockoutMax      int // seconds of the longest, as each doubles the one before

	// DenySlash refuses the patterns of an ACL file to clients with a slash in
	// user name or client id.
	DenySlash bool
}

var ownSecurityOptions = []Option{
	{
		Name: "acl_deny_slash", Section: "global", Own: true, Values: boolValues, Default: "false", Reload: AtOnce,
		Meaning: "Whether the `pattern` lines of an ACL file are refused to clients whose user name or client id holds a `/`, as they always are to those with `+` or `#`.",
		field:   boolField{at: func(t target) *bool { return &t.g.Login.DenySlash }},
	},
	{
		Name: "login_failures_address", Section: "global", Own: true, Values: "number", Default: "0", Reload: AtOnce,
		Meaning: "Failed logins from one address (with IPv6, from one network of 64 bits) that bring a lock-out; 0 means any number.",
		field: intField{
			at:    func(t target) *int { return &t.g.Login.FailuresAddress },
			check: between(0, math.MaxInt32, "Error: Invalid 'login_failures_address' value (%d)."),
		},
	},
	{
		Name: "login_failures_user", Section: "global", Own: true, Values: "number", Default: "0", Reload: AtOnce,
		Meaning: "Failed logins with one user name that bring a lock-out; 0 means any number. With it, whoever knows a user name can lock the user out.",
		field: intField{
			at:    func(t target) *int { return &t.g.Login.FailuresUser },
			check: between(0, math.MaxInt32, "Error: Invalid 'login_failures_user' value (%d)."),
		},
	},
	{
		Name: "login_lockout", Section: "global", Own: true, Values: "seconds, 1 to 604800", Default: "60", Reload: AtOnce,
		Meaning: "The first lock-out; each failed login after it doubles the next.",
		field: intField{
			at:    func(t target) *int { return &t.g.Login.Lockout },
			check: between(1, 604800, "Error: Invalid 'login_lockout' value (%d)."),
		},
	},
	{
		Name: "login_lockout_max", Section: "global", Own: true, Values: "seconds, 1 to 604800", Default: "3600", Reload: AtOnce,
		Meaning: "The longest lock-out. Failures are forgotten when none came for as long.",
		field: intField{
			at:    func(t target) *int { return &t.g.Login.LockoutMax },
			check: between(1, 604800, "Error: Invalid 'login_lockout_max' value (%d)."),
		},
	},
}
