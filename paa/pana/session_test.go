package pana

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/paa/keys"
)

// TestPreauthentication is the whole way of RFC 5873: negotiation, EAP,
// notifications while candidate, arrival, notifications while serving, logout.
func TestPreauthentication(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{
		ParCAVPs:     func(uint32) []AVP { return vendorAVP("identities") },
		AllowPreauth: func(a netip.Addr) bool { return netip.MustParsePrefix("10.1.0.0/24").Contains(a) },
	})
	n := w.node(addrOld, PaCConfig{Preauth: true})
	w.open(n)
	want := []string{
		"PCI[E]", "PAR[SE]", "PAN[SE]", "PAR[E]", "PAN[E]", "PAR[E]", "PAN[E]", "PAR[E]", "PAN[E]", "PAR[E]", "PAN[E]", "PAR[CE]", "PAN[CE]",
	}
	if !slices.Equal(w.wire, want) {
		t.Errorf("messages %v, expected %v", w.wire, want)
	}
	a, _ := last[Opened](n.outs)
	b, _ := last[Opened](w.outs)
	if !sameSecret(a.MSK, b.MSK) || a.SID != b.SID || a.KeyID != b.KeyID || !a.Preauth || !b.Preauth || a.Lifetime != time.Hour || b.From != addrOld {
		t.Errorf("opened with %+v and %+v", a, b)
	}
	if !reflect.DeepEqual(a.AVPs, vendorAVP("identities")) {
		t.Errorf("PAR[C] brought %v", a.AVPs)
	}
	if !n.peer.closed {
		t.Error("the EAP peer has not been closed")
	}

	w.wire, n.outs, w.outs = nil, nil, nil
	n.do(func(now time.Time, p *PaC) {
		if _, err := p.Notify(now, vendorAVP("configure"), NotifyOptions{}); err != nil {
			t.Fatal(err)
		}
	})
	w.pass(100 * time.Millisecond)
	if _, err := w.paa.Notify(w.now, a.SID, vendorAVP("address"), NotifyOptions{}); err != nil {
		t.Fatal(err)
	}
	w.flush()
	w.pass(100 * time.Millisecond)
	if want := []string{"PNR[PE]", "PNA[PE]", "PNR[PE]", "PNA[PE]"}; !slices.Equal(w.wire, want) {
		t.Errorf("messages %v, expected %v", w.wire, want)
	}
	if got, _ := last[Notified](w.outs); !reflect.DeepEqual(got, Notified{SID: a.SID, AVPs: vendorAVP("configure"), From: addrOld}) {
		t.Errorf("the PAA was told %+v", got)
	}
	if got, _ := last[Notified](n.outs); !reflect.DeepEqual(got, Notified{SID: a.SID, AVPs: vendorAVP("address")}) {
		t.Errorf("the PaC was told %+v", got)
	}

	w.wire, n.outs, w.outs = nil, nil, nil
	n.move(addrNew)
	var token uint64
	n.do(func(now time.Time, p *PaC) {
		var err error
		if token, err = p.Notify(now, vendorAVP("arrival"), NotifyOptions{Activate: true, Urgent: true}); err != nil {
			t.Fatal(err)
		}
	})
	w.pass(100 * time.Millisecond)
	if want := []string{"PNR[P]", "PNA[P]"}; !slices.Equal(w.wire, want) {
		t.Errorf("messages %v, expected %v", w.wire, want)
	}
	if want := []string{"AddressChanged", "Activated", "Notified"}; !slices.Equal(kinds(w.outs), want) {
		t.Errorf("the PAA put out %v, expected %v", kinds(w.outs), want)
	}
	if got, _ := last[Notified](w.outs); got.From != addrNew || !got.Activate {
		t.Errorf("arrival told as %+v", got)
	}
	if want := []string{"Activated", "NotifyDone"}; !slices.Equal(kinds(n.outs), want) {
		t.Errorf("the PaC put out %v, expected %v", kinds(n.outs), want)
	}
	if got, _ := last[NotifyDone](n.outs); got.Token != token || got.Err != nil || got.RTT != 2*time.Millisecond {
		t.Errorf("notification ended with %+v", got)
	}
	if n.pac.RTT() != 2*time.Millisecond {
		t.Errorf("RTT %v, expected 2ms", n.pac.RTT())
	}

	w.wire, n.outs, w.outs = nil, nil, nil
	n.do(func(now time.Time, p *PaC) { p.Terminate(now) })
	w.pass(100 * time.Millisecond)
	if want := []string{"PTR[]", "PTA[]"}; !slices.Equal(w.wire, want) {
		t.Errorf("messages %v, expected %v", w.wire, want)
	}
	if !errors.Is(n.closed(), ErrTerminated) {
		t.Errorf("PaC closed with %v", n.closed())
	}
	var gone *ErrPeerTerminated
	if c, _ := last[Closed](w.outs); !errors.As(c.Reason, &gone) || gone.Cause != CauseLogout {
		t.Errorf("PAA closed with %v", c.Reason)
	}
	if w.paa.Sessions() != 0 || len(n.pac.Counters()) != 0 || len(w.paa.Counters()) != 0 {
		t.Errorf("%d sessions left, discarded %v and %v", w.paa.Sessions(), n.pac.Counters(), w.paa.Counters())
	}
	w.pass(time.Minute)
	if len(w.paa.sessions) != 0 || len(w.paa.timers) != 0 || len(w.paa.byAddr) != 0 {
		t.Error("the PAA keeps something of a session that is gone")
	}
}

func TestAlgorithms(t *testing.T) {
	for _, prf := range []keys.PRF{2, 5, 6, 7} {
		for _, integ := range []keys.Integrity{7, 12, 13, 14} {
			t.Run(fmt.Sprintf("%d/%d", prf, integ), func(t *testing.T) {
				w := newWorld(t, 2, PAAConfig{})
				n := w.node(addrOld, PaCConfig{PRFs: []keys.PRF{prf}, Integrities: []keys.Integrity{integ}})
				w.open(n)
				if n.pac.hs.prf != prf || n.pac.hs.integ != integ {
					t.Errorf("agreed on %d and %d", n.pac.hs.prf, n.pac.hs.integ)
				}
			})
		}
	}
}

// TestBadNetwork runs whole sessions over a network that loses, duplicates and
// reorders: everything arrives once and in order, on both sides.
func TestBadNetwork(t *testing.T) {
	for seed := range uint64(150) {
		t.Run(fmt.Sprintf("seed-%d", seed), func(t *testing.T) { badNetwork(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func badNetwork(t *testing.T, seed uint64) {
	patient := Retransmission{IRT: time.Second, MRT: 4 * time.Second, MRC: 60} // never gives up by bad luck
	w := newWorld(t, seed, PAAConfig{AuthTimeout: 5 * time.Minute, Request: patient})
	w.loss, w.dup, w.delay, w.jitter = 0.2, 0.2, 5*time.Millisecond, 80*time.Millisecond
	n := w.node(addrOld, PaCConfig{
		Preauth: true, AuthTimeout: 5 * time.Minute, PCI: patient, Request: patient,
	})
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	sid := func() uint32 { return n.pac.SID() }
	up := func() bool {
		s := w.paa.sessions[sid()]
		return n.pac.State() == PaCOpen && s != nil && s.opened
	}
	if !w.run(4*time.Minute, up) {
		t.Fatalf("no session: %v, %v, %v", n.pac.State(), n.pac.Counters(), w.paa.Counters())
	}
	var sentUp, sentDown []string
	for i := range 10 {
		upText, downText := fmt.Sprintf("up %d", i), fmt.Sprintf("down %d", i)
		sentUp, sentDown = append(sentUp, upText), append(sentDown, downText)
		n.do(func(now time.Time, p *PaC) {
			if _, err := p.Notify(now, vendorAVP(upText), NotifyOptions{Urgent: i%3 == 0}); err != nil {
				t.Fatal(err)
			}
		})
		if _, err := w.paa.Notify(w.now, sid(), vendorAVP(downText), NotifyOptions{Urgent: i%4 == 0}); err != nil {
			t.Fatal(err)
		}
		w.flush()
		switch i {
		case 3:
			n.do(func(now time.Time, p *PaC) { p.Reauthenticate(now) })
		case 5:
			n.move(addrNew)
			sentUp = append(sentUp, "arrival")
			n.do(func(now time.Time, p *PaC) {
				if _, err := p.Notify(now, vendorAVP("arrival"), NotifyOptions{Activate: true, Urgent: true}); err != nil {
					t.Fatal(err)
				}
			})
		case 7:
			if err := w.paa.Reauthenticate(w.now, sid()); err != nil && !errors.Is(err, ErrNotOpen) {
				t.Fatal(err)
			}
			w.flush()
		}
		w.pass(time.Duration(w.rnd.IntN(400)) * time.Millisecond)
	}
	finished := func() bool {
		return count[NotifyDone](n.outs) == len(sentUp) && count[NotifyDone](w.outs) == len(sentDown) &&
			n.pac.State() == PaCOpen && w.paa.sessions[sid()] != nil && w.paa.sessions[sid()].state == paaOpen
	}
	if !w.run(4*time.Minute, finished) {
		t.Fatalf("%d of %d and %d of %d notifications done; PaC %v %v, PAA %v %v", count[NotifyDone](n.outs), len(sentUp),
			count[NotifyDone](w.outs), len(sentDown), n.pac.State(), kinds(n.outs), kinds(w.outs), w.paa.Counters())
	}
	if got := texts(w.outs); !slices.Equal(got, sentUp) {
		t.Errorf("the PAA was told %v, expected %v", got, sentUp)
	}
	if got := texts(n.outs); !slices.Equal(got, sentDown) {
		t.Errorf("the PaC was told %v, expected %v", got, sentDown)
	}
	if count[Activated](w.outs) != 1 || count[Activated](n.outs) != 1 || count[AddressChanged](w.outs) == 0 {
		t.Errorf("PAA %v, PaC %v", kinds(w.outs), kinds(n.outs))
	}
	if a, b := count[Opened](n.outs), count[Opened](w.outs); a != b || a < 2 {
		t.Errorf("opened %d times at the PaC, %d times at the PAA", a, b)
	}
	a, _ := last[Opened](n.outs)
	b, _ := last[Opened](w.outs)
	if !sameSecret(a.MSK, b.MSK) || a.KeyID != b.KeyID {
		t.Error("the sides have different keys")
	}
	for _, o := range append(slices.Clone(n.outs), w.outs...) {
		if d, ok := o.(NotifyDone); ok && d.Err != nil {
			t.Errorf("notification %d failed: %v", d.Token, d.Err)
		}
	}
	w.loss = 0
	n.do(func(now time.Time, p *PaC) { p.Terminate(now) })
	if !w.run(5*time.Minute, func() bool { return n.closed() != nil && count[Closed](w.outs) == 1 }) || !errors.Is(n.closed(), ErrTerminated) {
		t.Errorf("the PaC closed with %v, the PAA %d times", n.closed(), count[Closed](w.outs))
	}
	w.pass(10 * time.Minute)
	if len(w.paa.sessions) != 0 || len(w.paa.timers) != 0 || len(w.paa.byAddr) != 0 || w.paa.live != 0 {
		t.Error("the PAA keeps something of a session that is gone")
	}
}

// texts lists the values of the notifications delivered.
func texts(outs []Output) (s []string) {
	for _, o := range outs {
		if n, ok := o.(Notified); ok {
			for _, a := range n.AVPs {
				s = append(s, string(a.Data))
			}
		}
	}
	return s
}

// TestManySessions: one PAA, many PaCs, all at once and with losses.
func TestManySessions(t *testing.T) {
	const seed, sessions = 7, 60
	w := newWorld(t, seed, PAAConfig{MaxPending: sessions, AuthTimeout: 5 * time.Minute})
	w.loss, w.dup, w.jitter = 0.1, 0.1, 20*time.Millisecond
	for i := range sessions {
		n := w.node(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 1, byte(i)}), 716), PaCConfig{Preauth: i%2 == 0, AuthTimeout: 5 * time.Minute})
		n.do(func(now time.Time, p *PaC) { p.Start(now) })
	}
	all := func() bool {
		for _, n := range w.nodes {
			if s := w.paa.sessions[n.pac.sid]; s == nil || !s.opened || n.pac.State() != PaCOpen {
				return false
			}
		}
		return true
	}
	if !w.run(5*time.Minute, all) {
		t.Fatalf("seed %d: not every session opened: %v", seed, w.paa.Counters())
	}
	sids := map[uint32]bool{}
	for _, n := range w.nodes {
		sids[n.pac.SID()] = true
	}
	if len(sids) != sessions || w.paa.Sessions() != sessions {
		t.Errorf("seed %d: %d session identifiers, %d sessions, expected %d", seed, len(sids), w.paa.Sessions(), sessions)
	}
}

// TestSecretsNotPrinted: no output prints a key.
func TestSecretsNotPrinted(t *testing.T) {
	w := newWorld(t, 3, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	o, _ := last[Opened](n.outs)
	if s := fmt.Sprintf("%v %+v %#v", o, o, o); strings.Contains(s, fmt.Sprintf("%x", o.MSK.Bytes()[:4])) {
		t.Error("an Opened prints its MSK")
	}
}
