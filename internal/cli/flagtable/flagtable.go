// Package flagtable describes commands and their flags once, and makes of that
// description what people meet: the parser, the help, the manual page and the
// completion of the shell. They cannot disagree, for there is one table.
//
// It knows no command of its own and never runs one: each tool exports a
// Command, package cli has the list of them. A Command is a plain value that
// nobody changes after it was made; everything here may be called from any
// goroutine.
package flagtable

import (
	"slices"
	"strings"
)

// Offer says what a shell can offer for a word.
type Offer uint8

// What the completion offers where a flag or a command has no fixed Values.
const (
	Nothing Offer = iota
	Files
	Directories
	Hosts
)

// Flag is one flag of a command.
type Flag struct {
	// Names are the words as typed, dashes included, in the order help shows them: "-h", "--host". Those of Mosquitto's program,
	// where the command stands in for one.
	Names []string
	// Midge are further names, known only when the command is called by its midge name.
	Midge []string
	// Arg names the words that follow, separated by blanks: "HOST", "COMMAND NAME VALUE". Empty: none.
	Arg string
	// More, when not nil, tells from the words of Arg how many further words belong to the flag.
	More func(values []string) int
	// Help is one sentence or two, in lower case and without a full stop at the end, with default and unit.
	Help string
	// Group is the heading in help and manual. Flags of one group stand together; groups come in the order of their first flag.
	Group string
	// Values and Offer are what completion offers for the (first) argument.
	Values []string
	Offer  Offer
	// Needs is what Mosquitto's message says when the argument is missing: "no host".
	Needs string
	// Repeats: the flag may be given several times and all of them count.
	Repeats bool
	// Refused is the reason why the flag, which Mosquitto has, is answered with an error. It is not in completion.
	Refused string
}

// Operand is a word of the command that is no flag.
type Operand struct {
	Name   string // as in the synopsis: "FILE"
	Help   string
	Values []string
	Offer  Offer
}

// Note is one entry of a list in the manual: an exit status, a file, an example.
type Note struct{ Name, Text string }

// Command is one command of midge.
type Command struct {
	// Name is the words behind midge: "pub", "acl test".
	Name string
	// Program is the name of Mosquitto's program the command stands in for: "mosquitto_pub". Empty: none.
	Program string
	// Summary is one line in lower case, without a full stop: "publish messages".
	Summary string
	// Synopsis is what follows the name, one element a form: "-t TOPIC {-m TEXT | -f FILE} [FLAGS]".
	Synopsis []string
	// Text are the paragraphs of the description.
	Text     []string
	Operands []Operand
	Flags    []Flag
	Statuses []Note
	Files    []Note
	Examples []Note // Name is the command line, Text what it does
}

// Find returns the flag of that name; midge says that the command was called by its midge name. Nil: there is none.
func (c *Command) Find(word string, midge bool) *Flag {
	for i := range c.Flags {
		f := &c.Flags[i]
		if slices.Contains(f.Names, word) || midge && slices.Contains(f.Midge, word) {
			return f
		}
	}
	return nil
}

// Key is the name by which a program knows the flag: the first.
func (f *Flag) Key() string {
	if len(f.Names) > 0 {
		return f.Names[0]
	}
	return f.Midge[0]
}

// All returns the names of the flag; midge adds those of the midge name.
func (f *Flag) All(midge bool) []string {
	if !midge {
		return f.Names
	}
	return slices.Concat(f.Names, f.Midge)
}

// Count is how many words follow the flag.
func (f *Flag) Count() int { return len(strings.Fields(f.Arg)) }

// groups returns the flags by heading, without those that the name has not.
func (c *Command) groups(midge bool) (names []string, flags map[string][]*Flag) {
	flags = make(map[string][]*Flag)
	for i := range c.Flags {
		f := &c.Flags[i]
		if len(f.All(midge)) == 0 {
			continue
		}
		if flags[f.Group] == nil {
			names = append(names, f.Group)
		}
		flags[f.Group] = append(flags[f.Group], f)
	}
	return names, flags
}
