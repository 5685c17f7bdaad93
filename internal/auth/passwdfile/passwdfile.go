// Package passwdfile decides on user name and password by a password file of
// Mosquitto's form, one USER:HASH per line.
//
// It fails closed: a file that cannot be read or understood is an error, an
// empty one lets nobody in. A File is immutable; Authenticate is slow and runs
// its hashes on the Runner it was given, never on an event loop.
package passwdfile

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/password"
	"github.com/midgemq/midge/internal/safefile"
	"github.com/midgemq/midge/mqtt"
)

// Runner runs work that keeps a processor busy and waits for it.
type Runner interface {
	Do(ctx context.Context, f func()) error
}

// File is a password file that was read.
type File struct {
	path  string
	users map[string]*password.Hash
	run   Runner
	// decoy is verified where there is no such user, so that the time of a refusal
	// does not tell names that exist from others.
	decoy *password.Hash
}

// maxPart is the longest user name or hash, in bytes: what MQTT can carry.
const maxPart = 65535

// Load reads a password file. warnings are for the log: wrong owner or mode, no
// user in it.
func Load(path string, run Runner) (f *File, warnings []string, err error) {
	data, warnings, err := safefile.Read(path)
	if err != nil {
		return nil, warnings, auth.NewFileError(path, 0, "Unable to open password file", safefile.Cause(err))
	}
	f, err = Parse(path, data, run)
	if err != nil {
		return nil, warnings, err
	}
	if len(f.users) == 0 {
		warnings = append(warnings, fmt.Sprintf("Warning: Password file %s has no users in it, so nobody can log in.", path))
	}
	return f, warnings, nil
}

// Parse reads the content of a password file; path is for messages, which never
// repeat what may be a password.
func Parse(path string, data []byte, run Runner) (*File, error) {
	f := &File{path: path, users: make(map[string]*password.Hash), run: run}
	for n := 1; len(data) > 0; n++ {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte("\n"))
		if err := f.line(string(line)); err != nil {
			return nil, auth.NewFileError(path, n, err.what, err.cause)
		}
	}
	return f, nil
}

// fault is what is wrong with a line; what is the text that scripts look for.
type fault struct {
	what  string
	cause error
}

func invalid(format string, args ...any) *fault {
	return &fault{"Invalid line in password file", fmt.Errorf(format, args...)}
}

func (f *File) line(line string) *fault {
	line = strings.TrimRight(line, "\r")
	if line == "" || line[0] == '#' {
		return nil
	}
	user, rest, ok := strings.Cut(line, ":")
	if !ok {
		return nil // as Mosquitto does: no user, so nobody gets in by it
	}
	text, _, _ := strings.Cut(rest, ":")
	user, text = strings.TrimSpace(user), strings.TrimSpace(text)
	switch {
	case user == "":
		return invalid("the user name is empty")
	case len(user) > maxPart || len(text) > maxPart:
		return invalid("a part is longer than %d bytes", maxPart)
	case strings.IndexByte(user, 0) >= 0:
		return invalid("the user name holds a NUL byte")
	case text == "":
		return invalid("user %q has no password hash", user)
	case f.users[user] != nil:
		return invalid("user %q stands there twice", user)
	}
	h, err := password.Parse(text)
	if err != nil {
		return &fault{"Unable to decode line in password file", fmt.Errorf("user %q: %w", user, err)}
	}
	f.users[user] = h
	if f.decoy == nil {
		f.decoy = h
	}
	return nil
}

// Users is how many users there are.
func (f *File) Users() int { return len(f.users) }

// Authenticate implements auth.Authenticator for a chain: it has nothing to say
// about clients without a user name.
func (f *File) Authenticate(ctx context.Context, r *auth.Request) auth.Decision {
	if !r.HasUserName {
		return auth.Decision{Outcome: auth.Ignored}
	}
	h := f.users[r.UserName]
	known := h != nil
	if !known {
		h = f.decoy
	}
	ok := false
	if h != nil && len(r.Password) > 0 {
		if err := f.run.Do(ctx, func() { ok = h.Verify(r.Password) }); err != nil {
			return auth.Decision{Code: mqtt.ServerBusy, Reason: "too many clients log in at a time"}
		}
	}
	if !ok || !known {
		return auth.Decision{Code: mqtt.NotAuthorized, Reason: "user name or password is wrong"}
	}
	return auth.Decision{Proof: h.String()}
}

// Stands implements auth.Standing: the login holds as long as the user's line
// does. A password that was hashed anew has to be given anew, because it is not
// kept anywhere.
func (f *File) Stands(c *auth.Client, proof any, _ bool) (ok bool, why string) {
	h := f.users[c.UserName]
	switch {
	case h == nil:
		return false, "the user is not in the password file any more"
	case proof != any(h.String()):
		return false, "the password has changed"
	}
	return true, ""
}
