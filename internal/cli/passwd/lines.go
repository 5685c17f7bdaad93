package passwd

import (
	"fmt"
	"slices"
	"strings"

	"github.com/midgemq/midge/internal/password"
)

// split takes the file apart and refuses one with a line that is neither a user
// nor a comment: whatever is changed there, the broker could not read it.
func (t *task) split(data []byte) ([]string, error) {
	text := strings.TrimSuffix(string(data), "\n")
	if text == "" {
		return nil, nil
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if comment(l) {
			continue
		}
		if user, rest, ok := strings.Cut(l, ":"); !ok || user == "" || strings.TrimSpace(rest) == "" {
			return nil, t.fail(exitFailed, "Corrupt password file at line %d.", i+1)
		}
	}
	return lines, nil
}

func comment(l string) bool { return strings.TrimSpace(l) == "" || l[0] == '#' }

func join(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// find returns the lines of the user.
func (t *task) find(lines []string) (at []int) {
	for i, l := range lines {
		if user, _, _ := strings.Cut(l, ":"); !comment(l) && strings.TrimSpace(user) == t.user {
			at = append(at, i)
		}
	}
	return at
}

// without deletes the user.
func (t *task) without(lines []string) ([]string, error) {
	at := t.find(lines)
	if len(at) == 0 {
		fmt.Fprintf(t.Stderr, "Warning: User %s not found in password file.\n", t.user)
		return nil, status(exitFailed)
	}
	for _, i := range slices.Backward(at) {
		lines = slices.Delete(lines, i, i+1)
	}
	return lines, nil
}

// with adds the user or changes the password.
func (t *task) with(lines []string) ([]string, error) {
	line, err := t.newLine()
	if err != nil {
		return nil, err
	}
	at := t.find(lines)
	if len(at) == 0 {
		fmt.Fprintf(t.Stdout, "Adding password for user %s\n", t.user)
		return append(lines, line), nil
	}
	fmt.Fprintf(t.Stdout, "Updating password for user %s\n", t.user)
	lines[at[0]] = line
	for _, i := range slices.Backward(at[1:]) {
		lines = slices.Delete(lines, i, i+1) // the broker refuses a user that stands there twice
	}
	return lines, nil
}

// hashAll hashes what is plain text. A line that is hashed already stays: hashed
// twice, nobody could log in with it.
func (t *task) hashAll(lines []string) error {
	for i, l := range lines {
		if comment(l) {
			continue
		}
		user, rest, _ := strings.Cut(strings.TrimRight(l, "\r"), ":")
		pw, _, _ := strings.Cut(rest, ":") // the broker, too, reads up to the next colon
		if _, err := password.Parse(strings.TrimSpace(pw)); err == nil {
			continue
		}
		line, err := t.line(user, pw)
		if err != nil {
			return err
		}
		lines[i] = line
	}
	return nil
}
