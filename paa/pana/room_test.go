package pana

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// crowd begins sessions from addresses, which say no more than their PAN[S].
func (w *world) crowd(list ...netip.AddrPort) {
	w.t.Helper()
	for _, from := range list {
		w.paa.HandlePacket(w.now, from, encode(&Message{Type: TypePCI}, nil))
		for _, s := range sent(w.paa) {
			m, err := ParseMessage(s.Data)
			if err != nil {
				w.t.Fatal(err)
			}
			pick := []AVP{avp32(CodePRF, uint32(mandatoryPRF)), avp32(CodeIntegrity, uint32(mandatoryIntegrity))}
			w.paa.HandlePacket(w.now, from, encode(&Message{Type: TypeAuth, Flags: FlagS, SID: m.SID, Seq: m.Seq, AVPs: pick}, nil))
		}
	}
}

func crowdAt(n int, same bool) (list []netip.AddrPort) {
	for i := range n {
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 0, 9}), uint16(1000+i))
		if !same {
			a = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), 716)
		}
		list = append(list, a)
	}
	return list
}

// TestCrowded: whoever begins as many sessions as the PAA has, from one address or from many, and
// says no more in them, does not keep out a PaC, nor end what one has begun before.
func TestCrowded(t *testing.T) {
	const all = 32
	for _, limit := range []PAAConfig{{MaxPending: all}, {MaxPending: 1000, MaxSessions: all}} {
		for _, same := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d pending, %d in all, one source %v", limit.MaxPending, limit.MaxSessions, same), func(t *testing.T) {
				limit.MaxPendingSource, limit.PCIRatePerSource = all, 1e6
				w := newWorld(t, 1, limit)
				w.aaa = 300 * time.Millisecond // of each round
				before, after := w.node(addrOld, PaCConfig{}), w.node(addrOther, PaCConfig{})
				before.do(func(now time.Time, p *PaC) { p.Start(now) })
				if !w.run(time.Second, func() bool { return before.pac.State() == PaCAuth }) {
					t.Fatal("the first PaC does not come to its first PAR")
				}
				w.pass(20 * time.Millisecond)
				w.crowd(crowdAt(all, same)...)
				w.outs = nil
				after.do(func(now time.Time, p *PaC) { p.Start(now) })
				for range 20 {
					w.pass(50 * time.Millisecond)
					w.crowd(crowdAt(all, same)...) // and again
				}
				if !w.run(20*time.Second, func() bool { return before.pac.State() == PaCOpen && after.pac.State() == PaCOpen }) {
					t.Fatalf("the PaCs are in states %v and %v, closed by %v and %v, counters %v",
						before.pac.State(), after.pac.State(), before.closed(), after.closed(), w.paa.Counters())
				}
				if w.paa.live > all || w.paa.pending > all {
					t.Errorf("%d sessions, %d of them pending, expected %d at most", w.paa.live, w.paa.pending, all)
				}
				for _, o := range w.outs {
					if c, is := o.(Closed); is && !errors.Is(c.Reason, ErrCrowded) {
						t.Errorf("session %08x closed with %v", c.SID, c.Reason)
					}
				}
			})
		}
	}
}

// TestCrowdedFair: of two sources that both want all, neither takes from the other what is its half.
func TestCrowdedFair(t *testing.T) {
	const all = 32
	w := newWorld(t, 1, PAAConfig{MaxPending: all, MaxPendingSource: all, PCIRatePerSource: 1e6})
	one := crowdAt(all, true)
	w.crowd(one...)
	var other []netip.AddrPort
	for _, a := range one {
		other = append(other, netip.AddrPortFrom(addrOther.Addr(), a.Port()))
	}
	w.crowd(other...)
	w.crowd(one...)
	w.crowd(other...)
	for a, n := range w.paa.sources {
		if n < all/2-1 || n > all/2+1 {
			t.Errorf("%v has %d of %d", a, n, all)
		}
	}
	closed := w.paa.Counters()[DiscardLimit]
	if n := count[Closed](w.outs); n > all/2+1 || closed == 0 {
		t.Errorf("%d sessions ended for others, and %d were refused: they take turns", n, closed)
	}
}

// TestCrowdedUnproven: what a spoofed address can cause ends nothing.
func TestCrowdedUnproven(t *testing.T) {
	const all = 8
	w := newWorld(t, 1, PAAConfig{MaxPending: all, MaxPendingSource: all, PCIRatePerSource: 1e6, EAPInStart: true})
	for _, a := range crowdAt(2*all, false) {
		w.paa.HandlePacket(w.now, a, encode(&Message{Type: TypePCI}, nil))
	}
	if w.paa.pending != all || count[Closed](w.outs) != 0 || w.paa.Counters()[DiscardLimit] != all {
		t.Errorf("%d pending, counters %v, expected %d, and as many refused", w.paa.pending, w.paa.Counters(), all)
	}
	if _, err := w.paa.Initiate(w.now, addrOther); err == nil {
		t.Error("a session of our own initiative ends another")
	}
}

// TestSourceLimits: the rate is that of an address, in spite of many others, and of a clock that
// is set.
func TestSourceLimits(t *testing.T) {
	const rate = 10
	l := newSourceLimits(rate)
	now := time.Now()
	taken := func(from netip.Addr, n int) (got int) {
		for range n {
			if l.take(now, from) {
				got++
			}
		}
		return got
	}
	a := netip.MustParseAddr("10.1.0.1")
	if n := taken(a, 100); n != 2*rate {
		t.Errorf("%d at once, expected %d", n, 2*rate)
	}
	now = now.Add(time.Second)
	if n := taken(a, 100); n != rate {
		t.Errorf("%d in a second, expected %d", n, rate)
	}
	now = now.Add(10 * time.Second)
	var refused int
	for i := range 20_000 { // the default of PCIRate
		if taken(netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}), 1) == 0 {
			refused++
		}
	}
	if refused > 0 {
		t.Errorf("%d of 20,000 addresses are refused", refused)
	}
}
