package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/midgemq/midge/internal/admin"
	"github.com/midgemq/midge/mqtt"
)

// controlFlags are the flags of every command that asks a running broker.
type controlFlags struct {
	Socket string        `placeholder:"PATH" help:"Control socket of the broker; by default where a broker of this user puts it."`
	JSON   bool          `name:"json" help:"Print the answer as JSON."`
	Wait   time.Duration `default:"15s" help:"How long to wait for the answer."`
}

// call runs one command on the broker and prints the JSON when that is wanted.
func (f *controlFlags) call(e *Env, command string, args, result any) error {
	ctx, cancel := context.WithTimeout(context.Background(), f.Wait)
	defer cancel()
	path := f.Socket
	if path == "" {
		path = admin.DefaultPath()
	}
	c, err := admin.Dial(ctx, path)
	if err != nil {
		return fmt.Errorf("%w (is a broker running? --socket says where its control socket is)", err)
	}
	defer c.Close()
	var raw json.RawMessage
	if err := c.Call(ctx, command, args, &raw); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, result); err != nil {
		return err
	}
	if f.JSON {
		_, err = fmt.Fprintf(e.Stdout, "%s\n", raw)
	}
	return err
}

type statusCmd struct {
	controlFlags
}

// Run prints the status.
func (c *statusCmd) Run(e *Env) error {
	var s admin.Status
	if err := c.call(e, "status", nil, &s); err != nil || c.JSON {
		return err
	}
	return printStatus(e.Stdout, &s)
}

func printStatus(out io.Writer, s *admin.Status) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "version\t%s\n", s.Version)
	fmt.Fprintf(w, "process\t%d\n", s.PID)
	fmt.Fprintf(w, "running\t%s, since %s\n", time.Duration(s.Uptime)*time.Second, s.Started.Local().Format(time.DateTime))
	fmt.Fprintf(w, "loops\t%d\n", s.Loops)
	for _, l := range s.Listeners {
		fmt.Fprintf(w, "listener\t%s %s, %d connections\n", l.Address, l.Protocol, l.Connections)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Metrics)) {
		fmt.Fprintf(w, "%s\t%d\n", name, s.Metrics[name])
	}
	for _, cause := range slices.Sorted(maps.Keys(s.Drops)) {
		fmt.Fprintf(w, "dropped: %s\t%d\n", cause, s.Drops[cause])
	}
	for _, cause := range slices.Sorted(maps.Keys(s.Ends)) {
		fmt.Fprintf(w, "ended: %s\t%d\n", cause, s.Ends[cause])
	}
	return w.Flush()
}

type clientsCmd struct {
	controlFlags
	ID string `arg:"" optional:"" name:"clientid" help:"Show only this client."`
}

// Run prints the list.
func (c *clientsCmd) Run(e *Env) error {
	var args any
	if c.ID != "" {
		args = map[string]string{"id": c.ID}
	}
	var list admin.ClientList
	if err := c.call(e, "clients", args, &list); err != nil {
		return err
	}
	if c.ID != "" && len(list.Clients) == 0 {
		return fmt.Errorf("no client with the id %q", c.ID)
	}
	if c.JSON {
		return nil
	}
	return printClients(e.Stdout, list.Clients)
}

func printClients(out io.Writer, list []admin.Client) error {
	slices.SortFunc(list, func(a, b admin.Client) int { return cmp.Compare(a.ID, b.ID) })
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CLIENT\tSTATE\tADDRESS\tUSER\tMQTT\tKEEP-ALIVE\tSUBSCRIPTIONS\tIN FLIGHT\tQUEUED\tBYTES\tDROPPED")
	for i := range list {
		c := &list[i]
		state := "away"
		if c.Connected {
			state = "connected"
		}
		var dropped int64
		for _, n := range c.Drops {
			dropped += n
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d s\t%d\t%d in, %d out\t%d\t%d\t%d\n",
			printable(c.ID), state, orDash(c.Address), orDash(printable(c.User)), protocolName(c.Version), c.KeepAlive,
			c.Subscriptions, c.InflightIn, c.InflightOut, c.Queued, c.QueuedBytes+c.OutputBytes, dropped)
	}
	return w.Flush()
}

// printable quotes what would move the cursor or the columns of a terminal.
func printable(s string) string {
	if q := strconv.Quote(s); len(q) != len(s)+2 || strings.ContainsAny(s, " ") {
		return q
	}
	return s
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func protocolName(level int) string {
	switch level {
	case 3:
		return "3.1"
	case 4:
		return "3.1.1"
	case 5:
		return "5.0"
	}
	return strconv.Itoa(level)
}

type disconnectCmd struct {
	controlFlags
	ClientID string `arg:"" name:"clientid" help:"Which client."`
	Reason   string `default:"0x98" help:"Reason code for an MQTT 5 client; 0x98 is administrative action."`
	Server   string `name:"server-reference" placeholder:"HOST" help:"Where an MQTT 5 client is to go instead, with reason 0x9c (use another server) or 0x9d (server moved)."`
}

// Run disconnects the client.
func (c *disconnectCmd) Run(e *Env) error {
	code, ok := mqtt.ParseReasonCode(c.Reason)
	if !ok {
		return fmt.Errorf("%w: %q is no reason code", errUsage, c.Reason)
	}
	args := struct {
		Client string `json:"client"`
		Code   int    `json:"code"`
		Server string `json:"server_reference,omitempty"`
	}{c.ClientID, int(code), c.Server}
	err := c.call(e, "disconnect", args, new(struct{}))
	if refused, ok := errors.AsType[*admin.Error](err); ok && refused.Code == admin.CodeNotFound {
		return fmt.Errorf("no client with the id %q is connected", c.ClientID)
	}
	if err != nil || c.JSON {
		return err
	}
	_, err = fmt.Fprintf(e.Stdout, "%s is disconnected.\n", printable(c.ClientID))
	return err
}
