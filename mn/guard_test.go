package mn

import (
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"openmpa/internal/host"
	"openmpa/paa/notify"
	"openmpa/tunnel"
	"openmpa/tunnel/bind"
)

// slowReader is a machine that has other things to do when it has taken packets from a
// socket: now and then when it was a native one, of which it reads 16,000 a second, and
// for half as long as those wait when it was a tunnel's.
type slowReader struct{ host.Host }

func (h slowReader) OpenIPIP(local netip.Addr, o bind.Options) (host.IPIP, error) {
	s, err := h.Host.OpenIPIP(local, o)
	return &slowIPIP{IPIP: s}, err
}

type slowIPIP struct {
	host.IPIP
	n int // packets read, by the one goroutine that reads
}

func (s *slowIPIP) Read(b []byte) ([]byte, netip.Addr, error) {
	inner, src, err := s.IPIP.Read(b)
	if s.n++; s.n%16 == 0 {
		time.Sleep(time.Millisecond)
	}
	return inner, src, err
}

func (h slowReader) OpenESP(local netip.AddrPort, o bind.Options) (host.ESP, error) {
	s, err := h.Host.OpenESP(local, o)
	return &slowESP{s}, err
}

type slowESP struct{ host.ESP }

func (s *slowESP) ReadBatch(b *bind.Batch) ([]bind.Packet, error) {
	packets, err := s.ESP.ReadBatch(b)
	time.Sleep(lastCopyWithin / 2)
	return packets, err
}

// TestGuardInOrder: while copies are kept packets come through the tunnel, else natively,
// and what comes through the tunnel overtakes nothing that the node has yet to read.
func TestGuardInOrder(t *testing.T) {
	b := start(t, func(c *Config) {
		c.Host = func(log *slog.Logger, owner string) (host.Host, error) {
			h, err := host.Linux(log, owner)
			return slowReader{h}, err
		}
	})
	b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
	mn := b.socket(netip.AddrPortFrom(homeAddress, 7000))
	var quiet atomic.Bool // for the router's change to the kernel's way
	// More than it can read would be behind by more than packets wait for, on a machine where the change of ways takes its time.
	stop := b.streams(mn, &stream{what: "downlink", from: b.cn, to: mn, every: 100 * time.Microsecond, dst: func() netip.AddrPort {
		for quiet.Load() {
			time.Sleep(time.Millisecond)
		}
		return netip.AddrPortFrom(homeAddress, 7000)
	}})
	guard := func(how GuardWhen) {
		if err := b.node.Guard(how); err != nil {
			t.Fatal(err)
		}
		b.eventually("copies: "+string(how), func(s Status) bool { return (s.Guard != nil && s.Guard.By != "") == (how == GuardOn) })
	}
	for range 20 {
		guard(GuardOn)
		quiet.Store(true)
		guard(GuardOff)
		b.eventually("the kernel's way", func(Status) bool { return b.routers["b"].Status().Visitors[0].Mode == "direct" })
		quiet.Store(false)
		time.Sleep(time.Millisecond)
	}
	stop()
}

// TestGuardPolicy: copies are kept while the signal is weak, if the configuration says so, and
// whatever that says as a person wants.
func TestGuardPolicy(t *testing.T) {
	b := start(t, func(c *Config) { c.Guard, c.Ping = GuardWeak, 300*time.Millisecond })
	b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
	guarded := func(want bool) {
		t.Helper()
		mode := map[bool]string{true: "copy", false: "direct"}[want]
		b.eventually("the router to be in mode "+mode, func(s Status) bool {
			return (s.Guard != nil && s.Guard.By == "b") == want && b.routers["b"].Status().Visitors[0].Mode == mode
		})
	}
	told := func(how GuardWhen) {
		t.Helper()
		if err := b.node.Guard(how); err != nil {
			t.Fatal(err)
		}
	}
	guarded(false)
	b.node.weaken(true)
	guarded(true)
	b.node.weaken(false)
	guarded(false)
	told(GuardOn)
	guarded(true)
	told(GuardOff)
	guarded(false)
	b.node.weaken(true)
	told(GuardAuto)
	guarded(true)
	b.stopRouter("b")
	b.open["b"]()
	b.eventually("another session, guarded", func(s Status) bool {
		v := b.routers["b"].Status().Visitors
		return s.Guard != nil && s.Guard.By == "b" && len(v) == 1 && v[0].SID == s.Session && v[0].Mode == "copy"
	})
	b.works()
}

// TestGuardUnsure: a router whose answer is lost may keep copies, and is not said to; one that refuses keeps none; nor does
// one to which the node has come back while it was asked.
func TestGuardUnsure(t *testing.T) {
	n := &Node{guard: guarding{wake: make(chan struct{}, 1)}}
	c, in := &candidate{n: n}, &tunnel.Tunnel{}
	for _, x := range []struct {
		name      string
		err       error
		back      bool
		may, told bool
	}{
		{"answer lost", errClosedSession, false, true, false},
		{"refused", fmt.Errorf("asked: %w", &refusedError{notify.KindDeliver, "no"}), false, false, false},
		{"done", nil, false, true, true},
		{"done, and back meanwhile", nil, true, false, false},
	} {
		n.guard.of, n.guard.by, n.guard.sure = c, in, false
		if x.back {
			n.unguarded(c)
		}
		n.guarded(in, x.err)
		if may, told := n.guardedBy(c), n.guard.status() != nil; may != x.may || told != x.told {
			t.Errorf("%s: may keep copies %v, said to keep them %v; expected %v, %v", x.name, may, told, x.may, x.told)
		}
	}
}
