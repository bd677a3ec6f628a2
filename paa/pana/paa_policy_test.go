package pana

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"slices"
	"testing"
	"time"

	"openmpa/paa/keys"
)

// TestMandatoryOnly: PaCs that read one AVP of a kind get one, and may pick no
// other; the others are offered everything.
func TestMandatoryOnly(t *testing.T) {
	cfg := PAAConfig{MandatoryOnly: func(a netip.Addr) bool { return a == addrOld.Addr() }}
	w := newWorld(t, 1, cfg)
	var offered []AVP
	w.tap = func(_, _ netip.AddrPort, b []byte) bool {
		if m, _ := ParseMessage(b); m.Name() == "PAR[S]" {
			offered = cloneAVPs(m.AVPs)
		}
		return true
	}
	poor, rich := w.node(addrOld, PaCConfig{}), w.node(addrNew, PaCConfig{})
	w.open(poor)
	if want := []AVP{avp32(CodePRF, 2), avp32(CodeIntegrity, 7)}; !slices.EqualFunc(offered, want, sameAVP) {
		t.Errorf("offered %v, expected %v", offered, want)
	}
	if poor.pac.hs.prf != keys.PRFHMACSHA1 || poor.pac.hs.integ != keys.AuthHMACSHA1_160 {
		t.Errorf("agreed on %v and %v", poor.pac.hs.prf, poor.pac.hs.integ)
	}
	w.open(rich)
	if rich.pac.hs.prf != keys.PRFHMACSHA256 || len(offered) < 8 {
		t.Errorf("agreed on %v, offered %v", rich.pac.hs.prf, offered)
	}

	w = newWorld(t, 1, cfg) // what others are offered is not offered here
	w.paa.HandlePacket(w.now, addrOld, encode(&Message{Type: TypePCI}, nil))
	par, err := ParseMessage(sent(w.paa)[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	w.paa.HandlePacket(w.now, addrOld, encode(&Message{
		Type: TypeAuth, Flags: FlagS, SID: par.SID, Seq: par.Seq, AVPs: []AVP{avp32(CodePRF, 5), avp32(CodeIntegrity, 12)},
	}, nil))
	if w.paa.Sessions() != 0 || w.paa.Counters()[DiscardAlgorithms] != 1 {
		t.Errorf("%d sessions, counters %v", w.paa.Sessions(), w.paa.Counters())
	}

	cfg.PRFs = []keys.PRF{keys.PRFHMACSHA256}
	if _, err := NewPAA(cfg); !errors.Is(err, ErrConfig) {
		t.Errorf("error %v, expected ErrConfig", err)
	}
}

func sameAVP(a, b AVP) bool {
	return a.Code == b.Code && a.Vendor == b.Vendor && bytes.Equal(a.Data, b.Data)
}

// failing is a random source that can be turned off.
type failing struct {
	io.Reader
	off bool
}

func (f *failing) Read(b []byte) (int, error) {
	if f.off {
		return 0, io.ErrUnexpectedEOF
	}
	return f.Reader.Read(b)
}

// TestSecretRotation: a PAR[S] made just before the secret changed is still good,
// one of the secret before that is not, and without randomness the old one serves.
func TestSecretRotation(t *testing.T) {
	rnd := &failing{Reader: newSeeded(1)}
	w := newWorld(t, 1, PAAConfig{Rand: rnd})
	period := cookieSlot * cookieLife
	w.now = w.now.Truncate(period)
	begin := func(answer time.Duration) Discard {
		w.paa.HandlePacket(w.now, addrOld, pciE)
		par, err := ParseMessage(sent(w.paa)[0].Data)
		if err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(answer)
		before := w.paa.Counters()[DiscardCookie]
		w.paa.HandlePacket(w.now, addrOld, encode(&Message{
			Type: TypeAuth, Flags: FlagS | FlagE, SID: par.SID, Seq: par.Seq, AVPs: []AVP{avp32(CodePRF, 5), avp32(CodeIntegrity, 12)},
		}, nil))
		if w.paa.Counters()[DiscardCookie] > before {
			return DiscardCookie
		}
		w.paa.Terminate(w.now, par.SID)
		for _, more := w.paa.Poll(); more; _, more = w.paa.Poll() {
		}
		return discards
	}
	first := bytes.Clone(w.paa.cookies.secret)
	if got := begin(time.Second); got != discards {
		t.Fatalf("in one period: %v", got)
	}
	second := bytes.Clone(w.paa.cookies.secret)
	w.now = w.now.Truncate(period).Add(period - time.Second)
	if got := begin(2 * time.Second); got != discards {
		t.Errorf("over the change: %v", got)
	}
	third := bytes.Clone(w.paa.cookies.secret)
	if bytes.Equal(first, second) || bytes.Equal(second, third) || !bytes.Equal(w.paa.cookies.old, second) {
		t.Error("the secret was not renewed with its period")
	}
	if got := begin(period); got != DiscardCookie {
		t.Errorf("a period later: %v", got)
	}
	rnd.off = true
	kept := bytes.Clone(w.paa.cookies.secret)
	w.now = w.now.Add(period)
	if got := begin(time.Second); got != discards || !bytes.Equal(w.paa.cookies.secret, kept) {
		t.Errorf("without randomness: %v", got)
	}
}

// TestKnownAddresses: a flood of PCIs from strangers uses up the rate of strangers.
func TestKnownAddresses(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{PCIRate: 20, PCIRatePerSource: 1000})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	pci := encode(&Message{Type: TypePCI}, nil)
	answered := func(from netip.AddrPort) bool {
		w.paa.HandlePacket(w.now, from, pci)
		return len(sent(w.paa)) == 1
	}
	flood := func() {
		for i := range 100 {
			answered(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 9, byte(i)}), 716))
		}
	}
	flood()
	again := netip.AddrPortFrom(addrOld.Addr(), 4000) // its other session, or it after a restart
	if answered(addrOther) || !answered(again) {
		t.Error("the address that has a session is not told from a stranger")
	}
	n.move(addrNew)
	n.do(func(now time.Time, p *PaC) { _, _ = p.Notify(now, nil, NotifyOptions{}) })
	w.run(100*time.Millisecond, func() bool { return count[AddressChanged](w.outs) == 1 })
	flood()
	if answered(again) || !answered(netip.AddrPortFrom(addrNew.Addr(), 4000)) {
		t.Error("what is known does not follow the session")
	}
	n.do(func(now time.Time, p *PaC) { p.Terminate(now) })
	w.pass(time.Minute)
	if len(w.paa.hosts) != 0 {
		t.Errorf("known are %v, and there is no session", w.paa.hosts)
	}
}

// TestPAAReauthBefore: REAUTH_TIMEOUT of RFC 5609.
func TestPAAReauthBefore(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{Lifetime: time.Minute, ReauthBefore: 10 * time.Second})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	began := w.now
	w.wire = nil
	if !w.run(time.Minute, func() bool { return count[Opened](w.outs) == 2 }) {
		t.Fatal("no re-authentication")
	}
	if d := w.now.Sub(began); d < 49*time.Second || d > 52*time.Second || w.wire[0] != "PAR[]" {
		t.Errorf("after %v, beginning with %v", d, w.wire[0])
	}
	w.run(5*time.Minute, func() bool { return n.closed() != nil })
	if n.closed() != nil || count[Opened](n.outs) < 6 {
		t.Errorf("the session does not live on: %v", n.closed())
	}
}

// TestExpire: SESSION_TIMEOUT is what the PaC is told.
func TestExpire(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	w.paa.Expire(w.now, n.pac.SID())
	w.flush()
	w.pass(time.Second)
	var e *ErrPeerTerminated
	if c, _ := last[Closed](w.outs); !errors.As(n.closed(), &e) || e.Cause != CauseSessionTimeout || !errors.Is(c.Reason, ErrTerminated) {
		t.Errorf("closed with %v and %v", n.closed(), c.Reason)
	}
}
