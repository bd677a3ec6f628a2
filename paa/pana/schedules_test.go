package pana

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"
)

// A schedule is one seed's life of a node: how the network is, how both sides are set,
// and what happens when. Then comes a lifetime in which nothing does.
type schedule struct {
	*world
	seed     uint64
	lifetime time.Duration
	paaCfg   PAAConfig
	pacCfg   PaCConfig
	n        *node
	awaits   bool // the node waits for the PAA to begin
	told     int  // notifications so far
	lasted   bool // a session outlives the silence
	log      []string
}

// between is a random time from a to b.
func (s *schedule) between(a, b time.Duration) time.Duration {
	return a + time.Duration(s.rnd.Int64N(int64(b-a)))
}

func (s *schedule) maybe(p float64) bool { return s.rnd.Float64() < p }

func newSchedule(t *testing.T, seed uint64) *schedule {
	s := &schedule{seed: seed, world: newWorld(t, seed, PAAConfig{})}
	s.lifetime = s.between(20*time.Second, 60*time.Second).Truncate(time.Second)
	s.loss, s.dup = 0.4*s.rnd.Float64(), 0.4*s.rnd.Float64()
	s.delay, s.jitter = s.between(0, 100*time.Millisecond), s.between(1, 300*time.Millisecond)
	s.aaa = s.between(0, 500*time.Millisecond)
	s.paaCfg = PAAConfig{Lifetime: s.lifetime, AuthTimeout: 20 * time.Second, EAPInStart: s.maybe(0.3)}
	s.pacCfg = PaCConfig{Preauth: s.maybe(0.5), AuthTimeout: 20 * time.Second, NoPiggyback: s.maybe(0.3)}
	if s.maybe(0.5) {
		s.pacCfg.PingInterval = s.between(3*time.Second, 15*time.Second)
		s.pacCfg.PingTimeout = s.pacCfg.PingInterval
	}
	if s.maybe(0.5) {
		s.paaCfg.PingInterval = s.between(3*time.Second, 15*time.Second)
		s.paaCfg.PingTimeout = s.paaCfg.PingInterval
	}
	if s.maybe(0.4) {
		s.pacCfg.ReauthBefore = s.lifetime / 3
	}
	if s.maybe(0.3) {
		s.paaCfg.ReauthBefore = s.lifetime / 4
	}
	s.restartPAA()
	s.begin()
	return s
}

// restartPAA forgets all sessions.
func (s *schedule) restartPAA() {
	cfg := s.paaCfg
	cfg.Rand = newSeeded(s.rnd.Uint64())
	paa, err := NewPAA(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.paa, s.eap = paa, map[uint32]*fakeServer{}
}

// begin makes the node anew, where it was.
func (s *schedule) begin() {
	addr := addrOld
	if s.n != nil {
		addr = s.n.addr
	}
	s.n = s.node(addr, s.pacCfg)
	s.awaits = !s.pacCfg.Preauth && s.maybe(0.2)
	s.n.do(func(now time.Time, p *PaC) {
		if s.awaits {
			p.Await()
		} else {
			p.Start(now)
		}
	})
}

// act does one random thing.
func (s *schedule) act() {
	n := s.n
	sid := n.pac.SID()
	what := s.rnd.IntN(14)
	s.log = append(s.log, fmt.Sprintf("%v action %d", s.now.Sub(time.Unix(1_700_000_000, 0)), what))
	switch what {
	case 0:
		s.begin() // its crash
	case 1:
		if n.pac.State() == PaCClosed {
			s.begin()
		}
	case 2:
		s.restartPAA()
		if s.maybe(0.5) {
			s.paa.Invite(s.now, n.addr)
		}
	case 3:
		n.do(func(now time.Time, p *PaC) { p.Reauthenticate(now) })
	case 4:
		_ = s.paa.Reauthenticate(s.now, sid)
	case 5, 6:
		s.told++
		n.do(func(now time.Time, p *PaC) {
			_, _ = p.Notify(now, vendorAVP(fmt.Sprint("up ", s.told)), NotifyOptions{Activate: s.maybe(0.5), Urgent: s.maybe(0.3)})
		})
	case 7:
		s.told++
		_, _ = s.paa.Notify(s.now, sid, vendorAVP(fmt.Sprint("down ", s.told)), NotifyOptions{Urgent: s.maybe(0.3)})
	case 8:
		port := uint16(1 + s.rnd.IntN(65535))
		n.move(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, 0, byte(s.rnd.Uint32())}), port))
	case 9:
		n.off = true
		s.after(s.between(0, 10*time.Second), func() { n.off = false })
	case 10:
		if s.maybe(0.3) {
			n.do(func(now time.Time, p *PaC) { p.Terminate(now) })
		}
	case 11:
		switch { // rarely
		case s.maybe(0.2):
			s.paa.Terminate(s.now, sid)
		case s.maybe(0.2):
			s.paa.Expire(s.now, sid)
		}
	case 12:
		if !s.pacCfg.Preauth {
			_, _ = s.paa.Initiate(s.now, n.addr)
		}
	case 13: // the path changes, unknown to the node: a translator forgets
		delete(s.nodes, n.addr)
		n.addr = netip.AddrPortFrom(n.addr.Addr(), uint16(1+s.rnd.IntN(65535)))
		s.nodes[n.addr] = n
	}
	s.flush()
}

// agree says what the two sides do not agree on, nil if they agree.
func (s *schedule) agree() error {
	state := s.n.pac.State()
	open := 0
	for sid, x := range s.paa.sessions {
		switch {
		case x.state == paaClosed:
			continue
		case x.state != paaOpen:
			return fmt.Errorf("the PAA's session %08x is stuck in %v", sid, x.state)
		case sid != s.n.pac.SID() || state != PaCOpen:
			return fmt.Errorf("the PAA has session %08x open, the PaC has %08x in %v", sid, s.n.pac.SID(), state)
		case x.sa.keyID != s.n.pac.sa.keyID || !x.sa.key.Equal(s.n.pac.sa.key):
			return fmt.Errorf("session %08x has key %d at the PAA, %d at the PaC", sid, x.sa.keyID, s.n.pac.sa.keyID)
		case x.preauth != s.n.pac.preauth:
			return fmt.Errorf("session %08x has E %v at the PAA, %v at the PaC", sid, x.preauth, s.n.pac.preauth)
		}
		open++
	}
	switch {
	case open > 1 || open != s.paa.Sessions():
		return fmt.Errorf("%d sessions are open for one purpose, %d counted", open, s.paa.Sessions())
	case state == PaCOpen && open == 0:
		return fmt.Errorf("the PaC has session %08x open, the PAA has none", s.n.pac.SID())
	case state != PaCOpen && state != PaCClosed && !(state == PaCWaitPAA && s.awaits):
		return fmt.Errorf("the PaC is stuck in %v", state)
	}
	return nil
}

// orderly checks the outputs of one side: each session opens once, ends once, tells nothing
// after that, and delivers nothing twice.
func orderly(outs []Output) error {
	opened, over, seen, done := map[uint32]bool{}, map[uint32]bool{}, map[string]bool{}, map[string]bool{}
	for i, o := range outs {
		switch o := o.(type) {
		case Opened:
			if opened[o.SID] != o.Rekeyed || over[o.SID] {
				return fmt.Errorf("output %d: session %08x opened, rekeyed %v, was open %v, ended %v", i, o.SID, o.Rekeyed, opened[o.SID], over[o.SID])
			}
			opened[o.SID] = true
		case Closed:
			if over[o.SID] && o.SID != 0 || o.Reason == nil {
				return fmt.Errorf("output %d: session %08x closed again, or without a reason: %v", i, o.SID, o.Reason)
			}
			over[o.SID] = true
		case Notified:
			if k := string(o.AVPs[0].Data); seen[k] || over[o.SID] {
				return fmt.Errorf("output %d: %q came again, or after the end of session %08x", i, k, o.SID)
			} else {
				seen[k] = true
			}
		case NotifyDone:
			k := fmt.Sprint(o.SID, o.Token)
			if done[k] {
				return fmt.Errorf("output %d: notification %s ended twice", i, k)
			}
			done[k] = true
		case Activated:
			if !opened[o.SID] || over[o.SID] {
				return fmt.Errorf("output %d: session %08x activated while it is not open", i, o.SID)
			}
		}
	}
	return nil
}

// play plays it to its end.
func (s *schedule) play() (err error) {
	for range 4 + s.rnd.IntN(20) {
		s.after(s.between(0, 2*s.lifetime), s.act)
	}
	s.pass(2 * s.lifetime)
	s.loss, s.dup = 0, 0
	s.n.off = false
	node := s.n
	s.pass(s.lifetime + s.paaCfg.AuthTimeout)
	// Sides differ while a message is on its way.
	if !s.run(20*time.Second, func() bool { err = s.agree(); return err == nil }) {
		return err
	}
	if err := errors.Join(orderly(s.outs), orderly(node.outs)); err != nil {
		return err
	}
	s.lasted = node.pac.State() == PaCOpen
	s.pacCfg.Preauth = false
	s.n = s.node(addrOther, s.pacCfg)
	s.n.do(func(now time.Time, p *PaC) { p.Start(now) })
	if !s.run(20*time.Second, func() bool {
		x := s.paa.sessions[s.n.pac.SID()]
		return s.n.pac.State() == PaCOpen && x != nil && x.state == paaOpen
	}) {
		return fmt.Errorf("no session after all: the PaC is in %v", s.n.pac.State())
	}
	return nil
}

// TestSchedules plays random schedules of loss, duplication, reordering, crossing initiations,
// restarts of either side and address changes. OPENMPA_SCHEDULES says how many (default 300),
// OPENMPA_SEED plays one and shows it.
func TestSchedules(t *testing.T) {
	first, number := uint64(1), uint64(300)
	if v := os.Getenv("OPENMPA_SCHEDULES"); v != "" {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		number = n
	}
	show := os.Getenv("OPENMPA_SEED")
	if show != "" {
		n, err := strconv.ParseUint(show, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first, number = n, 1
	}
	failed, happened := 0, map[string]int{}
	for seed := first; seed < first+number; seed++ {
		s := newSchedule(t, seed)
		if err := s.play(); err != nil {
			t.Errorf("seed %d: %v; OPENMPA_SEED=%d shows it", seed, err, seed)
			failed++
		}
		s.count(happened)
		if show != "" {
			t.Logf("PAA %+v\nPaC %+v\n%v", s.paaCfg, s.pacCfg, s.log)
			t.Logf("%v\n%v\n%v", s.wire, kinds(s.outs), kinds(s.n.outs))
		}
		if failed > 10 {
			t.Fatal("and so on")
		}
	}
	t.Log(happened)
	for _, what := range []string{
		"Opened", "rekeyed", "Activated", "AddressChanged", "Notified", "Closed", "open in the end", "closed in the end", "PAR[S]", "PAR[SE]", "PNR[A]", "PNR[PE]", "PTR[]",
	} {
		if happened[what] == 0 && show == "" {
			t.Errorf("in none of %d schedules: %s", number, what)
		}
	}
}

// count notes what has happened.
func (s *schedule) count(happened map[string]int) {
	for _, o := range s.outs {
		happened[kinds([]Output{o})[0]]++
		if o, ok := o.(Opened); ok && o.Rekeyed {
			happened["rekeyed"]++
		}
	}
	for _, m := range s.wire {
		happened[m]++
	}
	if s.lasted {
		happened["open in the end"]++
	} else {
		happened["closed in the end"]++
	}
}

// TestSchedulesReproduce: a seed is one schedule.
func TestSchedulesReproduce(t *testing.T) {
	for seed := uint64(1); seed < 20; seed++ {
		wires := [2]string{}
		for i := range wires {
			s := newSchedule(t, seed)
			if err := s.play(); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
			wires[i] = fmt.Sprint(s.wire, s.log)
		}
		if wires[0] != wires[1] {
			t.Fatalf("seed %d is played in two ways:\n%s\n%s", seed, wires[0], wires[1])
		}
	}
}
