package pana

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"openmpa/paa/keys"
)

func TestPaCConfig(t *testing.T) {
	eap := func() (EAPPeer, error) { return &fakePeer{}, nil }
	for name, cfg := range map[string]PaCConfig{
		"no EAP":              {},
		"keyless and preauth": {NewEAP: eap, Preauth: true, AllowKeyless: true},
		"unknown PRF":         {NewEAP: eap, PRFs: []keys.PRF{4}},
		"unknown integrity":   {NewEAP: eap, Integrities: []keys.Integrity{8}},
		"negative timeout":    {NewEAP: eap, AuthTimeout: -1},
		"IRT 0":               {NewEAP: eap, PCI: Retransmission{MRC: 3}},
		"negative MRC":        {NewEAP: eap, Request: Retransmission{IRT: 1, MRC: -3}},
	} {
		if _, err := NewPaC(cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: error %v, expected ErrConfig", name, err)
		}
	}
}

func TestNotifyRefused(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	if _, err := n.pac.Notify(w.now, nil, NotifyOptions{}); !errors.Is(err, ErrNotOpen) {
		t.Errorf("before Start: %v", err)
	}
	w.open(n)
	if _, err := n.pac.Notify(w.now, []AVP{avp32(CodeKeyID, 1)}, NotifyOptions{}); !errors.Is(err, ErrAVP) {
		t.Errorf("Key-Id: %v", err)
	}
	var err error
	for range maxQueued + 2 {
		_, err = n.pac.Notify(w.now, nil, NotifyOptions{})
	}
	if !errors.Is(err, ErrQueueFull) {
		t.Errorf("queue full: %v", err)
	}
	if _, err := w.paa.Notify(w.now, n.pac.sid+1, nil, NotifyOptions{}); !errors.Is(err, ErrUnknownSession) {
		t.Errorf("unknown session: %v", err)
	}
	n.pac.Terminate(w.now)
	if _, err := n.pac.Notify(w.now, nil, NotifyOptions{}); !errors.Is(err, ErrNotOpen) {
		t.Errorf("after Terminate: %v", err)
	}
	n.flush()
	w.run(time.Minute, func() bool { return n.closed() != nil })
	if got, want := count[NotifyDone](n.outs), maxQueued+1; got != want {
		t.Errorf("%d NotifyDone, expected one for each of %d tokens", got, want)
	}
}

// TestPaCDiscards feeds a PaC what RFC 5191 section 5.5 and RFC 5873 forbid.
func TestPaCDiscards(t *testing.T) {
	par := func(f Flags, avps ...AVP) Message {
		return Message{Type: TypeAuth, Flags: FlagR | f, AVPs: avps}
	}
	nonce := AVP{Code: CodeNonce, Data: make([]byte, 20)}
	eapReq := AVP{Code: CodeEAP, Data: eapPacket(1, 9, 1)}
	algos := []AVP{avp32(CodePRF, 5), avp32(CodeIntegrity, 12)}
	unknown := []AVP{avp32(CodePRF, 4), avp32(CodeIntegrity, 8)}
	ping := Message{Type: TypeNtfy, Flags: FlagR | FlagP}
	const (
		waiting = iota // PCI sent
		started        // S exchange done
		running        // EAP runs
		open
		reauth // PNR[A] sent
		again  // EAP runs in an open session
	)
	for _, c := range []struct {
		name  string
		state int
		m     Message
		delta int // added to the expected number
		sign  bool
		want  Discard
	}{
		{"PAR before PAR[S]", waiting, par(0, nonce, eapReq), 0, false, DiscardSID},
		{"PAR[C] before PAR[S]", waiting, par(FlagC, avp32(CodeResult, 1)), 0, false, DiscardSID},
		{"PAR[S] without E", waiting, par(FlagS, algos...), 0, false, DiscardPreauth},
		{"PAR[S] with unknown algorithms only", waiting, par(FlagS|FlagE, unknown...), 0, false, DiscardAlgorithms},
		{"PAR[S] with a PRF only", waiting, par(FlagS|FlagE, algos[0]), 0, false, DiscardAlgorithms},
		{"PAR[S] without algorithms", waiting, par(FlagS | FlagE), 0, false, DiscardAlgorithms},
		{"PAR[S] with a nonce", waiting, par(FlagS|FlagE, append(algos, nonce)...), 0, false, DiscardNonce},
		{"PAR[S] with an EAP-Failure", waiting, par(FlagS|FlagE, append(algos, AVP{Code: CodeEAP, Data: eapPacket(4, 9)})...), 0, false, DiscardEAP},
		{"PAR without nonce first", started, par(FlagE, eapReq), 0, false, DiscardNonce},
		{"PAR without EAP", started, par(FlagE, nonce), 0, false, DiscardEAP},
		{"PAR with AUTH and no SA", started, par(FlagE, nonce, eapReq, AVP{Code: CodeAUTH, Data: make([]byte, 20)}), 0, false, DiscardAUTH},
		{"PAR with E clear", started, par(0, nonce, eapReq), 0, false, DiscardPreauth},
		{"PAR out of order", started, par(FlagE, nonce, eapReq), 1, false, DiscardSequence},
		{"PAR with EAP that means nothing", started, par(FlagE, nonce, AVP{Code: CodeEAP, Data: eapPacket(2, 9, 1)}), 0, false, DiscardEAP},
		{"PAR[C] success before the nonces", started, par(FlagC|FlagE, avp32(CodeResult, 0), avp32(CodeLifetime, 9), AVP{Code: CodeEAP, Data: eapPacket(3, 9)}), 0, false, DiscardNonce},
		{"ping in authentication", started, ping, 0, false, DiscardUnexpected},
		{"PTR in authentication", running, Message{Type: TypeTerm, Flags: FlagR, AVPs: []AVP{avp32(CodeTermCause, 4)}}, 0, false, DiscardUnexpected},
		{"PAR[S] after a PAR", running, par(FlagS|FlagE, algos...), 0, false, DiscardUnexpected},
		{"PAR with a second nonce", running, par(FlagE, nonce, eapReq), 0, false, DiscardNonce},
		{"PAR[C] without result", running, par(FlagC|FlagE, eapReq), 0, false, DiscardResult},
		{"PAR[C] success without lifetime", running, par(FlagC|FlagE, avp32(CodeResult, 0), AVP{Code: CodeEAP, Data: eapPacket(3, 9)}), 0, false, DiscardResult},
		{"PAR[C] success without AUTH", running, par(FlagC|FlagE, avp32(CodeResult, 0), avp32(CodeLifetime, 9), AVP{Code: CodeEAP, Data: eapPacket(3, 9)}), 0, false, DiscardAUTH},
		{"PAR[C] failure with a Key-Id but no MSK", running, par(FlagC|FlagE, avp32(CodeResult, 2), avp32(CodeKeyID, 1)), 0, false, DiscardKeyID},
		{"answer without a request", running, Message{Type: TypeNtfy, Flags: FlagP | FlagE}, 0, false, DiscardNoRequest},
		{"PCI", running, Message{Type: TypePCI}, 0, false, DiscardSID},
		{"PAR[S] when open", open, par(FlagS|FlagE, algos...), 0, false, DiscardUnexpected},
		{"PAR[C] when open", open, par(FlagC|FlagE, avp32(CodeResult, 1)), 0, true, DiscardUnexpected},
		{"ping without AUTH", open, Message{Type: TypeNtfy, Flags: FlagR | FlagP | FlagE}, 0, false, DiscardAUTH},
		{"ping with E clear", open, ping, 0, true, DiscardPreauth},
		{"ping out of order", open, Message{Type: TypeNtfy, Flags: FlagR | FlagP | FlagE}, -7, true, DiscardSequence},
		{"PNR[A] to the PaC", open, Message{Type: TypeNtfy, Flags: FlagR | FlagA | FlagE}, 0, true, DiscardUnexpected},
		{"PTR without AUTH", open, Message{Type: TypeTerm, Flags: FlagR | FlagE, AVPs: []AVP{avp32(CodeTermCause, 4)}}, 0, false, DiscardAUTH},
		{"PAR without AUTH when open", open, par(FlagE, nonce, eapReq), 0, false, DiscardAUTH},
		{"PAR with a second nonce, without AUTH", again, par(FlagE, nonce, eapReq), 0, false, DiscardAUTH},
		{"PAR with a second nonce and no EAP", again, par(FlagE, nonce), 0, true, DiscardEAP},
		{"PAR before the PNA[A]", reauth, par(FlagE, nonce, eapReq), 0, true, DiscardUnexpected},
		{"PNA[P] for a PNR[A]", reauth, Message{Type: TypeNtfy, Flags: FlagP | FlagE}, 0, true, DiscardNoRequest},
		{"PNA[A] with another number", reauth, Message{Type: TypeNtfy, Flags: FlagA | FlagE}, 5, true, DiscardSequence},
		{"PNA[A] without AUTH", reauth, Message{Type: TypeNtfy, Flags: FlagA | FlagE, Seq: 1}, 0, false, DiscardAUTH},
		{"PAR[C] success with an EAP-Failure and any AUTH", again, par(FlagC|FlagE, avp32(CodeResult, 0), avp32(CodeLifetime, 9), avp32(CodeKeyID, 9),
			AVP{Code: CodeEAP, Data: eapPacket(4, 0)}, AVP{Code: CodeAUTH, Data: make([]byte, 32)}), 0, false, DiscardEAP},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{})
			n := w.node(addrOld, PaCConfig{Preauth: true})
			start := func() { n.do(func(now time.Time, p *PaC) { p.Start(now) }) }
			toPAA := func(_, to netip.AddrPort, _ []byte) bool { return to == w.paaAddr }
			switch c.state {
			case waiting:
				w.tap = toPAA
				start()
			case started:
				w.aaa = time.Hour
				start()
				w.pass(50 * time.Millisecond)
			case running:
				start()
				w.run(time.Second, func() bool { return n.pac.State() == PaCAuth })
				w.tap = toPAA
			case open:
				w.open(n)
			case reauth:
				w.open(n)
				w.tap = toPAA
				n.do(func(now time.Time, p *PaC) { p.Reauthenticate(now) })
			case again:
				w.open(n)
				n.do(func(now time.Time, p *PaC) { p.Reauthenticate(now) })
				w.run(time.Second, func() bool { return n.pac.eap != nil && n.pac.sawNonce && n.pac.eapID != 0 })
				w.tap = toPAA
				if len(c.m.AVPs) > 3 {
					c.m.AVPs[3].Data[1] = n.pac.eapID
				}
			}
			m := c.m
			if m.Type != TypePCI {
				m.SID = max(n.pac.sid, 1)
				switch {
				case m.request():
					m.Seq = n.pac.rxSeq + uint32(c.delta)
				case n.pac.out != nil:
					m.Seq = n.pac.out.msg.Seq + uint32(c.delta)
				}
			}
			sa := n.pac.sa
			if !c.sign {
				sa = nil
			}
			raw := encode(&m, sa)
			before, state, outs := n.pac.Counters()[c.want], n.pac.State(), len(n.outs)
			n.pac.HandlePacket(w.now, raw)
			if got := n.pac.Counters()[c.want]; got != before+1 {
				t.Errorf("not discarded for %q; counters %v", c.want, n.pac.Counters())
			}
			if o, ok := n.pac.Poll(); ok || len(n.outs) != outs || n.pac.State() != state {
				t.Errorf("it had an effect: %T, state %v", o, n.pac.State())
			}
			w.tap, w.aaa = nil, 0 // and the session goes on as if nothing had been
			if !w.run(2*time.Minute, func() bool { return n.pac.State() == PaCOpen }) && c.state != started {
				t.Errorf("the session did not survive: %v, %v", n.pac.State(), n.closed())
			}
		})
	}
}

// TestPreauthRefused: a PAA without pre-authentication answers with E clear;
// the run dies, and the error says why.
func TestPreauthRefused(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	w.tap = func(_, to netip.AddrPort, b []byte) bool {
		b[4] &^= byte(FlagE >> 8)
		return true
	}
	n := w.node(addrOld, PaCConfig{Preauth: true, AuthTimeout: 10 * time.Second})
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	w.pass(time.Minute)
	if n.closed() == nil || !strings.Contains(n.closed().Error(), "does not offer pre-authentication") {
		t.Errorf("closed with %v", n.closed())
	}
}

// TestForgedSuccess: a PAR[C] with a wrong AUTH must not spoil the real one,
// although it has brought the EAP-Success first.
func TestForgedSuccess(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{Preauth: true})
	forged := 0
	w.tap = func(_, to netip.AddrPort, b []byte) bool {
		if m, err := ParseMessage(b); err == nil && to == addrOld && m.Flags.Has(FlagC) {
			bad := bytes.Clone(b)
			bad[len(bad)-1] ^= 1
			n.pac.HandlePacket(w.now, bad)
			forged++
		}
		return true
	}
	w.open(n)
	if forged != 1 || n.pac.Counters()[DiscardAUTH] != 1 {
		t.Errorf("%d forged, discarded %v", forged, n.pac.Counters())
	}
}

// TestEAPFails: the EAP peer's own error is the reason, whether a response
// goes with it, and whatever the PAA says.
func TestEAPFails(t *testing.T) {
	own := func(err error) bool {
		var e *ErrEAP
		return errors.As(err, &e) && errors.Is(err, errFakeEAP)
	}
	for _, c := range []struct {
		name   string
		peer   fakePeer
		rounds int  // after which the server rejects
		silent bool // nothing reaches the PaC after the first response to the method
		check  func(err error) bool
	}{
		{"without a response", fakePeer{failAt: 2, failErr: errFakeEAP}, 3, false, own},
		{"with an alert, and the PAA rejects", fakePeer{failAt: 1, failErr: errFakeEAP, alert: true}, 1, false, own},
		{"with an alert, and the PAA is silent", fakePeer{failAt: 1, failErr: errFakeEAP, alert: true}, 1, true, own},
		{"rejected by the server", fakePeer{}, 1, false, func(err error) bool {
			var e *ErrAuthRejected
			return errors.As(err, &e) && e.Code == ResultAuthenticationRejected
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{})
			w.newEAP = func() *fakeServer { return &fakeServer{rounds: c.rounds, reject: true} }
			p := c.peer
			w.tap = func(_, to netip.AddrPort, _ []byte) bool { return to == w.paaAddr || !c.silent || p.requests == 0 }
			n := w.node(addrOld, PaCConfig{Preauth: true, NewEAP: func() (EAPPeer, error) { return &p, nil }})
			n.do(func(now time.Time, p *PaC) { p.Start(now) })
			start := w.now
			if !w.run(20*time.Second, func() bool { return n.closed() != nil }) || !c.check(n.closed()) {
				t.Errorf("closed with %v", n.closed())
			}
			if took := w.now.Sub(start); took > eapErrorLinger+time.Second || c.silent && took < eapErrorLinger {
				t.Errorf("it took %v", took)
			}
			if !p.closed {
				t.Error("the EAP peer has not been closed")
			}
		})
	}
	t.Run("NewEAP", func(t *testing.T) {
		w := newWorld(t, 1, PAAConfig{})
		n := w.node(addrOld, PaCConfig{NewEAP: func() (EAPPeer, error) { return nil, errFakeEAP }})
		n.do(func(now time.Time, p *PaC) { p.Start(now) })
		w.pass(time.Second)
		if !errors.Is(n.closed(), errFakeEAP) {
			t.Errorf("closed with %v", n.closed())
		}
	})
}

// TestAltReject: PAR[C] failure without an EAP packet (RFC 5609 alt_reject).
func TestAltReject(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	w.edit = func(r *EAPReply) {
		if r.Done {
			*r = EAPReply{Done: true, Err: errors.New("AAA is silent")}
		}
	}
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	w.pass(time.Second)
	var e *ErrAuthRejected
	if !errors.As(n.closed(), &e) || !n.peer.altRejected {
		t.Errorf("closed with %v, EAP peer told: %v", n.closed(), n.peer.altRejected)
	}
	if c, _ := last[Closed](w.outs); !errors.As(c.Reason, &e) || e.Err == nil || e.Err.Error() != "AAA is silent" {
		t.Errorf("PAA closed with %v", c.Reason)
	}
}

func TestLifetime(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{Lifetime: 90 * time.Second})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	w.pass(89 * time.Second)
	if n.closed() != nil || count[Closed](w.outs) != 0 {
		t.Fatalf("closed early: %v", n.closed())
	}
	w.pass(2 * time.Second)
	var e *ErrLifetime
	if c, _ := last[Closed](w.outs); !errors.As(n.closed(), &e) || !errors.As(c.Reason, &e) || e.Lifetime != 90*time.Second {
		t.Errorf("closed with %v and %v", n.closed(), c.Reason)
	}
}

// TestReauthBefore: the PaC extends the session in time (RFC 5191 section 5.7).
func TestReauthBefore(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{Lifetime: 100 * time.Second})
	n := w.node(addrOld, PaCConfig{ReauthBefore: 20 * time.Second, Preauth: true})
	w.open(n)
	first, _ := last[Opened](n.outs)
	w.wire = nil
	w.pass(81 * time.Second)
	o, _ := last[Opened](n.outs)
	if !o.Rekeyed || o.SID != first.SID || o.KeyID == first.KeyID || o.MSK.Equal(first.MSK) {
		t.Errorf("%+v after %+v", o, first)
	}
	if w.wire[0] != "PNR[AE]" || w.wire[1] != "PNA[AE]" || w.wire[2] != "PAR[E]" {
		t.Errorf("messages %v", w.wire)
	}
	w.pass(10 * time.Minute)
	if n.closed() != nil || count[Opened](w.outs) != count[Opened](n.outs) {
		t.Errorf("closed with %v", n.closed())
	}
}

// TestLiveness: pings after silence; a dead peer ends the session.
func TestLiveness(t *testing.T) {
	for _, side := range []string{"PaC", "PAA"} {
		t.Run(side, func(t *testing.T) {
			pac, paa := PaCConfig{}, PAAConfig{Lifetime: 24 * time.Hour}
			if side == "PaC" {
				pac.PingInterval = 10 * time.Second
			} else {
				paa.PingInterval = 10 * time.Second
			}
			w := newWorld(t, 1, paa)
			n := w.node(addrOld, pac)
			w.open(n)
			w.wire = nil
			w.pass(time.Minute)
			if len(w.wire) < 8 || len(w.wire) > 12 || w.wire[0] != "PNR[P]" || w.wire[1] != "PNA[P]" {
				t.Errorf("messages in a minute: %v", w.wire)
			}
			if count[Notified](w.outs)+count[Notified](n.outs)+count[NotifyDone](n.outs)+count[NotifyDone](w.outs) != 0 {
				t.Error("a ping is visible to the owner")
			}
			n.off = true
			w.pass(10 * time.Minute)
			reason := n.closed()
			if side == "PAA" {
				c, _ := last[Closed](w.outs)
				reason = c.Reason
			}
			var e *ErrRetransmissions
			if !errors.As(reason, &e) {
				t.Errorf("closed with %v", reason)
			}
		})
	}
}

// TestDuplicateRequest: the cached answer, octet for octet, and no second
// delivery (RFC 5191 section 5.2).
func TestDuplicateRequest(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	var request, answer []byte
	w.tap = func(from, to netip.AddrPort, b []byte) bool {
		if from == w.paaAddr {
			request = bytes.Clone(b)
		} else {
			answer = bytes.Clone(b)
		}
		return true
	}
	if _, err := w.paa.Notify(w.now, n.pac.sid, vendorAVP("once"), NotifyOptions{}); err != nil {
		t.Fatal(err)
	}
	w.flush()
	w.pass(time.Second)
	first := answer
	for range 3 {
		answer = nil
		n.pac.HandlePacket(w.now, request)
		n.flush()
		if !bytes.Equal(answer, first) {
			t.Fatalf("answer %x, expected %x", answer, first)
		}
	}
	bad := bytes.Clone(request)
	bad[len(bad)-1] ^= 1
	answer = nil
	n.pac.HandlePacket(w.now, bad)
	n.flush()
	if answer != nil {
		t.Error("a duplicate with a wrong AUTH was answered")
	}
	if got := texts(n.outs); len(got) != 1 {
		t.Errorf("delivered %v", got)
	}
}

// TestTerminateEarly: no PTR in the authentication phase (RFC 5191 section 5.5).
func TestTerminateEarly(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{AuthTimeout: 20 * time.Second})
	n := w.node(addrOld, PaCConfig{})
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	w.run(time.Second, func() bool { return n.pac.State() == PaCAuth })
	w.wire = nil
	n.do(func(now time.Time, p *PaC) { p.Terminate(now); p.Terminate(now) })
	if !errors.Is(n.closed(), ErrTerminated) || len(w.wire) != 0 || count[Closed](n.outs) != 1 {
		t.Errorf("closed with %v, messages %v", n.closed(), w.wire)
	}
	w.pass(time.Minute)
	var e *ErrAuthTimeout
	if c, _ := last[Closed](w.outs); !errors.As(c.Reason, &e) {
		t.Errorf("PAA closed with %v", c.Reason)
	}
}

// TestClosedAnswersDuplicates: a lost PTA does not leave the peer waiting.
func TestClosedAnswersDuplicates(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	lost := 0
	w.tap = func(_, to netip.AddrPort, b []byte) bool {
		m, err := ParseMessage(b)
		if err == nil && m.Name() == "PTA[]" && lost < 2 {
			lost++
			return false
		}
		return true
	}
	w.paa.Terminate(w.now, n.pac.sid)
	w.flush()
	w.pass(20 * time.Second)
	var gone *ErrPeerTerminated
	if c, _ := last[Closed](w.outs); lost != 2 || !errors.Is(c.Reason, ErrTerminated) || !errors.As(n.closed(), &gone) || gone.Cause != CauseAdministrative {
		t.Errorf("%d lost; PAA closed with %v, PaC with %v", lost, c.Reason, n.closed())
	}
}

func TestPaCRandomFails(t *testing.T) {
	n, w, _ := alone(t, PaCConfig{Rand: bytes.NewReader(nil)})
	w.pass(time.Second)
	if n.closed() == nil || !strings.Contains(n.closed().Error(), "random source") {
		t.Errorf("closed with %v", n.closed())
	}
}
