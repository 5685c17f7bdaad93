package reach

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/midgemq/midge/internal/cli/flagtable"
)

// Flag is one row of a tool's table of flags, from which it is parsed and explained.
type Flag struct {
	Short string // one letter, may be empty
	Long  string // without dashes
	Arg   string // what follows, in capitals; empty for a switch
	Help  string
	Set   func(value string) error
}

// Switch is a flag without value.
func Switch(short, long, help string, to *bool) Flag {
	return Flag{Short: short, Long: long, Help: help, Set: func(string) error { *to = true; return nil }}
}

// Text is a flag with any value.
func Text(short, long, arg, help string, to *string) Flag {
	return Flag{Short: short, Long: long, Arg: arg, Help: help, Set: func(v string) error { *to = v; return nil }}
}

// Number is a flag with a whole number from low to high.
func Number(short, long, arg, help string, to *int, low, high int) Flag {
	return Flag{Short: short, Long: long, Arg: arg, Help: help, Set: func(v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < low || n > high {
			return fmt.Errorf("%q is no whole number from %d to %d", v, low, high)
		}
		*to = n
		return nil
	}}
}

// Duration is a flag with a length of time: seconds, or with a unit as in 200ms or 5m.
func Duration(short, long, arg, help string, to *time.Duration) Flag {
	return Flag{Short: short, Long: long, Arg: arg, Help: help, Set: func(v string) error {
		d, err := ParseDuration(v)
		if err != nil {
			return err
		}
		*to = d
		return nil
	}}
}

// ParseDuration reads seconds ("0.5") or a number with a unit ("500ms"); never negative, at most ten years.
func ParseDuration(v string) (time.Duration, error) {
	const most = 10 * 365 * 24 * time.Hour
	d, err := time.ParseDuration(v)
	if err != nil {
		f, ferr := strconv.ParseFloat(v, 64)
		if ferr != nil || !(f >= 0 && f <= most.Seconds()) {
			return 0, fmt.Errorf("%q is no time in seconds and none with a unit such as 500ms", v)
		}
		d = time.Duration(f * float64(time.Second))
	}
	if d < 0 || d > most {
		return 0, fmt.Errorf("%q is negative or longer than ten years", v)
	}
	return d, nil
}

// Section is a titled part of a tool's flags.
type Section struct {
	Title string
	Flags []Flag
}

// ErrHelp says that the help was asked for.
var ErrHelp = errors.New("help was asked for")

// Describe adds the flags of the sections to a command's description, and --help.
func Describe(c flagtable.Command, sections ...Section) *flagtable.Command {
	for _, s := range sections {
		for i := range s.Flags {
			f := &s.Flags[i]
			t := flagtable.Flag{Names: []string{f.name()}, Arg: f.Arg, Help: f.Help, Group: s.Title}
			if f.Short != "" {
				t.Names = []string{"-" + f.Short, "--" + f.Long}
			}
			switch f.Arg {
			case "FILE", "PATH":
				t.Offer = flagtable.Files
			case "HOST":
				t.Offer = flagtable.Hosts
			}
			c.Flags = append(c.Flags, t)
		}
	}
	c.Flags = append(c.Flags, flagtable.Flag{Names: []string{"--help"}, Help: "show this help and end"})
	return &c
}

// name is the long name, by which a flag is found.
func (f *Flag) name() string { return "--" + f.Long }

// Parse reads the arguments of a command that Describe made of the same sections, and returns the words that are no flags.
func Parse(args []string, c *flagtable.Command, sections ...Section) (rest []string, err error) {
	return c.Parse(args, true, func(f *flagtable.Flag, values []string) error {
		long := f.Names[len(f.Names)-1]
		if long == "--help" {
			return ErrHelp
		}
		for _, s := range sections {
			for i := range s.Flags {
				if s.Flags[i].name() != long {
					continue
				}
				if err := s.Flags[i].Set(strings.Join(values, " ")); err != nil {
					return fmt.Errorf("flag %s: %w", strings.Join(f.Names, "/"), err)
				}
			}
		}
		return nil
	})
}
