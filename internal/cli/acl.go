package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/admin"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/logging"
)

type aclCmd struct {
	Test aclTestCmd `cmd:"" help:"Say what a client may do, and which rule decides."`
}

type aclTestCmd struct {
	controlFlags
	Config   string `short:"c" placeholder:"FILE" help:"Ask by this configuration file, without a broker."`
	Listener string `placeholder:"LISTENER" help:"Listener the client connects to, as in the configuration: port, or port and address."`

	User     string `arg:"" help:"User name; - for none."`
	ClientID string `arg:"" help:"Client id."`
	Action   string `arg:"" enum:"read,write,subscribe" help:"What to do: read, write or subscribe."`
	Topic    string `arg:"" help:"Topic, or for subscribe a filter."`
}

// Run prints the verdict; the exit status is 1 when it is no.
func (c *aclTestCmd) Run(e *Env) error {
	if c.ClientID == "" || c.Topic == "" {
		return fmt.Errorf("%w: client id and topic must not be empty", errUsage)
	}
	q := admin.ACLQuery{Client: c.ClientID, Action: c.Action, Topic: c.Topic, Listener: c.Listener}
	if c.User != "-" {
		q.User = &c.User
	}
	a, err := c.ask(e, q)
	if err != nil {
		return err
	}
	if !c.JSON {
		printACL(e, &a)
	}
	if !a.Allowed {
		panic(stop{exitFailed})
	}
	return nil
}

func (c *aclTestCmd) ask(e *Env, q admin.ACLQuery) (a admin.ACLAnswer, err error) {
	if c.Config == "" {
		err = c.call(e, "acl test", q, &a)
		return a, err
	}
	log, err := logging.New(logging.Options{Types: logging.Error | logging.Warning, Dest: logging.ToStderr, Stderr: e.Stderr})
	if err != nil {
		return a, err
	}
	conf, err := config.Load(config.Args{Files: []string{c.Config}}, nil)
	if err != nil {
		if ce, ok := errors.AsType[*config.Error](err); ok {
			logLines(log, ce)
			panic(stop{statusInvalid})
		}
		return a, err
	}
	if a, err = broker.TestACL(conf, log, q); err != nil || !c.JSON {
		return a, err
	}
	return a, json.NewEncoder(e.Stdout).Encode(a)
}

func printACL(e *Env, a *admin.ACLAnswer) {
	word := "denied"
	if a.Allowed {
		word = "allowed"
	}
	if a.Line > 0 {
		fmt.Fprintf(e.Stdout, "%s by %s, line %d: %s\n", word, a.File, a.Line, a.Rule)
		return
	}
	in := ""
	if a.File != "" {
		in = " (" + a.File + ")"
	}
	fmt.Fprintf(e.Stdout, "%s: %s%s\n", word, a.Why, in)
}
