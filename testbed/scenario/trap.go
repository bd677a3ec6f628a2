package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"openmpa/internal/event"
	"openmpa/internal/wpactrl"
	"openmpa/mn"
	"openmpa/testbed/bed"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

// The cases of the scenario trap.
const (
	trapKernel = "kernel alone"
	trapFixed  = "kernel, fixed neighbour entry"
	trapMPA    = "mpa-mn"
)

const (
	// trapped is how long traffic stands at least, from link up, when the first ARP request was lost: the next comes a second
	// after that one, which was before the 4-way handshake.
	trapped = 600 * time.Millisecond
	// free is how long it stands at most when none was needed.
	free = 400 * time.Millisecond
	// linkLimit bounds a roam, an authentication in full included.
	linkLimit = 20 * time.Second
)

// trapAddress is the station's own where mpa-mn does not run.
var trapAddress = netip.MustParseAddr("10.2.0.251")

func adjustTrap(o *Options, given func(string) bool) {
	if !given("repeat") {
		o.Repeat = 6
	}
}

// trap has the station roam inside network a, first without mpa-mn and then with it. Carrier loss empties the kernel's
// neighbour table; its next ARP request leaves when the radio is associated, before the 4-way handshake, and is dropped.
func trap(ctx context.Context, r *run) error {
	return r.withBed(ctx, r.opt.bed(r.p), func(b *bed.Bed) error {
		if err := b.StopNode(); err != nil {
			return err
		}
		s := &shover{b: b}
		if err := r.withoutNode(ctx, b, s); err != nil {
			return err
		}
		r.p.Line("trap: the mobile node attaches where the link is")
		if err := b.StartNode(ctx); err != nil {
			return err
		}
		var status mn.Status
		if err := b.Client(topo.MN).Status(ctx, &status); err != nil {
			return fmt.Errorf("scenario: %w", err)
		}
		if status.Network != "a" {
			return fmt.Errorf("scenario: the mobile node is %s in network %q, expected network a, where its link was", status.State, status.Network)
		}
		r.at = "a"
		if err := r.roams(ctx, b, s, trapMPA, b.Endpoint(topo.MN)); err != nil {
			return err
		}
		r.judgeTrap()
		return nil
	})
}

// withoutNode roams with a static address, and nothing of ours, and leaves nothing of it.
func (r *run) withoutNode(ctx context.Context, b *bed.Bed, s *shover) (err error) {
	nl := b.Top.Space(topo.MN).Netlink()
	l, err := nl.LinkByName(topo.WirelessIf)
	if err != nil {
		return fmt.Errorf("scenario: %w", err)
	}
	a, _ := topo.NetworkByName("a")
	router, err := b.Top.Space(a.Router).Netlink().LinkByName("lan0")
	if err != nil {
		return fmt.Errorf("scenario: %w", err)
	}
	addr := &netlink.Addr{IPNet: netlink.NewIPNet(trapAddress.AsSlice())}
	addr.Mask = []byte{255, 255, 255, 0}
	entry := &netlink.Neigh{
		LinkIndex: l.Attrs().Index, IP: a.Address.AsSlice(), HardwareAddr: router.Attrs().HardwareAddr, State: unix.NUD_PERMANENT,
	}
	if err := s.selectNetwork(ctx, "a"); err != nil {
		return err
	}
	there := func(st wpactrl.Status) bool {
		return st.State == wpactrl.StateCompleted && st.Network == networkOf("a")
	}
	if err := s.settled(ctx, there); err != nil {
		return err
	}
	if err := nl.AddrAdd(l, addr); err != nil {
		return fmt.Errorf("scenario: %v on %s: %w", trapAddress, topo.WirelessIf, err)
	}
	defer func() { err = errors.Join(err, nl.AddrDel(l, addr)) }() // the route goes with it
	to := netlink.NewIPNet(topo.Correspondent.AsSlice())
	if err := nl.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: to, Gw: a.Address.AsSlice()}); err != nil {
		return fmt.Errorf("scenario: route to %v: %w", topo.Correspondent, err)
	}
	here := traffic.Endpoint{Space: b.Top.Space(topo.MN), Addr: trapAddress}
	if err := r.roams(ctx, b, s, trapKernel, here); err != nil {
		return err
	}
	if err := nl.NeighSet(entry); err != nil {
		return fmt.Errorf("scenario: neighbour %v: %w", a.Address, err)
	}
	err = r.roams(ctx, b, s, trapFixed, here)
	return errors.Join(err, nl.NeighDel(entry))
}

// roams measures the uplink over roams between the access points of network a.
func (r *run) roams(ctx context.Context, b *bed.Bed, s *shover, name string, from traffic.Endpoint) error {
	for i := range r.opt.Repeat {
		r.p.Line("trap: %s: roam %d of %d", name, i+1, r.opt.Repeat)
		h, err := r.oneRoam(ctx, b, s, from)
		if err != nil {
			return fmt.Errorf("scenario: %s: %w", name, err)
		}
		h.Case = name
		r.res.Handovers = append(r.res.Handovers, h)
	}
	return nil
}

func (r *run) oneRoam(ctx context.Context, b *bed.Bed, s *shover, from traffic.Endpoint) (h report.Handover, err error) {
	h = report.Handover{From: "a", To: "a", Outcome: string(event.Completed), Phases: make(map[string]float64)}
	r.flowID += 2
	f, err := traffic.Open(traffic.Spec{Name: "up", ID: r.flowID, From: from, To: b.Endpoint(topo.CN), Port: flowPort, Rate: traffic.PerSecond(50)})
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	before, err := authentications(b)
	if err != nil {
		return h, err
	}
	w := &watch{}
	b.OnMove(w.moved)
	defer b.OnMove(nil)
	f.Start()
	if err := bed.Sleep(ctx, r.opt.Lead); err != nil {
		return h, err
	}
	if err := s.roam(ctx, "a"); err != nil {
		return h, err
	}
	up := func() bool { m := w.done(); return len(m) > 0 && !m[len(m)-1].Up.IsZero() }
	if err := await(ctx, linkLimit, up); err != nil {
		return h, fmt.Errorf("no link after a roam: %w", err)
	}
	// Long enough for a second ARP request, and for what is behind it.
	if err := bed.Sleep(ctx, 3*trapped); err != nil {
		return h, err
	}
	f.Stop(stragglers)
	stats, err := f.Stats()
	if err != nil {
		return h, err
	}
	moves := w.done()
	first, last := moves[0], moves[len(moves)-1]
	h.Phases["l2_ms"] = report.MS(last.Up.Sub(first.Lost))
	if at, ok := firstArrival(f.Arrivals(), last.Up); ok {
		h.Phases["l3_ms"] = report.MS(at.Sub(last.Up))
	}
	h.Flow.Up = report.FromStats(stats)
	h.Flow.Up.SetHandoverGap(traffic.Silence(f.SentTimes(), f.Arrivals(), first.Lost, last.Up))
	h.Radio, err = needed(b, before, last.To, first.Lost, last.Up)
	return h, err
}

// firstArrival is when the first datagram came after a point in time.
func firstArrival(all []traffic.Arrival, after time.Time) (at time.Time, ok bool) {
	for _, a := range all {
		if t := time.Unix(0, a.At); t.After(after) && (!ok || t.Before(at)) {
			at, ok = t, true
		}
	}
	return at, ok
}

// judgeTrap looks for the trap where it is to be, and where it must not be.
func (r *run) judgeTrap() {
	caught := 0
	for i, h := range r.res.Handovers {
		l3, ok := h.Phases["l3_ms"]
		wait := time.Duration(l3 * float64(time.Millisecond))
		switch {
		case !ok:
			r.problem("roam %d, %s: no packet from the node after link up", i+1, h.Case)
		case h.Case == trapKernel && wait >= trapped:
			caught++
		case h.Case != trapKernel && wait > free:
			r.problem("roam %d, %s: the first packet from the node %v after link up, expected at most %v", i+1, h.Case, wait.Round(time.Millisecond), free)
		}
	}
	if caught == 0 {
		r.problem("without mpa-mn no roam was caught in the trap, so nothing was shown")
	}
}
