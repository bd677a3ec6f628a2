package pana

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"openmpa/paa/keys"
)

func TestPAAConfig(t *testing.T) {
	for name, cfg := range map[string]PAAConfig{
		"unknown PRF":       {PRFs: []keys.PRF{8}},
		"unknown integrity": {Integrities: []keys.Integrity{1}},
		"negative lifetime": {Lifetime: -1},
		"negative limit":    {MaxSessions: -1},
		"negative IRT":      {Request: Retransmission{IRT: -1}},
	} {
		if _, err := NewPAA(cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: error %v, expected ErrConfig", name, err)
		}
	}
	if _, err := NewPAA(PAAConfig{Rand: bytes.NewReader(make([]byte, 7))}); err == nil {
		t.Error("no error with a random source that fails")
	}
}

func TestMaxSessions(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{MaxSessions: 2})
	var nodes []*node
	for i := range 3 {
		n := w.node(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 1, byte(i)}), 716), PaCConfig{AuthTimeout: 10 * time.Second})
		n.do(func(now time.Time, p *PaC) { p.Start(now) })
		w.pass(time.Second)
		nodes = append(nodes, n)
	}
	w.pass(time.Minute)
	if nodes[0].pac.State() != PaCOpen || nodes[1].pac.State() != PaCOpen || nodes[2].closed() == nil || w.paa.Counters()[DiscardLimit] == 0 {
		t.Errorf("states %v %v %v, counters %v", nodes[0].pac.State(), nodes[1].pac.State(), nodes[2].pac.State(), w.paa.Counters())
	}
	// Many short sessions: what a closed one leaves is bounded too.
	w = newWorld(t, 1, PAAConfig{MaxSessions: 2, PCIRatePerSource: 1000})
	for range 20 {
		n := w.node(addrOld, PaCConfig{})
		w.open(n)
		n.do(func(now time.Time, p *PaC) { p.Terminate(now) })
		w.pass(50 * time.Millisecond)
	}
	if len(w.paa.sessions) > 5 {
		t.Errorf("%d closed sessions are kept", len(w.paa.sessions))
	}
}

// TestSpoofedPCI must not harm an open session (nor one that authenticates).
func TestSpoofedPCI(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{Preauth: true})
	spoof := func(_, to netip.AddrPort, _ []byte) bool {
		w.after(0, func() { w.arrive(addrOld, w.paaAddr, bytes.Clone(pciE)) })
		return true
	}
	w.tap = func(from, to netip.AddrPort, b []byte) bool {
		if to == w.paaAddr {
			return spoof(from, to, b)
		}
		return true
	}
	w.open(n)
	n.do(func(now time.Time, p *PaC) { _, _ = p.Notify(now, vendorAVP("still here"), NotifyOptions{}) })
	w.pass(time.Second)
	if got := texts(w.outs); !slices.Equal(got, []string{"still here"}) || w.paa.Sessions() != 1 {
		t.Errorf("told %v, %d sessions", got, w.paa.Sessions())
	}
}

// TestUnauthorized: EAP went well, access is refused all the same: result 2,
// with Key-Id and AUTH (RFC 5191 section 4.1).
func TestUnauthorized(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	w.edit = func(r *EAPReply) {
		if r.Done {
			r.Unauthorized, r.Err = true, errors.New("quota")
		}
	}
	var protected bool
	w.tap = func(_, to netip.AddrPort, b []byte) bool {
		m, _ := ParseMessage(b)
		_, key := m.Get(CodeKeyID)
		_, auth := m.Get(CodeAUTH)
		protected = key && auth
		return true
	}
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	w.pass(time.Second)
	var e *ErrAuthRejected
	if c, _ := last[Closed](w.outs); !errors.As(n.closed(), &e) || e.Code != ResultAuthorizationRejected || !errors.As(c.Reason, &e) || !protected {
		t.Errorf("closed with %v and %v, protected %v", n.closed(), c.Reason, protected)
	}
}

// TestEAPSilent: the authenticator fails without an EAP-Failure; the session
// goes silently (RFC 5191 section 4.1).
func TestEAPSilent(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{AuthTimeout: 10 * time.Second})
	cause := errors.New("AAA is silent")
	w.edit = func(r *EAPReply) {
		if r.Done {
			*r = EAPReply{Err: cause}
			w.wire = nil
		}
	}
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	w.pass(5 * time.Second)
	if c, _ := last[Closed](w.outs); !errors.Is(c.Reason, cause) || len(w.wire) != 0 {
		t.Errorf("closed with %v, messages %v", c.Reason, w.wire)
	}
	w.pass(time.Minute)
	var e *ErrAuthTimeout
	if !errors.As(n.closed(), &e) || e.State == "" {
		t.Errorf("PaC closed with %v", n.closed())
	}
}

func TestEAPReplyRefused(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	msk := keys.NewSecret(make([]byte, 64))
	if err := w.paa.EAPReply(w.now, n.pac.sid, EAPReply{Done: true, Success: true, MSK: msk}); err == nil || msk.Len() != 0 {
		t.Errorf("open session: error %v, %d octets of MSK left", err, msk.Len())
	}
	if err := w.paa.EAPReply(w.now, n.pac.sid+1, EAPReply{}); !errors.Is(err, ErrUnknownSession) {
		t.Errorf("unknown session: %v", err)
	}
	if err := w.paa.Reauthenticate(w.now, n.pac.sid); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]EAPReply{
		"empty":     {},
		"too long":  {Packet: make([]byte, maxEAP+1)},
		"too short": {Packet: make([]byte, 3)},
	} {
		if err := w.paa.EAPReply(w.now, n.pac.sid, r); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestKeyless: without MSK there is no SA; refused unless configured, and
// always in pre-authentication (RFC 5873 section 3).
func TestKeyless(t *testing.T) {
	for _, c := range []struct {
		name         string
		pac, paa     bool
		wantOpen     bool
		wantRejected bool
	}{{"both allow", true, true, true, false}, {"the PAA does not", true, false, false, true}, {"the PaC does not", false, true, false, false}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{AllowKeyless: c.paa})
			w.newEAP = func() *fakeServer { return &fakeServer{rounds: 1, keyless: true} }
			n := w.node(addrOld, PaCConfig{AllowKeyless: c.pac, AuthTimeout: 10 * time.Second, NewEAP: func() (EAPPeer, error) { return &fakePeer{keyless: true}, nil }})
			n.do(func(now time.Time, p *PaC) { p.Start(now) })
			w.pass(5 * time.Second)
			var e *ErrAuthRejected
			if (n.pac.State() == PaCOpen) != c.wantOpen || errors.As(n.closed(), &e) != c.wantRejected {
				t.Fatalf("PaC %v, closed with %v, %v %v", n.pac.State(), n.closed(), n.pac.Counters(), w.paa.Counters())
			}
			if c.wantOpen {
				if o, _ := last[Opened](n.outs); o.MSK != nil || o.KeyID != 0 {
					t.Errorf("%+v", o)
				}
				n.do(func(now time.Time, p *PaC) { _, _ = p.Notify(now, vendorAVP("plain"), NotifyOptions{}) })
				w.pass(time.Second)
				if got := texts(w.outs); !slices.Equal(got, []string{"plain"}) {
					t.Errorf("told %v", got)
				}
			}
		})
	}
}

func TestLifetimes(t *testing.T) {
	for _, c := range []struct {
		name              string
		cfg, preauth, aaa time.Duration
		candidate         bool
		want              time.Duration
	}{
		{"configured", time.Minute, 0, 0, false, time.Minute},
		{"AAA grants less", time.Minute, 0, 20 * time.Second, true, 20 * time.Second},
		{"AAA grants more", time.Minute, 0, time.Hour, false, time.Minute},
		{"candidate", time.Minute, 30 * time.Second, 0, true, 30 * time.Second},
		{"not a candidate", time.Minute, 30 * time.Second, 0, false, time.Minute},
		{"whole seconds", 1500 * time.Millisecond, 0, 0, false, time.Second},
		{"never zero", time.Minute, 0, time.Millisecond, false, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{Lifetime: c.cfg, PreauthLifetime: c.preauth})
			n := w.node(addrOld, PaCConfig{Preauth: c.candidate})
			w.edit = func(r *EAPReply) { r.Lifetime = c.aaa }
			n.do(func(now time.Time, p *PaC) { p.Start(now) })
			w.run(500*time.Millisecond, func() bool { return count[Opened](w.outs) == 1 })
			a, _ := last[Opened](n.outs)
			b, _ := last[Opened](w.outs)
			if a.Lifetime != c.want || b.Lifetime != c.want {
				t.Errorf("lifetime %v and %v, expected %v", a.Lifetime, b.Lifetime, c.want)
			}
		})
	}
}

// TestPARFromPaC: a PaC that does not piggyback sends its EAP in PARs of its
// own (RFC 5191 figure 1).
func TestPARFromPaC(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	w.paa.HandlePacket(w.now, addrOld, encode(&Message{Type: TypePCI}, nil))
	iPAR := sent(w.paa)[0].Data
	m, _ := ParseMessage(iPAR)
	pan := Message{Type: TypeAuth, Flags: FlagS, SID: m.SID, Seq: m.Seq, AVPs: []AVP{avp32(CodePRF, 2), avp32(CodeIntegrity, 7)}}
	h := handshake{prf: 2, integ: 7, iPAR: iPAR, iPAN: encode(&pan, nil)}
	w.paa.HandlePacket(w.now, addrOld, h.iPAN)
	sent(w.paa)
	f := &fakeServer{rounds: 1}
	peer := &fakePeer{}
	reply := f.start()
	h.pac = make([]byte, 20)
	seq := uint32(0xffffffff) // wraps
	for round := 0; ; round++ {
		if err := w.paa.EAPReply(w.now, m.SID, reply); err != nil {
			t.Fatal(err)
		}
		out := sent(w.paa)
		if len(out) != 1 {
			t.Fatalf("round %d: %d datagrams", round, len(out))
		}
		par, _ := ParseMessage(out[0].Data)
		fs, err := par.fields()
		if err != nil {
			t.Fatal(err)
		}
		resp, _ := peer.Handle(fs.eap)
		if par.Flags.Has(FlagC) {
			sa, err := h.derive(fakeMSK(peer.heard), fs.keyID)
			if err != nil || !sa.verify(out[0].Data, fs.auth) {
				t.Fatalf("AUTH of PAR[C] is wrong, %v", err)
			}
			w.paa.HandlePacket(w.now, addrOld, encode(&Message{Type: TypeAuth, Flags: FlagC, SID: m.SID, Seq: par.Seq, AVPs: []AVP{avp32(CodeKeyID, fs.keyID)}}, sa))
			break
		}
		ack := Message{Type: TypeAuth, SID: m.SID, Seq: par.Seq}
		if fs.nonce != nil {
			h.paa = bytes.Clone(fs.nonce)
			ack.AVPs = []AVP{{Code: CodeNonce, Data: h.pac}}
		}
		own := encode(&Message{Type: TypeAuth, Flags: FlagR, SID: m.SID, Seq: seq, AVPs: []AVP{{Code: CodeEAP, Data: resp}}}, nil)
		w.paa.HandlePacket(w.now, addrOld, own) // before its PAN: refused
		if n := len(sent(w.paa)); n != 0 {
			t.Fatalf("round %d: a PAR before the PAN was answered", round)
		}
		w.paa.HandlePacket(w.now, addrOld, encode(&ack, nil))
		w.paa.HandlePacket(w.now, addrOld, own)
		w.paa.HandlePacket(w.now, addrOld, own) // duplicate
		answers, responses := 0, 0
		for o, ok := w.paa.Poll(); ok; o, ok = w.paa.Poll() {
			switch o := o.(type) {
			case Send:
				a, _ := ParseMessage(o.Data)
				if a.Name() != "PAN[]" || a.Seq != seq {
					t.Fatalf("answered by %v", a)
				}
				answers++
			case EAPResponse:
				responses++
				reply = f.next(o.Packet)
			}
		}
		if answers != 2 || responses != 1 {
			t.Fatalf("%d answers, %d responses", answers, responses)
		}
		seq++
	}
	o, _ := w.paa.Poll()
	if opened, ok := o.(Opened); !ok || opened.SID != m.SID {
		t.Errorf("output %T, counters %v", o, w.paa.Counters())
	}
}

// TestPAADiscards feeds an open session what it has to refuse; nothing comes
// of it but a count.
func TestPAADiscards(t *testing.T) {
	for _, c := range []struct {
		name string
		m    Message
		sign bool
		want Discard
	}{
		{"unknown session, without AUTH", Message{Type: TypeNtfy, Flags: FlagR | FlagP, SID: 1}, false, DiscardSID},
		{"answer of an unknown session", Message{Type: TypeNtfy, Flags: FlagP, SID: 1}, true, DiscardSID},
		{"PAR when open", Message{Type: TypeAuth, Flags: FlagR, AVPs: []AVP{{Code: CodeEAP, Data: eapPacket(2, 1, 1)}}}, true, DiscardUnexpected},
		{"PAR[S] from a PaC", Message{Type: TypeAuth, Flags: FlagR | FlagS}, true, DiscardUnexpected},
		{"PAN[S] of the session", Message{Type: TypeAuth, Flags: FlagS}, true, DiscardUnexpected},
		{"PAN without PAR", Message{Type: TypeAuth}, true, DiscardNoRequest},
		{"PNA without PNR", Message{Type: TypeNtfy, Flags: FlagP}, true, DiscardNoRequest},
		{"PTA without PTR", Message{Type: TypeTerm}, true, DiscardNoRequest},
		{"PTR without AUTH", Message{Type: TypeTerm, Flags: FlagR, AVPs: []AVP{avp32(CodeTermCause, 1)}}, false, DiscardAUTH},
		{"PNR[A] without AUTH", Message{Type: TypeNtfy, Flags: FlagR | FlagA}, false, DiscardAUTH},
		{"PNR with E", Message{Type: TypeNtfy, Flags: FlagR | FlagP | FlagE}, true, DiscardPreauth},
		{"PNR out of order", Message{Type: TypeNtfy, Flags: FlagR | FlagP, Seq: 3}, true, DiscardSequence},
		{"two nonces", Message{Type: TypeAuth, AVPs: []AVP{{Code: CodeNonce, Data: make([]byte, 8)}, {Code: CodeNonce, Data: make([]byte, 8)}}}, true, DiscardInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{})
			n := w.node(addrOld, PaCConfig{})
			w.open(n)
			s := w.paa.sessions[n.pac.sid]
			s.rxSeq, s.rxKnown = 100, true
			m := c.m
			if m.SID == 0 {
				m.SID = s.sid
			}
			if m.Seq == 0 {
				m.Seq = 100
			}
			sa := n.pac.sa
			if !c.sign {
				sa = nil
			}
			w.paa.HandlePacket(w.now, addrNew, encode(&m, sa))
			if o, ok := w.paa.Poll(); ok || w.paa.Counters()[c.want] != 1 || s.to != addrOld || s.rxSeq != 100 {
				t.Errorf("output %T, counters %v", o, w.paa.Counters())
			}
		})
	}
	w := newWorld(t, 1, PAAConfig{})
	w.paa.HandlePacket(w.now, addrOld, []byte{1, 2, 3})
	if w.paa.Counters()[DiscardMalformed] != 1 {
		t.Errorf("counters %v", w.paa.Counters())
	}
}

// TestAddressFixedBeforeSA: nobody moves a session that has no key yet.
func TestAddressFixedBeforeSA(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	w.tap = func(from, to netip.AddrPort, b []byte) bool {
		if m, _ := ParseMessage(b); to == w.paaAddr && m.Name() == "PAN[]" {
			w.paa.HandlePacket(w.now, addrOther, bytes.Clone(b)) // a copy overtakes
			w.flush()
		}
		return true
	}
	w.open(n)
	if o, _ := last[Opened](w.outs); o.From != addrOld || w.paa.Counters()[DiscardAddress] != 4 {
		t.Errorf("opened from %v, counters %v", o.From, w.paa.Counters())
	}
}

// TestPAATerminates in each state.
func TestPAATerminates(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	w.run(time.Second, func() bool { return n.pac.State() == PaCAuth })
	w.wire = nil
	w.paa.Terminate(w.now, n.pac.sid)
	w.paa.Terminate(w.now, n.pac.sid)
	w.flush()
	if c, _ := last[Closed](w.outs); !errors.Is(c.Reason, ErrTerminated) || len(w.wire) != 0 || count[Closed](w.outs) != 1 {
		t.Errorf("closed with %v, messages %v", c.Reason, w.wire)
	}

	w = newWorld(t, 1, PAAConfig{})
	n = w.node(addrOld, PaCConfig{})
	w.open(n)
	if _, err := w.paa.Notify(w.now, n.pac.sid, vendorAVP("goes first"), NotifyOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.paa.Notify(w.now, n.pac.sid, vendorAVP("is dropped"), NotifyOptions{}); err != nil {
		t.Fatal(err)
	}
	w.paa.Terminate(w.now, n.pac.sid)
	w.flush()
	w.pass(time.Second)
	var e *ErrPeerTerminated
	if !errors.As(n.closed(), &e) || e.Cause != CauseAdministrative || !slices.Equal(texts(n.outs), []string{"goes first"}) || count[NotifyDone](w.outs) != 2 {
		t.Errorf("closed with %v, told %v", n.closed(), texts(n.outs))
	}
	w.paa.Terminate(w.now, 12345) // unknown: nothing

	// In a re-authentication the PTR follows what is outstanding.
	w = newWorld(t, 1, PAAConfig{})
	n = w.node(addrOld, PaCConfig{})
	w.open(n)
	if err := w.paa.Reauthenticate(w.now, n.pac.sid); err != nil {
		t.Fatal(err)
	}
	w.flush()
	w.run(time.Second, func() bool { return w.paa.sessions[n.pac.sid].state == paaWaitPAN })
	w.paa.Terminate(w.now, n.pac.sid)
	w.flush()
	w.pass(time.Second)
	if !errors.As(n.closed(), &e) {
		t.Errorf("closed with %v", n.closed())
	}

	// Both at once.
	w = newWorld(t, 1, PAAConfig{})
	n = w.node(addrOld, PaCConfig{})
	w.open(n)
	w.paa.Terminate(w.now, n.pac.sid)
	n.do(func(now time.Time, p *PaC) { p.Terminate(now) })
	w.flush()
	w.pass(100 * time.Millisecond)
	if c, _ := last[Closed](w.outs); !errors.Is(c.Reason, ErrTerminated) || !errors.Is(n.closed(), ErrTerminated) {
		t.Errorf("closed with %v and %v", c.Reason, n.closed())
	}
}

// TestSupersede: a session whose PaC has another ends soon, also where nobody answers in it any more.
func TestSupersede(t *testing.T) {
	for _, tc := range []struct {
		name         string
		gone, asking bool // the PaC has forgotten it; something of it is outstanding
		within       time.Duration
	}{
		{"the PaC answers", false, false, 10 * time.Millisecond},
		{"it has forgotten", true, false, 2 * supersededWithin},
		{"and something was outstanding", true, true, 4 * supersededWithin},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{})
			n := w.node(addrOld, PaCConfig{})
			w.open(n)
			n.off = tc.gone
			if tc.asking {
				if _, err := w.paa.Notify(w.now, n.pac.sid, vendorAVP("to nobody"), NotifyOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			w.wire = nil
			began := w.now
			w.paa.Supersede(w.now, n.pac.sid)
			w.paa.Supersede(w.now, n.pac.sid)
			w.flush()
			w.run(time.Minute, func() bool { return count[Closed](w.outs) == 1 })
			c, _ := last[Closed](w.outs)
			var deaf *ErrRetransmissions
			if errors.As(c.Reason, &deaf) != tc.gone || w.now.Sub(began) > tc.within {
				t.Errorf("closed after %v with %v, expected within %v", w.now.Sub(began), c.Reason, tc.within)
			}
			if tc.gone && len(w.wire) < 5 {
				t.Errorf("asked by %v only", w.wire)
			}
		})
	}
	w := newWorld(t, 1, PAAConfig{})
	w.paa.Supersede(w.now, 12345) // unknown: nothing
}

// TestAnswerPayload: what rides back in the PNA[P].
func TestAnswerPayload(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{AnswerPayload: func(sid uint32, in []AVP) []AVP {
		return []AVP{{Code: 2, Vendor: VendorID, Data: append([]byte("re: "), in[0].Data...)}}
	}})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	n.do(func(now time.Time, p *PaC) { _, _ = p.Notify(now, vendorAVP("hello"), NotifyOptions{}) })
	w.pass(time.Second)
	if d, _ := last[NotifyDone](n.outs); len(d.AVPs) != 1 || string(d.AVPs[0].Data) != "re: hello" {
		t.Errorf("%+v", d)
	}
}

// TestReconfigure: the I bit reaches the PaC's owner.
func TestReconfigure(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{Reconfigure: true})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	if o, _ := last[Opened](n.outs); !o.Reconfigure {
		t.Errorf("%+v", o)
	}
}
