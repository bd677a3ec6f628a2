package pana

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"
)

// TestSilence: a dead peer ends the session after interval and timeout, whatever
// was under way, and after several pings.
func TestSilence(t *testing.T) {
	for _, side := range []string{"PaC", "PAA", "PAA with a notification"} {
		t.Run(side, func(t *testing.T) {
			pac, paa := PaCConfig{}, PAAConfig{Lifetime: 24 * time.Hour}
			if side == "PaC" {
				pac.PingInterval, pac.PingTimeout = 10*time.Second, 5*time.Second
			} else {
				paa.PingInterval, paa.PingTimeout = 10*time.Second, 5*time.Second
			}
			w := newWorld(t, 1, paa)
			n := w.node(addrOld, pac)
			w.open(n)
			w.pass(time.Minute)
			if count[Closed](w.outs)+count[Closed](n.outs) != 0 {
				t.Fatal("closed while both are there")
			}
			n.do(func(now time.Time, p *PaC) {
				if _, err := p.Notify(now, vendorAVP("alive"), NotifyOptions{}); err != nil {
					t.Error(err)
				}
			})
			w.pass(100 * time.Millisecond)
			n.off = true
			began := w.now
			w.wire = nil
			if side == "PAA with a notification" {
				if _, err := w.paa.Notify(w.now, n.pac.SID(), vendorAVP("lost"), NotifyOptions{}); err != nil {
					t.Fatal(err)
				}
				w.flush()
			}
			closed := func() error {
				if side == "PaC" {
					return n.closed()
				}
				c, _ := last[Closed](w.outs)
				return c.Reason
			}
			w.run(time.Minute, func() bool { return closed() != nil })
			var silent *ErrSilent
			if !errors.As(closed(), &silent) {
				t.Fatalf("closed with %v", closed())
			}
			if d := w.now.Sub(began); d < 14*time.Second || d > 15*time.Second || silent.For != 15*time.Second {
				t.Errorf("closed after %v, it says %v", d, silent.For)
			}
			if side == "PAA" && len(w.wire) < 3 {
				t.Errorf("asked by %v", w.wire)
			}
		})
	}
}

// TestSlowReauthentication: silence while the AAA server thinks is nobody's death.
func TestSlowReauthentication(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{PingInterval: time.Second, PingTimeout: time.Second})
	n := w.node(addrOld, PaCConfig{PingInterval: time.Second, PingTimeout: time.Second})
	w.open(n)
	w.aaa = 5 * time.Second
	n.do(func(now time.Time, p *PaC) { p.Reauthenticate(now) })
	w.pass(time.Minute)
	if count[Opened](n.outs) != 2 || count[Opened](w.outs) != 2 || count[Closed](n.outs)+count[Closed](w.outs) != 0 {
		t.Errorf("PaC %v (%v), PAA %v", kinds(n.outs), n.closed(), kinds(w.outs))
	}
}

// TestInvitation: a PAA that has been restarted tells the PaC, which finds out
// that its session is gone in seconds.
func TestInvitation(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{PingInterval: time.Minute, PingTimeout: time.Minute})
	w.open(n)
	var err error
	if w.paa, err = NewPAA(PAAConfig{Rand: newSeeded(5)}); err != nil {
		t.Fatal(err)
	}
	began := w.now
	w.paa.Invite(w.now, addrOld)
	w.flush()
	w.run(time.Minute, func() bool { return n.closed() != nil })
	var silent *ErrSilent
	if d := w.now.Sub(began); !errors.As(n.closed(), &silent) || d > 4*time.Second {
		t.Errorf("closed after %v with %v", d, n.closed())
	}
	if w.paa.Sessions() != 0 {
		t.Error("the invitation made a session")
	}

	// One that has no session takes the invitation: PAA-initiated (section 4.1).
	fresh := w.node(addrNew, PaCConfig{})
	w.tap = func(_, _ netip.AddrPort, b []byte) bool { m, _ := ParseMessage(b); return m.Type != TypePCI }
	fresh.do(func(now time.Time, p *PaC) { p.Start(now) })
	w.paa.Invite(w.now, addrNew)
	w.flush()
	if !w.run(time.Minute, func() bool { return count[Opened](fresh.outs) == 1 }) {
		t.Errorf("no session: %v", fresh.closed())
	}
}

// TestInvitationFar: the same however far the PAA is.
func TestInvitationFar(t *testing.T) {
	for _, delay := range []time.Duration{5 * time.Millisecond, 30 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond} {
		w := newWorld(t, 1, PAAConfig{})
		w.delay, w.jitter = delay, delay/4
		n := w.node(addrOld, PaCConfig{PingInterval: time.Minute, PingTimeout: time.Minute})
		w.open(n)
		var err error
		if w.paa, err = NewPAA(PAAConfig{Rand: newSeeded(5)}); err != nil {
			t.Fatal(err)
		}
		w.paa.Invite(w.now, addrOld)
		w.flush()
		if !w.run(4*time.Second, func() bool { return n.closed() != nil }) {
			t.Errorf("%v away: the session is still there after 4 s", delay)
		}
	}
}

// TestForgedInvitation: anybody can send one; it costs a ping now and then.
func TestForgedInvitation(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{PingInterval: time.Minute, PingTimeout: time.Minute})
	w.open(n)
	stranger, err := NewPAA(PAAConfig{Rand: newSeeded(5)})
	if err != nil {
		t.Fatal(err)
	}
	w.wire = nil
	for range 300 {
		stranger.Invite(w.now, addrOld)
		for o, ok := stranger.Poll(); ok; o, ok = stranger.Poll() {
			n.pac.HandlePacket(w.now, o.(Send).Data)
			n.flush()
		}
		w.pass(100 * time.Millisecond)
	}
	if n.closed() != nil || n.pac.State() != PaCOpen {
		t.Fatalf("closed with %v", n.closed())
	}
	if len(w.wire) == 0 || len(w.wire) > 2*7 {
		t.Errorf("%d messages in 30 s", len(w.wire))
	}
}

// TestRebinding: an address translator takes another port for the node in the middle
// of its preparation, and nobody knows. The reply goes where nobody is; the node's
// next ping brings it at once, however far its retransmission has backed off.
func TestRebinding(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{Preauth: true, PingInterval: 20 * time.Second, PingTimeout: 20 * time.Second})
	w.open(n)
	// As move does, without anybody's telling the PaC.
	delete(w.nodes, n.addr)
	n.addr = addrOther
	w.nodes[addrOther] = n
	if _, err := w.paa.Notify(w.now, n.pac.SID(), vendorAVP("your address"), NotifyOptions{}); err != nil {
		t.Fatal(err)
	}
	w.flush()
	began := w.now
	if !w.run(time.Minute, func() bool { return count[Notified](n.outs) == 1 }) {
		t.Fatal("the node never got the reply")
	}
	if d := w.now.Sub(began); d > 20*time.Second+10*w.delay {
		t.Errorf("the reply came %v after it was due, and the ping after 20 s", d)
	}
	if a, ok := last[AddressChanged](w.outs); !ok || a.From != addrOther {
		t.Errorf("the PAA has %+v", a)
	}
	w.pass(100 * time.Millisecond)
	if d, ok := last[NotifyDone](w.outs); !ok || d.Err != nil {
		t.Errorf("done %+v", d)
	}
	w.pass(2 * time.Minute)
	if count[Notified](n.outs) != 1 || n.closed() != nil {
		t.Errorf("the node has %v", kinds(n.outs))
	}
}

// TestLostSession: a PAA that was restarted, and does not know of the PaC, tells it
// when it hears from it; within the limit that PCIs have.
func TestLostSession(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{Preauth: true, PingInterval: time.Minute, PingTimeout: time.Minute})
	w.open(n)
	var err error
	if w.paa, err = NewPAA(PAAConfig{Rand: newSeeded(5), PCIRatePerSource: 2}); err != nil {
		t.Fatal(err)
	}
	n.do(func(now time.Time, p *PaC) {
		if _, err := p.Notify(now, vendorAVP("arrival"), NotifyOptions{Activate: true, Urgent: true}); err != nil {
			t.Error(err)
		}
	})
	began := w.now
	var request []byte
	w.tap = func(from, _ netip.AddrPort, b []byte) bool {
		if from == addrOld {
			request = bytes.Clone(b)
		}
		return true
	}
	w.run(time.Minute, func() bool { return n.closed() != nil })
	var silent *ErrSilent
	if d := w.now.Sub(began); !errors.As(n.closed(), &silent) || d > 4*time.Second {
		t.Errorf("closed after %v with %v", d, n.closed())
	}
	w.pass(time.Minute)
	w.tap, w.wire = nil, nil
	for range 100 {
		w.paa.HandlePacket(w.now, addrOther, bytes.Clone(request))
		w.flush()
	}
	if len(w.wire) != 4 {
		t.Errorf("100 requests were answered with %v", w.wire)
	}
	if w.paa.Sessions() != 0 {
		t.Error("they made a session")
	}
}
