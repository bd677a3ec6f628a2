package bed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"openmpa/mn/mobility/mip4"
	"openmpa/testbed/impair"
	"openmpa/testbed/kstate"
	"openmpa/testbed/linkctl"
	"openmpa/testbed/nat"
	"openmpa/testbed/proc"
	"openmpa/testbed/rundir"
	"openmpa/testbed/space"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

// leaseTime is long enough that no lease runs out in a scenario: what is
// gone was released.
const leaseTime = time.Hour

// A Bed is a running lab.
type Bed struct {
	// Fixed after Start.
	Run  *rundir.Dir
	Top  *topo.Topology
	Link *linkctl.Controller // of the mobile node; nil with Options.Wifi
	Bare *linkctl.Controller // of the bare host; nil with Options.Wifi
	// Second is the controller of the mobile node's second interface; nil without Options.Second.
	Second *linkctl.Controller
	// Radio is how the lab is wireless; nil unless Options.Wifi.
	Radio *Radio
	DHCP  DHCPServer
	// Links are the bad links.
	Links *impair.Set
	// NAT are the translators by the network behind them; nil unless Options.NAT.
	NAT map[string]*nat.Translator
	// Air counts what is said and heard on the node's link; nil unless Options.Wifi or Options.Count.
	Air *Air
	// AtHome counts what comes to the home agent; nil unless Options.AtHome.
	AtHome *AtHome
	// Thief takes markers, when told to; nil unless Options.LoseMarkers.
	Thief    *impair.Thief
	opt      Options
	servers  []*linkctl.Server
	vpn      *vpn // nil unless Options.VPN
	children map[string]*proc.Child
	order    []string // of the children's start
	root     *space.Space
	before   map[string]kstate.State
	given    *given // nil where nobody counts
	capture  *capture
	down     *aaaDown // nil unless Options.AAADown

	mu     sync.Mutex
	onMove func(linkctl.Move) // guarded by mu; nil: nobody is told
}

// Start builds a lab and starts its daemons; the mobile node is attached to
// network b then. When it fails, or ctx ends, nothing is left.
func Start(ctx context.Context, opt Options) (*Bed, error) {
	b, err := StartNetwork(ctx, opt)
	if err != nil {
		return nil, err
	}
	if err := b.startDaemons(ctx); err != nil {
		return nil, errors.Join(err, b.discard())
	}
	return b, nil
}

// StartNetwork builds a lab without daemons.
func StartNetwork(ctx context.Context, opt Options) (*Bed, error) {
	if err := opt.check(); err != nil {
		return nil, err
	}
	b := &Bed{opt: opt, children: make(map[string]*proc.Child)}
	if err := b.startNetwork(ctx); err != nil {
		return nil, errors.Join(err, b.discard())
	}
	return b, nil
}

func (b *Bed) startNetwork(ctx context.Context) (err error) {
	if b.Run, err = rundir.Open(); err != nil {
		return err
	}
	for _, line := range b.Run.Swept {
		b.opt.say("removed what a dead lab left: %s", line)
	}
	b.opt.say("building the network of lab %d", b.Run.ID)
	if b.root, err = space.Current(); err != nil {
		return err
	}
	rootBefore, err := kstate.Take(b.root, rootOptions)
	if err != nil {
		return err
	}
	b.opt.Traffic.Home, b.opt.Traffic.TunnelPort, b.opt.Traffic.Marker = b.opt.at(topo.HomeAddress), TunnelPort, mip4.HMACSHA256
	if b.opt.LoseMarkers {
		b.Thief = &impair.Thief{}
	}
	if b.Links, err = impair.NewSet(b.opt.links(), b.opt.Traffic, b.Thief); err != nil {
		return err
	}
	b.watchAAA()
	plan := b.opt.plan()
	plan.Processor = b.Run.ID // of two labs at once, each begins with another one
	if b.Top, err = topo.Build(ctx, b.Run.NamePrefix(), plan, b.Links); err != nil {
		return err
	}
	if err := b.narrow(); err != nil {
		return err
	}
	if b.opt.Wifi != nil {
		if err := b.giveRadios(ctx); err != nil {
			return err
		}
		// The radios come back when the topology goes, after the comparison.
		if rootBefore, err = kstate.Take(b.root, rootOptions); err != nil {
			return err
		}
	}
	if err := b.startNAT(); err != nil {
		return err
	}
	if b.opt.Count && b.opt.Wifi == nil {
		if b.given, err = countGiven(b.Top.Space(topo.MN), b.opt.Traffic, topo.MNIf, topo.SecondIf); err != nil {
			return err
		}
	}
	if err = b.mayRoute(); err != nil {
		return err
	}
	if b.opt.AtHome {
		if err = b.watchHome(); err != nil {
			return err
		}
	}
	if b.opt.Capture != "" {
		if err = b.capturing(); err != nil {
			return err
		}
	}
	if b.before, err = b.states(); err != nil {
		return err
	}
	b.before[rootName] = rootBefore
	if err := b.advertise(ctx); err != nil {
		return err
	}
	if err = b.startDHCP(ctx); err != nil || b.Radio != nil {
		return err
	}
	return b.plug(ctx)
}

// plug makes the cable that moves, and attaches the mobile node to network b.
func (b *Bed) plug(ctx context.Context) (err error) {
	if b.Link, err = linkctl.New(b.Top.Space(topo.Air), topo.MNPort, b.opt.Gap); err != nil {
		return err
	}
	b.Link.OnMove(b.moved)
	if b.Bare, err = linkctl.New(b.Top.Space(topo.Air), topo.BarePort, b.opt.Gap); err != nil {
		return err
	}
	if err = b.serve(b.Link, linkSocket); err != nil {
		return err
	}
	if b.opt.Second != "" {
		if err = b.plugSecond(ctx); err != nil {
			return err
		}
	}
	if b.opt.Count {
		if err := b.listen(); err != nil {
			return err
		}
	}
	start, _ := topo.NetworkByName("b")
	_, err = b.Link.Attach(ctx, start.Points[0])
	return err
}

// The sockets of the mobile node's link controllers.
const (
	linkSocket   = "link.sock"
	secondSocket = "link2.sock"
)

func (b *Bed) serve(c *linkctl.Controller, socket string) error {
	s, err := linkctl.Serve(c, b.Run.File(socket))
	if err == nil {
		b.servers = append(b.servers, s)
	}
	return err
}

// secondReaches is the network of the second interface; the first one reaches the others.
const secondReaches = "a"

// plugSecond makes the cable of the second interface and attaches it to network a. The
// interface is down: whoever needs it sets it up.
func (b *Bed) plugSecond(ctx context.Context) (err error) {
	if b.Second, err = linkctl.New(b.Top.Space(topo.Air), topo.SecondPort, b.opt.Gap); err != nil {
		return err
	}
	b.Second.OnMove(b.moved)
	if err := b.serve(b.Second, secondSocket); err != nil {
		return err
	}
	there, _ := topo.NetworkByName(secondReaches)
	_, err = b.Second.Attach(ctx, there.Points[0])
	return err
}

// OnMove has fn called when a move of the mobile node's link begins and when it has ended, from now on; nil: nobody is
// told. fn must not block.
func (b *Bed) OnMove(fn func(linkctl.Move)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onMove = fn
}

func (b *Bed) moved(m linkctl.Move) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.onMove != nil {
		b.onMove(m)
	}
}

// startNAT makes each access router translate what the nodes behind it send to
// the daemon on the other one.
func (b *Bed) startNAT() error {
	if !b.opt.NAT {
		return nil
	}
	b.NAT = make(map[string]*nat.Translator)
	for _, n := range topo.Networks {
		other, _ := topo.NetworkByName(topo.Other(n.Name))
		t, err := nat.Start(b.Top.Space(n.Router), nat.Config{
			Out: "core", Inside: n.Prefix, To: other.Address, Ports: []uint16{PANAPort, TunnelPort}, Outer: n.Outer,
		})
		if err != nil {
			return err
		}
		b.NAT[n.Name] = t
	}
	return nil
}

// Endpoint is where a flow begins or ends.
func (b *Bed) Endpoint(node string) traffic.Endpoint {
	addr := topo.HomeAddress
	switch node {
	case topo.CN:
		if b.opt.Route {
			return traffic.Endpoint{Space: b.Top.Space(node), Addr: topo.Correspondent6}
		}
		addr = topo.Correspondent
	case topo.Bare:
		addr = topo.BareAddress
	}
	return traffic.Endpoint{Space: b.Top.Space(node), Addr: b.opt.at(addr)}
}

// Plain is an endpoint at a node's address on a link, of the correspondent also where it does route optimisation.
func (b *Bed) Plain(node string, a netip.Addr) traffic.Endpoint {
	return traffic.Endpoint{Space: b.Top.Space(node), Addr: b.opt.at(a)}
}

// Bin is the directory of the daemons' binaries.
func (b *Bed) Bin() string { return b.opt.Bin }

// Gap is the time without a link in a move.
func (b *Bed) Gap() time.Duration { return b.opt.Gap }

// Close takes the lab apart; see the package comment for its error.
func (b *Bed) Close() error {
	var errs []error
	if b.children[topo.MN] != nil {
		errs = append(errs, b.stop(topo.MN), b.stopAhead(), b.leasesGone())
	}
	errs = append(errs, b.stopAll(), b.openLinks(), b.complaints())
	if b.Top != nil && b.before != nil {
		errs = append(errs, b.compare())
	}
	errs = append(errs, b.dismantle())
	return errors.Join(errs...)
}

// stopAhead ends routers that have leases for nobody yet: these they give back only then.
func (b *Bed) stopAhead() error {
	var errs []error
	for _, n := range b.opt.networks() {
		if b.opt.Ahead != "" && b.children[n.Name] != nil {
			errs = append(errs, b.stop(n.Name))
		}
	}
	return errors.Join(errs...)
}

// discard takes down a lab that did not come up; what is left in it is of
// no interest.
func (b *Bed) discard() error {
	return errors.Join(b.killAll(), b.dismantle())
}

// dismantle removes what is not a daemon.
func (b *Bed) dismantle() error {
	var errs []error
	closeIf := func(there bool, fn func() error) {
		if there {
			errs = append(errs, fn())
		}
	}
	closeIf(b.Air != nil, func() error { return b.Air.close() })
	closeIf(b.capture != nil, func() error { return b.capture.close() })
	closeIf(b.AtHome != nil, func() error { return b.AtHome.close() })
	closeIf(b.given != nil, func() error { return b.given.close() })
	closeIf(b.Radio != nil, func() error { return b.Radio.close() })
	for _, s := range b.servers {
		errs = append(errs, s.Close())
	}
	closeIf(b.DHCP != nil, func() error { return b.DHCP.Close() })
	closeIf(b.Link != nil, func() error { return b.Link.Close() })
	closeIf(b.Bare != nil, func() error { return b.Bare.Close() })
	closeIf(b.Second != nil, func() error { return b.Second.Close() })
	for _, t := range b.NAT {
		errs = append(errs, t.Close())
	}
	closeIf(b.Links != nil, func() error { return b.Links.Close() })
	closeIf(b.Top != nil, func() error { return b.Top.Close() })
	closeIf(b.root != nil, func() error { return b.root.Close() })
	closeIf(b.Run != nil && b.opt.Logs != "", b.saveLogs)
	closeIf(b.Run != nil, func() error { return b.Run.Close() })
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("bed: take the lab apart: %w", err)
	}
	return nil
}

// saveLogs copies the daemons' logs and configurations.
func (b *Bed) saveLogs() error {
	dir := filepath.Join(b.opt.Logs, fmt.Sprintf("lab-%d", b.Run.ID))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var errs []error
	for _, pattern := range []string{"*.log", "*.yaml", "*.conf"} {
		files, err := filepath.Glob(b.Run.File(pattern))
		errs = append(errs, err)
		for _, f := range files {
			errs = append(errs, copyFile(filepath.Join(dir, filepath.Base(f)), f))
		}
	}
	return errors.Join(errs...)
}
