package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

func TestGuestArgs(t *testing.T) {
	var c cli
	parser, err := kong.New(&c)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	logs := filepath.Join(dir, "logs")
	k, err := parser.Parse([]string{
		"--bin", dir, "wifi", "handover", "--cpus=2", "--repeat", "5", "--no-probe", "--link", "core-a=delay:1ms,loss:1%", "--link=core-b=delay:2ms",
		"--json", "-", "--logs", logs, "--rtt-aaa=100ms", "--nat",
	})
	if err != nil {
		t.Fatal(err)
	}
	args, results := c.Wifi.guestArgs(k)
	want := []string{
		"run", "handover", "--access", "wifi", "--repeat=5", "--probe=false", "--link=core-a=delay:1ms,loss:1%", "--link=core-b=delay:2ms",
		"--json=-", "--logs=/shared/logs", "--rtt-aaa=100ms", "--nat=true",
	}
	if diff := cmp.Diff(want, args); diff != "" {
		t.Error(diff)
	}
	if len(results) != 1 || results[0] != (result{"logs", logs}) {
		t.Errorf("results %v, expected the logs alone: standard output needs no file", results)
	}
	// The guest understands them, and means the same.
	var g cli
	inside, err := kong.New(&g)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inside.Parse(args); err != nil {
		t.Fatal(err)
	}
	if g.Run.Probe || g.Run.Repeat != 5 || len(g.Run.Link) != 2 || !g.Run.NAT || g.Run.RTTAAA != c.Wifi.RTTAAA {
		t.Errorf("the guest understands %+v", g.Run)
	}
}

func TestBring(t *testing.T) {
	shared, here := t.TempDir(), filepath.Join(t.TempDir(), "logs")
	if err := bring(filepath.Join(shared, "json"), here); err != nil {
		t.Errorf("what the guest did not make: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(shared, "logs", "lab-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("lab-1", "mn.log")
	for _, text := range []string{"once", "once more"} {
		if err := os.WriteFile(filepath.Join(shared, "logs", file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := bring(filepath.Join(shared, "logs"), here); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(here, file)); err != nil || string(b) != text {
			t.Errorf("%q, %v; expected %q", b, err, text)
		}
	}
}
