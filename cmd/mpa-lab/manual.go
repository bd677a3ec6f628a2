package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"openmpa/internal/cmdline"
	"openmpa/internal/manpage"
	"openmpa/testbed/bench"
	"openmpa/testbed/scenario"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Run prints the script for the shell.
func (c completionCmd) Run(k *kong.Context) error {
	var scenarios []string
	for _, s := range scenario.All() {
		scenarios = append(scenarios, s.Name)
	}
	var benches []string
	for _, b := range bench.All() {
		benches = append(benches, b.Name)
	}
	return cmdline.Complete(os.Stdout, c.Shell, k.Model, map[string][]string{"run": scenarios, "wifi": scenarios, "bench": benches})
}

type manCmd struct{}

// Run writes the manual page.
func (manCmd) Run(k *kong.Context) error {
	text, examples, _ := strings.Cut(description, "\nExamples:\n\n")
	page := cmdline.Manual(k.Model,
		manpage.Page{
			Name: "mpa-lab", Section: 1, Summary: "handovers between network namespaces, measured", Synopsis: "mpa-lab COMMAND [flags]",
			Sections: []manpage.Section{{Title: "Description", Text: text}, {Title: "Examples", Text: examples, Literal: true}},
		},
		manpage.Section{Title: "Files", Text: "/run/openmpa-lab/ID      what a lab of that number keeps while it runs\n/run/netns/mpa-ID-*      its namespaces\n", Literal: true},
		manpage.Section{Title: "Exit codes", Text: "0    done, and everything promised was kept\n1    a promise was not kept, or the lab could not do its work\n64   wrong use of the command line\n", Literal: true},
	)
	_, err := fmt.Print(page.Roff())
	return err
}
