package mn

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"openmpa/internal/event"
	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/state"
	"openmpa/mn/mobility/hook"
)

// executable is one that keeps its calls in a file; text says what else it does.
type executable struct {
	t    *testing.T
	path string
}

func newExecutable(t *testing.T, text string) *executable {
	t.Helper()
	e := &executable{t: t, path: filepath.Join(t.TempDir(), "hook")}
	e.become(text)
	return e
}

func (e *executable) become(text string) {
	e.t.Helper()
	script := "#!/bin/sh\nread call\necho \"$call\" >>" + e.path + ".calls\n" + text + "\n"
	for _, err := range []error{os.WriteFile(e.path+".new", []byte(script), 0o755), os.Rename(e.path+".new", e.path)} {
		if err != nil {
			e.t.Fatal(err)
		}
	}
}

func (e *executable) use(c *Config) { c.Hook = hook.Config{Command: []string{e.path}} }

// calls are those made so far: operation, care-of address, the one before, device, reason.
func (e *executable) calls() (out []string) {
	e.t.Helper()
	b, err := os.ReadFile(e.path + ".calls")
	if err != nil {
		e.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var c hook.Call
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			e.t.Fatal(err)
		}
		previous := "-"
		if c.Previous.IsValid() {
			previous = c.Previous.String()
		}
		out = append(out, strings.Join([]string{string(c.Op), c.CareOf.String(), previous, c.Device, c.Reason}, " "))
	}
	return out
}

// expect looks whether those are the calls made so far.
func (e *executable) expect(calls ...string) {
	e.t.Helper()
	if d := cmp.Diff(calls, e.calls()); d != "" {
		e.t.Error(d)
	}
}

// begins is expect where more may have followed.
func (e *executable) begins(calls ...string) {
	e.t.Helper()
	if d := cmp.Diff(calls, e.calls()[:min(len(calls), len(e.calls()))]); d != "" {
		e.t.Error(d)
	}
}

// roam is flow without a home address. Its protocol is the simplest there is: the
// correspondent answers the address that the newest packet came from.
func (b *bed) roam(inOrder bool) (stop func()) {
	b.t.Helper()
	any := netip.IPv4Unspecified()
	if b.six != nil {
		any = netip.IPv6Unspecified()
	}
	mn := b.socket(netip.AddrPortFrom(any, 7000)) // no source address of its own
	var from atomic.Pointer[netip.AddrPort]
	first := netip.AddrPortFrom(netip.MustParseAddr(b.node.Status().Bound), 7000)
	from.Store(&first)
	_, peer := b.addresses()
	up := &stream{
		what: "uplink", from: mn, to: b.cn, every: 5 * time.Millisecond, anyOrder: !inOrder,
		dst: func() netip.AddrPort { return netip.AddrPortFrom(peer, 7000) },
		came: func(newest bool, at netip.AddrPort) {
			if newest {
				from.Store(&at)
			}
		},
	}
	down := &stream{what: "downlink", from: b.cn, to: mn, every: 5 * time.Millisecond, anyOrder: !inOrder, dst: func() netip.AddrPort { return *from.Load() }}
	return b.streams(mn, up, down)
}

// TestHookHandovers: there and back, with packets both ways all the time, without a
// home address.
func TestHookHandovers(t *testing.T) {
	e := newExecutable(t, "")
	t.Cleanup(func() { // when the node is closed
		e.expect(
			"bind 10.1.0.100 - eth0 attach",
			"bind 10.2.0.100 10.1.0.100 mpa0 handover",
			"refresh 10.2.0.100 - eth0 arrived",
			"bind 10.1.0.100 10.2.0.100 mpa0 handover",
			"refresh 10.1.0.100 - eth0 arrived",
			"unbind 10.1.0.100 - eth0 shutdown",
		)
	})
	b := start(t, e.use)
	if s := b.node.Status(); s.State != "attached" || s.Bound != "10.1.0.100" || s.Hook != e.path || s.Home != "" {
		t.Errorf("status %+v", s)
	}
	stop := b.roam(true)
	for _, name := range []string{"a", "b"} {
		if o, err := b.handover(name); o != event.Completed || err != nil {
			t.Fatalf("%s, %v", o, err)
		}
	}
	stop()
	if s := b.node.Status(); s.Bound != "10.1.0.100" || s.Uplink.ForcedFlips != 0 {
		t.Errorf("status %+v", s)
	}
}

// TestHook6: the same with IPv6, where the addresses are formed.
func TestHook6(t *testing.T) {
	e := newExecutable(t, "")
	b := start6(t, e.use)
	first := b.node.Status().Bound
	stop := b.roam(true)
	for _, name := range []string{"a", "b"} {
		if o, err := b.handover(name); o != event.Completed || err != nil {
			t.Fatalf("%s, %v", o, err)
		}
	}
	stop()
	if s := b.node.Status(); s.Bound != first || s.Uplink.ForcedFlips != 0 {
		t.Errorf("status %+v", s)
	}
	calls := e.calls()
	if second := strings.Fields(calls[1])[1]; !strings.HasPrefix(first, "2001:db8:1:") || !strings.HasPrefix(second, "2001:db8:2:") {
		t.Errorf("calls %q", calls)
	}
	e.begins(
		"bind "+first+" - eth0 attach",
		"bind "+strings.Fields(calls[1])[1]+" "+first+" mpa0 handover",
	)
}

// TestHookSwitchBack: the new link never comes up.
func TestHookSwitchBack(t *testing.T) {
	e := newExecutable(t, "")
	b := start(t, e.use)
	b.link.die(true, "poa-a")
	stop := b.roam(false) // what was held goes by the tunnel, what comes after it need not
	if o, err := b.handover("a"); o != event.SwitchedBack || err == nil {
		t.Fatalf("%s, %v", o, err)
	}
	stop()
	e.expect(
		"bind 10.1.0.100 - eth0 attach",
		"bind 10.2.0.100 10.1.0.100 mpa0 handover",
		"bind 10.1.0.100 10.2.0.100 eth0 return",
	)
}

// TestHookFails: a handover whose binding fails fails, with the executable's own
// words, and nothing is lost; the binding of before is asked for until it stands.
func TestHookFails(t *testing.T) {
	e := newExecutable(t, "")
	b := start(t, e.use)
	e.become(`case $call in *'"care_of":"10.2.0.100"'*) echo no such peer >&2; exit 1;; esac; [ -e $0.back ] || { touch $0.back; exit 7; }`)
	stop := b.roam(true)
	o, err := b.handover("a")
	if o != event.Failed || err == nil || !strings.Contains(err.Error(), `exit status 1, saying "no such peer"`) {
		t.Errorf("%s, %v", o, err)
	}
	want := []string{
		"bind 10.1.0.100 - eth0 attach",
		"bind 10.2.0.100 10.1.0.100 mpa0 handover",
		"bind 10.1.0.100 10.2.0.100 eth0 return",
		"bind 10.1.0.100 - eth0 retry",
	}
	b.eventually("the binding of before to stand again", func(Status) bool { return len(e.calls()) >= len(want) && b.node.Status().Problem == "" })
	stop()
	e.expect(want...)
}

// TestHookAfterCrash: what a node that was killed had bound is unbound by the next.
func TestHookAfterCrash(t *testing.T) {
	e := newExecutable(t, "")
	store := state.NewMemory()
	b := start(t, func(c *Config) { e.use(c); c.State = store })
	b.kill()
	b.boot()
	e.begins(
		"bind 10.1.0.100 - eth0 attach",
		"unbind 10.1.0.100 - eth0 crash",
		"bind 10.1.0.100 - eth0 attach",
	)
}

// TestHookAfterCrashPrepared: the binding had moved ahead of the node, into a tunnel that
// is gone with it.
func TestHookAfterCrashPrepared(t *testing.T) {
	e := newExecutable(t, "")
	store := state.NewMemory()
	b := start(t, func(c *Config) { e.use(c); c.State = store })
	h, err := b.node.Prepare("a")
	if err != nil {
		t.Fatal(err)
	}
	if o, err := h.Wait(t.Context()); o != event.OK || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	b.kill(b.complete().c)
	b.boot()
	e.begins(
		"bind 10.1.0.100 - eth0 attach",
		"bind 10.2.0.100 10.1.0.100 mpa0 handover",
		"unbind 10.2.0.100 10.1.0.100 mpa0 crash",
		"bind 10.1.0.100 - eth0 attach",
	)
	stop := b.roam(true)
	time.Sleep(100 * time.Millisecond)
	stop()
}

// TestHookRoutes: what has no source address yet gets the bound one, whatever the
// main table says; in between, the router itself is spoken to on the link.
func TestHookRoutes(t *testing.T) {
	e := newExecutable(t, "")
	b := start(t, e.use)
	during := ""
	b.link.onLeave(func(string) { during = osnettest.Snapshot(t) })
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	for _, want := range []string{"7099:\tfrom 10.2.0.100 to 10.2.0.1 lookup 7111", "default dev mpa0 table 7120 proto 161 scope link src 10.2.0.100"} {
		if !strings.Contains(during, want) {
			t.Errorf("%q is not in\n%s", want, during)
		}
	}
	after := osnettest.Snapshot(t)
	for _, want := range []string{"default via 10.2.0.1 dev eth0 table 7120 proto 161 src 10.2.0.100 onlink", "default via 10.2.0.1 dev eth0 proto 161 src 10.2.0.100 onlink"} {
		if !strings.Contains(after, want) {
			t.Errorf("%q is not in\n%s", want, after)
		}
	}
	b.link.onLeave(nil)
}
