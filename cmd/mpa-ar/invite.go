package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"

	"openmpa/internal/daemon"
	"openmpa/internal/enroll"
)

// invite is the command that lets one machine join the site.
type invite struct{ listen string }

func (i *invite) flags(fs *flag.FlagSet) {
	fs.StringVar(&i.listen, "listen", fmt.Sprintf(":%d", enroll.Port), "TCP `ADDRESS:PORT` to wait on")
}

func (i *invite) run(ctx context.Context, env daemon.Env, args []string) error {
	if len(args) != 1 || args[0] != string(enroll.Node) && args[0] != string(enroll.Router) {
		return errors.New("invite: expected what is to join: node or router")
	}
	kind := enroll.Kind(args[0])
	s, err := loadSite(filepath.Dir(env.ConfigPath))
	if err != nil {
		return fmt.Errorf("invite: %w", err)
	}
	l, err := net.Listen("tcp4", i.listen)
	if err != nil {
		return fmt.Errorf("invite: %w", err)
	}
	invitation, err := enroll.Invite(kind)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	command, at := "mpa-mn join", s.Networks[0].Router
	if kind == enroll.Router {
		command, at = "mpa-ar init --dhcp DHCPSERVER --join", s.Agent
	}
	fmt.Fprintf(env.Stdout, "Within %d minutes, on the %s that is to join, as root:\n\n    %s %v\n\nIt asks for the code, which works once:\n\n    %s\n\n",
		int(enroll.Life.Minutes()), kind, command, at, invitation.Code().Text())
	err = invitation.Serve(ctx, l, func(r enroll.Request, from netip.Addr) (*enroll.Grant, error) {
		g, err := s.grant(r, from)
		if err != nil {
			fmt.Fprintf(env.Stdout, "%s %s at %v is refused: %v\n", kind, r.Name, from, err)
			return nil, err
		}
		fmt.Fprintf(env.Stdout, "%s %s has joined, from %v.\n", kind, r.Name, from)
		return g, nil
	})
	if err != nil {
		return fmt.Errorf("invite: %w", err)
	}
	if kind == enroll.Router {
		fmt.Fprintln(env.Stdout, "Next: systemctl restart mpa-aaa, so that it knows that router. Nodes that have joined before do not know the new network: they join again, under another name.")
	}
	return nil
}
