// Command mpa-aaa is an AAA server for a lab or a small site: EAP-TLS over RADIUS,
// with a certificate authority of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"golang.org/x/sync/errgroup"

	"openmpa/aaa/eap"
	"openmpa/aaa/server"
	"openmpa/internal/config"
	"openmpa/internal/control"
	"openmpa/internal/daemon"
	"openmpa/internal/event"
)

func main() {
	var i issue
	daemon.Main(daemon.Spec{
		Name:    "mpa-aaa",
		Summary: "AAA server with EAP-TLS over RADIUS and Diameter for Media-independent Pre-Authentication",
		Doc: `Authenticates mobile nodes for access routers: EAP-TLS (1.2 and 1.3) over RADIUS on
UDP, and over Diameter. A node is known by a certificate of this server's own certificate authority,
which is made in the state directory on first use, and so is the server's
certificate; it is renewed at a start within its last 30 days.

"mpa-aaa issue" makes the certificate of a node. It needs no running server.

Routers are known by address and secret; what comes from elsewhere, or does not
carry a right Message-Authenticator, is counted and dropped. Needs no privileges.`,
		Example: example,
		Files: []daemon.File{
			{Path: "STATE/ca.pem, STATE/ca.key", Purpose: "certificate authority; whoever has ca.key can issue certificates"},
			{Path: "STATE/server.pem, STATE/server.key", Purpose: "certificate of the server name, made and renewed by the server"},
		},
		Check: config.CheckFiles[configuration],
		Run:   run,
		Commands: map[string]daemon.Command{
			"issue": {Summary: "make a node's certificate", Flags: i.flags, Run: i.run},
		},
	})
}

// status is what the control socket tells.
type status struct {
	Node        string          `json:"node"`
	Listen      string          `json:"listen"` // by RADIUS; empty: nowhere
	ServerName  string          `json:"server_name"`
	Certificate string          `json:"certificate_until"`
	Counters    server.Counters `json:"counters"`

	RADIUS   server.RADIUSCounters `json:"radius"`
	Diameter *diameterStatus       `json:"diameter,omitempty"`
}

func run(ctx context.Context, env daemon.Env) error {
	c, err := config.Load[configuration](env.ConfigPath)
	if err != nil {
		return err
	}
	c = c.withDefaults()
	state, err := server.OpenState(c.State.String())
	if err != nil {
		return err
	}
	cert, err := state.ServerCertificate(c.ServerName)
	if err != nil {
		return err
	}
	recorder := event.NewRecorder(c.Node, env.Log, int(c.Records))
	s, err := server.New(server.Config{
		TLS: eap.ServerConfig{
			Certificate: cert, ClientCAs: state.Roots(), MinVersion: c.TLS.Min.number(), MaxVersion: c.TLS.Max.number(),
		},
		SessionTimeout: c.SessionTimeout.D(), MaxSessions: c.Sessions, Recorder: recorder, Log: env.Log,
	})
	if err != nil {
		return err
	}
	fronts, err := c.fronts(s, env.Log)
	if err != nil {
		return err
	}
	socket, err := control.NewServer(control.Config{
		Path: c.Control.String(), Recorder: recorder, Log: env.Log,
		Status: func() any {
			out := status{Node: c.Node, ServerName: c.ServerName, Certificate: cert.Leaf.NotAfter.UTC().Format("2006-01-02"), Counters: s.Counters()}
			fronts.status(&out)
			return out
		},
	})
	if err != nil {
		return errors.Join(err, fronts.Close())
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.Run(ctx) })
	fronts.serve(ctx, group)
	group.Go(func() error { return socket.Run(ctx) })
	env.Log.Info("serving", "listen", fronts.addresses(), "server_name", c.ServerName, "certificate_until", cert.Leaf.NotAfter)
	env.Ready()
	return group.Wait()
}

// issue is the command that makes a node's certificate.
type issue struct {
	state, name, out string
}

func (i *issue) flags(fs *flag.FlagSet) {
	fs.StringVar(&i.state, "state", "", "state `directory` of the server; its certificate authority is made if it is not there")
	fs.StringVar(&i.name, "name", "", "identity of the node, such as mn@home.example; mn.pem and mn.key take their name from it")
	fs.StringVar(&i.out, "out", ".", "`directory` for the certificate, its key and ca.pem")
}

func (i *issue) run(_ context.Context, env daemon.Env, args []string) error {
	switch {
	case len(args) > 0:
		return fmt.Errorf("issue: unexpected argument %q", args[0])
	case i.state == "" || i.name == "":
		return errors.New("issue: expected --state and --name")
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
