package pana

import (
	"bytes"
	"crypto/aes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"openmpa/paa/keys"
)

// TestCounterBlock: the example of RFC 6786 section 4.1.
func TestCounterBlock(t *testing.T) {
	key := []byte("0123456789abcdef")
	a := &association{keyID: 0x55667788}
	got := make([]byte, 32)
	a.crypt(key, &Message{SID: 0xaabbccdd, Seq: 0x11223344}, got)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	want := append(unhex(t, "0255667788aabbccdd11223344000001"), unhex(t, "0255667788aabbccdd11223344000002")...)
	block.Encrypt(want[:16], want[:16])
	block.Encrypt(want[16:], want[16:])
	if !bytes.Equal(got, want) {
		t.Errorf("key stream %x, expected %x", got, want)
	}
}

// TestEncryption: what is hidden, and when: if both sides want it, from the PAR[C] on.
func TestEncryption(t *testing.T) {
	for _, c := range []struct {
		paa, pac, separate, mandatory, want bool
	}{
		{want: true},
		{separate: true, want: true},
		{paa: true},
		{pac: true},
		{paa: true, pac: true},
		{mandatory: true},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{NoEncryption: c.paa, Lifetime: 77 * time.Second, MandatoryOnly: func(netip.Addr) bool { return c.mandatory }})
			n := w.node(addrOld, PaCConfig{NoEncryption: c.pac, NoPiggyback: c.separate})
			opened := false
			open, encap := map[string]int{}, map[string]int{}
			w.tap = func(_, _ netip.AddrPort, b []byte) bool {
				m, err := ParseMessage(b)
				if err != nil {
					t.Fatal(err)
				}
				opened = opened || m.Flags.Has(FlagC)
				for _, a := range m.AVPs {
					switch {
					case a.Code == CodeEncap:
						encap[m.Name()]++
					case a.Code == CodeLifetime, a.Code == CodeEAP && opened && !m.Flags.Has(FlagC):
						open[m.Name()]++
					}
				}
				return true
			}
			w.open(n)
			n.do(func(now time.Time, p *PaC) { p.Reauthenticate(now) })
			if !w.run(time.Second, func() bool { return count[Opened](n.outs) == 2 && count[Opened](w.outs) == 2 }) {
				t.Fatalf("no re-authentication: %v, %v", n.pac.Counters(), w.paa.Counters())
			}
			if o, _ := last[Opened](n.outs); o.Lifetime != 77*time.Second {
				t.Errorf("lifetime %v", o.Lifetime)
			}
			if c.want && (len(open) != 0 || encap["PAR[C]"] != 2 || encap["PAR[]"] == 0 || (encap["PAN[]"] == 0) != c.separate) {
				t.Errorf("in the clear %v, encrypted in %v", open, encap)
			}
			if !c.want && (len(encap) != 0 || open["PAR[C]"] != 2) {
				t.Errorf("in the clear %v, encrypted in %v", open, encap)
			}
			if len(n.pac.Counters())+len(w.paa.Counters()) != 0 {
				t.Errorf("discarded: %v, %v", n.pac.Counters(), w.paa.Counters())
			}
		})
	}
}

// sealed is m with AVPs in an Encryption-Encap, under the SA of the one who sends it.
func sealed(m Message, sa *association, hidden ...AVP) []byte {
	var plain []byte
	for _, a := range hidden {
		plain = appendAVP(plain, a)
	}
	return sealedRaw(m, sa, plain)
}

func sealedRaw(m Message, sa *association, plain []byte) []byte {
	if sa.encrOut != nil {
		sa.crypt(sa.encrOut.Bytes(), &m, plain)
	}
	m.AVPs = append(slices.Clone(m.AVPs), AVP{Code: CodeEncap, Data: plain})
	signer := *sa
	signer.encrOut = nil
	return encode(&m, &signer)
}

// TestDecap: what may be in an Encryption-Encap, and what is discarded (RFC 6786
// sections 5 and 6.1), at both sides of an open session.
func TestDecap(t *testing.T) {
	ping := Message{Type: TypeNtfy, Flags: FlagR | FlagP}
	term := Message{Type: TypeTerm, Flags: FlagR}
	for _, c := range []struct {
		name  string
		m     Message
		plain bool // no encryption was negotiated
		in    []byte
		avps  []AVP
		want  Discard // discards: it is taken
	}{
		{name: "an AVP of a vendor", m: ping, avps: vendorAVP("hidden"), want: discards},
		{name: "an AVP of a later RFC", m: ping, avps: []AVP{{Code: 77}}, want: discards},
		{name: "nothing", m: ping, want: discards},
		{name: "Termination-Cause", m: term, avps: []AVP{avp32(CodeTermCause, 1)}, want: discards},
		{name: "PTR without a cause", m: term, want: DiscardEncap},
		{name: "EAP in a PNR", m: ping, avps: []AVP{{Code: CodeEAP, Data: eapPacket(1, 1, 1)}}, want: DiscardEncap},
		{name: "AUTH", m: ping, avps: []AVP{{Code: CodeAUTH, Data: make([]byte, 16)}}, want: DiscardEncap},
		{name: "Key-Id", m: ping, avps: []AVP{avp32(CodeKeyID, 1)}, want: DiscardEncap},
		{name: "Nonce", m: ping, avps: []AVP{{Code: CodeNonce, Data: make([]byte, 16)}}, want: DiscardEncap},
		{name: "Result-Code", m: ping, avps: []AVP{avp32(CodeResult, 0)}, want: DiscardEncap},
		{name: "PRF-Algorithm", m: ping, avps: []AVP{avp32(CodePRF, 2)}, want: DiscardEncap},
		{name: "Integrity-Algorithm", m: ping, avps: []AVP{avp32(CodeIntegrity, 7)}, want: DiscardEncap},
		{name: "PaC-Information", m: ping, avps: []AVP{{Code: 10, Data: make([]byte, 6)}}, want: DiscardEncap},
		{name: "Relayed-Message", m: ping, avps: []AVP{{Code: 11}}, want: DiscardEncap},
		{name: "Encryption-Encap", m: ping, avps: []AVP{{Code: CodeEncap}}, want: DiscardEncap},
		{name: "Encryption-Algorithm", m: ping, avps: []AVP{avp32(CodeEncryption, 1)}, want: DiscardEncap},
		{name: "half an AVP", m: ping, in: []byte{0, 2, 0, 0, 0, 9, 0, 0, 1}, want: DiscardEncap},
		{name: "too many AVPs", m: ping, avps: make([]AVP, maxAVPs+1), want: DiscardEncap},
		{name: "two of them", m: Message{Type: TypeNtfy, Flags: FlagR | FlagP, AVPs: []AVP{{Code: CodeEncap}}}, want: DiscardInvalid},
		{name: "not negotiated", m: ping, plain: true, avps: vendorAVP("hidden"), want: DiscardEncap},
	} {
		if c.name == "too many AVPs" {
			for i := range c.avps {
				c.avps[i].Code = 77
			}
		}
		for _, at := range []string{"PAA", "PaC"} {
			t.Run(c.name+" at the "+at, func(t *testing.T) {
				w := newWorld(t, 1, PAAConfig{NoEncryption: c.plain})
				n := w.node(addrOld, PaCConfig{})
				w.open(n)
				w.outs, n.outs = nil, nil
				s := w.paa.sessions[n.pac.SID()]
				to, from := &s.endpoint, &n.pac.endpoint
				if at == "PaC" {
					to, from = from, to
				}
				m := c.m
				m.SID, m.Seq = s.sid, to.rxSeq
				if !to.rxKnown {
					m.Seq = 5
				}
				raw := sealed(m, from.sa, c.avps...)
				if c.in != nil {
					raw = sealedRaw(m, from.sa, bytes.Clone(c.in))
				}
				if at == "PaC" {
					n.pac.HandlePacket(w.now, raw)
				} else {
					w.paa.HandlePacket(w.now, addrOld, raw)
				}
				taken := to.last.ok && to.last.of.Seq == m.Seq && to.last.of.Type == m.Type
				if taken != (c.want == discards) || !taken && to.counts[c.want] != 1 {
					t.Errorf("taken: %v, counters %v", taken, to.counts.snapshot())
				}
				w.flush()
				n.flush()
				if c.name == "an AVP of a vendor" && !slices.Equal(append(texts(w.outs), texts(n.outs)...), []string{"hidden"}) {
					t.Errorf("told %v, %v", texts(w.outs), texts(n.outs))
				}
			})
		}
	}
}

// TestEncryptedSuccess: peers may encrypt the EAP-Success of a PAR[C], too; it is the
// only one that fits, or the message is discarded.
func TestEncryptedSuccess(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(in []AVP) []AVP
		want Discard
	}{
		{"as it should be", func(in []AVP) []AVP { return in }, discards},
		{"of another request", func(in []AVP) []AVP { in[0].Data[1]++; return in }, DiscardEAP},
		{"missing", func(in []AVP) []AVP { return in[1:] }, DiscardEAP},
		{"without a lifetime", func(in []AVP) []AVP { return in[:1] }, DiscardResult},
		{"without anything that may be read", func([]AVP) []AVP { return []AVP{avp32(CodeKeyID, 1)} }, DiscardEncap},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{})
			n := w.node(addrOld, PaCConfig{})
			w.tap = func(from, _ netip.AddrPort, b []byte) bool {
				m, _ := ParseMessage(b)
				if m.Name() != "PAR[C]" {
					return true
				}
				s := w.paa.sessions[m.SID]
				eap, _ := m.Get(CodeEAP)
				m.AVPs = []AVP{avp32(CodeResult, 0), avp32(CodeKeyID, s.newSA.keyID)}
				hidden := c.edit([]AVP{{Code: CodeEAP, Data: bytes.Clone(eap.Data)}, avp32(CodeLifetime, 60)})
				n.pac.HandlePacket(w.now, sealed(*m, s.newSA, hidden...))
				n.flush()
				return false
			}
			n.do(func(now time.Time, p *PaC) { p.Start(now) })
			w.pass(500 * time.Millisecond)
			if opened := count[Opened](n.outs) == 1; opened != (c.want == discards) || !opened && n.pac.Counters()[c.want] != 1 {
				t.Errorf("opened: %v, counters %v", opened, n.pac.Counters())
			}
		})
	}
	t.Run("a rejection", func(t *testing.T) {
		w := newWorld(t, 1, PAAConfig{})
		n := w.node(addrOld, PaCConfig{})
		w.open(n)
		n.do(func(now time.Time, p *PaC) { p.Reauthenticate(now) })
		w.run(time.Second, func() bool { return n.pac.State() == PaCReauth && n.pac.sawNonce })
		s := w.paa.sessions[n.pac.SID()]
		m := Message{Type: TypeAuth, Flags: FlagR | FlagC, SID: s.sid, Seq: n.pac.rxSeq, AVPs: []AVP{
			avp32(CodeResult, 2), {Code: CodeEAP, Data: eapPacket(3, n.pac.eapID)}, avp32(CodeKeyID, 9),
		}}
		n.pac.HandlePacket(w.now, sealed(m, s.sa))
		if n.pac.State() != PaCReauth || n.pac.Counters()[DiscardEncap] != 1 {
			t.Errorf("state %v, counters %v", n.pac.State(), n.pac.Counters())
		}
	})
}

// TestEncapTooEarly: in the S exchange there is no key.
func TestEncapTooEarly(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	m := Message{Type: TypeAuth, Flags: FlagR | FlagS, SID: 7, Seq: 1, AVPs: append(offer(defaultPRFs, defaultIntegrities), AVP{Code: CodeEncap})}
	n.pac.HandlePacket(w.now, encode(&m, nil))
	if n.pac.Counters()[DiscardEncap] != 1 || n.pac.SID() != 0 {
		t.Errorf("counters %v", n.pac.Counters())
	}
	for _, avps := range [][]AVP{{{Code: CodeEncap}}, {avp32(CodeEncryption, 2)}} {
		w = newWorld(t, 1, PAAConfig{})
		w.paa.HandlePacket(w.now, addrOld, encode(&Message{Type: TypePCI}, nil))
		par, _ := ParseMessage(sent(w.paa)[0].Data)
		pan := Message{Type: TypeAuth, Flags: FlagS, SID: par.SID, Seq: par.Seq, AVPs: append([]AVP{avp32(CodePRF, 5), avp32(CodeIntegrity, 12)}, avps...)}
		w.paa.HandlePacket(w.now, addrOld, encode(&pan, nil))
		if c := w.paa.Counters(); w.paa.Sessions() != 0 || c[DiscardInvalid]+c[DiscardAlgorithms] != 1 {
			t.Errorf("%v: %d sessions, counters %v", avps, w.paa.Sessions(), c)
		}
	}
}

// TestNumberWraps: with encryption a side re-authenticates before its number wraps,
// once (RFC 6786 section 4.1), and the session goes on over it.
func TestNumberWraps(t *testing.T) {
	for _, side := range []string{"PaC", "PAA"} {
		t.Run(side, func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{})
			n := w.node(addrOld, PaCConfig{})
			w.open(n)
			s := w.paa.sessions[n.pac.SID()]
			if side == "PaC" {
				n.pac.txSeq, s.rxSeq, s.rxKnown = wrapAt-2, wrapAt-2, true
			} else {
				s.txSeq, n.pac.rxSeq = wrapAt-2, wrapAt-2
			}
			for i := range 1100 {
				notify(w, n, side, fmt.Sprint(i))
				w.pass(100 * time.Millisecond)
			}
			if a, b := count[Opened](n.outs), count[Opened](w.outs); a != 2 || b != 2 {
				t.Errorf("opened %d and %d times", a, b)
			}
			if got := len(texts(w.outs)) + len(texts(n.outs)); got != 1100 {
				t.Errorf("%d notifications of 1100", got)
			}
		})
	}
}

func notify(w *world, n *node, side, text string) {
	w.t.Helper()
	var err error
	if side == "PaC" {
		n.do(func(now time.Time, p *PaC) { _, err = p.Notify(now, vendorAVP(text), NotifyOptions{}) })
	} else {
		_, err = w.paa.Notify(w.now, n.pac.SID(), vendorAVP(text), NotifyOptions{})
		w.flush()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestEncryptionKeysCleared: with the association.
func TestEncryptionKeysCleared(t *testing.T) {
	h := handshake{prf: 2, integ: 7, encr: true, iPAR: make([]byte, 16), iPAN: []byte{1}, pac: []byte{1}, paa: []byte{2}}
	a, err := h.derive(keys.NewSecret(make([]byte, 64)), 1)
	if err != nil || !a.encrypts() || a.encrOut.Len() != keys.EncrKeyLen || a.encrOut.Equal(a.encrIn) {
		t.Fatalf("%+v, %v", a, err)
	}
	h.server = true
	b, err := h.derive(keys.NewSecret(make([]byte, 64)), 1)
	if err != nil || !a.encrOut.Equal(b.encrIn) || !a.encrIn.Equal(b.encrOut) {
		t.Errorf("the sides do not fit: %v", err)
	}
	a.clear()
	if a.encrOut.Len()+a.encrIn.Len() != 0 {
		t.Error("the keys are still there")
	}
}
