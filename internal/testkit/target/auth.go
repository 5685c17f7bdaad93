package target

import (
	"fmt"
	"strconv"
)

// Auth is the test authentication and authorisation that scripts ask for with
// "config: test_auth …" lines. The zero value lets everybody do everything.
type Auth struct {
	Users     map[string]string // name -> password; when not empty, others are refused
	Anonymous bool              // with Users: clients without a user name are let in
	// Refuse gives client identifiers that are refused with this reason code
	// after all other checks of the CONNECT.
	Refuse        map[string]byte
	References    map[string]string // client identifier -> Server Reference of its refusal
	DenyPublish   []string          // filters whose topics may not be published to
	DenySubscribe []string          // filters that may not be subscribed to, literally
	DenyRead      []string          // filters whose topics are not delivered
	Methods       map[string]Method
}

// Method is a made-up enhanced authentication method: the client's first data
// must be Start, the server answers with each Challenge in turn and expects the
// Answer of the same index; Final goes with the success. The data "bad" at any
// point is refused with 0x87.
type Method struct {
	Start      string
	Challenges []string
	Answers    []string
	Final      string
}

// Add reads one rule, the words behind test_auth:
//
//	user NAME PASSWORD | anonymous | refuse CLIENTID REASON [SERVER]
//	deny-publish FILTER | deny-subscribe FILTER | deny-read FILTER
//	method NAME START [CHALLENGE ANSWER]… [final DATA]
func (a *Auth) Add(words []string) error {
	if len(words) == 0 {
		return fmt.Errorf("test_auth: a rule is wanted")
	}
	args := words[1:]
	want := map[string]int{"user": 2, "anonymous": 0, "refuse": 2, "deny-publish": 1, "deny-subscribe": 1, "deny-read": 1}
	if words[0] == "refuse" && len(args) == 3 {
		if a.References == nil {
			a.References = map[string]string{}
		}
		a.References[args[0]] = args[2]
		args = args[:2]
	}
	if n, ok := want[words[0]]; ok && n != len(args) {
		return fmt.Errorf("test_auth %s: %d arguments, %d are wanted", words[0], len(args), n)
	}
	switch words[0] {
	case "user":
		if a.Users == nil {
			a.Users = map[string]string{}
		}
		a.Users[args[0]] = args[1]
	case "anonymous":
		a.Anonymous = true
	case "refuse":
		n, err := strconv.ParseUint(args[1], 0, 8)
		if err != nil {
			return fmt.Errorf("test_auth refuse: reason %q: %w", args[1], err)
		}
		if a.Refuse == nil {
			a.Refuse = map[string]byte{}
		}
		a.Refuse[args[0]] = byte(n)
	case "deny-publish":
		a.DenyPublish = append(a.DenyPublish, args[0])
	case "deny-subscribe":
		a.DenySubscribe = append(a.DenySubscribe, args[0])
	case "deny-read":
		a.DenyRead = append(a.DenyRead, args[0])
	case "method":
		return a.addMethod(args)
	default:
		return fmt.Errorf("test_auth: unknown rule %q", words[0])
	}
	return nil
}

func (a *Auth) addMethod(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("test_auth method: a name and the first data are wanted")
	}
	m := Method{Start: args[1]}
	rest := args[2:]
	for len(rest) >= 2 {
		if rest[0] == "final" {
			m.Final = rest[1]
		} else {
			m.Challenges = append(m.Challenges, rest[0])
			m.Answers = append(m.Answers, rest[1])
		}
		rest = rest[2:]
	}
	if len(rest) != 0 {
		return fmt.Errorf("test_auth method %s: %q stands alone", args[0], rest[0])
	}
	if a.Methods == nil {
		a.Methods = map[string]Method{}
	}
	a.Methods[args[0]] = m
	return nil
}

// CheckUser decides a CONNECT: 0 lets it in, otherwise the reason code.
func (a *Auth) CheckUser(clientID, user, password string, hasUser bool) byte {
	if len(a.Users) > 0 {
		switch {
		case !hasUser && !a.Anonymous:
			return 0x87
		case hasUser:
			if want, ok := a.Users[user]; !ok || want != password {
				return 0x86
			}
		}
	}
	return a.Refuse[clientID]
}
