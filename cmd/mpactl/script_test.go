package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"openmpa/internal/control"
	"openmpa/internal/event"
)

// leakChecked is testing.M with a check for goroutines left.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"mpactl": main, "fakedaemon": fakeDaemon})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"waitready": waitReady, "recordwalk": recordWalk},
		Setup: func(env *testscript.Env) error {
			// A socket's path is short; the scripts' own directory may not be.
			dir, err := os.MkdirTemp("", "mpa")
			if err != nil {
				return err
			}
			env.Defer(func() { os.RemoveAll(dir) })
			env.Setenv("RUN", dir)
			env.Setenv("MPACTL_RUN_DIR", dir)
			env.Setenv("TZ", "UTC")
			return nil
		},
	})
}

// waitReady waits until the files exist.
func waitReady(ts *testscript.TestScript, _ bool, files []string) {
	for _, name := range files {
		for {
			if _, err := os.Stat(ts.MkAbs(name)); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// fakeDaemon is "fakedaemon NODE SOCKET READYFILE": a control socket with one
// past handover, and a handover command that knows the networks a (works), c
// (fails) and slow (does not end).
func fakeDaemon() {
	node, path, ready := os.Args[1], os.Args[2], os.Args[3]
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	rec := event.NewRecorder(node, nil, 0)
	pastHandover(rec, node)
	server, err := control.NewServer(control.Config{
		Path: path, Recorder: rec,
		Status: func() any {
			s := map[string]any{"node": node, "state": "attached"}
			if node == "ar" {
				s["neighbourhood"] = fakeAround()
			}
			return s
		},
		Commands: map[string]control.Command{
			control.CommandHandover: func(_ context.Context, raw json.RawMessage) (any, error) {
				var args control.HandoverArgs
				if err := json.Unmarshal(raw, &args); err != nil {
					return nil, err
				}
				return fakeHandover(rec, args)
			},
			control.CommandGuard: func(_ context.Context, raw json.RawMessage) (any, error) {
				var args control.GuardArgs
				err := json.Unmarshal(raw, &args)
				if err == nil && args.Guard == "off" {
					err = errors.New("not now")
				}
				return struct{}{}, err
			},
			control.CommandNetworks: func(context.Context, json.RawMessage) (any, error) {
				if node != "mn" {
					return nil, errors.New("no networks here")
				}
				return fakeNetworks(), nil
			},
			control.CommandPrepare: func(_ context.Context, raw json.RawMessage) (any, error) {
				var args control.HandoverArgs
				if err := json.Unmarshal(raw, &args); err != nil {
					return nil, err
				}
				return fakePrepare(rec, args)
			},
		},
	})
	if err == nil {
		err = os.WriteFile(ready, nil, 0o600)
	}
	if err == nil {
		err = server.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// pastHandover is one move from b to a: the node imported what router a recorded
// of it, and router a has it of its own.
func pastHandover(rec *event.Recorder, node string) {
	whole := end("mn", event.PhaseHandover, 0, 812)
	whole.Outcome, whole.Attrs = event.Completed, map[string]any{"from": "b", "to": "a"}
	dhcp := end("a", event.PhaseDHCP, 50, 60)
	dhcp.Attrs = map[string]any{"server": "10.2.0.3"}
	switch node {
	case "mn":
		for _, e := range []event.Event{end("mn", event.PhaseAuth, 1, 46), dhcp, end("mn", event.PhaseL2, 700, 704), whole} {
			rec.Import(e)
		}
	case "a":
		rec.Import(dhcp)
		hold := end("a", event.PhaseHold, 699, 706)
		hold.Attrs = map[string]any{"packets": 1}
		rec.Import(hold)
	}
}

func fakeHandover(rec *event.Recorder, args control.HandoverArgs) (any, error) {
	if args.Wait {
		return nil, errors.New("mpactl is not to wait in the command")
	}
	id := hid(2)
	if args.Network == "b" {
		return nil, errors.New("mn: already at b")
	}
	span := rec.Begin(id, event.PhaseHandover, "from", "b", "to", args.Network)
	auth := rec.Begin(id, event.PhaseAuth, "paa", "10.2.0.1")
	switch args.Network {
	case "c":
		err := errors.New("the certificate has expired")
		auth.End(err)
		span.EndOutcome(event.Failed, "authentication at c: "+err.Error())
	case "slow":
	default:
		auth.End(nil)
		rec.Point(id, event.PhaseDepart, "marker sent")
		span.EndOutcome(event.Completed, "")
	}
	return control.HandoverResult{ID: id}, nil
}

// fakePrepare prepares a move to a network, and fails at c.
func fakePrepare(rec *event.Recorder, args control.HandoverArgs) (any, error) {
	if args.Wait {
		return nil, errors.New("mpactl is not to wait in the command")
	}
	id := hid(3)
	span := rec.Begin(id, event.PhaseHandover, "from", "b", "to", args.Network)
	prepare := rec.Begin(id, event.PhasePrepare, "network", args.Network)
	rec.Begin(id, event.PhaseAuth).End(nil)
	if args.Network == "c" {
		err := errors.New("authentication at c: the certificate has expired")
		prepare.End(err)
		span.EndOutcome(event.Failed, err.Error())
	}
	prepare.End(nil)
	return control.HandoverResult{ID: id}, nil
}

func TestManNamesEveryCommand(t *testing.T) {
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"man"}, &out, &errs, screen{}); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	for _, want := range []string{".TH MPACTL 1", "handover <network>", "prepare <network>", `\-\-timeout`, `\-\-no\-wait`, "/run/openmpa"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the manual page does not say %q", want)
		}
	}
}

func TestHandoverOnATerminal(t *testing.T) {
	dir, err := os.MkdirTemp("", "mpa")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	rec := event.NewRecorder("mn", nil, 0)
	server, err := control.NewServer(control.Config{Path: dir + "/mn.sock", Recorder: rec, Commands: map[string]control.Command{
		control.CommandHandover: func(context.Context, json.RawMessage) (any, error) {
			return fakeHandover(rec, control.HandoverArgs{Network: "a"})
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	var out, errs strings.Builder
	code := run(t.Context(), []string{"--socket", dir + "/mn.sock", "handover", "a"}, &out, &errs, screen{true, 100, 30})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if code != 0 || !strings.Contains(out.String(), "\x1b[J") || !strings.Contains(out.String(), "mn: now at a") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, out.String(), errs.String())
	}
}
