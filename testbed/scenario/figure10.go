package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"openmpa/internal/event"
	"openmpa/internal/wpactrl"
	"openmpa/testbed/bed"
	"openmpa/testbed/radio"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
)

// The two points of attachment of the figure, one of each network.
var figure10Points = [2]string{"poa-b1", "poa-a1"}

// dsBridge is on both routers the bridge of the networks that are none of ours:
// they are one link, as pre-authentication and fast transition need it.
const dsBridge = "ds0"

func adjustFigure10(o *Options, given func(string) bool) {
	if !given("repeat") {
		o.Repeat = 10
	}
	o.TLS, o.Probe = "1.2", false // wpa_supplicant 2.10 offers no other for EAP-TLS
}

// figure10 measures all ways in each round, one after another, so that what
// else the machine does is shared by all of them; the round before the first is
// for warming up.
func figure10(ctx context.Context, r *run) error {
	opt := r.opt.bed(r.p)
	opt.Wifi = &bed.Wifi{Plan: addDS, Adjust: addNetworks}
	opt.LogLevel = "info" // what is written takes part of the one processor
	return r.withBed(ctx, opt, func(b *bed.Bed) (err error) {
		f := &roundabout{run: r, bed: b}
		f.open()
		defer func() { err = errors.Join(err, f.close()) }()
		for i := range r.opt.Repeat + 1 {
			r.p.Line("%s: round %d of %d", r.res.Scenario, i, r.opt.Repeat)
			if err := f.round(ctx, i); err != nil {
				return fmt.Errorf("scenario: %s, round %d: %w", r.res.Scenario, i, err)
			}
			if i == 0 {
				r.res.Handovers = nil
			}
		}
		if _, broken := report.RoamRule(r.res); broken != "" {
			r.problem("%s", broken)
		}
		return nil
	})
}

// addDS joins the routers by a link of their own.
func addDS(p *topo.Plan) {
	for i, n := range p.Nodes {
		if n.Name == topo.RB || n.Name == topo.RA {
			p.Nodes[i].Bridges = append(n.Bridges, dsBridge)
		}
	}
	p.Links = append(p.Links, topo.Link{
		A: topo.End{Node: topo.RB, If: "ds", Bridge: dsBridge}, B: topo.End{Node: topo.RA, If: "ds", Bridge: dsBridge},
	})
}

const maxTries = 3 // of one move

// plainModes are the networks beside ours, in the order of the BSSes.
var plainModes = []radio.Mode{radio.Full, radio.PreAuth, radio.FT}

// oneName gives both of our networks the same SSID, as those have it that let in
// one another's people: wpa_supplicant then roams between them as it does in
// the other ways, and need not leave one before it joins the other.
func oneName(all *bed.Radio) {
	const ssid = "site"
	network := radio.ESS{SSID: ssid}
	for _, a := range all.APs {
		a.SSID, a.AP.BSSes[0].SSID = ssid, ssid
		if f := radio.Frequency(a.Channel); !slices.Contains(network.Freqs, f) {
			network.Freqs = append(network.Freqs, f)
		}
	}
	all.Station.Networks = []radio.ESS{network}
}

// addNetworks gives the radios of the figure's points one more BSS for each
// mode, and the station the networks, for when it is told to join them.
func addNetworks(all *bed.Radio) {
	oneName(all)
	domain := &radio.Domain{ID: 0x6252, Key: [32]byte{0x62, 0x52}}
	var freqs []int
	for _, point := range figure10Points {
		a := all.AP(point)
		freqs = append(freqs, radio.Frequency(a.Channel))
		for i, mode := range plainModes {
			bss := a.AP.BSSes[0]
			bss.Interface, bss.SSID, bss.BSSID, bss.Bridge = fmt.Sprintf("%s-%d", a.Interface, i+1), "plain-"+mode.String(), a.BSSID, dsBridge
			bss.BSSID[5] += byte(i + 1)
			bss.Mode, bss.NASID = mode, point+"."+mode.String()
			if mode == radio.FT {
				bss.Domain = domain
				domain.Holders = append(domain.Holders, radio.Holder{BSSID: bss.BSSID, NASID: bss.NASID})
			}
			a.AP.BSSes = append(a.AP.BSSes, bss)
		}
	}
	for _, mode := range plainModes {
		all.Station.Networks = append(all.Station.Networks, radio.ESS{SSID: "plain-" + mode.String(), Mode: mode, Freqs: freqs, Disabled: true})
	}
}

// A roundabout is the figure being measured.
type roundabout struct {
	run     *run
	bed     *bed.Bed
	hand    *roaming
	home    int // block of the network in which our node starts
	homeFor wpactrl.MAC
}

func (f *roundabout) open() {
	all := f.bed.Radio
	h := &roaming{bed: f.bed, networks: make(map[radio.Mode]int)}
	for i, point := range figure10Points {
		a := all.AP(point)
		h.sites[i] = site{name: point, ap: a.AP}
	}
	start := all.AP(figure10Points[0])
	f.homeFor = start.BSSID
	for i, n := range all.Station.Networks {
		if n.SSID == start.SSID {
			f.home = i
		} else if n.Mode != radio.Installed {
			h.networks[n.Mode] = i
		}
	}
	f.hand = h
}

// close ends the node, which is to find its access points for its good-bye, and
// takes the radios off the air.
func (f *roundabout) close() error {
	var errs []error
	if f.bed.Child(topo.MN) != nil {
		errs = append(errs, f.bed.StopNode())
	}
	errs = append(errs, linkOfAAA(f.bed.Top).setRTT(0))
	for _, s := range f.hand.sites {
		errs = append(errs, radio.Disable(context.Background(), s.ap.Socket(0)))
	}
	return errors.Join(errs...)
}

// round measures each way once with the server near and once with it far. Ways
// and distances begin with another one each time.
func (f *roundabout) round(ctx context.Context, n int) error {
	if err := f.bed.StopNode(); err != nil {
		return err
	}
	if err := f.hand.byHand(ctx, func() error { return f.withoutNode(ctx, n) }); err != nil {
		return err
	}
	if err := f.bed.StartNode(ctx); err != nil {
		return err
	}
	return f.nearAndFar(n, func(roams bool, rtt time.Duration) error {
		for i := range 2 {
			way := [...]string{report.WayMPA, report.WayByHand}[(n/2+i)%2]
			h, err := f.tries(func() (report.Handover, error) { return f.byMPA(ctx, way) })
			if err != nil {
				return err
			}
			f.add(way, roams, rtt, h)
		}
		return nil
	})
}

// withoutNode measures the ways that need no node of ours, and leaves the station
// where that is to start, without a key at any access point but the one in use.
func (f *roundabout) withoutNode(ctx context.Context, n int) error {
	if err := f.addressed(true); err != nil {
		return err
	}
	err := f.nearAndFar(n, func(roams bool, rtt time.Duration) error {
		for j := range plainWays {
			w := plainWays[(n+j)%len(plainWays)]
			h, err := f.tries(func() (report.Handover, error) {
				return f.hand.move(ctx, w, f.hand.sites[(n+j)%2], f.hand.sites[(n+j+1)%2])
			})
			if err != nil {
				return err
			}
			f.add(w.name, roams, rtt, h)
		}
		return nil
	})
	if err == nil {
		err = f.addressed(false)
	}
	if err == nil {
		_, err = f.hand.roamer.Join(ctx, f.home, f.homeFor)
	}
	if err != nil {
		return err
	}
	for _, a := range f.bed.Radio.APs {
		if err := radio.ForgetKeys(ctx, a.AP.Socket(0)); err != nil {
			return err
		}
	}
	f.run.at = "b"
	return nil
}

// addressed gives the station an address while our node does not, or takes it
// away: a move costs the kernel more where there is one.
func (f *roundabout) addressed(on bool) error {
	nl := f.bed.Top.Space(topo.MN).Netlink()
	link, err := nl.LinkByName(topo.WirelessIf)
	if err == nil {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 3, 0, 2), Mask: net.CIDRMask(24, 32)}}
		if on {
			err = nl.AddrAdd(link, addr)
		} else {
			err = nl.AddrDel(link, addr)
		}
	}
	if err != nil {
		return fmt.Errorf("scenario: address of the station: %w", err)
	}
	return nil
}

// nearAndFar calls fn with the server at either distance, and leaves it near.
func (f *roundabout) nearAndFar(n int, fn func(roams bool, rtt time.Duration) error) error {
	for i := range 2 {
		roams := (n+i)%2 == 1
		rtt, err := f.distance(roams)
		if err == nil {
			err = fn(roams, rtt)
		}
		if err != nil {
			return err
		}
	}
	return linkOfAAA(f.bed.Top).setRTT(0)
}

// tries measures a move, once more when it fails: frames that a busy machine
// delivers late are repeated by the radio, and may be refused.
func (f *roundabout) tries(move func() (report.Handover, error)) (h report.Handover, err error) {
	for i := range maxTries {
		if h, err = move(); err == nil && h.Outcome == string(event.Completed) {
			h.Radio.Tries = i + 1
			return h, nil
		}
		f.run.p.Line("%s: to be repeated: %s %s %v", f.run.res.Scenario, h.Outcome, h.Reason, err)
	}
	return h, err
}

// distance puts the authentication server near or far, and measures it from a
// router.
func (f *roundabout) distance(roams bool) (rtt time.Duration, err error) {
	want := time.Duration(0)
	if roams {
		want = report.HomeRTT
	}
	link := linkOfAAA(f.bed.Top)
	if err := link.setRTT(want); err != nil {
		return 0, err
	}
	if rtt, err = link.rtt(f.bed.Top.Space(topo.RA)); err == nil && rtt < want {
		err = fmt.Errorf("scenario: the authentication server is %v away, expected %v", rtt, want)
	}
	return rtt, err
}

// add notes a move and holds it to the promise.
func (f *roundabout) add(way string, roams bool, rtt time.Duration, h report.Handover) {
	h.Case = report.RoamCase(way, roams)
	h.Phases["aaa_rtt_ms"] = report.MS(rtt)
	r := f.run
	r.res.Handovers = append(r.res.Handovers, h)
	if h.Radio == nil {
		h.Radio = &report.Radio{}
	}
	name := fmt.Sprintf("%s, %s to %s", h.Case, h.From, h.To)
	switch {
	case h.Outcome != string(event.Completed):
		r.problem("%s: %s: %s", name, h.Outcome, h.Reason)
	case way == report.WayFull && (h.Radio.EAP == 0 || h.Radio.RADIUS == 0):
		r.problem("%s: %d EAP exchanges and %d packets to the authentication server are seen, and there is no other way: the counters do not work", name, h.Radio.EAP, h.Radio.RADIUS)
	case way != report.WayFull && (h.Radio.EAP > 0 || h.Radio.RADIUS > 0):
		r.problem("%s: %d EAP exchanges at the new access point and %d packets to the authentication server during the move, expected none", name, h.Radio.EAP, h.Radio.RADIUS)
	}
}
