package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/midgemq/midge/internal/cli/flagtable"
)

// Tables describes every command: those with flags of their own by the table of their package, the others by kong's model.
func Tables() []flagtable.Command {
	var list []flagtable.Command
	own := make(map[string]bool)
	for _, t := range tools() {
		list = append(list, t.table...)
		own[t.name] = true
	}
	parser, err := newParser(&Env{Stdout: os.Stdout, Stderr: os.Stderr})
	if err != nil {
		panic(err) // the table of commands is part of the program
	}
	for _, c := range described(parser.Model.Node, "") {
		if !own[c.Name] {
			list = append(list, c)
		}
	}
	return list
}

// described makes tables of kong's commands.
func described(n *kong.Node, path string) []flagtable.Command {
	var list []flagtable.Command
	for _, child := range n.Children {
		if child.Hidden {
			continue
		}
		name := strings.TrimSpace(path + " " + child.Name)
		if len(child.Children) > 0 {
			list = append(list, described(child, name)...)
			continue
		}
		c := flagtable.Command{Name: name, Summary: sentence(child.Help)}
		if child.Detail != "" {
			c.Text = strings.Split(child.Detail, "\n\n")
		}
		synopsis := ""
		for _, p := range child.Positional {
			c.Operands = append(c.Operands, flagtable.Operand{Name: strings.ToUpper(p.Name), Help: sentence(p.Help), Values: enum(p)})
			synopsis += " " + p.Summary()
		}
		c.Synopsis = []string{"[FLAGS]" + synopsis}
		for _, group := range child.AllFlags(true) {
			for _, f := range group {
				c.Flags = append(c.Flags, kongFlag(f))
			}
		}
		list = append(list, c)
	}
	return list
}

func kongFlag(f *kong.Flag) flagtable.Flag {
	t := flagtable.Flag{Names: []string{"--" + f.Name}, Help: sentence(f.Help), Values: enum(f.Value)}
	if f.Short != 0 {
		t.Names = append([]string{"-" + string(f.Short)}, t.Names...)
	}
	if !f.IsBool() && !f.IsCounter() {
		t.Arg = strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if f.PlaceHolder != "" {
			t.Arg = strings.ToUpper(f.PlaceHolder)
		}
	}
	return t
}

func enum(v *kong.Value) []string {
	if v.Enum == "" {
		return nil
	}
	return strings.Split(v.Enum, ",")
}

// sentence takes capital and full stop off a sentence, as tables want it.
func sentence(s string) string {
	s = strings.TrimSuffix(s, ".")
	if len(s) > 1 && (s[1] < 'A' || s[1] > 'Z') {
		s = strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

var serveTable = flagtable.Command{
	Name: "serve", Program: "mosquitto", Summary: "run the broker",
	Synopsis: []string{"[-c FILE] [-d] [-p PORT] [-q | -v]", "--test-config -c FILE"},
	Text: []string{
		"Without a configuration file the broker serves clients on this machine, on port 1883, and asks for no user name.",
	},
	Flags: []flagtable.Flag{
		{Names: []string{"-c", "--config-file"}, Arg: "FILE", Help: "read this configuration file, in the format of mosquitto.conf", Offer: flagtable.Files},
		{Names: []string{"-d", "--daemon"}, Help: "go on in the background"},
		{Names: []string{"-h", "--help"}, Help: "show the help and end"},
		{
			Names: []string{"-p", "--port"}, Arg: "PORT", Repeats: true,
			Help: "listen on this port, for this machine only; without effect when the configuration file says where to listen",
		},
		{Names: []string{"-q", "--quiet"}, Help: "log nothing, whatever the configuration file says"},
		{Names: []string{"-v", "--verbose"}, Help: "log everything, whatever the configuration file says"},
		{Names: []string{"--strict-reload"}, Help: "end with status 3 when a reload finds an error"},
		{Names: []string{"--test-config"}, Help: "check the configuration file and end"},
		{Names: []string{"--tls-keylog"}, Arg: "FILE", Help: "write the secrets of TLS connections to a file, for looking into a capture", Offer: flagtable.Files},
		{Names: []string{"--version"}, Help: "show the version and end"},
	},
	Statuses: []flagtable.Note{
		{Name: "0", Text: "ended by a signal, or the configuration file is good"},
		{Name: "1", Text: "no listener could be opened; certificate or key cannot be used"},
		{Name: "3", Text: "wrong argument or configuration"},
		{Name: "13", Text: "the configuration names a plugin that is not built in"},
		{Name: "14", Text: "the system refused: process id file, change of user"},
	},
}

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"Shell: bash, zsh or fish."`
}

// Run prints the completion.
func (c *completionCmd) Run(e *Env) error { return flagtable.Completion(e.Stdout, c.Shell, Tables()) }

type manCmd struct {
	Dir  string   `placeholder:"DIR" help:"Write the pages of all commands into DIR/man1 instead of printing one."`
	Name []string `arg:"" optional:"" help:"Command whose page to print. Without: that of midge."`
}

// Run prints one manual page in roff, or writes all.
func (c *manCmd) Run(e *Env) error {
	list := Tables()
	if c.Dir != "" {
		return writeManuals(filepath.Join(c.Dir, "man1"), e.Version, list)
	}
	name := strings.Join(c.Name, " ")
	if name == "" {
		flagtable.Index(e.Stdout, e.Version, list)
		return nil
	}
	for i := range list {
		if list[i].Name == name || list[i].Program == name {
			list[i].Man(e.Stdout, e.Version)
			return nil
		}
	}
	return fmt.Errorf("%w: no command %q", errUsage, name)
}

// writeManuals writes a page for each command. The names of Mosquitto's programs lead to the page of the command that stands in for
// them.
func writeManuals(dir, version string, list []flagtable.Command) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("manual pages: %w", err)
	}
	var b strings.Builder
	write := func(page string) error {
		err := os.WriteFile(filepath.Join(dir, page+".1"), []byte(b.String()), 0o644)
		b.Reset()
		return err
	}
	flagtable.Index(&b, version, list)
	if err := write("midge"); err != nil {
		return fmt.Errorf("manual pages: %w", err)
	}
	for i := range list {
		c := &list[i]
		c.Man(&b, version)
		if err := write(c.Page()); err != nil {
			return fmt.Errorf("manual pages: %w", err)
		}
		if c.Program == "" {
			continue
		}
		fmt.Fprintf(&b, ".so man1/%s.1\n", c.Page())
		if err := write(c.Program); err != nil {
			return fmt.Errorf("manual pages: %w", err)
		}
	}
	return nil
}
