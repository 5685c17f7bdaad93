// Package passwd is midge passwd, also called as mosquitto_passwd: it adds,
// changes and deletes users of a password file.
//
// A file changes at one stroke or not at all, and no line is lost that the tool
// was not asked to change. Run is called once, from the main goroutine; what
// prompts and confirmations say goes to stdout as Mosquitto's does, errors to
// stderr.
package passwd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/midgemq/midge/internal/cli/flagtable"
	"github.com/midgemq/midge/internal/password"
	"github.com/midgemq/midge/internal/safefile"
)

// Env is what the tool is given.
type Env struct {
	Program        string // as it was called
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Exit statuses.
const (
	exitOK       = 0
	exitFailed   = 1
	exitMismatch = 2  // the two passwords differ
	exitHash     = 10 // the password cannot be hashed
)

// maxUser is the longest user name in bytes.
const maxUser = 65535

// Command is the table of the flags.
func Command() flagtable.Command {
	return flagtable.Command{
		Name: "passwd", Program: "mosquitto_passwd", Summary: "change a password file",
		Synopsis: []string{
			"[-H TYPE] [-I N] [-c | -D] FILE USER",
			"[-H TYPE] [-I N] [-c] -b FILE USER PASSWORD",
			"[-H TYPE] [-I N] -U FILE",
		},
		Text: []string{
			"Adds a user to a password file, or gives the user another password. The password is asked for; on a terminal it is not shown.",
			"The file is replaced at one stroke, so a broker that reads it meanwhile sees the old or the new one. Comments and empty lines stay. The broker reads it again on SIGHUP.",
		},
		Operands: []flagtable.Operand{
			{Name: "FILE", Help: "password file; with -c, - writes the line to stdout", Offer: flagtable.Files},
			{Name: "USER", Help: "user name, without colon and control characters, of at most 65535 bytes"},
			{Name: "PASSWORD", Help: "password, with -b only; other users of the machine can see it while the command runs"},
		},
		Flags: []flagtable.Flag{
			{Names: []string{"-b"}, Midge: []string{"--batch"}, Help: "take the password from the command line"},
			{Names: []string{"-c"}, Midge: []string{"--create"}, Help: "make a new file; one that exists is left alone"},
			{Names: []string{"-D"}, Midge: []string{"--delete"}, Help: "delete the user"},
			{
				Names: []string{"-H"}, Midge: []string{"--hash"}, Arg: "TYPE", Values: []string{"argon2id", "sha512-pbkdf2", "sha512"},
				Help: "kind of hash, sha512-pbkdf2 by default",
			},
			{Names: []string{"-I"}, Midge: []string{"--iterations"}, Arg: "N", Help: "iterations of sha512-pbkdf2, 1000 by default"},
			{Names: []string{"-U"}, Midge: []string{"--update"}, Help: "hash the passwords of a file that stand there as plain text"},
			{Names: []string{"-h"}, Midge: []string{"--help"}, Help: "show the help and end"},
		},
		Statuses: []flagtable.Note{
			{Name: "0", Text: "done"},
			{Name: "1", Text: "wrong argument, empty password, unknown user with -D, or the file cannot be read or written"},
			{Name: "2", Text: "the two passwords differ"},
			{Name: "10", Text: "the password cannot be hashed"},
		},
		Examples: []flagtable.Note{
			{Name: "midge passwd -c /etc/mosquitto/passwd alice", Text: "make a file with the user alice"},
			{Name: "midge passwd -D /etc/mosquitto/passwd alice", Text: "delete the user alice"},
		},
	}
}

// task is what the arguments say.
type task struct {
	*Env
	batch, create, del, update bool
	kind                       password.Type
	iterations                 int
	file, user, password       string
}

// status is an error that was told, and its exit status.
type status int

func (s status) Error() string { return "exit status " + strconv.Itoa(int(s)) }

// errUsage asks for the usage.
var errUsage = errors.New("usage")

func (e *Env) fail(code int, format string, args ...any) error {
	fmt.Fprintf(e.Stderr, "Error: "+format+"\n", args...)
	return status(code)
}

// Run carries the command out and returns the exit status.
func Run(e *Env, args []string) int {
	t := &task{Env: e, kind: password.SHA512PBKDF2, iterations: password.DefaultIterations}
	err := t.parse(args)
	if err == nil {
		err = t.run()
	}
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errUsage) {
		e.usage()
		return exitFailed
	}
	if s, ok := errors.AsType[status](err); ok {
		return int(s)
	}
	fmt.Fprintf(e.Stderr, "Error: %v\n", err)
	return exitFailed
}

func (e *Env) midge() bool { return strings.HasPrefix(e.Program, "midge") }

func (e *Env) usage() {
	c := Command()
	if e.midge() {
		c.Help(e.Stdout)
		return
	}
	fmt.Fprintf(e.Stdout, `%s is a tool for managing password files for mosquitto.

Usage: %[1]s [-H TYPE] [-I N] [-c | -D] passwordfile username
       %[1]s [-H TYPE] [-I N] [-c] -b passwordfile username password
       %[1]s [-H TYPE] [-I N] -U passwordfile
`, e.Program)
	for _, f := range c.Flags {
		fmt.Fprintf(e.Stdout, " %s : %s.\n", f.Names[0], f.Help)
	}
}

// parse reads flags up to the first word that is none, as Mosquitto does: a
// password may begin with a dash.
func (t *task) parse(args []string) error {
	c := Command()
	i := 0
	for ; i < len(args); i++ {
		word, value, has := args[i], "", false
		if t.midge() && strings.HasPrefix(word, "--") {
			word, value, has = strings.Cut(word, "=")
		}
		f := c.Find(word, t.midge())
		if f == nil {
			if len(word) > 1 && word[0] == '-' {
				if t.midge() {
					_ = t.fail(exitFailed, "Unknown flag '%s'.", word)
				}
				return errUsage
			}
			break
		}
		if f.Arg != "" && !has {
			if i++; i == len(args) {
				return t.fail(exitFailed, "%s argument given but not enough other arguments.", word)
			}
			value = args[i]
		}
		if err := t.flag(f.Key(), value); err != nil {
			return err
		}
	}
	return t.operands(args[i:])
}

func (t *task) flag(key, value string) error {
	switch key {
	case "-b":
		t.batch = true
	case "-c":
		t.create = true
	case "-D":
		t.del = true
	case "-U":
		t.update = true
	case "-H":
		k, ok := password.ParseType(value)
		if !ok {
			return t.fail(exitFailed, "Unknown hash type '%s'", value)
		}
		t.kind = k
	case "-I":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return t.fail(exitFailed, "Number of iterations must be > 0.")
		}
		if n > password.MaxIterations {
			return t.fail(exitFailed, "Number of iterations must be <= %d.", password.MaxIterations)
		}
		t.iterations = n
	default:
		return errUsage
	}
	return nil
}

// operands checks which flags go together and takes the words behind them.
func (t *task) operands(words []string) error {
	for _, pair := range [...]struct {
		both bool
		a, b string
	}{
		{t.create && t.del, "-c", "-D"},
		{t.create && t.update, "-c", "-U"},
		{t.del && t.update, "-D", "-U"},
		{t.batch && t.del, "-b", "-D"},
		{t.batch && t.update, "-b", "-U"},
	} {
		if pair.both {
			return t.fail(exitFailed, "%s and %s cannot be used together.", pair.a, pair.b)
		}
	}
	want, flag, lacks := 2, "", "password file or username"
	switch {
	case t.update:
		want, flag, lacks = 1, "-U", "password file"
	case t.create && t.batch:
		want, flag, lacks = 3, "-c", "password file, username, or password"
	case t.create:
		flag = "-c"
	case t.del:
		flag = "-D"
	case t.batch:
		want = 3
	}
	switch {
	case flag != "" && (len(words) < want || t.update && len(words) > want):
		return t.fail(exitFailed, "%s argument given but %s missing.", flag, lacks)
	case len(words) != want:
		return errUsage
	}
	t.file = words[0]
	if want > 1 {
		t.user = words[1]
	}
	if want > 2 {
		t.password = words[2]
	}
	return t.checkUser()
}

func (t *task) checkUser() error {
	switch {
	case t.update:
		return nil
	case len(t.user) > maxUser:
		return t.fail(exitFailed, "Username must be less than %d characters long.", maxUser+1)
	case t.user == "":
		return t.fail(exitFailed, "Username must not be empty.")
	case strings.Contains(t.user, ":"):
		return t.fail(exitFailed, "Username must not contain the ':' character.")
	case strings.ContainsFunc(t.user, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }):
		return t.fail(exitFailed, "Username must not contain control characters.")
	case t.user != strings.TrimSpace(t.user), t.user[0] == '#':
		// Such a line would be read as another user, or as a comment.
		return t.fail(exitFailed, "Username must not begin with '#' nor begin or end with a blank.")
	}
	return nil
}

func (t *task) run() error {
	if t.create {
		line, err := t.newLine()
		if err != nil {
			return err
		}
		return t.createFile(line + "\n")
	}
	path := t.file
	if p, err := filepath.Abs(path); err == nil {
		path = p
	}
	data, warnings, err := safefile.Read(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			path = t.file
		}
		return t.fail(exitFailed, "Unable to open password file %s. %s.", path, reason(err))
	}
	for _, w := range warnings {
		fmt.Fprintln(t.Stderr, w)
	}
	lines, err := t.split(data)
	if err != nil {
		return err
	}
	switch {
	case t.update:
		err = t.hashAll(lines)
	case t.del:
		lines, err = t.without(lines)
	default:
		lines, err = t.with(lines)
	}
	if err != nil {
		return err
	}
	if err := safefile.Replace(path, []byte(join(lines))); err != nil {
		return t.fail(exitFailed, "Unable to write password file %s. %s.", path, reason(err))
	}
	return nil
}

// createFile makes the file, which must not exist; - is stdout.
func (t *task) createFile(content string) error {
	if t.file == "-" {
		_, err := io.WriteString(t.Stdout, content)
		return err
	}
	if err := safefile.Create(t.file, []byte(content)); err != nil {
		return t.fail(exitFailed, "Unable to open file %s for writing. %s.", t.file, reason(err))
	}
	fmt.Fprintf(t.Stdout, "Adding password for user %s\n", t.user)
	return nil
}

// reason is the system's text as the C library writes it: with a capital.
func reason(err error) string {
	s := safefile.Cause(err).Error()
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// newLine asks for the password and makes the line of the user.
func (t *task) newLine() (string, error) {
	pw := t.password
	if !t.batch {
		var err error
		if pw, err = t.ask(); err != nil {
			return "", err
		}
	}
	if pw == "" {
		return "", t.fail(exitFailed, "Empty password.")
	}
	return t.line(t.user, pw)
}

func (t *task) line(user, pw string) (string, error) {
	h, err := password.New(t.kind, t.iterations, []byte(pw))
	if err != nil {
		return "", t.fail(exitHash, "Unable to hash password.")
	}
	return user + ":" + h.String(), nil
}
