package pana

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"openmpa/paa/keys"
)

// sent returns the PAA's datagrams and clears its outputs.
func sent(p *PAA) (sends []Send) {
	for o, ok := p.Poll(); ok; o, ok = p.Poll() {
		if s, ok := o.(Send); ok {
			sends = append(sends, s)
		}
	}
	return sends
}

var pciE = encode(&Message{Type: TypePCI, Flags: FlagE}, nil)

// TestStatelessPCI: a PCI leaves no session, no timer, nothing to retransmit
// (RFC 5191 section 4.1).
func TestStatelessPCI(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{PCIRate: 1e6})
	sids := map[uint32]bool{}
	for i := range 5000 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 3, byte(i >> 8), byte(i)}), 716)
		w.paa.HandlePacket(w.now, from, pciE)
		s := sent(w.paa)
		if len(s) != 1 || s[0].To != from {
			t.Fatalf("PCI %d: %d datagrams, counters %v", i, len(s), w.paa.Counters())
		}
		m, err := ParseMessage(s[0].Data)
		if err != nil || m.Name() != "PAR[SE]" {
			t.Fatalf("%v, %v", m, err)
		}
		if _, ok := m.Get(CodeEAP); ok {
			t.Fatal("EAP in a PAR[S] needs state")
		}
		sids[m.SID] = true
	}
	if _, ok := w.paa.Deadline(); ok || w.paa.Sessions() != 0 || len(w.paa.sessions)+len(w.paa.byAddr) != 0 {
		t.Error("PCIs have left state")
	}
	if len(sids) < 4990 {
		t.Errorf("only %d session identifiers", len(sids))
	}
}

func TestPCIRate(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{PCIRate: 50, PCIRatePerSource: 5})
	flood := func(from func(i int) netip.AddrPort) (answered int) {
		for i := range 1000 {
			w.paa.HandlePacket(w.now, from(i), pciE)
			answered += len(sent(w.paa))
			w.now = w.now.Add(time.Millisecond)
		}
		return answered
	}
	if n := flood(func(i int) netip.AddrPort { return netip.AddrPortFrom(addrOld.Addr(), uint16(i)+1) }); n < 10 || n > 16 {
		t.Errorf("%d answers in a second to one source, expected 5 and a burst of 10", n)
	}
	w.now = w.now.Add(time.Minute)
	n := flood(func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 3, byte(i >> 8), byte(i)}), 716)
	})
	if n < 90 || n > 105 {
		t.Errorf("%d answers in a second to all, expected 50 and a burst of 50", n)
	}
	if w.paa.Counters()[DiscardRate] == 0 {
		t.Error("nothing was counted")
	}
}

// TestAllowPreauth: the list binds pre-authentication only (RFC 5873 section 6).
func TestAllowPreauth(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{AllowPreauth: func(a netip.Addr) bool { return a == addrOld.Addr() }})
	for _, c := range []struct {
		from netip.AddrPort
		e    bool
		want int
	}{{addrOld, true, 1}, {addrNew, true, 0}, {addrNew, false, 1}} {
		w.paa.HandlePacket(w.now, c.from, encode(&Message{Type: TypePCI, Flags: eBit(c.e)}, nil))
		if n := len(sent(w.paa)); n != c.want {
			t.Errorf("%v, E %v: %d answers, expected %d", c.from, c.e, n, c.want)
		}
	}
	if w.paa.Counters()[DiscardPreauthRefused] != 1 {
		t.Errorf("counters %v", w.paa.Counters())
	}
	mapped := netip.AddrPortFrom(netip.AddrFrom16(addrOld.Addr().As16()), 716)
	w.paa.HandlePacket(w.now, mapped, pciE)
	if len(sent(w.paa)) != 1 {
		t.Error("an IPv4-mapped address is not taken for the IPv4 address that it is")
	}
}

// TestStartExchange: a PAN[S] counts only as the answer to a fresh PAR[S] to
// this address and port, with this E bit and algorithms that were offered.
func TestStartExchange(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(m *Message, from *netip.AddrPort, now *time.Time)
		want Discard // discards: a session begins
	}{
		{"as it should be", func(*Message, *netip.AddrPort, *time.Time) {}, discards},
		{"15 s later", func(_ *Message, _ *netip.AddrPort, now *time.Time) { *now = now.Add(15 * time.Second) }, discards},
		{"33 s later", func(_ *Message, _ *netip.AddrPort, now *time.Time) { *now = now.Add(33 * time.Second) }, DiscardCookie},
		{"another port", func(_ *Message, from *netip.AddrPort, _ *time.Time) {
			*from = netip.AddrPortFrom(from.Addr(), 717)
		}, DiscardCookie},
		{"another address", func(_ *Message, from *netip.AddrPort, _ *time.Time) { *from = addrNew }, DiscardCookie},
		{"another number", func(m *Message, _ *netip.AddrPort, _ *time.Time) { m.Seq++ }, DiscardCookie},
		{"another session", func(m *Message, _ *netip.AddrPort, _ *time.Time) { m.SID++ }, DiscardCookie},
		{"E cleared", func(m *Message, _ *netip.AddrPort, _ *time.Time) { m.Flags &^= FlagE }, DiscardCookie},
		{"PRF not offered", func(m *Message, _ *netip.AddrPort, _ *time.Time) { m.AVPs[0] = avp32(CodePRF, 2) }, DiscardAlgorithms},
		{"integrity not offered", func(m *Message, _ *netip.AddrPort, _ *time.Time) { m.AVPs[1] = avp32(CodeIntegrity, 7) }, DiscardAlgorithms},
		{"unknown PRF", func(m *Message, _ *netip.AddrPort, _ *time.Time) { m.AVPs[0] = avp32(CodePRF, 99) }, DiscardAlgorithms},
		{"no algorithms", func(m *Message, _ *netip.AddrPort, _ *time.Time) { m.AVPs = nil }, DiscardAlgorithms},
		{"a PRF only", func(m *Message, _ *netip.AddrPort, _ *time.Time) { m.AVPs = m.AVPs[:1] }, DiscardAlgorithms},
		{"EAP, which was not asked for", func(m *Message, _ *netip.AddrPort, _ *time.Time) {
			m.AVPs = append(m.AVPs, AVP{Code: CodeEAP, Data: eapPacket(2, 1, 1)})
		}, DiscardInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{PRFs: []keys.PRF{5}, Integrities: []keys.Integrity{12, 13}})
			w.now = w.now.Truncate(cookieSlot)
			w.paa.HandlePacket(w.now, addrOld, pciE)
			par, err := ParseMessage(sent(w.paa)[0].Data)
			if err != nil {
				t.Fatal(err)
			}
			pan := Message{Type: TypeAuth, Flags: FlagS | FlagE, SID: par.SID, Seq: par.Seq, AVPs: []AVP{avp32(CodePRF, 5), avp32(CodeIntegrity, 13)}}
			from := addrOld
			c.edit(&pan, &from, &w.now)
			w.paa.HandlePacket(w.now, from, encode(&pan, nil))
			o, _ := w.paa.Poll()
			start, began := o.(EAPStart)
			if began != (c.want == discards) || !began && w.paa.Counters()[c.want] != 1 {
				t.Errorf("session began: %v, counters %v", began, w.paa.Counters())
			}
			if began {
				if start.SID != par.SID || !start.Preauth || start.From != addrOld || start.Reauth {
					t.Errorf("%+v", start)
				}
				w.paa.HandlePacket(w.now, from, encode(&pan, nil)) // once more
				if _, ok := w.paa.Poll(); ok || w.paa.Sessions() != 1 {
					t.Error("a PAN[S] repeated had an effect")
				}
				w.paa.HandlePacket(w.now, from, pciE) // section 5.5
				if _, ok := w.paa.Poll(); ok {
					t.Error("a PCI was answered after the S exchange")
				}
			}
		})
	}
}

// TestSuperseded: when the PAR[S] changed under way the PaC's last answer
// counts.
func TestSuperseded(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	w.now = w.now.Truncate(cookieSlot).Add(cookieSlot - time.Second)
	var late []byte
	w.tap = func(_, to netip.AddrPort, b []byte) bool {
		if m, err := ParseMessage(b); err == nil && m.Name() == "PAN[S]" && late == nil {
			late = bytes.Clone(b)
			return false
		}
		return true
	}
	n := w.node(addrOld, PaCConfig{})
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	w.run(10*time.Second, func() bool { return count[Closed](w.outs) == 0 && n.pac.pci.sent == 2 })
	w.pass(1500 * time.Microsecond) // the second PAR[S] is on its way
	w.paa.HandlePacket(w.now, addrOld, late)
	w.flush()
	if !w.run(10*time.Second, func() bool { return n.pac.State() == PaCOpen }) {
		t.Fatalf("no session: %v, %v", n.pac.Counters(), w.paa.Counters())
	}
	if c, ok := last[Closed](w.outs); !ok || !errors.Is(c.Reason, ErrSuperseded) || w.paa.Sessions() != 1 {
		t.Errorf("outputs %v, %d sessions", kinds(w.outs), w.paa.Sessions())
	}
}
