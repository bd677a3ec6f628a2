package info

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"openmpa/internal/catest"
	"openmpa/internal/event"
	"openmpa/internal/neighbourhood"
	"openmpa/paa/notify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Four routers in a row, and round: a node hears of its network's neighbours and of theirs, and of what is gone no longer than
// its lifetime, though routers tell each other.
func TestRouters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		a := s.open(s.config(network("a", "10.0.0.1"), "b", "d"))
		defer a.Close()
		b := s.open(s.config(network("b", "10.1.0.1", "poa-b"), "a", "c"))
		defer b.Close()
		c := s.open(s.config(network("c", "10.2.0.1"), "b", "d"))
		d := s.open(s.config(network("d", "10.3.0.1"), "c", "a"))
		time.Sleep(2 * defaultEvery)
		synctest.Wait()
		const whole = "a@10.0.0.1/0 b@10.1.0.1/1 d@10.3.0.1/1 c@10.2.0.1/2"
		if got := asked(t, a); got != whole {
			t.Errorf("around a: %s\nexpected  %s\n%+v", got, whole, a.Status().Neighbours)
		}
		for _, n := range told(t, a, 1, &notify.Gathering{}) {
			if n.Lifetime < defaultLifetime-2*defaultEvery-time.Second || n.Lifetime > defaultLifetime {
				t.Errorf("%s holds for %v", n.Name, n.Lifetime)
			}
		}
		if st := a.Status(); !st.Neighbours[0].Up || st.Neighbours[0].Networks == 0 || len(st.Contradictions) != 0 {
			t.Errorf("%+v", st)
		}
		// d and c are gone. What a, b told each other of them does not go round.
		if err := errors.Join(c.Close(), d.Close()); err != nil {
			t.Error(err)
		}
		time.Sleep(defaultEvery)
		if got := asked(t, a); !strings.Contains(got, "d@10.3.0.1/1") {
			t.Errorf("soon after: %s", got)
		}
		time.Sleep(defaultLifetime)
		synctest.Wait()
		if got := asked(t, a); got != "a@10.0.0.1/0 b@10.1.0.1/1 d/1 c/2" { // here, and by b, c and d are configured with no more than their names
			t.Errorf("after their lifetime: %s", got)
		}
		if st := a.Status().Neighbours[1]; st.Up || st.Why == "" {
			t.Errorf("%+v", st)
		}
		// It comes back.
		d = s.open(s.config(network("d", "10.3.0.9"), "a"))
		defer d.Close()
		time.Sleep(2 * defaultEvery)
		synctest.Wait()
		if got := asked(t, a); got != "a@10.0.0.1/0 b@10.1.0.1/1 d@10.3.0.9/1 c/2" {
			t.Errorf("after its return: %s", got)
		}
	})
}

// A router that lies about other networks is not believed where they speak for themselves, nor where the operator did.
func TestLiar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		liar := s.config(network("a0", "10.9.0.1"))
		liar.Hops, liar.Routers = neighbourhood.MaxHops, []string{routerName("a")}
		for _, n := range []string{"a", "b", "c"} {
			n := network(n, "10.9.0.1", "poa-"+n)
			n.Prefixes = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			liar.Neighbours = append(liar.Neighbours, Neighbour{Network: n})
		}
		for i := range 25 {
			liar.Neighbours = append(liar.Neighbours, Neighbour{Network: network(fmt.Sprint("x", i), "10.9.0.1", "poa-b")})
		}
		l := s.open(liar)
		defer l.Close()
		b := s.open(s.config(network("b", "10.1.0.1", "poa-b"), "a"))
		defer b.Close()
		config := s.config(network("a", "10.0.0.1", "poa-a"), "a0", "b")
		c := network("c", "10.2.0.1", "poa-c")
		c.Prefixes = []netip.Prefix{netip.MustParsePrefix("10.2.0.0/24")}
		config.Neighbours = append(config.Neighbours, Neighbour{Network: c})
		a := s.open(config)
		defer a.Close()
		time.Sleep(2 * defaultEvery)
		synctest.Wait()
		got := map[string]neighbourhood.Network{}
		for _, n := range told(t, a, 1, &notify.Gathering{}) {
			got[n.Name] = n
		}
		for name, paa := range map[string]string{"a": "10.0.0.1", "b": "10.1.0.1", "c": "10.2.0.1"} {
			if n := got[name]; len(n.Agents) != 1 || n.Agents[0].Addr.Addr().String() != paa || len(n.Points) != 1 || len(n.Prefixes) > 1 {
				t.Errorf("%+v", n)
			}
		}
		if n := got["x0"]; len(n.Points) != 0 {
			t.Errorf("a point of another network: %+v", n)
		}
		st := a.Status()
		i := slices.IndexFunc(st.Contradictions, func(k neighbourhood.Contradiction) bool { return k.Network == "b" && k.Field == "paa" })
		if i < 0 || st.Contradictions[i].By.Name != "a0" || st.Contradictions[i].KeptBy.Name != "b" || st.Contradictions[i].Dropped != "10.9.0.1:716" {
			t.Errorf("%+v", st.Contradictions)
		}
	})
}

// A router says of all the others that it is theirs, at first hand and for ever: they are believed of themselves, it is not, and what it has
// said ends when it does.
func TestForger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		var lies []neighbourhood.Network
		for _, n := range []string{"a", "a0", "b"} {
			lies = append(lies, network(n, "10.9.0.1"))
		}
		for i := range neighbourhood.MaxNetworks - len(lies) {
			lies = append(lies, network(fmt.Sprint("x", i), "10.9.0.1"))
		}
		end := s.forge("a0", lies)
		defer end()
		b := s.open(s.config(network("b", "10.1.0.1"), "a"))
		defer b.Close()
		c := s.config(network("a", "10.0.0.1"), "a0", "b")
		a := s.open(c)
		defer a.Close()
		time.Sleep(2 * defaultEvery)
		synctest.Wait()
		if got := asked(t, a); !strings.HasPrefix(got, "a@10.0.0.1/0 a0@10.9.0.1/1 b@10.1.0.1/1 x0@10.9.0.1/2") {
			t.Error(got)
		}
		if got := asked(t, b); strings.Contains(got, "x0") || !strings.Contains(got, "a0@10.9.0.1/2") {
			t.Errorf("what a has at second hand went on: %s", got)
		}
		for _, n := range told(t, a, 1, &notify.Gathering{}) {
			if n.Lifetime > defaultLifetime {
				t.Errorf("%s for %v", n.Name, n.Lifetime)
			}
		}
		s.cut("a0", true)
		time.Sleep(maxLifetime + defaultEvery)
		synctest.Wait()
		if got := asked(t, a); got != "a@10.0.0.1/0 a0/1 b@10.1.0.1/1" {
			t.Errorf("when it is gone: %s", got)
		}
	})
}

// In a ring of routers that pass on as far as they may, what is gone goes round no longer than its lifetime.
func TestRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		var ring []*Service
		for i, n := range []string{"a", "b", "c", "d"} {
			c := s.config(network(n, fmt.Sprintf("10.%d.0.1", i)), []string{"d", "a", "b", "c"}[i], []string{"b", "c", "d", "a"}[i])
			c.Hops, c.Site = neighbourhood.MaxHops, "example"
			ring = append(ring, s.open(c))
		}
		x := s.config(network("x", "10.9.0.1"), "a")
		for _, r := range ring {
			defer r.Close()
		}
		gone := s.open(x)
		time.Sleep(4 * defaultEvery)
		synctest.Wait()
		if got := asked(t, ring[2]); !strings.Contains(got, "x@10.9.0.1/3") {
			t.Errorf("around c: %s", got)
		}
		if err := gone.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(defaultLifetime + time.Second)
		synctest.Wait()
		for i, r := range ring {
			if got := asked(t, r); strings.Contains(got, "x@") || strings.Count(got, "@") != 4 {
				t.Errorf("around %d: %s", i, got)
			}
		}
	})
}

// Strangers, and routers that are not who they should be, get and give nothing.
func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		a := s.open(s.config(network("a", "10.0.0.1"), "b"))
		defer a.Close()
		other := &site{s.wire, t, catest.NewAuthority(t)}
		b := other.open(other.config(network("b", "10.1.0.1"), "a")) // of another authority
		defer b.Close()
		time.Sleep(2 * defaultEvery)
		synctest.Wait()
		if got := asked(t, a); got != "a@10.0.0.1/0 b/1" {
			t.Error(got)
		}
		if got := asked(t, b); got != "b@10.1.0.1/0 a/1" {
			t.Error(got)
		}
		try := func(name string, certificate tls.Certificate) error {
			raw, err := s.dial(t.Context(), "a")
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			conn := tls.Client(raw, &tls.Config{Certificates: []tls.Certificate{certificate}, RootCAs: s.authority.Roots(), ServerName: routerName("a")})
			err = fetch(conn, &notify.Gathering{})
			t.Logf("%s: %v", name, err)
			return err
		}
		if err := try("a router", s.authority.Issue(routerName("b"))); err != nil {
			t.Error(err)
		}
		if try("nobody", tls.Certificate{}) == nil || try("a node", s.authority.Issue("node.example")) == nil || try("another's", other.authority.Issue(routerName("b"))) == nil {
			t.Error("a stranger was answered")
		}
		// A server in the place of b that has a certificate of the authority, but not b's name.
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		c := s.config(network("b", "10.9.0.1"))
		c.Certificate, c.Routers = s.authority.Issue(routerName("c")), []string{routerName("a")}
		impostor := s.open(c)
		defer impostor.Close()
		time.Sleep(2 * defaultEvery)
		synctest.Wait()
		if got := asked(t, a); got != "a@10.0.0.1/0 b/1" {
			t.Error(got)
		}
		if st := a.Status(); st.Neighbours[0].Up || !strings.Contains(st.Neighbours[0].Why, routerName("b")) || st.Routers.Strangers < 3 {
			t.Errorf("%+v", st)
		}
	})
}

// What a router sends that is no answer ends the connection, not the service, and memory for it is bounded.
func TestHostileRouter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		l := s.listen("b")
		var behaviour atomic.Pointer[func(conn net.Conn)]
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			config := &tls.Config{Certificates: []tls.Certificate{s.authority.Issue(routerName("b"))}}
			for {
				raw, err := l.Accept()
				if err != nil {
					return
				}
				(*behaviour.Load())(tls.Server(raw, config))
				_ = raw.Close()
			}
		})
		defer l.Close()
		quiet := func(net.Conn) {}
		behaviour.Store(&quiet)
		a := s.open(s.config(network("a", "10.0.0.1"), "b"))
		defer a.Close()
		big := binary.BigEndian.AppendUint16(nil, 0xffff)
		for name, do := range map[string]func(conn net.Conn){
			"too long":   func(conn net.Conn) { _, _ = conn.Write(append(big, make([]byte, 0xffff)...)) },
			"cut":        func(conn net.Conn) { _, _ = conn.Write([]byte{0, 40, byte(notify.KindNeighboursReply)}) },
			"silent":     func(conn net.Conn) { time.Sleep(time.Minute) },
			"other kind": func(conn net.Conn) { _ = write(conn, &notify.NeighboursChanged{}) },
			"other id": func(conn net.Conn) {
				_ = write(conn, &notify.NeighboursReply{Header: notify.Header{Handover: event.HandoverID{1}}, Reason: "no"})
			},
			"first part for ever": func(conn net.Conn) {
				for n := byte(1); ; n++ {
					m, err := read(conn)
					if err != nil {
						return
					}
					_ = write(conn, &notify.NeighboursReply{Header: notify.Header{Handover: m.ID()}, Revision: notify.Revision{n}, Parts: 2, Lives: []time.Duration{}, Data: make([]byte, notify.NeighboursPart)})
				}
			},
		} {
			behaviour.Store(&do)
			time.Sleep(3 * defaultEvery)
			if st := a.Status().Neighbours[0]; st.Up || st.Why == "" {
				t.Errorf("%s: %+v", name, st)
			}
			if got := asked(t, a); got != "a@10.0.0.1/0 b/1" {
				t.Errorf("%s: %s", name, got)
			}
		}
	})
}

// heard takes what the service sends to nodes.
type heard struct {
	mu   sync.Mutex
	to   []uint32
	last notify.Revision
}

func (h *heard) send(sid uint32, m notify.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.to = append(h.to, sid)
	h.last = m.(*notify.NeighboursChanged).Revision
}

func (h *heard) take() []uint32 {
	h.mu.Lock()
	defer h.mu.Unlock()
	to := h.to
	h.to = nil
	slices.Sort(to)
	return to
}

// Nodes that have asked are told when there is something else to hear, once for each change; those that have gone are not.
func TestPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.cut("b", true)
		c := s.config(network("a", "10.0.0.1", "poa-a"), "b")
		c.Sessions = 100
		a := s.open(c)
		defer a.Close()
		var h heard
		var visitors atomic.Int32
		a.Begin(h.send, func() int { return int(visitors.Load()) }, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")})
		var g notify.Gathering
		for sid := uint32(1); sid <= 3; sid++ {
			told(t, a, sid, &g)
		}
		a.Ended(2)
		b := s.open(s.config(network("b", "10.1.0.1"), "a"))
		defer b.Close()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if to := h.take(); len(to) != 0 {
			t.Errorf("told without a change: %v", to)
		}
		s.cut("b", false)
		time.Sleep(defaultEvery + pushPause)
		synctest.Wait()
		if to := h.take(); !slices.Equal(to, []uint32{1, 3}) {
			t.Errorf("told: %v", to)
		}
		if got := words(told(t, a, 1, &g)); got != "a@10.0.0.1/0 b@10.1.0.1/1" || g.Revision() != h.last {
			t.Errorf("%s, revision %x, expected %x", got, g.Revision(), h.last)
		}
		for _, step := range []struct {
			visitors int32
			load     float32
			told     int
		}{{5, 0, 0}, {50, 0.5, 2}, {52, 0.5, 0}, {46, 0.5, 0}, {43, 0.375, 2}, {500, 1, 2}} {
			visitors.Store(step.visitors)
			time.Sleep(defaultEvery + pushPause)
			synctest.Wait()
			if n := len(h.take()); n != step.told {
				t.Errorf("%d visitors: %d nodes told, expected %d", step.visitors, n, step.told)
			}
			if load := told(t, a, 1, &g)[0].Points[0].Load; load == nil || *load != step.load {
				t.Errorf("%d visitors: load %v, expected %v", step.visitors, load, step.load)
			}
		}
		if p := told(t, a, 1, &g)[0].Prefixes; len(p) != 1 {
			t.Errorf("prefixes %v", p)
		}
		if st := a.Status(); st.Nodes != 2 || st.Told.Pushed != 8 || st.Told.Answers == 0 || st.Told.Unchanged == 0 {
			t.Errorf("%+v", st)
		}
	})
}

// A node that asks without end is refused, and others are not.
func TestAskedTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		a := s.open(s.config(network("a", "10.0.0.1")))
		defer a.Close()
		ask := func(sid uint32) bool { return a.Answer(sid, &notify.NeighboursRequest{}).Reason == "" }
		n := 0
		for range 10 * burst {
			if ask(1) {
				n++
			}
		}
		if n != burst || !ask(2) {
			t.Errorf("%d answers, expected %d; another node was answered: %v", n, burst, ask(2))
		}
		for range 40 { // ten a second
			time.Sleep(100 * time.Millisecond)
			if ask(1) {
				n++
			}
		}
		if n != burst+16 {
			t.Errorf("%d answers, expected %d", n, burst+16)
		}
	})
}

func TestRefusesConfig(t *testing.T) {
	authority := catest.NewAuthority(t)
	for name, c := range map[string]Config{
		"no name":       {},
		"twice":         {Own: network("a", ""), Neighbours: []Neighbour{{Network: network("a", "")}}},
		"no identity":   {Own: network("a", ""), Neighbours: []Neighbour{{Network: network("b", ""), Address: "b:1"}}, Certificate: authority.Issue("a"), Roots: authority.Roots()},
		"no roots":      {Own: network("a", ""), Neighbours: []Neighbour{{Network: network("b", ""), Address: "b:1", Identity: "b"}}},
		"bare listener": {Own: network("a", ""), Listener: newWire().listen("a")},
		"lifetime":      {Own: network("a", ""), Lifetime: time.Minute, Every: time.Minute},
		"point":         {Own: network("a", "", "with space")},
	} {
		if s, err := Open(c); err == nil {
			t.Errorf("%s: opened", name)
			_ = s.Close()
		}
	}
}

// Routers that join a site know where the first one is, and nothing else: all hear of all, also of one that comes later; one that goes
// is forgotten. Whoever has no name of the site is not heard.
func TestSite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		first := s.config(network("a", "10.0.0.1"))
		first.Site = "example"
		a := s.open(first)
		defer a.Close()
		joined := func(name, paa string) *Service {
			c := s.config(network(name, paa), "a")
			c.Listener = nil
			return s.open(c)
		}
		b := joined("b", "10.1.0.1")
		defer b.Close()
		time.Sleep(defaultLifetime)
		synctest.Wait()
		if got := asked(t, a); got != "a@10.0.0.1/0 b@10.1.0.1/1" {
			t.Errorf("around a: %s\n%+v", got, a.Status())
		}
		c := joined("c", "10.2.0.1")
		time.Sleep(2 * defaultEvery)
		synctest.Wait()
		for r, want := range map[*Service]string{
			a: "a@10.0.0.1/0 b@10.1.0.1/1 c@10.2.0.1/1", b: "b@10.1.0.1/0 a@10.0.0.1/1 c@10.2.0.1/2", c: "c@10.2.0.1/0 a@10.0.0.1/1 b@10.1.0.1/2",
		} {
			if got := asked(t, r); got != want {
				t.Errorf("%s, expected %s", got, want)
			}
		}
		if st := a.Status(); len(st.Neighbours) != 2 || !st.Neighbours[0].Up || st.Neighbours[0].From == "" || len(st.Contradictions) != 0 {
			t.Errorf("%+v", st)
		}
		a.mu.Lock()
		own := a.sheet(time.Now(), "b", a.cfg.Hops)
		a.mu.Unlock()
		if list, err := notify.ParseNetworks(own.Reply(&notify.NeighboursRequest{}, own.lives(time.Now(), defaultLifetime)).Data); err != nil || words(list) != "a@10.0.0.1/0 c@10.2.0.1/1" {
			t.Errorf("a tells b what b has said: %s, %v", words(list), err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(2*defaultLifetime + defaultEvery)
		synctest.Wait()
		if got := asked(t, b); got != "b@10.1.0.1/0 a@10.0.0.1/1" {
			t.Errorf("after c has gone: %s", got)
		}
		for _, name := range []string{"x.example", "ar.x.y.example", "ar.a.example", "ar.*.example", "ar..example", "ar.x.other", ".example"} {
			if n := a.ofSite(name); n != "" {
				t.Errorf("%s is taken for the router of %q", name, n)
			}
		}
		c2 := s.config(network("x", "10.9.0.1"), "a")
		c2.Certificate = s.authority.Issue("x.example")
		x := s.open(c2)
		defer x.Close()
		time.Sleep(defaultLifetime)
		synctest.Wait()
		if got := asked(t, a) + ", " + asked(t, x); got != "a@10.0.0.1/0 b@10.1.0.1/1, x@10.9.0.1/0 a/1" {
			t.Error(got)
		}
	})
}

// More routers of a site than there is room for leave those that are configured, and bounded memory.
func TestCrowdedSite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		first := s.config(network("a", "10.0.0.1"), "b")
		first.Site, first.Neighbours[0].Address = "example", "" // b comes
		a := s.open(first)
		defer a.Close()
		for i := range maxNeighbours + 5 {
			c := s.config(network(fmt.Sprint("n", i), "10.1.0.1"), "a")
			c.Listener = nil
			defer s.open(c).Close()
		}
		b := s.open(s.config(network("b", "10.2.0.1"), "a"))
		defer b.Close()
		time.Sleep(4 * defaultEvery)
		synctest.Wait()
		st := a.Status()
		if len(st.Neighbours) != maxNeighbours || !st.Neighbours[0].Up || len(st.Networks) != 1+maxNeighbours {
			t.Errorf("%d neighbours, %d networks, %+v", len(st.Neighbours), len(st.Networks), st.Neighbours[0])
		}
	})
}
