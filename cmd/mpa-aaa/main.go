// Command mpa-aaa is an AAA server for a lab or a small site: EAP-TLS, EAP-TTLS and PEAP
// over RADIUS, RadSec and Diameter, with users in a file and a certificate authority of
// its own, and a visited operator's server, which asks those of nodes' homes.
package main

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"openmpa/aaa/eap"
	"openmpa/aaa/server"
	"openmpa/internal/config"
	"openmpa/internal/control"
	"openmpa/internal/daemon"
	"openmpa/internal/event"
	"openmpa/internal/operators"
)

func main() {
	var issue issue
	var add userAdd
	var list userList
	var remove userRemove
	var sessions sessionsCommand
	var end, again, extend orderCommand
	end.kind, again.kind, extend.kind = server.OrderEnd, server.OrderAgain, server.OrderExtend
	daemon.Main(daemon.Spec{
		Name:    "mpa-aaa",
		Summary: "AAA server for Media-independent Pre-Authentication, with EAP over RADIUS, RadSec and Diameter",
		Doc: `Authenticates mobile nodes for access routers: by certificate (EAP-TLS), or by a
password inside TLS (EAP-TTLS with PAP or MSCHAPv2, PEAP with MSCHAPv2), TLS 1.2 and
1.3. Routers ask by RADIUS on UDP, by RADIUS over TLS, or by Diameter.

Certificates are of this server's own certificate authority, which is made in the state
directory on first use, and so is the server's certificate; it is renewed at a start
within its last 30 days. "mpa-aaa cert issue" makes one for a node or a router. Users
with a password are in a file: "mpa-aaa user add". Both need no running server, and a
user that is added, changed, blocked or removed is so a second later.

Accounting records go to a file, a JSON object a line, each once. Nodes of other
operators' realms are authenticated by the servers of those (aaa: in the configuration).
What is open is shown by "mpa-aaa sessions"; "end", "again" and "extend" have routers end
a session, authenticate its node once more, or keep it for longer.

Routers are known by address and secret, or by the name in their certificate; what comes
from elsewhere, or is not authentic, is counted and dropped. Needs no privileges.`,
		Example: example,
		Files: []daemon.File{
			{Path: "STATE/ca.pem, STATE/ca.key", Purpose: "certificate authority; whoever has ca.key can issue certificates"},
			{Path: "STATE/server.pem, STATE/server.key", Purpose: "certificate of the server name, made and renewed by the server"},
			{Path: "users", Purpose: "users, a JSON object a line; whoever has it can log in as any of them by MSCHAPv2"},
			{Path: "books", Purpose: "accounting records, a JSON object a line"},
		},
		Check: config.CheckFiles[configuration],
		Run:   run,
		Commands: map[string]daemon.Command{
			"cert issue":  {Summary: "make the certificate of a node, or of a router", Flags: issue.flags, Run: issue.run},
			"user add":    {Summary: "add a user, or change one, with a password from standard input", Flags: add.flags, Run: add.run},
			"user list":   {Summary: "list the users", Flags: list.flags, Run: list.run},
			"user remove": {Summary: "remove a user", Flags: remove.flags, Run: remove.run},
			"sessions":    {Summary: "list the sessions that have not ended", Flags: sessions.flags, Run: sessions.run},
			"end":         {Summary: "end sessions at their routers", Flags: end.flags, Run: end.run},
			"again":       {Summary: "have nodes authenticate again at once", Flags: again.flags, Run: again.run},
			"extend":      {Summary: "set how long sessions last from now on", Flags: extend.flags, Run: extend.run},
		},
	})
}

// status is what the control socket tells.
type status struct {
	Node        string          `json:"node"`
	ServerName  string          `json:"server_name"`
	Certificate string          `json:"certificate_until"`
	Counters    server.Counters `json:"counters"`

	Listen   []string               `json:"listen"`
	RADIUS   *server.RADIUSCounters `json:"radius,omitzero"`
	RadSec   *server.RadSecCounters `json:"radsec,omitzero"`
	Diameter *diameterStatus        `json:"diameter,omitzero"`
	AAA      *operators.Status      `json:"aaa,omitzero"`
}

func run(ctx context.Context, env daemon.Env) (err error) {
	c, err := config.Load[configuration](env.ConfigPath)
	if err != nil {
		return err
	}
	state, err := server.OpenState(c.State.String())
	if err != nil {
		return err
	}
	cert, err := state.ServerCertificate(c.ServerName)
	if err != nil {
		return err
	}
	recorder := event.NewRecorder(c.Node, env.Log, int(c.Records))
	cfg := server.Config{
		TLS: eap.ServerConfig{
			Certificate: cert, ClientCAs: state.Roots(), MinVersion: c.TLS.Min.number(), MaxVersion: c.TLS.Max.number(),
		},
		Methods: c.Methods, Resume: c.Resume.D(), Realms: c.Realms, Interim: c.Interim.D(),
		SessionTimeout: c.SessionTimeout.D(), MaxSessions: c.Sessions, Recorder: recorder, Log: env.Log,
	}
	if c.Users != "" {
		if cfg.Users, err = server.OpenUsers(c.Users.String(), env.Log); err != nil {
			return err
		}
	}
	if c.Books != "" {
		if cfg.Books, err = server.OpenBooks(c.Books.String(), env.Log); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, cfg.Books.Close()) }()
	}
	group, ctx := errgroup.WithContext(ctx)
	var others *operators.Set
	if len(c.AAA) > 0 {
		if others, err = operators.Open(c.AAA, operators.Options{Node: c.Node, Log: env.Log}); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, others.Close()) }()
		cfg.Forward = others.Realms
	}
	core, err := server.New(cfg)
	if err != nil {
		return err
	}
	in, err := c.open(core, env.Log)
	if err != nil {
		return err
	}
	st := func() any {
		out := status{Node: c.Node, ServerName: c.ServerName, Certificate: cert.Leaf.NotAfter.UTC().Format("2006-01-02"), Counters: core.Counters()}
		in.status(&out)
		if others != nil {
			s := others.Status()
			out.AAA = &s
		}
		return out
	}
	socket, err := control.NewServer(control.Config{
		Path: c.Control.String(), Recorder: recorder, Log: env.Log, Status: st, Commands: commands(core),
	})
	if err != nil {
		in.shut()
		return err
	}
	group.Go(func() error { return core.Run(ctx) })
	for _, serve := range in.serve {
		group.Go(func() error { return serve(ctx) })
	}
	group.Go(func() error { return socket.Run(ctx) })
	if others != nil {
		others.Bind(core)
		failed := make(chan error, 1)
		others.Start(func(err error) { failed <- err })
		group.Go(func() error {
			select {
			case err := <-failed:
				return err
			case <-ctx.Done():
				return nil
			}
		})
	}
	env.Log.Info("serving", "listen", in.listen, "server_name", c.ServerName, "methods", c.Methods, "certificate_until", cert.Leaf.NotAfter)
	env.Ready()
	return group.Wait()
}
