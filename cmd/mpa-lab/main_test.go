package main

import (
	"io"
	"os"
	"strings"
	"testing"
)

// output runs the program and returns its exit code with what it prints.
func output(t *testing.T, args ...string) (code int, text string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = w, w
	defer func() { os.Stdout, os.Stderr = stdout, stderr }()
	done := make(chan string)
	go func() {
		b, _ := io.ReadAll(r) // a pipe in this process; what came is looked at
		done <- string(b)
	}()
	code = run(args)
	w.Close()
	return code, <-done
}

func TestCommandLine(t *testing.T) {
	empty := t.TempDir()
	for _, x := range []struct {
		args string
		code int
		want string
	}{
		{"list", 0, "break-before-make"},
		{"topology", 0, "10.9.0.2"},
		{"topology --dot", 0, "graph lab {"},
		{"fly", 64, "--help"},
		{"run handover --l2-gap soon", 64, "l2-gap"},
		{"run nothing", 1, "there are handover,"},
		{"run handover --rate fast", 1, "packets a second"},
		{"run handover --l2-gap 5m", 1, "up to one minute"},
		{"run handover --repeat 0", 1, "1 or more"},
		{"run handover --seconds 0", 1, "0.1 to 600"},
		{"run handover --direction sideways", 64, "direction"},
		{"run handover --link nowhere=delay:1ms", 1, "there are poa-b1,"},
		{"run handover --link core-a=speed:1", 1, "jitter:5ms"},
		{"run handover --rtt-aaa 1h", 1, "up to ten seconds"},
		{"run handover --rtt-aaa 1ms --link core-aaa=delay:1ms", 1, "a delay, too"},
		{"topology", 0, "link core-aaa"},
		{"demo --dad never", 64, "rfc5227"},
		{"--bin " + empty + " test", 1, map[bool]string{true: "is not in", false: "root"}[os.Geteuid() == 0]},
	} {
		code, text := output(t, strings.Fields(x.args)...)
		if code != x.code || !strings.Contains(text, x.want) {
			t.Errorf("%s: exit code %d, expected %d with %q in\n%s", x.args, code, x.code, x.want, text)
		}
	}
}
