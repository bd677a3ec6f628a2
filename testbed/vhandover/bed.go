package vhandover

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/state"
	"openmpa/testbed/simnet"
	"openmpa/testbed/topo"
)

// bed is the network of one seed, and the parties on it.
type bed struct {
	plan  Plan
	creds *Credentials
	log   io.Writer // nil: only warnings go into the trace
	began time.Time

	net      *simnet.World
	ledger   *ledger
	machines map[string]*simnet.Machine
	cables   map[string]*simnet.Cable
	airs     map[string]*air   // by network
	second   *simnet.Interface // of the node; nil: it has one

	aaa      *aaaParty
	dhcp     *dhcpParty
	home     *homeParty
	routers  map[string]*routerParty // by network
	node     *nodeParty
	apps     *apps
	stranger host.Host

	base    map[string][]string // what a daemon has on its machine without a node
	own     int                 // how many objects the node has on its own, attached
	mu      sync.Mutex
	crashed map[string]bool // machines whose daemon took its counters with it; guarded by mu
	wg      sync.WaitGroup  // daemons that were killed and still run
}

var everywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// newBed builds the network and starts everybody but the node.
func newBed(plan Plan, creds *Credentials, log io.Writer) (b *bed, err error) {
	b = &bed{
		plan: plan, creds: creds, log: log, began: time.Now(), ledger: newLedger(), machines: map[string]*simnet.Machine{},
		cables: map[string]*simnet.Cable{}, routers: map[string]*routerParty{}, crashed: map[string]bool{}, base: map[string][]string{},
	}
	b.net = simnet.New(plan.Seed, b.ledger)
	if log != nil {
		b.net.KeepTrace(1_000_000)
	}
	b.build()
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.stranger, err = b.machines["stranger"].Open(nil, osnet.OwnerLab); err != nil {
		return b, err
	}
	if b.aaa, err = newAAA(b); err != nil {
		return b, err
	}
	if b.dhcp, err = newDHCP(b); err != nil {
		return b, err
	}
	b.home = &homeParty{b: b, store: state.NewMemory()}
	if err = b.home.start(); err != nil {
		return b, err
	}
	for _, n := range networks {
		r := &routerParty{b: b, network: n, store: state.NewMemory()}
		b.routers[n.Name] = r
		if err = r.start(); err != nil {
			return b, err
		}
	}
	for _, name := range []string{topo.RA, topo.RB, topo.RC, topo.HA} {
		b.base[name] = b.machines[name].Owned()
	}
	b.node = &nodeParty{b: b, store: state.NewMemory()}
	return b, nil
}

// build lays the cables of doc.go.
func (b *bed) build() {
	p := netip.MustParsePrefix
	machine := func(name string, forward bool) *simnet.Machine {
		m := b.net.Machine(name, forward)
		b.machines[name] = m
		return m
	}
	core := machine(topo.Core, true)
	connect := func(label string, x, y simnet.Station) *simnet.Cable {
		c := b.net.Connect(label, x, y)
		b.cables[label] = c
		return c
	}
	for _, s := range []struct{ name, near, far string }{
		{topo.RB, "10.0.1.1/30", "10.0.1.2/30"},
		{topo.RA, "10.0.2.1/30", "10.0.2.2/30"},
		{topo.RC, "10.0.6.1/30", "10.0.6.2/30"},
		{topo.HA, "10.0.3.1/30", "10.0.3.2/30"},
		{topo.CN, "10.0.4.1/30", "10.0.4.2/30"},
		{topo.AAA, "10.0.5.1/30", "10.0.5.2/30"},
	} {
		m := machine(s.name, s.name == topo.HA || via[s.name].IsValid())
		connect(s.name+"-core", m.Interface("core", p(s.near)), core.Interface("to-"+s.name, p(s.far)))
		m.Route(everywhere, p(s.far).Addr(), "core")
	}
	core.Route(topo.HomePrefix, topo.HomeAgent, "to-"+topo.HA)
	dhcp, stranger := machine(topo.DHCP, false), machine("stranger", false)
	dhcp.AnswerStrictly()
	stranger.AnswerStrictly()
	bridges := map[string]*simnet.Bridge{}
	for _, n := range networks {
		core.Route(n.Prefix, via[n.Router], "to-"+n.Router)
		lan := b.net.Bridge("lan-" + n.Name)
		router := b.machines[n.Router].Interface("lan0", netip.PrefixFrom(n.Address, 24))
		connect("lan-"+n.Name, router, lan)
		connect("dhcp-"+n.Name, dhcp.Interface(n.DHCPIf, netip.PrefixFrom(n.DHCP, 24)), lan)
		dhcp.Route(everywhere, n.Address, n.DHCPIf)
		connect("stranger-"+n.Name, stranger.Interface("eth-"+n.Name), lan)
		for _, point := range n.Points {
			bridges[point] = b.net.Bridge(point)
			connect(point, bridges[point], lan)
		}
	}
	node := machine(topo.MN, false)
	b.airs = map[string]*air{}
	for _, n := range topo.Networks {
		b.airs[n.Name] = b.airs[topo.Networks[0].Name]
		if b.airs[n.Name] == nil {
			b.airs[n.Name] = &air{net: b.net, dev: topo.MNIf, cable: connect("air", node.Interface(topo.MNIf), nil), bridges: bridges}
		} else if b.plan.Second != NoSecond {
			b.second = node.Interface(topo.SecondIf)
			b.second.SetDown()
			b.airs[n.Name] = &air{net: b.net, dev: topo.SecondIf, cable: connect("air2", b.second, nil), bridges: bridges}
		}
	}
	b.airs["c"] = b.airs[networks[0].Name]
	b.impair(b.plan.Cables)
}

// impair says what every cable does; both of the node's are alike.
func (b *bed) impair(cables map[string][2]simnet.Impairment) {
	for label, imp := range cables {
		b.cables[label].Impair(imp[0], imp[1])
		if second := b.cables["air2"]; second != nil && label == "air" {
			second.Impair(imp[0], imp[1])
		}
	}
}

// heal has every cable lose and double nothing from now on.
func (b *bed) heal() {
	cables := map[string][2]simnet.Impairment{}
	for label, imp := range b.plan.Cables {
		for i := range imp {
			imp[i] = simnet.Impairment{Delay: imp[i].Delay}
		}
		cables[label] = imp
	}
	b.impair(cables)
}

// lostCounters notes that a machine's daemon crashed.
func (b *bed) lostCounters(machine string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.crashed[machine] = true
}

// close stops everybody.
func (b *bed) close() {
	if b.apps != nil {
		b.apps.close()
	}
	if b.node != nil {
		b.node.stop()
	}
	for _, r := range b.routers {
		r.stop()
	}
	if b.home != nil {
		b.home.stop()
	}
	if b.dhcp != nil {
		b.dhcp.stop()
	}
	if b.aaa != nil {
		b.aaa.stop()
	}
	if b.stranger != nil {
		_ = b.stranger.Close()
	}
	b.wg.Wait()
	b.net.Close()
}

// now is a clock that certificates are valid by.
func (b *bed) now() time.Time { return b.creds.Valid.Add(time.Since(b.began)) }

// rand is a source of random octets for one party.
func (b *bed) rand(party string, life int) io.Reader {
	var key [32]byte
	copy(key[:], fmt.Sprintf("%d %s %d", b.plan.Seed, party, life))
	return &source{r: rand.NewChaCha8(key)}
}

// source is a generator for several goroutines.
type source struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

func (s *source) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Read(p)
}

// logger writes a party's log into the trace: warnings, or all of it if somebody
// reads along.
func (b *bed) logger(party string) *slog.Logger {
	level := slog.LevelWarn
	if b.log != nil {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(noteWriter{b, party}, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

type noteWriter struct {
	b     *bed
	party string
}

func (w noteWriter) Write(p []byte) (int, error) {
	w.b.net.Note("%s LOG %s", w.party, p[:max(0, len(p)-1)])
	if w.b.log != nil {
		_, _ = fmt.Fprintf(w.b.log, "%10.4f %-4s %s", time.Since(w.b.began).Seconds(), w.party, p)
	}
	return len(p), nil
}

// open is a machine's opener that remembers the host.
func (b *bed) open(machine string, got *host.Host) host.Opener {
	return func(log *slog.Logger, owner string) (host.Host, error) {
		h, err := b.machines[machine].Open(log, owner)
		if err == nil {
			*got = h
		}
		return h, err
	}
}
