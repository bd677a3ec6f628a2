package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"openmpa/testbed/report"
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
		{"list", 0, "nat-rebind"},
		{"list", 0, "wireguard-go"},
		{"bench nothing", 1, "there are tunnel"},
		{"bench tunnel --rounds=-1", 1, "no negative"},
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
		{"run handover --buffer half", 64, "buffer"},
		{"run figure6-mip4 --buffer off", 1, "sets it itself"},
		{"report --repeat 0", 1, "1 or more"},
		{"report main_test.go", 1, "report --from "},
		{"report --from main_test.go", 1, "is not what"},
		{"report --from nowhere.json", 64, "nowhere.json"},
		{"completion bash", 0, "handover break-before-make"},
		{"completion tcsh", 64, "bash"},
		{"man", 0, `\-\-pictures`},
		{"crash --list --victims ha", 0, "ha@mn l2 begin"},
		{"crash --list --cells mn@idle,dhcp@idle", 0, "dhcp@idle"},
		{"crash --victims nobody", 1, "previous"},
		{"crash --points never", 1, "mn handover begin"},
		{"crash --cells mn@never", 1, "VICTIM@POINT"},
		{"crash --delay 2m", 1, "up to one minute"},
		{"crash --jobs 0", 1, "1 to 32"},
		{"wifi nothing", 1, "there are handover,"},
		{"wifi handover --keep", 1, "--logs keeps"},
		{"wifi handover --cpus 0", 1, "1 to 64"},
		{"wifi handover --memory 1", 1, "512 to"},
		{"wifi handover --limit 0s", 1, "more than 0"},
		{"wifi handover --accel magic", 64, "kvm"},
		{"wifi faults", 1, "is for --access cable"},
		{"run roam", 1, "is for --access wifi"},
		{"run handover --probe-rate 0", 1, "1 to 100000"},
		{"guest", 1, "lab wifi"},
		{"man", 0, "simulated radios"},
		{"demo --dad never", 64, "rfc5227"},
		{"run handover --mmp mip6", 1, "with --ip 4 it is mip4"},
		{"run handover --ip 6 --mmp mip4", 1, "with --ip 6 it is mip6"},
		{"run handover --ip 5", 64, "ip"},
		{"run handover --addresses dhcp", 1, "is for --ip 6"},
		{"run handover --ip 6 --addresses slaac --dhcp kea", 1, "has no DHCP server"},
		{"--bin " + empty + " test", 1, map[bool]string{true: "is not in", false: "root"}[os.Geteuid() == 0]},
	} {
		code, text := output(t, strings.Fields(x.args)...)
		if code != x.code || !strings.Contains(text, x.want) {
			t.Errorf("%s: exit code %d, expected %d with %q in\n%s", x.args, code, x.code, x.want, text)
		}
	}
}

// A row's name has commas, which part nothing: rows are asked for by a flag each.
func TestOnlyRows(t *testing.T) {
	var c cli
	parser, err := kong.New(&c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"bench", "tauth", "--only", "TLS 1.2, 200ms", "--only=1.3"}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"TLS 1.2, 200ms", "1.3"}; !slices.Equal(c.Bench.Only, want) {
		t.Errorf("%q, expected %q", c.Bench.Only, want)
	}
}

// TestSignals: a signal that comes with the first one does not keep the lab from taking itself apart, and one that comes later ends
// a lab that hangs.
func TestSignals(t *testing.T) {
	const inside = "OPENMPA_TEST_SIGNALS"
	if os.Getenv(inside) != "" {
		ctx, stop := untilSignal()
		defer stop()
		fmt.Println("ready")
		<-ctx.Done()
		if os.Getenv(inside) == "hangs" {
			select {}
		}
		time.Sleep(onceMore / 4) // takes itself apart
		fmt.Println("in order")
		return
	}
	for _, way := range []string{"ends", "hangs"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSignals$")
		cmd.Env = append(os.Environ(), inside+"="+way)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() || lines.Text() != "ready" {
			t.Fatalf("it says %q", lines.Text())
		}
		signal := func() {
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
		}
		signal()
		time.Sleep(onceMore / 20)
		signal()
		ended := make(chan bool)
		go func() {
			ordered := lines.Scan() && lines.Text() == "in order"
			for lines.Scan() { // what the test says at its end
			}
			ended <- ordered
		}()
		again := time.NewTicker(onceMore / 4)
		defer again.Stop()
		var ordered bool
		for waits := true; waits; {
			select {
			case ordered = <-ended:
				waits = false
			case <-again.C:
				if way == "hangs" {
					_ = cmd.Process.Signal(syscall.SIGTERM)
				}
			}
		}
		err = cmd.Wait()
		var exit *exec.ExitError
		switch {
		case way == "ends" && (err != nil || !ordered):
			t.Errorf("two signals at once: %v, in order %v", err, ordered)
		case way == "hangs" && (!errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM):
			t.Errorf("another signal later: %v, expected that it ends the program", err)
		}
	}
}

// TestUnheard: when nobody reads what the lab says it takes itself apart, whether it says something
// or not.
func TestUnheard(t *testing.T) {
	const inside = "OPENMPA_TEST_UNHEARD"
	if file := os.Getenv(inside); file != "" {
		ctx, stop := untilSignal()
		defer stop()
		fmt.Println("ready")
		for said := false; ctx.Err() == nil; {
			if !said && os.Getenv(inside+"_SAYS") != "" {
				_, err := fmt.Println("more")
				said = err != nil
			}
			time.Sleep(time.Millisecond)
		}
		fmt.Println("and the last word")
		if err := os.WriteFile(file, []byte("in order"), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, says := range []string{"", "yes"} {
		file := filepath.Join(t.TempDir(), "end")
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestUnheard$")
		cmd.Env = append(os.Environ(), inside+"="+file, inside+"_SAYS="+says)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
			t.Fatalf("it says %q, %v", line, err)
		}
		out.Close()
		_ = cmd.Wait() // what the testing package says goes nowhere, too
		if b, err := os.ReadFile(file); string(b) != "in order" {
			t.Errorf("says more: %q: it ended with %v before it was done: %v", says, cmd.ProcessState, err)
		}
	}
}

func TestReportFromFiles(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for _, name := range []string{"handover", "break-before-make"} {
		r := &report.Result{Scenario: name, Handovers: []report.Handover{{From: "b", To: "a", Outcome: "completed"}}}
		if name == "break-before-make" {
			r.Problems = []string{"traffic did not go on"}
		}
		r.Summarize()
		path := filepath.Join(dir, name+".json")
		if err := r.WriteJSON(path); err != nil {
			t.Fatal(err)
		}
		files = append(files, path)
	}
	page := filepath.Join(dir, "page.html")
	code, text := output(t, "report", "--out", page, "--from", files[0])
	if code != 0 || !strings.Contains(text, page) {
		t.Fatalf("exit code %d: %s", code, text)
	}
	// A promise that was not kept then is not kept now.
	code, text = output(t, "report", "--out", page, "--from", files[0], files[1])
	if code != 1 || !strings.Contains(text, "break-before-make: traffic did not go on") {
		t.Fatalf("exit code %d: %s", code, text)
	}
	html, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"from network b to a and back", "traffic did not go on"} {
		if !strings.Contains(string(html), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}
