package daemon

import (
	"flag"
	"fmt"
	"io"
	"strings"

	"openmpa/internal/manpage"
)

const (
	signalText = `SIGINT, SIGTERM, SIGHUP  end in order: sessions, addresses, routes and devices are undone
a second one             leave at once (exit code 130)`
	exitText = `0    clean end
1    failure, or mistakes in the configuration
2    a bug: the log has the stack
64   wrong use of the command line
130  a second signal came before the clean end`
	environmentText = `NOTIFY_SOCKET  when a service manager sets it: READY=1 once the daemon serves, STOPPING=1 at its end
WATCHDOG_USEC  when a service manager sets it: WATCHDOG=1 twice in each interval`
)

// section is a titled part of the help; lines of literal ones keep their breaks.
type section struct {
	title, text string
	literal     bool
}

func (p *process) sections(fs *flag.FlagSet) []section {
	s := p.spec
	out := []section{{"Description", strings.TrimSpace(s.Doc), false}}
	if len(s.Commands) > 0 {
		var b strings.Builder
		for _, name := range s.commandNames() {
			c := s.Commands[name]
			fmt.Fprintf(&b, "%-22s %s\n", strings.TrimSpace(name+" "+c.Args), c.summary())
		}
		out = append(out, section{"Commands", b.String(), true})
	}
	out = append(out, section{"Flags", flagText(fs), true})
	if s.Example != "" {
		out = append(out, section{"Example configuration", s.Example, true})
	}
	var files strings.Builder
	fmt.Fprintf(&files, "%-28s the configuration, unless --config says another\n", DefaultConfig(s.Name))
	for _, f := range s.Files {
		fmt.Fprintf(&files, "%-28s %s\n", f.Path, f.Purpose)
	}
	return append(out,
		section{"Files", files.String(), true},
		section{"Signals", signalText, true},
		section{"Environment", environmentText, true},
		section{"Exit codes", exitText, true})
}

func (p *process) help(fs *flag.FlagSet, name string, cmd *Command) {
	if cmd != nil {
		fmt.Fprintf(p.stdout, "%s %s - %s\n\nUsage: %s\n\nFlags:\n", p.spec.Name, name, cmd.Summary,
			strings.TrimSpace(fmt.Sprintf("%s %s [flags] %s", p.spec.Name, name, cmd.Args)))
		writeIndented(p.stdout, flagText(fs))
		return
	}
	fmt.Fprintf(p.stdout, "%s - %s\n\nUsage: %s [flags]\n", p.spec.Name, p.spec.Summary, p.spec.Name)
	if len(p.spec.Commands) > 0 {
		fmt.Fprintf(p.stdout, "       %s COMMAND [flags]\n", p.spec.Name)
	}
	for _, s := range p.sections(fs) {
		if s.text == "" {
			continue
		}
		if s.title == "Description" {
			fmt.Fprintf(p.stdout, "\n%s\n", s.text)
			continue
		}
		fmt.Fprintf(p.stdout, "\n%s:\n", s.title)
		writeIndented(p.stdout, s.text)
	}
}

func (p *process) man(fs *flag.FlagSet) {
	page := manpage.Page{
		Name: strings.ReplaceAll(p.spec.Name, " ", "-"), Section: 8, Summary: p.spec.Summary, Synopsis: p.spec.Name + " [flags]",
	}
	for _, s := range p.sections(fs) {
		page.Sections = append(page.Sections, manpage.Section{Title: s.title, Text: s.text, Literal: s.literal})
	}
	fmt.Fprint(p.stdout, page.Roff())
}

func writeIndented(w io.Writer, text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if line == "" {
			fmt.Fprintln(w)
			continue
		}
		fmt.Fprintf(w, "  %s\n", line)
	}
}

// flagText lists the flags with two dashes, a line each.
func flagText(fs *flag.FlagSet) string {
	var b strings.Builder
	fs.VisitAll(func(f *flag.Flag) {
		if len(f.Name) == 1 {
			return
		}
		arg, usage := flag.UnquoteUsage(f)
		left := "--" + f.Name
		if arg != "" {
			left += " " + arg
		}
		if f.DefValue != "" && f.DefValue != "false" {
			usage += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(&b, "%-22s %s\n", left, usage)
	})
	return b.String()
}
