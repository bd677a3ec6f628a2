package main

import (
	"fmt"

	"openmpa/internal/cmdline"
	"openmpa/internal/manpage"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Run prints the script for the shell.
func (x completionCmd) Run(a *app) error { return cmdline.Complete(a.stdout, x.Shell, a.model, nil) }

type manCmd struct{}

// Run writes the manual page.
func (manCmd) Run(a *app) error {
	page := cmdline.Manual(a.model,
		manpage.Page{
			Name: "mpactl", Section: 1, Summary: "ask and command the openmpa daemons", Synopsis: "mpactl COMMAND [flags]",
			Sections: []manpage.Section{{Title: "Description", Text: description}},
		},
		manpage.Section{Title: "Files", Text: "/run/openmpa/*.sock      control sockets of the daemons\n", Literal: true},
		manpage.Section{Title: "Environment", Text: "MPACTL_SOCKET            control sockets, as --socket, separated by commas\n", Literal: true},
		manpage.Section{Title: "Exit codes", Text: "0    done; of handover: the node has moved; of prepare: all is ready\n1    the daemon said no, or the node has not moved\n64   wrong use of the command line\n130  interrupted\n", Literal: true},
	)
	_, err := fmt.Fprint(a.stdout, page.Roff())
	return err
}
