package flagtable

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Shells are those that Completion knows.
var Shells = []string{"bash", "zsh", "fish"}

// Completion writes the completion of a shell for midge and the names of Mosquitto's programs among the commands.
func Completion(w io.Writer, shell string, commands []Command) error {
	var b strings.Builder
	switch shell {
	case "bash":
		bash(&b, contexts(commands))
	case "zsh":
		zsh(&b, contexts(commands))
	case "fish":
		fish(&b, commands)
	default:
		return fmt.Errorf("shell %q is none of %s", shell, strings.Join(Shells, ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// context is one state of a command line: a command under one of its names, or the beginning of commands.
type context struct {
	name     string // "midge acl test", "mosquitto_pub"
	words    []Note // commands that may follow, with their summaries
	flags    []*Flag
	midge    bool
	operands []Operand
}

// contexts returns all states, programs first words included.
func contexts(commands []Command) []context {
	var list []context
	at := func(name string) *context {
		i := slices.IndexFunc(list, func(c context) bool { return c.name == name })
		if i < 0 {
			list = append(list, context{name: name, midge: true})
			i = len(list) - 1
		}
		return &list[i]
	}
	at("midge")
	for i := range commands {
		c := &commands[i]
		path, words := "midge", strings.Fields(c.Name)
		for n, word := range words {
			here := at(path)
			if !slices.ContainsFunc(here.words, func(w Note) bool { return w.Name == word }) {
				summary := c.Summary
				if n < len(words)-1 {
					summary = "commands of " + word
				}
				here.words = append(here.words, Note{word, summary})
			}
			path += " " + word
		}
		here := at(path)
		here.operands = c.Operands
		for f := range c.Flags {
			here.flags = append(here.flags, &c.Flags[f])
		}
		if c.Program != "" {
			p := at(c.Program)
			p.midge, p.operands, p.flags = false, c.Operands, here.flags
		}
	}
	return list
}

// offered are the names of the flags that a context completes.
func (c *context) offered() []Note {
	var names []Note
	for _, f := range c.flags {
		if f.Refused != "" {
			continue
		}
		for _, n := range f.All(c.midge) {
			names = append(names, Note{n, f.Help})
		}
	}
	return names
}

// first is how the first argument is offered: words, or @files, @directories, @hosts, or nothing.
func first(values []string, o Offer) []string {
	if len(values) > 0 {
		return values
	}
	switch o {
	case Files:
		return []string{"@files"}
	case Directories:
		return []string{"@directories"}
	case Hosts:
		return []string{"@hosts"}
	case Nothing:
	default:
	}
	return nil
}

// shellWord quotes for sh, bash, zsh and fish.
func shellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@,+") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func shellWords(list []string) string {
	var quoted []string
	for _, s := range list {
		quoted = append(quoted, shellWord(s))
	}
	return strings.Join(quoted, " ")
}

// tables writes the functions that bash and zsh share: what may follow in a state, and what the argument of a flag may be.
func tables(b *strings.Builder, list []context) {
	b.WriteString("_midge_commands() {\n  case \"$1\" in\n")
	for _, c := range list {
		if len(c.words) > 0 {
			fmt.Fprintf(b, "    %s) printf '%%s\\n' %s ;;\n", shellWord(c.name), shellWords(noted(c.words)))
		}
	}
	b.WriteString("  esac\n}\n_midge_flags() {\n  case \"$1\" in\n")
	for i := range list {
		if names := list[i].offered(); len(names) > 0 {
			fmt.Fprintf(b, "    %s) printf '%%s\\n' %s ;;\n", shellWord(list[i].name), shellWords(noted(names)))
		}
	}
	b.WriteString("  esac\n}\n# prints one word for each argument of a flag: its values, or - for anything\n_midge_arguments() {\n  case \"$1 $2\" in\n")
	for i := range list {
		c := &list[i]
		for _, f := range c.flags {
			if f.Count() == 0 || f.Refused != "" {
				continue
			}
			var patterns []string
			for _, n := range f.All(c.midge) {
				patterns = append(patterns, shellWord(c.name+" "+n))
			}
			if len(patterns) == 0 {
				continue
			}
			answers := []string{strings.Join(first(f.Values, f.Offer), " ")}
			for range f.Count() - 1 {
				answers = append(answers, "-")
			}
			if answers[0] == "" {
				answers[0] = "-"
			}
			fmt.Fprintf(b, "    %s) printf '%%s\\n' %s ;;\n", strings.Join(patterns, "|"), shellWords(answers))
		}
	}
	b.WriteString("  esac\n}\n_midge_operands() {\n  case \"$1\" in\n")
	for i := range list {
		var offers []string
		for _, o := range list[i].operands {
			offers = append(offers, first(o.Values, o.Offer)...)
		}
		if len(offers) > 0 {
			slices.Sort(offers)
			fmt.Fprintf(b, "    %s) printf '%%s\\n' %s ;;\n", shellWord(list[i].name), shellWords(slices.Compact(offers)))
		}
	}
	b.WriteString("  esac\n}\n")
}

// noted are names with their help behind a colon, as zsh wants them; bash cuts it off.
func noted(list []Note) []string {
	var out []string
	for _, n := range list {
		out = append(out, n.Name+":"+strings.ReplaceAll(n.Text, ":", " "))
	}
	return out
}

// programs are the names the completion is bound to.
func programs(list []context) []string {
	var names []string
	for _, c := range list {
		if !strings.Contains(c.name, " ") {
			names = append(names, c.name)
		}
	}
	return names
}

// walk finds the state and, when the word before the cursor belongs to a flag, the offer for its argument. $1 is the program, what
// follows are the finished words. It sets state and argument.
const walk = `_midge_walk() {
  state=${1##*/} argument=
  shift
  local word pending=
  for word in "$@"; do
    if [ -n "$pending" ]; then
      pending=$(printf '%s\n' "$pending" | tail -n +2)
      continue
    fi
    if _midge_commands "$state" | grep -q -e "^$word:"; then
      state="$state $word"
      continue
    fi
    pending=$(_midge_arguments "$state" "$word")
  done
  argument=$(printf '%s\n' "$pending" | head -n 1)
}
`

func bash(b *strings.Builder, list []context) {
	b.WriteString("# bash completion for midge, written by `midge completion bash`\n")
	tables(b, list)
	b.WriteString(walk)
	b.WriteString(`_midge() {
  local cur=${COMP_WORDS[COMP_CWORD]} state argument offers
  _midge_walk "${COMP_WORDS[@]:0:COMP_CWORD}"
  if [ -n "$argument" ]; then
    offers=$argument
  elif [[ $cur == -* ]]; then
    offers=$(_midge_flags "$state" | cut -d: -f1)
  else
    offers=$(_midge_commands "$state" | cut -d: -f1; _midge_operands "$state")
    [ -n "$offers" ] || offers=$(_midge_flags "$state" | cut -d: -f1)
  fi
  COMPREPLY=()
  case " $offers " in
    *@files*) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    *@directories*) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    *@hosts*) mapfile -t COMPREPLY < <(compgen -A hostname -- "$cur") ;;
    *" - "*) ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$offers" -- "$cur") ;;
  esac
}
`)
	fmt.Fprintf(b, "complete -F _midge %s\n", strings.Join(programs(list), " "))
}

func zsh(b *strings.Builder, list []context) {
	fmt.Fprintf(b, "#compdef %s\n# zsh completion for midge, written by `midge completion zsh`\n", strings.Join(programs(list), " "))
	tables(b, list)
	b.WriteString(walk)
	b.WriteString(`_midge() {
  local state argument
  local -a offers
  _midge_walk "${(@)words[1,CURRENT-1]}"
  if [[ -n $argument ]]; then
    case $argument in
      @files) _files ;;
      @directories) _files -/ ;;
      @hosts) _hosts ;;
      -) _message argument ;;
      *) compadd -- ${=argument} ;;
    esac
    return
  fi
  if [[ $PREFIX == -* ]]; then
    offers=("${(@f)$(_midge_flags $state)}")
    _describe flag offers
    return
  fi
  offers=(${(f)"$(_midge_commands $state)"})
  if (( $#offers )); then
    _describe command offers
    return
  fi
  case "$(_midge_operands $state)" in
    *@files*) _files ;;
    *@directories*) _files -/ ;;
    *@hosts*) _hosts ;;
    '') offers=("${(@f)$(_midge_flags $state)}"); _describe flag offers ;;
    *) compadd -- ${(f)"$(_midge_operands $state)"} ;;
  esac
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _midge "$@"
else
`)
	fmt.Fprintf(b, "  compdef _midge %s\nfi\n", strings.Join(programs(list), " "))
}

// fish has a line for each flag; __midge_at tells whether the words so far lead to a command.
func fish(b *strings.Builder, commands []Command) {
	b.WriteString(`# fish completion for midge, written by ` + "`midge completion fish`" + `
function __midge_at
    set -l words (commandline -opc)
    set -e words[1]
    for want in $argv
        test "$words[1]" = "$want"; or return 1
        set -e words[1]
    end
end
function __midge_next
    set -l words (commandline -opc)
    test (count $words) -eq (math (count $argv) + 1); and __midge_at $argv
end
`)
	for _, c := range contexts(commands) {
		path, isMidge := strings.CutPrefix(c.name, "midge")
		program, at, next := "midge", " -n "+shellWord("__midge_at"+path), " -n "+shellWord("__midge_next"+path)
		if !isMidge {
			program, at, next = c.name, "", ""
		}
		for _, w := range c.words {
			fmt.Fprintf(b, "complete -c %s%s -f -a %s -d %s\n", program, next, w.Name, shellWord(w.Text))
		}
		for _, f := range c.flags {
			fishFlag(b, program+at, f, c.midge)
		}
		for _, o := range c.operands {
			fmt.Fprintf(b, "complete -c %s%s%s\n", program, at, fishOffer(o.Values, o.Offer))
		}
	}
}

func fishFlag(b *strings.Builder, head string, f *Flag, midge bool) {
	names := f.All(midge)
	if len(names) == 0 || f.Refused != "" {
		return
	}
	fmt.Fprintf(b, "complete -c %s", head)
	for _, n := range names {
		switch long, isLong := strings.CutPrefix(n, "--"); {
		case isLong:
			fmt.Fprintf(b, " -l %s", long)
		case len(n) == 2:
			fmt.Fprintf(b, " -s %s", n[1:])
		default:
			fmt.Fprintf(b, " -o %s", n[1:])
		}
	}
	if f.Count() > 0 {
		b.WriteString(" -r" + fishOffer(f.Values, f.Offer))
	}
	fmt.Fprintf(b, " -d %s\n", shellWord(f.Help))
}

func fishOffer(values []string, o Offer) string {
	if len(values) > 0 {
		return " -f -a " + shellWord(strings.Join(values, " "))
	}
	switch o {
	case Files:
		return " -F"
	case Directories:
		return " -f -a '(__fish_complete_directories)'"
	case Hosts:
		return " -f -a '(__fish_print_hostnames)'"
	case Nothing:
	default:
	}
	return " -f"
}
