package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"openmpa/aaa/server"
	"openmpa/internal/daemon"
)

// issue is the command that makes a certificate.
type issue struct {
	state, name, out string
}

func (i *issue) flags(fs *flag.FlagSet) {
	fs.StringVar(&i.state, "state", "", "state `directory` of the server; its certificate authority is made if it is not there")
	fs.StringVar(&i.name, "name", "", "identity of a node, such as mn@home.example (mn.pem and mn.key), or the host name of a router or a server, such as ar-a.home.example (ar-a.pem and ar-a.key)")
	fs.StringVar(&i.out, "out", ".", "`directory` for the certificate, its key and ca.pem")
}

func (i *issue) run(_ context.Context, env daemon.Env, args []string) error {
	switch {
	case len(args) > 0:
		return fmt.Errorf("cert issue: unexpected argument %q", args[0])
	case i.state == "" || i.name == "":
		return errors.New("cert issue: expected --state and --name")
	}
	state, err := server.OpenState(i.state)
	if err != nil {
		return err
	}
	files, err := state.Issue(i.name, i.out)
	if err != nil {
		return err
	}
	for _, f := range files {
		fmt.Fprintln(env.Stdout, f)
	}
	return nil
}
