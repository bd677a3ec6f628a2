package vhandover

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/eap"
	"openmpa/aaa/radius"
	"openmpa/internal/acd"
	"openmpa/internal/event"
	"openmpa/internal/ha"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/state"
	"openmpa/mn"
	"openmpa/mn/decision"
	"openmpa/mn/link"
	"openmpa/mn/mobility/mip4"
	"openmpa/paa"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
	"openmpa/par"
	"openmpa/testbed/topo"
	"openmpa/tunnel/flow"
)

// What the parties are told: times so short that a plan is over in minutes.
const (
	sessionTime = 3 * time.Minute
	bindingTime = time.Minute
	pingTime    = 10 * time.Second
	unusedTime  = 30 * time.Second
	keptTime    = 8 * time.Second
	records     = 512
	homeSPI     = 256
)

var (
	homeKey = "key of the node and its home agent"
	buffer  = flow.Limits{Packets: 4096, Bytes: 8 << 20, MaxAge: 10 * time.Second}
)

// held is what routers hold, for one node and for all.
func held() par.Buffer {
	b := par.DefaultBuffer()
	b.Each, b.All = buffer, flow.Limits{Packets: buffer.Packets, Bytes: buffer.Bytes}
	return b
}

func dad() acd.Timers {
	t := acd.DefaultTimers()
	t.ProbeWait, t.ProbeMin, t.ProbeMax, t.AnnounceWait = 20*time.Millisecond, 50*time.Millisecond, 80*time.Millisecond, 100*time.Millisecond
	t.MaxConflicts = 3
	t.RateLimitInterval = 5 * time.Second
	return t
}

// routerParty is an access router: par, paa and a RADIUS client.
type routerParty struct {
	b       *bed
	network topo.Network
	life    int
	store   *state.Memory
	kept    *mortal
	host    host.Host
	client  *radius.Client
	router  *par.Router
	agent   *paa.Service
}

func (r *routerParty) start() (err error) {
	r.life++
	name := r.network.Router
	log, rnd := r.b.logger(name), r.b.rand(name, r.life)
	recorder := event.NewRecorder(name, log, records)
	r.kept = &mortal{Store: r.store}
	var h host.Host
	if r.client, err = radius.NewClient(radius.Config{
		NASIdentifier: name, Servers: []radius.Server{{Addr: aaaAddress, Secret: keys.NewSecret([]byte(radiusSecret))}},
		Timeout: 8 * time.Second, Rand: rnd, Log: log,
		Listen: func() (radius.Conn, error) { return h.ListenUDP(netip.AddrPortFrom(via[name], 0)) },
	}); err != nil {
		return err
	}
	if r.router, err = par.Open(par.Config{
		Host: r.b.open(name, &h), Access: "lan0", Address: r.network.Address, Port: espPort, Device: "mpa0",
		Fence: netip.MustParsePrefix("169.254.62.52/31"), MTU: par.DefaultMTU, DHCPServer: r.network.DHCP, DHCPTimeout: 8 * time.Second,
		DAD: dad(), Ahead: r.b.plan.Ahead, Buffer: held(), Classes: r.b.plan.classes(), Unused: unusedTime, Rekey: r.b.plan.Rekey[1], State: r.kept, Rand: rnd, Recorder: recorder, Log: log,
	}); err != nil {
		return err
	}
	r.host = h
	r.agent, err = paa.Open(paa.Config{
		Sockets: h, Listen: netip.AddrPortFrom(r.network.Address, pana.Port),
		Identities: notify.Identities{CA: "ca." + r.network.Name, AR: "ar." + r.network.Name},
		Lifetime:   sessionTime, AuthTimeout: 20 * time.Second, MaxSessions: 1000, Ping: pingTime,
		Backend: aaa.NewRADIUS(r.client), Bind: func(s *paa.Service) { r.router.Bind(s) }, Rand: rnd, Recorder: recorder, Log: log,
	}, r.router)
	return err
}

func (r *routerParty) stop() {
	if r.agent != nil {
		r.agent.Close()
	}
	if r.router != nil {
		r.router.Close()
	}
	if r.client != nil {
		_ = r.client.Close()
	}
	r.agent, r.router, r.client = nil, nil, nil
}

// kill is a crash; start follows.
func (r *routerParty) kill() {
	r.b.lostCounters(r.network.Router)
	r.kept.die()
	r.b.machines[r.network.Router].Kill(osnet.OwnerAccessRouter)
	old := *r
	r.agent, r.router, r.client = nil, nil, nil
	r.b.wg.Go(old.stop)
}

// homeParty is the home agent.
type homeParty struct {
	b      *bed
	life   int
	store  *state.Memory
	kept   *mortal
	agent  *ha.Agent
	cancel context.CancelFunc
	done   chan struct{}
}

func (p *homeParty) start() (err error) {
	p.life++
	p.kept = &mortal{Store: p.store}
	log := p.b.logger("ha")
	if p.agent, err = ha.Open(ha.Config{
		Node: "ha", Host: p.b.machines[topo.HA].Open, HomePrefix: topo.HomePrefix, State: p.kept,
		Core: ha.CoreConfig{
			Address: topo.HomeAgent, Lifetime: bindingTime,
			Nodes: []ha.Node{{
				HomeAddress: topo.HomeAddress,
				Security:    mip4.Security{SPI: homeSPI, Key: keys.NewSecret([]byte(homeKey)), Algorithm: mip4.HMACSHA256},
			}},
		},
		Recorder: event.NewRecorder("ha", log, records), Log: log,
	}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel, p.done = cancel, make(chan struct{})
	go func(a *ha.Agent, done chan struct{}) {
		defer close(done)
		if err := a.Run(ctx); err != nil {
			p.b.net.Note("home agent ended: %v", err)
		}
	}(p.agent, p.done)
	return nil
}

func (p *homeParty) stop() {
	if p.cancel != nil {
		p.cancel()
		<-p.done
		p.cancel = nil
	}
}

// kill is a crash; start follows.
func (p *homeParty) kill() {
	p.b.lostCounters(topo.HA)
	p.kept.die()
	p.b.machines[topo.HA].Kill(osnet.OwnerHomeAgent)
	p.stop()
}

// nodeParty is the mobile node.
type nodeParty struct {
	b        *bed
	life     int
	store    *state.Memory
	kept     *mortal
	node     *mn.Node
	recorder *event.Recorder
	cancel   context.CancelFunc
	done     chan struct{}
}

func (p *nodeParty) start() (err error) {
	p.life++
	p.kept = &mortal{Store: p.store}
	log, rnd := p.b.logger("mn"), p.b.rand("mn", p.life)
	p.recorder = event.NewRecorder("mn", log, records)
	timers := mn.DefaultTimers()
	timers.Configure, timers.Bind, timers.Depart, timers.Prepared = 30*time.Second, 5*time.Second, 200*time.Millisecond, keptTime
	timers.Hold = p.b.plan.Keep
	var known []mn.Network
	for _, n := range networks {
		known = append(known, mn.Network{Name: n.Name, PAA: netip.AddrPortFrom(n.Address, pana.Port), Points: n.Points})
	}
	if p.node, err = mn.Open(mn.Config{
		Device: "mpa0", MTU: 1400, Networks: known, DAD: dad(), Timers: timers, Buffer: buffer,
		NewEAP: func() (pana.EAPPeer, error) {
			return eap.NewPeer(eap.PeerConfig{Identity: Identity, TLS: eap.TLSConfig{
				Roots: p.b.creds.Roots, ServerName: ServerName, Certificate: p.b.creds.Node, Time: p.b.now,
			}})
		},
		Home: mip4.ClientConfig{
			HomeAddress: topo.HomeAddress, HomeAgent: topo.HomeAgent, SPI: homeSPI, Key: keys.NewSecret([]byte(homeKey)),
			Algorithm: mip4.HMACSHA256, Lifetime: bindingTime, GiveUp: timers.Bind, Rand: rnd,
		},
		Watch:   decision.WatchLimits{Quiet: 200 * time.Millisecond, Wait: 100 * time.Millisecond, Asks: 5},
		Prepare: p.b.plan.Prepared, Hold: p.b.plan.Hold, Guard: p.b.plan.Guard, Rekey: p.b.plan.Rekey[0], Host: p.b.machines[topo.MN].Open, State: p.kept,
		Interfaces: p.b.interfaces(),
		Rand:       rnd, Recorder: p.recorder, Log: log,
	}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel, p.done = cancel, make(chan struct{})
	go func(n *mn.Node, done chan struct{}) {
		defer close(done)
		if err := n.Run(ctx, func() {}); err != nil {
			p.b.net.Note("node ended: %v", err)
		}
	}(p.node, p.done)
	return nil
}

// interfaces are the node's.
func (b *bed) interfaces() (out []mn.Interface) {
	for _, n := range networks {
		a := b.airs[n.Name]
		if len(out) > 0 && out[0].Name == a.dev {
			out[0].Points = append(out[0].Points, n.Points...)
			continue
		}
		out = append(out, mn.Interface{
			Name: a.dev, Points: slices.Clone(n.Points), AtMove: len(out) > 0 && b.plan.Second == SecondAtMove,
			Link: func(h host.Host) (link.Adapter, error) {
				a.mu.Lock()
				defer a.mu.Unlock()
				a.host = h
				return a, nil
			},
		})
	}
	return out
}

func (p *nodeParty) stop() {
	if p.cancel == nil {
		return
	}
	p.cancel()
	<-p.done
	p.node.Close()
	p.cancel = nil
}

// kill is a crash; start follows.
func (p *nodeParty) kill() {
	p.b.lostCounters(topo.MN)
	p.kept.die()
	p.b.machines[topo.MN].Kill(osnet.OwnerMobileNode)
	old := *p
	p.cancel = nil
	p.b.wg.Go(old.stop)
}
