// Package manpage writes manual pages in roff (man(7)) from the same texts that
// --help shows, so that the two cannot disagree.
package manpage

import (
	"fmt"
	"strings"
)

// Page is a manual page.
type Page struct {
	Name     string // of the program
	Section  int    // 1 for users' programs, 8 for daemons
	Summary  string // one line, no full stop
	Synopsis string
	Sections []Section
}

// Section is a titled part of a page. The lines of a literal one keep their
// breaks; in others an empty line separates paragraphs.
type Section struct {
	Title   string
	Text    string
	Literal bool
}

// Roff returns the page's source. Empty sections are left out.
func (p Page) Roff() string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s %d\n", Escape(strings.ToUpper(p.Name)), p.Section)
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", Escape(p.Name), Escape(p.Summary))
	if p.Synopsis != "" {
		fmt.Fprintf(&b, ".SH SYNOPSIS\n.nf\n%s\n.fi\n", Escape(p.Synopsis))
	}
	for _, s := range p.Sections {
		text := strings.TrimRight(s.Text, "\n ")
		if strings.TrimSpace(text) == "" {
			continue
		}
		fmt.Fprintf(&b, ".SH %s\n", Escape(strings.ToUpper(s.Title)))
		if s.Literal {
			fmt.Fprintf(&b, ".nf\n%s\n.fi\n", Escape(text))
			continue
		}
		for i, paragraph := range strings.Split(text, "\n\n") {
			if i > 0 {
				b.WriteString(".PP\n")
			}
			b.WriteString(Escape(strings.TrimSpace(paragraph)) + "\n")
		}
	}
	return b.String()
}

// Escape makes text safe for roff: backslashes and dashes print as they are, and
// no line is taken for a request.
func Escape(text string) string {
	text = strings.NewReplacer(`\`, `\e`, `-`, `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
