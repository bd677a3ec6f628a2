package pana

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// slowPeer is a fakePeer whose responses take time.
type slowPeer struct {
	fakePeer
	ready []byte
}

func (p *slowPeer) Handle(b []byte) ([]byte, error) {
	resp, err := p.fakePeer.Handle(b)
	if resp == nil || err != nil {
		return resp, err
	}
	p.ready = resp
	return nil, ErrEAPPending
}

// slow adds a node whose EAP peer is asked for its responses.
func (w *world) slow(addr netip.AddrPort, cfg PaCConfig) (*node, func() *slowPeer) {
	var p *slowPeer
	cfg.NewEAP = func() (EAPPeer, error) { p = &slowPeer{}; return p, nil }
	return w.node(addr, cfg), func() *slowPeer { return p }
}

// TestSeparateEAP: responses in PARs, as RFC 5191 section 4.1 draws them, in the
// first authentication and in re-authentication.
func TestSeparateEAP(t *testing.T) {
	round := []string{"PAR[]", "PAN[]", "PAR[]", "PAN[]"}
	want := append(append([]string{"PCI[]", "PAR[S]", "PAN[S]"}, slices.Repeat(round, 4)...), "PAR[C]", "PAN[C]")
	for name, run := range map[string]func(w *world) *node{
		"NoPiggyback": func(w *world) *node {
			n := w.node(addrOld, PaCConfig{NoPiggyback: true})
			w.open(n)
			return n
		},
		"pending": func(w *world) *node {
			n, peer := w.slow(addrOld, PaCConfig{})
			n.do(func(now time.Time, p *PaC) { p.Start(now) })
			for range 4 {
				if !w.run(time.Second, func() bool { return n.pac.eapWait }) {
					t.Fatalf("no request: %v", n.pac.Counters())
				}
				w.pass(3 * time.Second) // a person types
				n.do(func(now time.Time, p *PaC) {
					if err := p.EAPResponse(now, peer().ready, nil); err != nil {
						t.Error(err)
					}
					if err := p.EAPResponse(now, peer().ready, nil); err == nil {
						t.Error("a second response was taken")
					}
				})
			}
			w.run(time.Second, func() bool { return count[Opened](w.outs) == 1 })
			return n
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{})
			n := run(w)
			if n.pac.State() != PaCOpen || count[Opened](w.outs) != 1 {
				t.Fatalf("no session: %v, %v, %v", n.pac.State(), n.pac.Counters(), w.paa.Counters())
			}
			if !slices.Equal(w.wire, want) {
				t.Errorf("messages %v, expected %v", w.wire, want)
			}
			a, _ := last[Opened](n.outs)
			b, _ := last[Opened](w.outs)
			if !sameSecret(a.MSK, b.MSK) || len(n.pac.Counters())+len(w.paa.Counters()) != 0 {
				t.Errorf("keys differ, or something was discarded: %v, %v", n.pac.Counters(), w.paa.Counters())
			}
		})
	}
}

// TestSeparateReauthentication: the notification that is outstanding when a PAR of
// the PaC's must go out is finished first.
func TestSeparateReauthentication(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{NoPiggyback: true})
	w.open(n)
	dropped := false
	w.tap = func(from, _ netip.AddrPort, b []byte) bool {
		m, _ := ParseMessage(b)
		first := m.Name() == "PNR[P]" && !dropped
		dropped = dropped || first
		return !first
	}
	n.do(func(now time.Time, p *PaC) { _, _ = p.Notify(now, vendorAVP("before"), NotifyOptions{}) })
	if err := w.paa.Reauthenticate(w.now, n.pac.SID()); err != nil {
		t.Fatal(err)
	}
	w.flush()
	if !w.run(10*time.Second, func() bool { return count[Opened](w.outs) == 2 && count[Opened](n.outs) == 2 }) {
		t.Fatalf("no re-authentication: %v, %v, %v", n.pac.State(), n.pac.Counters(), w.paa.Counters())
	}
	if d, ok := last[NotifyDone](n.outs); !ok || d.Err != nil || !slices.Equal(texts(w.outs), []string{"before"}) {
		t.Errorf("the notification: %+v, told %v", d, texts(w.outs))
	}
}

// TestSeparateBadNetwork: nothing depends on which of the four messages of a round
// is lost, repeated or late.
func TestSeparateBadNetwork(t *testing.T) {
	for seed := range uint64(100) {
		w := newWorld(t, seed, PAAConfig{AuthTimeout: 5 * time.Minute})
		w.loss, w.dup, w.jitter = 0.2, 0.2, 80*time.Millisecond
		n := w.node(addrOld, PaCConfig{NoPiggyback: true, Preauth: seed%2 == 0, AuthTimeout: 5 * time.Minute})
		n.do(func(now time.Time, p *PaC) { p.Start(now) })
		up := func(times int) func() bool {
			return func() bool { return count[Opened](n.outs) == times && count[Opened](w.outs) == times }
		}
		if !w.run(4*time.Minute, up(1)) {
			t.Fatalf("seed %d: no session: %v, %v, %v, %v", seed, n.pac.State(), n.closed(), n.pac.Counters(), w.paa.Counters())
		}
		n.do(func(now time.Time, p *PaC) { p.Reauthenticate(now) })
		if !w.run(4*time.Minute, up(2)) {
			t.Fatalf("seed %d: no re-authentication: %v, %v, %v, %v", seed, n.pac.State(), n.closed(), n.pac.Counters(), w.paa.Counters())
		}
	}
}

// TestEAPResponseLate: what ends a response that is pending.
func TestEAPResponseLate(t *testing.T) {
	begin := func(cfg PaCConfig) (*world, *node) {
		w := newWorld(t, 1, PAAConfig{})
		n, _ := w.slow(addrOld, cfg)
		n.do(func(now time.Time, p *PaC) { p.Start(now) })
		w.run(time.Second, func() bool { return n.pac.eapWait })
		return w, n
	}
	var failed *ErrEAP
	w, n := begin(PaCConfig{EAPTimeout: 2 * time.Second})
	w.pass(2100 * time.Millisecond)
	if !errors.As(n.closed(), &failed) {
		t.Errorf("closed with %v, expected EAPTimeout", n.closed())
	}
	var late *ErrAuthTimeout
	w, n = begin(PaCConfig{AuthTimeout: 5 * time.Second})
	w.pass(6 * time.Second)
	if !errors.As(n.closed(), &late) || late.State != "the EAP response that was pending did not come" {
		t.Errorf("closed with %v, expected AuthTimeout", n.closed())
	}
	_, n = begin(PaCConfig{})
	n.do(func(now time.Time, p *PaC) {
		if err := p.EAPResponse(now, []byte{1, 2}, nil); err == nil {
			t.Error("half an EAP packet was taken")
		}
		if err := p.EAPResponse(now, nil, errFakeEAP); err != nil {
			t.Error(err)
		}
	})
	if !errors.Is(n.closed(), errFakeEAP) {
		t.Errorf("closed with %v", n.closed())
	}
	w, n = begin(PaCConfig{})
	n.do(func(now time.Time, p *PaC) { _ = p.EAPResponse(now, eapPacket(2, 7, 254, 0), errFakeEAP) })
	w.pass(eapErrorLinger + time.Second)
	if !errors.Is(n.closed(), errFakeEAP) || !slices.Contains(w.wire[4:], "PAR[]") {
		t.Errorf("closed with %v, messages %v", n.closed(), w.wire)
	}
	_, n = begin(PaCConfig{})
	n.do(func(now time.Time, p *PaC) {
		p.Terminate(now)
		if err := p.EAPResponse(now, eapPacket(2, 7, 1), nil); err == nil {
			t.Error("a response was taken after the end")
		}
	})
}

// TestEAPRepeats: EAP that sends its request again gets a new PAR when the PaC has
// answered the one before without EAP, and none while PANA repeats it (RFC 5609,
// WAIT_PAN_OR_PAR).
func TestEAPRepeats(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n, peer := w.slow(addrOld, PaCConfig{})
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	w.run(time.Second, func() bool { s := w.paa.sessions[n.pac.sid]; return s != nil && s.state == paaWaitPAN })
	again := func() {
		t.Helper()
		if err := w.paa.EAPReply(w.now, n.pac.SID(), w.eap[n.pac.SID()].start()); err != nil {
			t.Error(err)
		}
		w.flush()
	}
	w.wire = nil
	again() // the PAR is still under way
	w.run(time.Second, func() bool { s := w.paa.sessions[n.pac.sid]; return s.state == paaWaitPAN && s.out == nil })
	again()
	w.pass(100 * time.Millisecond)
	if want := []string{"PAN[]", "PAR[]", "PAN[]"}; !slices.Equal(w.wire, want) {
		t.Errorf("messages %v, expected %v", w.wire, want)
	}
	for range 4 {
		w.run(time.Second, func() bool { return n.pac.eapWait })
		n.do(func(now time.Time, p *PaC) { _ = p.EAPResponse(now, peer().ready, nil) })
	}
	if !w.run(time.Second, func() bool { return count[Opened](w.outs) == 1 }) {
		t.Errorf("no session: %v, %v", n.pac.Counters(), w.paa.Counters())
	}

	w = newWorld(t, 1, PAAConfig{}) // or gives up
	n, _ = w.slow(addrOld, PaCConfig{})
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	w.run(time.Second, func() bool { return n.pac.eapWait })
	if err := w.paa.EAPReply(w.now, n.pac.SID(), EAPReply{Err: errFakeEAP}); err != nil {
		t.Error(err)
	}
	w.flush()
	if c, ok := last[Closed](w.outs); !ok || !errors.Is(c.Reason, errFakeEAP) {
		t.Errorf("closed with %v", c.Reason)
	}
}

// TestPANOfPAA: EAP, a nonce or a key in it is not what it says it is.
func TestPANOfPAA(t *testing.T) {
	for i, extra := range []AVP{{Code: CodeEAP, Data: eapPacket(1, 9, 1)}, {Code: CodeNonce, Data: make([]byte, 20)}, avp32(CodeKeyID, 1)} {
		t.Run(fmt.Sprint(extra.Code), func(t *testing.T) {
			w := newWorld(t, uint64(i), PAAConfig{})
			n := w.node(addrOld, PaCConfig{NoPiggyback: true})
			n.do(func(now time.Time, p *PaC) { p.Start(now) })
			w.run(time.Second, func() bool { return n.pac.out != nil })
			n.pac.HandlePacket(w.now, encode(&Message{Type: TypeAuth, SID: n.pac.sid, Seq: n.pac.out.msg.Seq, AVPs: []AVP{extra}}, nil))
			if n.pac.out == nil || n.pac.Counters()[DiscardEAP] != 1 {
				t.Errorf("counters %v", n.pac.Counters())
			}
		})
	}
}
