// Package cli is midge's command line: the table of commands, the names midge
// answers to, and the life of a broker process from its arguments to its exit
// status.
//
// It never speaks MQTT for the broker and holds no state of it: serve starts
// what Env.NewServer gives it. Main is called once, from the main goroutine; answers go to
// stdout, everything else to stderr.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/midgemq/midge/internal/admin"
	"github.com/midgemq/midge/internal/cli/dbdump"
	"github.com/midgemq/midge/internal/cli/flagtable"
	"github.com/midgemq/midge/internal/cli/passwd"
	"github.com/midgemq/midge/internal/cli/pubsub"
	"github.com/midgemq/midge/internal/cli/signaltool"
	"github.com/midgemq/midge/internal/cli/storecmd"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/logging"
)

// Compatible is the release of Mosquitto whose behaviour midge follows. It
// stands where scripts expect Mosquitto's version.
const Compatible = "2.1.2"

// MosquittoVersion is what the log and $SYS/broker/version show as the version:
// the number that scripts parse, and who is behind it.
func MosquittoVersion(midge string) string { return Compatible + " (midge " + midge + ")" }

// Server is a broker as serve runs it.
type Server interface {
	// Start opens the listeners and returns; it fails when none can be opened.
	Start() error
	// Close ends the broker: wills, state, connections; it gives up with ctx.
	Close(ctx context.Context) error
	// Admin answers for the control socket.
	Admin() admin.Broker
	// Reload puts a configuration in force as far as it can be without a restart,
	// or, with an error, nothing of it.
	Reload(c *config.Config) error
	// DumpSubscriptions writes who has subscribed to what.
	DumpSubscriptions(ctx context.Context, w io.Writer) error
}

// NewServer makes a broker that is not started. version is for $SYS.
type NewServer func(c *config.Config, l *logging.Logger, version string) (Server, error)

// Env is what a process gives Main.
type Env struct {
	Args           []string // with the program's name
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Version        string // midge's own
	NewServer      NewServer
}

// Exit statuses. Those of serve, pub and sub are Mosquitto's.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// commands are those whose arguments kong reads.
type commands struct {
	Status     statusCmd     `cmd:"" help:"Show how a running broker fares."`
	Clients    clientsCmd    `cmd:"" help:"List the clients of a running broker."`
	Sessions   sessionsCmd   `cmd:"" help:"Say which sessions of a running broker hold how much."`
	Disconnect disconnectCmd `cmd:"" help:"Disconnect a client from a running broker."`
	Reload     reloadCmd     `cmd:"" help:"Have a running broker read its configuration again."`
	Config     configCmd     `cmd:"" help:"Look at the configuration of a running broker."`
	ACL        aclCmd        `cmd:"" name:"acl" help:"Try access rules."`
	Completion completionCmd `cmd:"" help:"Print the completion for a shell."`
	Man        manCmd        `cmd:"" help:"Print manual pages."`
	Version    versionCmd    `cmd:"" help:"Show the version."`
}

// tool is a command that reads its arguments itself: with Mosquitto's flags and
// messages, which no argument library can produce.
type tool struct {
	name string // the word behind midge
	run  func(e *Env, program string, args []string) int
	// table describes its flags, once for each command below the name. The first
	// one's Program is a name that midge answers to as well.
	table []flagtable.Command
}

// tools lists them in the order of the help. A new one gets its line here.
func tools() []tool {
	list := []tool{
		{"serve", serve, []flagtable.Command{serveTable}},
		{"pub", messaging(pubsub.Pub), pubsub.Tables()[:1]},
		{"sub", messaging(pubsub.Sub), pubsub.Tables()[1:2]},
		{"rr", messaging(pubsub.RR), pubsub.Tables()[2:]},
		{"signal", runSignal, []flagtable.Command{signaltool.Command()}},
		{"passwd", runPasswd, []flagtable.Command{passwd.Command()}},
		{"db_dump", runDBDump, []flagtable.Command{dbdump.Command()}},
		{"store", runStore, storecmd.Commands()},
	}
	return append(list, measuring()...)
}

// passthrough stands for a tool in kong's list of commands.
type passthrough struct {
	Args []string `arg:"" optional:"" passthrough:"" name:"flags"`
}

// ownFlags finds a tool by the word behind midge, or by the name of the program
// it stands in for.
func ownFlags(name string) func(*Env, string, []string) int {
	for _, t := range tools() {
		if t.name == name || len(t.table) > 0 && t.table[0].Program == name {
			return t.run
		}
	}
	return nil
}

// Main runs the command that the arguments name and returns the exit status.
func Main(e *Env) int {
	program := strings.TrimSuffix(filepath.Base(e.Args[0]), ".exe")
	if strings.HasPrefix(program, "mosquitto") {
		if run := ownFlags(program); run != nil {
			return run(e, program, e.Args[1:])
		}
	}
	if len(e.Args) > 1 {
		switch e.Args[1] {
		case "-c", "--config-file", "-p", "--port":
			// A service file in which only the program was exchanged.
			return serve(e, "midge serve", e.Args[1:])
		}
		if run := ownFlags(e.Args[1]); run != nil {
			return run(e, "midge "+e.Args[1], e.Args[2:])
		}
	}
	return e.table(e.Args[1:])
}

// stop is how the argument library's wish to exit comes back.
type stop struct{ status int }

// table parses by the table of commands and runs.
func (e *Env) table(args []string) (status int) {
	defer func() {
		if r := recover(); r != nil {
			s, ok := r.(stop)
			if !ok {
				panic(r)
			}
			status = s.status
		}
	}()
	parser, err := newParser(e)
	if err != nil {
		fmt.Fprintln(e.Stderr, "midge:", err)
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(e.Stderr, "midge: %v\nSee 'midge --help'.\n", err)
		return exitUsage
	}
	if err := ctx.Run(e); err != nil {
		fmt.Fprintln(e.Stderr, "midge:", err)
		if errors.Is(err, errUsage) {
			return exitUsage
		}
		return exitFailed
	}
	return exitOK
}

// newParser makes kong's parser of the commands and the tools.
func newParser(e *Env) (*kong.Kong, error) {
	options := []kong.Option{
		kong.Name("midge"),
		kong.Description("An MQTT broker that takes the place of Eclipse Mosquitto, and its tools."),
		kong.Writers(e.Stdout, e.Stderr),
		kong.Exit(func(status int) { panic(stop{status}) }),
		kong.Bind(e),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
	}
	for _, t := range tools() {
		help := "Run " + t.name + "."
		if len(t.table) > 0 {
			help = strings.ToUpper(t.table[0].Summary[:1]) + t.table[0].Summary[1:] + "."
		}
		options = append(options, kong.DynamicCommand(t.name, help, "", &passthrough{}))
	}
	return kong.New(&commands{}, options...)
}

// errUsage marks arguments that parse but cannot be meant.
var errUsage = errors.New("wrong arguments")

type versionCmd struct{}

// Run prints midge's version and the Mosquitto release it follows.
func (versionCmd) Run(e *Env) error {
	_, err := fmt.Fprintf(e.Stdout, "midge %s\nfollows Mosquitto %s\n", e.Version, Compatible)
	return err
}

// messaging runs pub, sub or rr.
func messaging(run func(*pubsub.Env, []string) int) func(*Env, string, []string) int {
	return func(e *Env, program string, args []string) int {
		return run(&pubsub.Env{
			Program: program, Midge: strings.HasPrefix(program, "midge "), Stdin: e.Stdin, Stdout: e.Stdout, Stderr: e.Stderr,
			Version: e.Version, Compatible: Compatible,
		}, args)
	}
}

func runSignal(e *Env, program string, args []string) int {
	return signaltool.Run(&signaltool.Env{Program: program, Midge: strings.HasPrefix(program, "midge "), Stdout: e.Stdout, Stderr: e.Stderr}, args)
}
