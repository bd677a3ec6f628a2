package cmdline

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"openmpa/internal/manpage"
)

// Manual adds to a page the commands and flags, after the sections it has, and
// more after them.
func Manual(app *kong.Application, page manpage.Page, more ...manpage.Section) manpage.Page {
	var b strings.Builder
	for _, c := range app.Children {
		fmt.Fprintf(&b, "%s\n    %s\n", strings.TrimPrefix(c.Summary(), app.Name+" "), c.Help)
		for _, p := range c.Positional {
			fmt.Fprintf(&b, "    %-20s %s\n", strings.ToUpper(p.Name), p.Help)
		}
		for _, f := range flagsOf(c) {
			fmt.Fprintf(&b, "    %-20s %s\n", strings.Join(names(f), ", "), f.Help)
		}
	}
	page.Sections = append(page.Sections, manpage.Section{Title: "Commands", Text: b.String(), Literal: true})
	b.Reset()
	for _, f := range flagsOf(app.Node) {
		fmt.Fprintf(&b, "%-24s %s\n", strings.Join(names(f), ", "), f.Help)
	}
	page.Sections = append(page.Sections, manpage.Section{Title: "Flags", Text: b.String(), Literal: true})
	page.Sections = append(page.Sections, more...)
	return page
}
