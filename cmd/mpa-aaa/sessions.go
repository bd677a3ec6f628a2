package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"text/tabwriter"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/server"
	"openmpa/internal/config"
	"openmpa/internal/control"
	"openmpa/internal/daemon"
)

// orderArgs is what the control socket's commands end, again and extend take.
type orderArgs struct {
	Session  string          `json:"session,omitzero"`
	Identity string          `json:"identity,omitzero"`
	Station  string          `json:"station,omitzero"`
	Life     config.Duration `json:"life,omitzero"` // of extend
	Why      string          `json:"why,omitzero"`  // of end
}

// commands are those of the control socket.
func commands(core *server.Server) map[string]control.Command {
	order := func(kind server.OrderKind) control.Command {
		return func(ctx context.Context, raw json.RawMessage) (any, error) {
			var a orderArgs
			d := json.NewDecoder(bytes.NewReader(raw))
			d.DisallowUnknownFields()
			if err := d.Decode(&a); err != nil {
				return nil, fmt.Errorf("arguments: %w", err)
			}
			m := aaa.Match{Session: a.Session, Identity: a.Identity, Station: a.Station}
			switch {
			case m.Session == "" && m.Identity == "" && m.Station == "":
				return nil, errors.New("expected session, identity or station: whoever names nobody means nobody")
			case kind == server.OrderExtend && a.Life.D() < time.Second:
				return nil, errors.New("expected life, how long they last from now on")
			}
			return core.Order(ctx, m, server.Order{Kind: kind, Life: a.Life.D(), Why: a.Why}), nil
		}
	}
	return map[string]control.Command{
		"sessions": func(context.Context, json.RawMessage) (any, error) { return core.Sessions(), nil },
		"end":      order(server.OrderEnd), "again": order(server.OrderAgain), "extend": order(server.OrderExtend),
	}
}

// socketOf is the control socket of the server whose configuration that is.
func socketOf(env daemon.Env, path string) (*control.Client, error) {
	if path == "" {
		c, err := config.Load[configuration](env.ConfigPath)
		if err != nil {
			return nil, fmt.Errorf("no --socket, and no configuration that says where it is: %w", err)
		}
		path = c.Control.String()
	}
	return control.NewClient(path), nil
}

// sessionsCommand lists sessions.
type sessionsCommand struct {
	socket string
	json   bool
}

func (s *sessionsCommand) flags(fs *flag.FlagSet) {
	fs.StringVar(&s.socket, "socket", "", "control socket (`path`) of the server; left out: that of the configuration")
	fs.BoolVar(&s.json, "json", false, "all that is known, as JSON")
}

func (s *sessionsCommand) run(ctx context.Context, env daemon.Env, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("sessions: unexpected argument %q", args[0])
	}
	client, err := socketOf(env, s.socket)
	if err != nil {
		return fmt.Errorf("sessions: %w", err)
	}
	var list []server.Session
	if err := client.Command(ctx, "sessions", nil, &list); err != nil {
		return err
	}
	if s.json {
		e := json.NewEncoder(env.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(list)
	}
	w := tabwriter.NewWriter(env.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "IDENTITY\tROUTER\tSTATION\tSINCE\tEXPIRES\tSESSION\t")
	for _, one := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t\n", one.Identity, one.Client, orDash(one.Station), clock(one.Since), clock(one.Expires), orDash(one.Session))
	}
	return w.Flush()
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("01-02 15:04:05")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// orderCommand has routers do something with sessions.
type orderCommand struct {
	kind   server.OrderKind
	socket string
	orderArgs
}

func (o *orderCommand) flags(fs *flag.FlagSet) {
	fs.StringVar(&o.socket, "socket", "", "control socket (`path`) of the server; left out: that of the configuration")
	fs.StringVar(&o.Session, "session", "", "the session of that `name`")
	fs.StringVar(&o.Identity, "identity", "", "the sessions of that `user`")
	fs.StringVar(&o.Station, "station", "", "the sessions of that `address`")
	switch o.kind {
	case server.OrderEnd:
		fs.StringVar(&o.Why, "why", "", "`text` for the router's log")
	case server.OrderExtend:
		fs.TextVar(&o.Life, "for", config.Duration(0), "how long they last from now on, longer or shorter, as `30m`")
	}
}

func (o *orderCommand) run(ctx context.Context, env daemon.Env, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%v: unexpected argument %q", o.kind, args[0])
	}
	client, err := socketOf(env, o.socket)
	if err != nil {
		return fmt.Errorf("%v: %w", o.kind, err)
	}
	var done []server.Ordered
	if err := client.Command(ctx, o.kind.String(), o.orderArgs, &done); err != nil {
		return err
	}
	if len(done) == 0 {
		return fmt.Errorf("%v: no session matches: see mpa-aaa sessions", o.kind)
	}
	var failed int
	for _, one := range done {
		result := "done"
		if one.Err != "" {
			result = one.Err
			failed++
		}
		fmt.Fprintf(env.Stdout, "%s at %s: %s\n", one.Session.Identity, one.Session.Client, result)
	}
	if failed > 0 {
		return fmt.Errorf("%v: %d of %d not done", o.kind, failed, len(done))
	}
	return nil
}
