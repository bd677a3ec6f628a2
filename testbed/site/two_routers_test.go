package site

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/internal/osnet/osnettest"
	"openmpa/testbed/linkctl"
	"openmpa/testbed/space"
)

// block is one of a guide's commands: what it says, for which machines, and with which kind of link ("" is any).
type block struct {
	machines []string
	link     string
	script   string
	line     int
}

var label = regexp.MustCompile(`^\*\*([a-z]+(?: and [a-z]+)*)(?:, (Wi-Fi|cable))?:\*\*$`)

// blocks reads a guide. Each block of commands has the machines it is for in the line before it.
func blocks(t testing.TB, path string) (out []block) {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	var before string
	var now *block
	skip := false
	for n, line := range strings.Split(string(text), "\n") {
		switch {
		case now != nil && line == "```":
			out = append(out, *now)
			now = nil
		case now != nil:
			now.script += line + "\n"
		case skip:
			skip = line != "```"
		case line == "```text":
			skip = true
		case strings.HasPrefix(line, "```"):
			m := label.FindStringSubmatch(before)
			if line != "```sh" || m == nil {
				t.Fatalf("%s:%d: expected a block of sh below the machines it is for, as **ra and rb:**", path, n+1)
			}
			now = &block{machines: strings.Split(m[1], " and "), link: m[2], line: n + 1}
		case strings.HasPrefix(line, "    "):
			t.Fatalf("%s:%d: commands stand in blocks that say for which machine", path, n+1)
		}
		before = line
	}
	return out
}

// controller moves the laptop's cable between the points of attachment, bridges of the test.
func controller(t testing.TB) *linkctl.Controller {
	t.Helper()
	own, err := space.Current()
	must(t, err)
	t.Cleanup(func() { own.Close() })
	c, err := linkctl.New(own, "pl", 4*time.Millisecond)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = c.Attach(t.Context(), "a-1")
	must(t, err)
	return c
}

// controlled has the machine's node ask a controller.
func (b *box) controlled(c *linkctl.Controller) {
	b.t.Helper()
	b.run("mkdir -p /run/openmpa")
	s, err := linkctl.Serve(c, fmt.Sprintf("/proc/%d/root/run/openmpa/link.sock", b.pid))
	must(b.t, err)
	b.t.Cleanup(func() { s.Close() })
}

// invitation is a command that shows a code, and waits until it is used.
type invitation struct {
	code string
	done chan error
	rest *bytes.Buffer
}

// invites runs a block that shows a code.
func (b *box) invites(script string) *invitation {
	b.t.Helper()
	cmd := b.command(b.t.Context(), script)
	stdout, err := cmd.StdoutPipe()
	must(b.t, err)
	cmd.Stderr = os.Stderr
	must(b.t, cmd.Start())
	i := &invitation{done: make(chan error, 1), rest: &bytes.Buffer{}}
	r := bufio.NewReader(stdout)
	for i.code == "" {
		line, err := r.ReadString('\n')
		if err != nil {
			b.t.Fatalf("%s shows no code: %v, %v", script, err, cmd.Wait())
		}
		if line = strings.TrimSpace(line); strings.Count(line, "-") > 8 {
			i.code = line
		}
	}
	go func() {
		_, err := io.Copy(i.rest, r)
		if e := cmd.Wait(); err == nil {
			err = e
		}
		i.done <- err
	}()
	return i
}

// types runs a block as somebody at the keyboard does, who has a code to type.
func (b *box) types(script, input string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := b.command(ctx, script)
	cmd.Stdin = strings.NewReader(input)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		journal, _ := b.try("journalctl --no-pager -n 60 -o cat")
		status, _ := b.try("mpactl status; mpactl doctor")
		b.t.Fatalf("%s: %s\n%v\n%s\njournal:\n%s\nstatus:\n%s", b.name, script, err, out, journal, status)
	}
	return string(out)
}

var sent = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// twoRouters follows docs/two-routers.md word for word, with cables.
func twoRouters(t *testing.T, debs []string) {
	osnettest.NeedRoot(t)
	guide := blocks(t, "../../docs/two-routers.md")
	root := makeRoot(t, append(machineOf, "dnsmasq-base", "hostapd", "wpasupplicant", "iputils-ping")...)
	boxes := map[string]*box{}
	for _, name := range []string{"ra", "rb", "laptop"} {
		boxes[name] = bootBox(t, root, name)
		boxes[name].bring(debs)
	}
	link := wire(t, boxes)

	before := map[string]string{}
	var waiting *invitation
	pings := 0
	for _, b := range guide {
		if b.link == "Wi-Fi" {
			continue
		}
		for _, name := range b.machines {
			on := boxes[name]
			if on == nil {
				t.Fatalf("docs/two-routers.md:%d: no machine %q", b.line, name)
			}
			if before[name] == "" {
				before[name] = on.files()
			}
			t.Logf("%s: %s", name, strings.TrimSpace(b.script))
			if strings.HasPrefix(b.script, "mpa-ar invite ") {
				waiting = on.invites(b.script)
				continue
			}
			input := ""
			if waiting != nil {
				input = waiting.code + "\n"
			}
			out := on.types(b.script, input)
			t.Log(out)
			if waiting != nil && strings.Contains(b.script, "join ") {
				if err := <-waiting.done; err != nil {
					t.Errorf("invite: %v\n%s", err, waiting.rest)
				}
				waiting = nil
				if name == "laptop" {
					on.controlled(link)
				}
			}
			if n := sent.FindStringSubmatch(out); n != nil {
				pings++
				if n[1] != n[2] || !strings.Contains(out, "now at ") {
					t.Errorf("docs/two-routers.md:%d: expected a completed handover and nothing lost:\n%s", b.line, out)
				}
			}
		}
	}
	if moves := len(link.Moves()); pings != 2 || moves != 3 || link.Point() != "a-1" {
		t.Errorf("%d handovers were counted, the cable was moved %d times, to %s last; expected 2, 3 with the first, and a-1", pings, moves, link.Point())
	}
	for name, b := range boxes {
		if left := difference(before[name], b.files()); left != "" {
			t.Errorf("%s: left behind by the packages:\n%s", name, left)
		}
		if got := b.run("ls /sys/class/net; ls /run/netns 2>/dev/null || true; ip -4 rule; ip -4 route show table all | grep -v -e ' eth' -e ' lo ' || true"); strings.Contains(got, "mpa") || strings.Contains(got, "10.9.") {
			t.Errorf("%s: left behind in the kernel:\n%s", name, got)
		}
	}
}

// wire connects the machines: eth0 at a switch, the routers' eth1 each at a point, the laptop's eth1 at the first.
func wire(t testing.TB, boxes map[string]*box) *linkctl.Controller {
	t.Helper()
	for _, bridge := range []string{"uplink", "a-1", "b-1"} {
		output(t, "ip", "link", "add", bridge, "type", "bridge")
		output(t, "ip", "link", "set", bridge, "up")
		t.Cleanup(func() { output(t, "ip", "link", "delete", bridge) })
	}
	for _, name := range []string{"ra", "rb", "laptop"} {
		cable(t, boxes[name], "eth0", nil, "u-"+name)
		output(t, "ip", "link", "set", "u-"+name, "master", "uplink")
	}
	cable(t, boxes["ra"], "eth1", nil, "pa")
	cable(t, boxes["rb"], "eth1", nil, "pb")
	output(t, "ip", "link", "set", "pa", "master", "a-1")
	output(t, "ip", "link", "set", "pb", "master", "b-1")
	cable(t, boxes["laptop"], "eth1", nil, "pl")
	boxes["laptop"].run("ip link set eth1 up")
	return controller(t)
}

// files are those of the machine that outlive it, and of what runs; what systemd, apt and dpkg note for themselves is not ours.
func (b *box) files() string {
	return b.run(`find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /root -o -path /var/log -o -path /var/cache \
		-o -path /run/netns -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/lib/systemd -o -path /run/systemd -o -path /run/log \) -prune -o -print | sort
		find /run -xdev \( -path /run/systemd -o -path /run/log -o -path /run/netns \) -prune -o -print | sort`)
}

// difference is what the second list has more, a line each.
func difference(before, after string) string {
	had := strings.Split(before, "\n")
	var more []string
	for _, line := range strings.Split(after, "\n") {
		if _, found := slices.BinarySearch(had, line); !found && !slices.Contains(had, line) {
			more = append(more, line)
		}
	}
	return strings.Join(more, "\n")
}
