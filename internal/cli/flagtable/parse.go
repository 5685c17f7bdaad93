package flagtable

import (
	"fmt"
	"strings"
)

// UnknownError is a word that begins like a flag and is none.
type UnknownError struct{ Word string }

// Error names the word.
func (e *UnknownError) Error() string { return "unknown flag " + e.Word }

// MissingError is a flag at the end without its argument.
type MissingError struct {
	Word string
	Flag *Flag
}

// Error names the flag and what it wants.
func (e *MissingError) Error() string { return e.Word + " needs " + e.Flag.Arg }

// RefusedError is a flag that Mosquitto has and midge has not.
type RefusedError struct {
	Word string
	Flag *Flag
}

// Error gives the reason.
func (e *RefusedError) Error() string { return e.Word + " is refused: " + e.Flag.Refused }

// Parse reads the arguments of a command, calls set for each flag with the words that follow it, and returns the words that are no
// flags. Flags and their arguments are separate words, as with Mosquitto's programs; when the command is called by its midge name,
// "--name=value" is understood too. Flags and operands may be mixed; after "--" all words are operands. An error of set ends it.
//
// A command without operands takes any word that is no flag for an unknown one.
func (c *Command) Parse(args []string, midge bool, set func(f *Flag, values []string) error) (operands []string, err error) {
	for i := 0; i < len(args); i++ {
		word := args[i]
		if word == "--" && len(c.Operands) > 0 {
			return append(operands, args[i+1:]...), nil
		}
		if len(c.Operands) > 0 && (len(word) < 2 || word[0] != '-') {
			operands = append(operands, word)
			continue
		}
		f, values, err := c.flag(word, midge)
		if err != nil {
			return nil, err
		}
		for want, asked := f.Count(), false; ; {
			if len(values) < want {
				if i++; i == len(args) {
					return nil, &MissingError{word, f}
				}
				values = append(values, args[i])
				continue
			}
			if f.More == nil || asked {
				break
			}
			want, asked = want+f.More(values), true
		}
		if err := set(f, values); err != nil {
			return nil, err
		}
	}
	return operands, nil
}

// flag finds the flag of a word; values is what stood behind "=".
func (c *Command) flag(word string, midge bool) (f *Flag, values []string, err error) {
	name := word
	if f = c.Find(name, midge); f == nil && midge && strings.HasPrefix(word, "--") {
		var value string
		var ok bool
		if name, value, ok = strings.Cut(word, "="); ok {
			if f = c.Find(name, midge); f != nil && f.Count() == 0 {
				return nil, nil, fmt.Errorf("%s takes no value", name)
			}
			values = []string{value}
		}
	}
	if f == nil {
		return nil, nil, &UnknownError{word}
	}
	if f.Refused != "" {
		return nil, nil, &RefusedError{name, f}
	}
	return f, values, nil
}
