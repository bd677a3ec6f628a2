package cmdline

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Shells are those that Complete knows.
var Shells = []string{"bash", "zsh", "fish"}

// Complete writes a completion script for a shell. arguments are words that the
// argument of a command may be, by the command's name, beyond those that the
// command line itself lists.
func Complete(w io.Writer, shell string, app *kong.Application, arguments map[string][]string) error {
	c := completion{app, arguments}
	switch shell {
	case "bash":
		c.bash(w)
	case "zsh":
		c.zsh(w)
	case "fish":
		c.fish(w)
	default:
		return fmt.Errorf("cmdline: there is no completion for the shell %q; there is for %s", shell, strings.Join(Shells, ", "))
	}
	return nil
}

type completion struct {
	app       *kong.Application
	arguments map[string][]string
}

func flagsOf(n *kong.Node) []*kong.Flag {
	var out []*kong.Flag
	for _, f := range n.Flags {
		if !f.Hidden {
			out = append(out, f)
		}
	}
	return out
}

// names lists a flag as it is typed, with its negative.
func names(f *kong.Flag) []string {
	out := []string{"--" + f.Name}
	if f.Tag != nil && f.Tag.Negatable != "" {
		out = append(out, "--no-"+f.Name)
	}
	return out
}

// argumentWords are what the argument of a command may be.
func (c completion) argumentWords(cmd *kong.Node) []string {
	var out []string
	for _, p := range cmd.Positional {
		if p.Enum != "" {
			out = append(out, p.EnumSlice()...)
		}
	}
	return append(out, c.arguments[cmd.Name]...)
}

// words are the flags of a command and those of all commands, then the words its
// argument may be.
func (c completion) words(cmd *kong.Node) []string {
	var out []string
	for _, f := range append(flagsOf(cmd), flagsOf(c.app.Node)...) {
		out = append(out, names(f)...)
	}
	return append(out, c.argumentWords(cmd)...)
}

// value says what comes after a flag: one of words, or a file. It is neither for
// a number and the like, and ok is false for a flag without a value.
func value(f *kong.Flag) (words []string, file, ok bool) {
	if f.IsBool() {
		return nil, false, false
	}
	if f.Enum != "" {
		return f.EnumSlice(), false, true
	}
	kind := ""
	if f.Tag != nil {
		kind = f.Tag.Type
	}
	return nil, slices.Contains([]string{"path", "existingfile"}, kind) || slices.Contains([]string{"FILE", "PATH", "DIR"}, f.PlaceHolder), true
}

// valued are the flags with values of all commands, each name once, as they are
// typed.
func (c completion) valued() []*kong.Flag {
	seen := make(map[string]bool)
	var out []*kong.Flag
	add := func(n *kong.Node) {
		for _, f := range flagsOf(n) {
			if _, _, ok := value(f); ok && !seen[f.Name] {
				seen[f.Name] = true
				out = append(out, f)
			}
		}
	}
	add(c.app.Node)
	for _, cmd := range c.app.Children {
		add(cmd)
	}
	slices.SortFunc(out, func(a, b *kong.Flag) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// pattern matches a flag in a shell's case.
func pattern(f *kong.Flag) string {
	if f.Short != 0 {
		return fmt.Sprintf("--%s|-%c", f.Name, f.Short)
	}
	return "--" + f.Name
}

// values writes the cases of what comes after a flag.
func (c completion) values(w io.Writer, words, files string) {
	for _, f := range c.valued() {
		list, file, _ := value(f)
		switch {
		case file:
			fmt.Fprintf(w, "        %s) %s; return ;;\n", pattern(f), files)
		case len(list) > 0:
			fmt.Fprintf(w, "        %s) "+words+"; return ;;\n", pattern(f), strings.Join(list, " "))
		default:
			fmt.Fprintf(w, "        %s) return ;;\n", pattern(f))
		}
	}
}

// global are the flags of all commands.
func (c completion) global() []string {
	var out []string
	for _, f := range flagsOf(c.app.Node) {
		out = append(out, names(f)...)
	}
	return out
}

func (c completion) bash(w io.Writer) {
	name := c.app.Name
	fmt.Fprintf(w, "# bash completion for %[1]s: source <(%[1]s completion bash)\n_%[2]s() {\n", name, function(name))
	fmt.Fprint(w, "    local words='' i now=${COMP_WORDS[COMP_CWORD]}\n    case ${COMP_WORDS[COMP_CWORD-1]} in\n")
	c.values(w, "COMPREPLY=($(compgen -W '%s' -- \"$now\"))", "COMPREPLY=($(compgen -f -- \"$now\"))")
	fmt.Fprint(w, "    esac\n    for ((i = 1; i < COMP_CWORD; i++)); do\n        case ${COMP_WORDS[i]} in\n")
	var commands []string
	for _, cmd := range c.app.Children {
		commands = append(commands, cmd.Name)
		fmt.Fprintf(w, "            %s) words='%s'; break ;;\n", cmd.Name, strings.Join(c.words(cmd), " "))
	}
	fmt.Fprintf(w, "        esac\n    done\n    [[ -n $words ]] || words='%s'\n", strings.Join(append(commands, c.global()...), " "))
	fmt.Fprintf(w, "    COMPREPLY=($(compgen -W \"$words\" -- \"$now\"))\n}\ncomplete -F _%s %s\n", function(name), name)
}

func (c completion) zsh(w io.Writer) {
	name := c.app.Name
	fmt.Fprintf(w, "#compdef %[1]s\n# zsh completion for %[1]s: source <(%[1]s completion zsh)\n_%[2]s() {\n", name, function(name))
	fmt.Fprint(w, "    local -a commands\n    commands=(\n")
	for _, cmd := range c.app.Children {
		fmt.Fprintf(w, "        %s\n", zshQuote(cmd.Name+":"+cmd.Help))
	}
	fmt.Fprint(w, "    )\n    case ${words[CURRENT-1]} in\n")
	c.values(w, "compadd -- %s", "_files")
	fmt.Fprint(w, "    esac\n    local i\n    for ((i = 2; i < CURRENT; i++)); do\n        case ${words[i]} in\n")
	for _, cmd := range c.app.Children {
		fmt.Fprintf(w, "            %s) compadd -- %s; return ;;\n", cmd.Name, strings.Join(c.words(cmd), " "))
	}
	fmt.Fprintf(w, "        esac\n    done\n    _describe command commands\n    compadd -- %s\n}\ncompdef _%s %s\n", strings.Join(c.global(), " "), function(name), name)
}

// function is a program's name as part of a function's name.
func function(name string) string { return strings.ReplaceAll(name, "-", "_") }

func zshQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (c completion) fish(w io.Writer) {
	app := c.app.Name
	fmt.Fprintf(w, "# fish completion for %[1]s: %[1]s completion fish | source\ncomplete -c %[1]s -f\n", app)
	flag := func(when string, f *kong.Flag) {
		after := ""
		if words, file, ok := value(f); file {
			after = " -r -F"
		} else if len(words) > 0 {
			after = " -x -a " + fishQuote(strings.Join(words, " "))
		} else if ok {
			after = " -x"
		}
		for _, n := range names(f) {
			fmt.Fprintf(w, "complete -c %s%s -l %s%s -d %s\n", app, when, strings.TrimPrefix(n, "--"), after, fishQuote(f.Help))
		}
	}
	for _, f := range flagsOf(c.app.Node) {
		flag("", f)
	}
	for _, cmd := range c.app.Children {
		fmt.Fprintf(w, "complete -c %s -n __fish_use_subcommand -a %s -d %s\n", app, cmd.Name, fishQuote(cmd.Help))
		when := fmt.Sprintf(" -n '__fish_seen_subcommand_from %s'", cmd.Name)
		for _, f := range flagsOf(cmd) {
			flag(when, f)
		}
		if words := c.argumentWords(cmd); len(words) > 0 {
			fmt.Fprintf(w, "complete -c %s%s -a %s\n", app, when, fishQuote(strings.Join(words, " ")))
		}
	}
}

func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
