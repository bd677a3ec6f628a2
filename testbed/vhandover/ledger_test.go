package vhandover

import (
	"strings"
	"testing"

	"openmpa/testbed/simnet"
	"openmpa/testbed/topo"
	"openmpa/tunnel/ipip"
)

// packet is an application's, as it crosses the network.
func packet(t *testing.T, id packetID) []byte {
	t.Helper()
	body := append([]byte{appPort >> 8, appPort & 0xff, appPort >> 8, appPort & 0xff, 0, 0, 0, 0}, payload(id)...)
	b, err := ipip.AppendHeader(nil, ipip.Header{Src: topo.HomeAddress, Dst: topo.Correspondent, Protocol: protoUDP}, len(body))
	if err != nil {
		t.Fatal(err)
	}
	return append(b, body...)
}

// TestLedger: each way in which the books do not balance is told.
func TestLedger(t *testing.T) {
	id := packetID{up, 7}
	for name, c := range map[string]struct {
		happens func(l *ledger, pkt []byte)
		told    string // nothing: all is well
	}{
		"delivered": {func(l *ledger, _ []byte) { l.delivered(id) }, ""},
		"through a daemon": {func(l *ledger, pkt []byte) {
			l.Taken("mn", simnet.ViaTUN, pkt)
			l.Given("mn", simnet.ViaIPIP, pkt)
			l.delivered(id)
		}, ""},
		"lost on a cable":      {func(l *ledger, pkt []byte) { l.Lost("air", simnet.ReasonLoss, pkt) }, ""},
		"refused":              {func(l *ledger, _ []byte) { l.unsent(id) }, ""},
		"dropped and counted":  {func(l *ledger, pkt []byte) { l.Taken("ra", simnet.ViaTUN, pkt) }, ""},
		"vanished":             {func(*ledger, []byte) {}, "the network had 1 copies and knows the end of 0"},
		"swallowed":            {func(l *ledger, pkt []byte) { l.Taken("mn", simnet.ViaTUN, pkt) }, "mn: 1 application packets went in and not out; its counters know of 0"},
		"swallowed in a crash": {func(l *ledger, pkt []byte) { l.Taken("rb", simnet.ViaTUN, pkt) }, ""},
		"given out twice, and counted": {func(l *ledger, pkt []byte) {
			l.Taken("rc", simnet.ViaTUN, pkt)
			l.Given("rc", simnet.ViaESP, pkt)
			l.Given("rc", simnet.ViaESP, pkt)
			l.Lost("air", simnet.ReasonLoss, pkt)
			l.delivered(id)
		}, ""},
		"given out twice": {func(l *ledger, pkt []byte) {
			l.Taken("ha", simnet.ViaTUN, pkt)
			l.Given("ha", simnet.ViaESP, pkt)
			l.Given("ha", simnet.ViaESP, pkt)
			l.Lost("air", simnet.ReasonLoss, pkt)
			l.delivered(id)
		}, "ha: -1 application packets went in and not out"},
		"doubled by the network": {func(l *ledger, pkt []byte) {
			l.Doubled("air", pkt)
			l.delivered(id)
			l.delivered(id)
		}, ""},
		"doubled by a daemon": {func(l *ledger, pkt []byte) {
			l.Taken("ra", simnet.ViaESP, pkt)
			l.Given("ra", simnet.ViaTUN, pkt)
			l.Given("ra", simnet.ViaTUN, pkt)
			l.delivered(id)
			l.delivered(id)
		}, "was delivered 2 times, the network doubled it 0 times"},
		"one copy of two lost, and two delivered": {func(l *ledger, pkt []byte) {
			l.Doubled("air", pkt)
			l.Lost("air", simnet.ReasonForeign, pkt)
			l.delivered(id)
			l.delivered(id)
		}, "was delivered 2 times, the network doubled it 1 times"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger()
			l.sent(id)
			c.happens(l, packet(t, id))
			wrong := strings.Join(l.check(map[string]uint64{"ra": 1}, map[string]uint64{"rc": 1}, map[string]bool{"rb": true}), "\n")
			if c.told == "" && wrong != "" || !strings.Contains(wrong, c.told) {
				t.Errorf("told %q, expected %q", wrong, c.told)
			}
		})
	}
}

// TestSilence: after a number, every packet has to come once.
func TestSilence(t *testing.T) {
	l := newLedger()
	l.sent(packetID{up, 0})
	first := l.next()
	if first != [2]uint64{1, 0} {
		t.Errorf("next: %v", first)
	}
	if l.silence(first) == "" {
		t.Error("nothing was sent, and that was well")
	}
	for _, id := range []packetID{{up, 1}, {down, 0}} {
		l.sent(id)
		if l.silence(first) == "" {
			t.Errorf("%v was not delivered, and that was well", id)
		}
		l.delivered(id)
	}
	if wrong := l.silence(first); wrong != "" {
		t.Errorf("all were delivered: %s", wrong)
	}
	l.delivered(packetID{up, 1})
	if l.silence(first) == "" {
		t.Error("one was delivered twice, and that was well")
	}
}

// TestSort: application packets are known as they are, in IP in IP, and in ESP by
// their size.
func TestSort(t *testing.T) {
	id := packetID{down, 1 << 40}
	pkt := packet(t, id)
	if got, plain, sealed := sort(pkt); got != id || !plain || sealed {
		t.Errorf("plain: %v, %v, %v", got, plain, sealed)
	}
	outer, err := ipip.Encapsulate(nil, ipip.Header{Src: topo.HomeAgent, Dst: topo.BareAddress}, pkt)
	if err != nil {
		t.Fatal(err)
	}
	if got, plain, _ := sort(outer); got != id || !plain {
		t.Errorf("IP in IP: %v, %v", got, plain)
	}
	const inESP = 8 + 8 + (20+20+udpHeader+appSize+2+3)/4*4 + 16                                       // SPI, number; IV; IP in IP and trailer; ICV
	for size, want := range map[int]bool{inESP: true, inESP + 8: true, inESP - 4: false, 120: false} { // with a number, too
		udp := append([]byte{espPort >> 8, espPort & 0xff, 1, 1, 0, 0, 0, 0}, make([]byte, size)...)
		b, err := ipip.AppendHeader(nil, ipip.Header{Src: topo.HomeAgent, Dst: topo.BareAddress, Protocol: protoUDP}, len(udp))
		if err != nil {
			t.Fatal(err)
		}
		if _, plain, sealed := sort(append(b, udp...)); plain || sealed != want {
			t.Errorf("ESP of %d octets: plain %v, sealed %v, expected %v", size, plain, sealed, want)
		}
	}
	if _, plain, sealed := sort([]byte{1, 2, 3}); plain || sealed {
		t.Error("rubbish is an application packet")
	}
}

// TestPlan: a seed gives one plan, and another seed another.
func TestPlan(t *testing.T) {
	if a, b := NewPlan(5).String(), NewPlan(5).String(); a != b {
		t.Errorf("one seed, two plans:\n%s\n%s", a, b)
	}
	if NewPlan(5).String() == NewPlan(6).String() {
		t.Error("two seeds, one plan")
	}
	drawn, clean := map[Fault]bool{}, 0
	for seed := range uint64(2000) {
		p := NewPlan(seed)
		for _, m := range p.Moves {
			drawn[m.Fault] = true
		}
		if p.Clean() {
			clean++
		}
	}
	if len(drawn) != len(faults) || clean < 100 {
		t.Errorf("of 2000 plans %d lose nothing, and they have %d of %d faults", clean, len(drawn), len(faults))
	}
}
