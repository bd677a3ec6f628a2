package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"openmpa/internal/manpage"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Run prints the script for the shell.
func (x completionCmd) Run(a *app) error {
	switch x.Shell {
	case "bash":
		completeBash(a.stdout, a.model)
	case "zsh":
		completeZsh(a.stdout, a.model)
	default:
		completeFish(a.stdout, a.model)
	}
	return nil
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

// words are the flags of a command and those of all commands, then the words its
// argument may be.
func words(app *kong.Application, cmd *kong.Node) []string {
	var out []string
	for _, f := range append(flagsOf(cmd), flagsOf(app.Node)...) {
		out = append(out, names(f)...)
	}
	for _, p := range cmd.Positional {
		if p.Enum != "" {
			out = append(out, p.EnumSlice()...)
		}
	}
	return out
}

func completeBash(w io.Writer, app *kong.Application) {
	var commands, global []string
	for _, f := range flagsOf(app.Node) {
		global = append(global, names(f)...)
	}
	fmt.Fprint(w, "# bash completion for mpactl: source <(mpactl completion bash)\n_mpactl() {\n    local words='' i\n")
	fmt.Fprint(w, "    if [[ ${COMP_WORDS[COMP_CWORD-1]} == --socket || ${COMP_WORDS[COMP_CWORD-1]} == -s ]]; then\n")
	fmt.Fprint(w, "        COMPREPLY=($(compgen -f -- \"${COMP_WORDS[COMP_CWORD]}\"))\n        return\n    fi\n")
	fmt.Fprint(w, "    for ((i = 1; i < COMP_CWORD; i++)); do\n        case ${COMP_WORDS[i]} in\n")
	for _, c := range app.Children {
		commands = append(commands, c.Name)
		fmt.Fprintf(w, "            %s) words='%s' ;;\n", c.Name, strings.Join(words(app, c), " "))
	}
	fmt.Fprintf(w, "        esac\n    done\n    [[ -n $words ]] || words='%s'\n", strings.Join(append(commands, global...), " "))
	fmt.Fprint(w, "    COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\ncomplete -F _mpactl mpactl\n")
}

func completeZsh(w io.Writer, app *kong.Application) {
	fmt.Fprint(w, "#compdef mpactl\n# zsh completion for mpactl: source <(mpactl completion zsh)\n_mpactl() {\n    local -a commands\n    commands=(\n")
	for _, c := range app.Children {
		fmt.Fprintf(w, "        %s\n", zshQuote(c.Name+":"+c.Help))
	}
	fmt.Fprint(w, "    )\n    local i\n    for ((i = 2; i < CURRENT; i++)); do\n        case ${words[i]} in\n")
	for _, c := range app.Children {
		fmt.Fprintf(w, "            %s) compadd -- %s; return ;;\n", c.Name, strings.Join(words(app, c), " "))
	}
	var global []string
	for _, f := range flagsOf(app.Node) {
		global = append(global, names(f)...)
	}
	fmt.Fprintf(w, "        esac\n    done\n    _describe command commands\n    compadd -- %s\n}\ncompdef _mpactl mpactl\n", strings.Join(global, " "))
}

func zshQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func completeFish(w io.Writer, app *kong.Application) {
	fmt.Fprint(w, "# fish completion for mpactl: mpactl completion fish | source\ncomplete -c mpactl -f\n")
	flag := func(when string, f *kong.Flag) {
		for _, name := range names(f) {
			fmt.Fprintf(w, "complete -c mpactl%s -l %s -d %s\n", when, strings.TrimPrefix(name, "--"), fishQuote(f.Help))
		}
	}
	for _, f := range flagsOf(app.Node) {
		flag("", f)
	}
	for _, c := range app.Children {
		fmt.Fprintf(w, "complete -c mpactl -n __fish_use_subcommand -a %s -d %s\n", c.Name, fishQuote(c.Help))
		when := fmt.Sprintf(" -n '__fish_seen_subcommand_from %s'", c.Name)
		for _, f := range flagsOf(c) {
			flag(when, f)
		}
		for _, p := range c.Positional {
			if p.Enum != "" {
				fmt.Fprintf(w, "complete -c mpactl%s -a '%s'\n", when, strings.Join(p.EnumSlice(), " "))
			}
		}
	}
}

func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

type manCmd struct{}

// Run writes the manual page.
func (manCmd) Run(a *app) error {
	page := manpage.Page{
		Name: "mpactl", Section: 1, Summary: "ask and command the openmpa daemons", Synopsis: "mpactl COMMAND [flags]",
		Sections: []manpage.Section{{Title: "Description", Text: description}},
	}
	var b strings.Builder
	for _, c := range a.model.Children {
		fmt.Fprintf(&b, "%s\n    %s\n", strings.TrimPrefix(c.Summary(), "mpactl "), c.Help)
		for _, p := range c.Positional {
			fmt.Fprintf(&b, "    %-20s %s\n", strings.ToUpper(p.Name), p.Help)
		}
		for _, f := range flagsOf(c) {
			fmt.Fprintf(&b, "    %-20s %s\n", strings.Join(names(f), ", "), f.Help)
		}
	}
	page.Sections = append(page.Sections, manpage.Section{Title: "Commands", Text: b.String(), Literal: true})
	b.Reset()
	for _, f := range flagsOf(a.model.Node) {
		fmt.Fprintf(&b, "%-24s %s\n", strings.Join(names(f), ", "), f.Help)
	}
	page.Sections = append(page.Sections,
		manpage.Section{Title: "Flags", Text: b.String(), Literal: true},
		manpage.Section{Title: "Files", Text: "/run/openmpa/*.sock      control sockets of the daemons\n", Literal: true},
		manpage.Section{Title: "Environment", Text: "MPACTL_SOCKET            control sockets, as --socket, separated by commas\n", Literal: true},
		manpage.Section{Title: "Exit codes", Text: "0    done; of handover: the node has moved\n1    the daemon said no, or the node has not moved\n64   wrong use of the command line\n130  interrupted\n", Literal: true},
	)
	_, err := fmt.Fprint(a.stdout, page.Roff())
	return err
}
