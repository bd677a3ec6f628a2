package pana

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"openmpa/paa/keys"
)

// TestErrorTexts: one line, the package named once.
func TestErrorTexts(t *testing.T) {
	_, malformed := ParseMessage(unhex(t, "0000 0018 0200 0001 00000000 00000000 0400 8000 0000 0000"))
	for _, err := range []error{
		&ErrAuthRejected{Code: ResultAuthenticationRejected}, &ErrAuthRejected{Code: ResultAuthorizationRejected, Err: errFakeEAP},
		&ErrAuthRejected{Code: 77}, &ErrAuthTimeout{Peer: addrOld, After: time.Second, PCIs: 3},
		&ErrAuthTimeout{State: "the PAA began EAP and did not finish it", Err: errFakeEAP},
		&ErrPeerTerminated{Cause: CauseLogout}, &ErrPeerTerminated{Cause: CauseAdministrative},
		&ErrPeerTerminated{Cause: CauseSessionTimeout}, &ErrPeerTerminated{Cause: 3},
		&ErrLifetime{Lifetime: time.Hour}, &ErrRetransmissions{Request: "PNR[P]", Sent: 10, After: 3 * time.Minute}, &ErrEAP{Err: errFakeEAP},
		ErrTerminated, ErrNotOpen, ErrUnknownSession, ErrQueueFull, ErrRunnerClosed, ErrConfig, ErrSuperseded,
		malformed, checkCarried([]AVP{{Code: 1}}), (&Message{Type: TypePCI, SID: 1}).Check(),
	} {
		if s := err.Error(); strings.Count(s, "pana:") != 1 || !strings.HasPrefix(s, "pana: ") || strings.Contains(s, "\n") || strings.HasSuffix(s, ": ") {
			t.Errorf("%q", s)
		}
	}
	if e := (&ErrAuthRejected{Err: errFakeEAP}); !errors.Is(e, errFakeEAP) {
		t.Error("the cause is hidden")
	}
}

// TestNames: every reason, state and result has one.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for d := range discards {
		seen[d.String()] = true
	}
	if len(seen) != int(discards) {
		t.Errorf("%d names for %d reasons", len(seen), discards)
	}
	for _, s := range []fmt.Stringer{discards, PaCState(99), paaState(99), MessageType(9), TypePCI, ResultCode(9), ResultSuccess, PaCReauth, paaWaitSucc} {
		if s.String() == "" {
			t.Errorf("%T has no name", s)
		}
	}
	m := Message{Type: TypePCI, AVPs: []AVP{{Code: 5, Vendor: 9, Data: []byte("secret")}, {Code: CodeEAP, Data: []byte("secret")}}}
	if s := m.String(); strings.Contains(s, "secret") || !strings.Contains(s, "PCI[]") {
		t.Errorf("%q", s)
	}
}

// TestPathChangedEarly: a PCI is sent again at once, and the session goes on
// from the new address.
func TestPathChangedEarly(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	w.tap = func(from, to netip.AddrPort, _ []byte) bool { return from != addrOld && to != addrOld }
	n := w.node(addrOld, PaCConfig{})
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	w.pass(100 * time.Millisecond)
	n.move(addrNew)
	w.pass(100 * time.Millisecond)
	if o, ok := last[Opened](w.outs); !ok || o.From != addrNew {
		t.Errorf("outputs %v", kinds(w.outs))
	}
	if n.pac.RTT() != 0 && n.pac.RTT() < 2*time.Millisecond {
		t.Errorf("RTT %v from a retransmitted PCI", n.pac.RTT())
	}
}

// TestPANFits: what a PAN must and must not carry.
func TestPANFits(t *testing.T) {
	nonce := AVP{Code: CodeNonce, Data: make([]byte, 20)}
	eap := AVP{Code: CodeEAP, Data: eapPacket(2, 7, 1)}
	for _, c := range []struct {
		name  string
		first bool // answers the first PAR, otherwise the second
		avps  []AVP
		want  Discard
	}{
		{"first without nonce", true, []AVP{eap}, DiscardNonce},
		{"second with nonce", false, []AVP{nonce, eap}, DiscardNonce},
		{"Key-Id too early", true, []AVP{nonce, avp32(CodeKeyID, 1)}, DiscardKeyID},
		{"AUTH without SA", true, []AVP{nonce, {Code: CodeAUTH, Data: make([]byte, 16)}}, DiscardAUTH},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{})
			n := w.node(addrOld, PaCConfig{})
			n.do(func(now time.Time, p *PaC) { p.Start(now) })
			at := func() *session { return w.paa.sessions[n.pac.sid] }
			w.run(time.Second, func() bool { return at() != nil && at().state == paaWaitPAN && at().sawNonce != c.first })
			m := Message{Type: TypeAuth, SID: n.pac.sid, Seq: at().out.msg.Seq, AVPs: c.avps}
			w.paa.HandlePacket(w.now, addrOld, encode(&m, nil))
			if w.paa.Counters()[c.want] != 1 || at().state != paaWaitPAN {
				t.Errorf("state %v, counters %v", at().state, w.paa.Counters())
			}
		})
	}
}

// TestKeyIDs: PAN[C] has to repeat the Key-Id, and a new PAR[C] needs a new
// one (RFC 5191 section 5.3).
func TestKeyIDs(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	spoilt := false
	w.tap = func(_, to netip.AddrPort, b []byte) bool {
		m, _ := ParseMessage(b)
		if m.Name() == "PAN[C]" && !spoilt {
			spoilt = true
			m.AVPs = []AVP{avp32(CodeKeyID, 9)}
			w.paa.HandlePacket(w.now, addrOld, encode(m, n.pac.sa)) // signed, and wrong
			if w.paa.Counters()[DiscardKeyID] != 1 {
				t.Errorf("counters %v", w.paa.Counters())
			}
		}
		return true
	}
	w.open(n)
	w.paa.sessions[n.pac.sid].keyIDs = 0 // the PAA will choose the same one again
	n.do(func(now time.Time, p *PaC) { p.Reauthenticate(now) })
	w.pass(time.Second)
	if n.pac.Counters()[DiscardKeyID] == 0 || count[Opened](n.outs) != 1 {
		t.Errorf("counters %v, opened %d times", n.pac.Counters(), count[Opened](n.outs))
	}
}

// TestRefusedSuccess: PAR[C] with PANA_SUCCESS that EAP does not agree with.
func TestRefusedSuccess(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	w.edit = func(r *EAPReply) {
		if r.Done {
			r.Packet = eapPacket(4, r.Packet[1]) // EAP-Failure in a success
		}
	}
	n := w.node(addrOld, PaCConfig{})
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	w.pass(time.Second)
	var e *ErrEAP
	if !errors.As(n.closed(), &e) || !errors.Is(n.closed(), errEAPMismatch) {
		t.Errorf("closed with %v", n.closed())
	}
}

// TestParCAVPsRefused: AVPs of RFC 5191 are not the owner's to add.
func TestParCAVPsRefused(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{ParCAVPs: func(uint32) []AVP { return []AVP{avp32(CodeResult, 0)} }})
	n := w.node(addrOld, PaCConfig{AuthTimeout: 5 * time.Second})
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	w.pass(10 * time.Second)
	if c, _ := last[Closed](w.outs); !errors.Is(c.Reason, ErrAVP) {
		t.Errorf("closed with %v", c.Reason)
	}
}

// TestSuccessTooEarly: an owner that reports success before the PaC has said
// anything gets no session.
func TestSuccessTooEarly(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	w.edit = func(r *EAPReply) {
		*r = EAPReply{Done: true, Success: true, Packet: eapPacket(3, 1), MSK: keys.NewSecret(bytes.Repeat([]byte{1}, 64))}
	}
	n := w.node(addrOld, PaCConfig{AuthTimeout: 5 * time.Second})
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	w.pass(10 * time.Second)
	var e *ErrEAP
	if c, _ := last[Closed](w.outs); !errors.As(c.Reason, &e) || count[Opened](n.outs) != 0 {
		t.Errorf("closed with %v", c.Reason)
	}
}

// TestPAARTT: measured by notifications, 0 before and for strangers.
func TestPAARTT(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	if d := w.paa.RTT(n.pac.sid); d != 2*time.Millisecond {
		t.Errorf("RTT %v, expected 2ms by PAR[C]", d)
	}
	if d := w.paa.RTT(n.pac.sid + 1); d != 0 {
		t.Errorf("RTT %v of an unknown session", d)
	}
}

// TestCompleteFits: what a PAR[C] and a PAN[C] must not carry, even signed with the new key.
func TestCompleteFits(t *testing.T) {
	nonce := AVP{Code: CodeNonce, Data: make([]byte, 20)}
	for _, c := range []struct {
		message string
		extra   AVP
		want    Discard
	}{
		{"PAR[C]", nonce, DiscardNonce},
		{"PAN[C]", nonce, DiscardNonce},
		{"PAN[C]", AVP{Code: CodeEAP, Data: eapPacket(2, 7, 1)}, DiscardEAP},
	} {
		t.Run(fmt.Sprintf("%s with AVP %d", c.message, c.extra.Code), func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{})
			n := w.node(addrOld, PaCConfig{})
			var counts map[Discard]uint64
			w.tap = func(_, to netip.AddrPort, b []byte) bool {
				m, _ := ParseMessage(b)
				if m.Name() != c.message || counts != nil {
					return true
				}
				m.AVPs = append(m.AVPs[:len(m.AVPs)-1:len(m.AVPs)-1], c.extra) // AUTH was the last
				if to == addrOld {
					n.pac.HandlePacket(w.now, encode(m, w.paa.sessions[m.SID].newSA))
					counts = n.pac.Counters()
				} else {
					w.paa.HandlePacket(w.now, addrOld, encode(m, n.pac.sa))
					counts = w.paa.Counters()
				}
				return true
			}
			w.open(n) // by what was sent
			if len(counts) != 1 || counts[c.want] != 1 {
				t.Errorf("counters %v, expected one %v", counts, c.want)
			}
		})
	}
}
