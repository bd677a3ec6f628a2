package scenario

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"openmpa/testbed/bed"
	"openmpa/testbed/impair"
	"openmpa/testbed/report"
	"openmpa/testbed/traffic"
)

// Options of a run, as the command line gives them.
type Options struct {
	Bin       string
	Commit    string
	Repeat    int
	Gap       time.Duration
	Rate      traffic.Rate
	Direction Direction
	// Slow is what the other direction has; zero: 50 packets/s.
	Slow traffic.Rate
	// Lead is how long traffic runs before and after a move.
	Lead  time.Duration
	DAD   string
	Probe bool // measure l3 and its floor
	// ProbeRate is the probe's in packets a second; 0: traffic.ProbeRate.
	ProbeRate float64
	Logs      string // directory for the daemons' logs; empty: none
	Keep      bool   // wait for the end of ctx before the lab is taken apart
	// BufferOff has routers hold nothing.
	BufferOff bool
	// Tracks has handovers carry what can be drawn of them.
	Tracks         bool
	AAA, DHCP, TLS string // see bed.Options
	Agent          string // likewise
	// Transport is what routers speak with authentication servers, Roaming has them ask those of a visited operator,
	// and Spare has a second one, see bed.Options.
	Transport      string
	EAP            string // how the node logs in, bed.EAPTLS and so on; empty: with a certificate
	Roaming, Spare bool
	// AAADown has the server that is asked be killed before it gets message number AAADown of each handover's
	// authentication; 0: none is.
	AAADown int
	// Pairwise has the scenario aaa play only so many of its cells that each two values of two factors meet.
	Pairwise bool
	// Capture is a file for Wireshark, see bed.Options.
	Capture string
	// IP is the family, and Addresses how nodes get theirs with IPv6, see bed.Options.
	IP        int
	Addresses string
	// CrashSeed chooses the crashes of the acceptance set; empty: the commit does.
	CrashSeed string
	// Only, if not empty, are the checks of the acceptance set: those with one of these texts in their names.
	Only []string
	// Links are the bad links by name.
	Links map[string]impair.Both
	// NAT puts address translators between the node and the router it moves to.
	NAT bool
	// Enforce has the routers stop what unauthorised nodes send, but to the correspondent.
	Enforce bool
	// LoseMarkers has each marker of a handover be lost once.
	LoseMarkers bool
	// Wifi has the node attached by 802.11, with simulated radios.
	Wifi bool
	// Walk is how long the scenario wander lets the node go; 0: ten minutes. WalkSeed is that of its way and its shadows.
	Walk     time.Duration
	WalkSeed uint64
	// Unplaced has the node of wander not know where it is.
	Unplaced bool
	// Flags are the options as they were given, for the report.
	Flags map[string]string
}

// Direction says which way the flow at the given rate goes.
type Direction string

// The directions. With Default a rate in packets goes both ways, and a bit
// rate goes down with 50 packets/s up.
const (
	Default Direction = ""
	Down    Direction = "down"
	Up      Direction = "up"
	Both    Direction = "both"
)

func (o Options) probeRate() float64 { return cmp.Or(o.ProbeRate, traffic.ProbeRate) }

// How the node is attached: by a veth pair that is moved, or by 802.11.
const (
	AccessCable = "cable"
	AccessWifi  = "wifi"
)

// rates are what the two flows send at.
func (o Options) rates() (down, up traffic.Rate) {
	slow := o.Slow
	if slow.PerSecond == 0 {
		slow = traffic.PerSecond(50)
	}
	switch {
	case o.Direction == Down, o.Direction == Default && o.Rate.Bits():
		return o.Rate, slow
	case o.Direction == Up:
		return slow, o.Rate
	default:
		return o.Rate, o.Rate
	}
}

// bed are the options of the lab itself.
func (o Options) bed(p *Progress) bed.Options {
	down, up := o.rates()
	var wifi *bed.Wifi
	if o.Wifi {
		wifi = &bed.Wifi{}
	}
	return bed.Options{
		Wifi: wifi,
		Bin:  o.Bin, Gap: o.Gap, DAD: o.DAD, BufferOff: o.BufferOff, Logs: o.Logs, Say: p.Line, AAA: o.AAA, DHCP: o.DHCP, TLS: o.TLS, Links: o.Links,
		Transport: o.Transport, EAP: o.EAP, Roaming: o.Roaming, Spare: o.Spare, AAADown: o.AAADown > 0,
		LoseMarkers: o.LoseMarkers, NAT: o.NAT, Enforce: o.Enforce, Agent: o.Agent, IP: o.IP, Addresses: o.Addresses, Capture: o.Capture,
		Traffic: impair.Traffic{
			FlowPort: flowPort, Down: down.Payload, Up: up.Payload, ProbePort: probePort, Probe: traffic.ProbePayload,
		},
	}
}

// A Scenario is one thing the lab can run.
type Scenario struct {
	Name    string
	Doc     string // one line
	Promise string // what makes the run fail when it does not hold
	// Access is the only one it runs with, AccessCable or AccessWifi; empty: both.
	Access string
	// CPUs is how many processors the virtual machine gets that it runs in by 802.11, unless it is said; 0: one.
	CPUs int
	// Fixes are flags that have no meaning with it: it sets them itself.
	Fixes []string
	// Adjust changes the options that were not given on the command line.
	Adjust func(o *Options, given func(flag string) bool)
	// onBadLinks is the promise when there are bad links; empty: the same.
	onBadLinks string
	byWifi     string // the promise by 802.11; empty: the same
	cases      bool   // it repeats several, each of which is summed up
	run        func(ctx context.Context, r *run) error
}

// All are the scenarios, in the order of `mpa-lab list`.
func All() []Scenario {
	return []Scenario{
		{
			Name: "handover", run: handovers,
			Doc:     "from network b to a and back, prepared: the whole of RFC 6252",
			Promise: "every handover completes; nothing lost, duplicated or reordered in either direction (reordered only in forced flips)",
			byWifi: "every handover completes; what is lost was lost on the air, each one counted; nothing duplicated or reordered in either direction (reordered only in forced flips); " +
				"no authentication at the new access point and no packet at the authentication server in a move; no key left where the node has left",
			onBadLinks: "every handover completes; lost are exactly the packets that the bad links lost, each one counted there; " +
				"nothing duplicated or reordered in either direction (reordered only in forced flips)",
		},
		{
			Name: "break-before-make", run: breakBeforeMake,
			Doc:     "the same move with nothing prepared, for comparison",
			Promise: "every handover completes, and traffic goes on after it",
		},
		{
			Name: "figure6-mip4", run: figure6, cases: true, Adjust: adjustFigure6, Fixes: []string{"buffer", "direction"},
			Doc:     "the measurements of RFC 6252's Figures 6 and 7: without buffers, with buffers, without MPA",
			Promise: "every handover completes; with buffers nothing is lost, without exactly what the router counts as dropped",
		},
		{
			Name: "figure6", run: figure6Six, cases: true, Access: AccessCable, Adjust: adjustFigure6Six, Fixes: []string{"buffer", "direction", "ip", "mmp"},
			Doc: "the measurements of RFC 6252's Figure 6 by Mobile IPv6: without buffers, with buffers, both with route optimisation, and without MPA",
			Promise: "every handover completes; with buffers nothing is lost, without exactly what the router counts as dropped; " +
				"with route optimisation no packet comes to the home agent",
		},
		{
			Name: "multi-bind", run: multiBind, Access: AccessCable, Adjust: adjustMultiBind, Fixes: []string{"probe"},
			Doc: "while it moves the node is bound to care-of addresses of three networks, by Mobile IPv6 unless --ip 4 is given, and its home agent sends each packet to all of them",
			Promise: "every handover completes; nothing lost, duplicated or reordered in either direction (reordered only in forced flips); " +
				"copies are sent while there are several bindings and no longer",
		},
		{
			Name: "figure10", run: figure10, cases: true, Access: AccessWifi, Adjust: adjustFigure10, CPUs: 2,
			Fixes: []string{"tls", "rtt-aaa", "rate", "direction", "seconds", "probe", "buffer", "l2-gap", "lose", "nat"},
			Doc:   "RFC 6252's Figure 10: 802.1X in full, pre-authenticated, 802.11r and MPA, on the same radios, with the authentication server near and far",
			Promise: "every move completes; of the prepared ways none has EAP at the new access point, nor a packet at the authentication server, in the move; " +
				"MPA's median is at most the largest 90th percentile of the other prepared ways",
		},
		{
			Name: "aaa", run: aaaCells, cases: true, Access: AccessCable, Adjust: adjustAAA,
			Fixes: []string{"aaa", "aaa-transport", "roaming", "aaa-spare", "aaa-down"},
			Doc:   "handover with each authentication server, by each protocol, local and roaming",
			Promise: "every handover completes; nothing lost, duplicated or reordered in either direction (reordered only in forced flips); " +
				"a freeDiameter that relays has nothing to complain of",
		},
		{
			Name: "failed-switch", Access: AccessCable, run: failedSwitch,
			Doc:     "the new point of attachment never answers; the node goes back",
			Promise: "every handover ends switched back, and traffic goes on without loss after it",
		},
		{
			Name: "small-buffer", Access: AccessCable, run: smallBuffer, Adjust: adjustSmallBuffer,
			Doc:     "the new router may hold 5 packets, and more come",
			Promise: "exactly as many packets are lost as the router counts as dropped, with the reason; none in the other direction",
		},
		{
			Name: "nat-rebind", Access: AccessCable, run: natRebind, Fixes: []string{"nat", "lose"},
			Doc:     "address translators that forget everything: before the tunnel is made, before the binding moves, and while the node departs",
			Promise: "every handover completes; nothing lost, duplicated or reordered in either direction, and the routers see translated addresses only",
		},
		{
			Name: "roam", Access: AccessWifi, run: roam, cases: true,
			Doc: "the link is moved by another program, inside a network and between networks, prepared and not",
			Promise: "the node follows each time; with keys installed no access point authenticates and the authentication server hears nothing; " +
				"after a roam by wpa_cli traffic is back within twice the time of a move by mpa-mn (medians), and nothing is lost after it",
		},
		{
			Name: "unplanned", Access: AccessCable, run: unplanned, cases: true, Fixes: []string{"probe"},
			Doc: "the link is moved by somebody else, inside a network and between networks, prepared and not",
			Promise: "the node follows each time, and nothing is lost after it; what it has, it does not ask for again; " +
				"traffic is back within four times the time of a move by mpa-mn (medians), without preparation later",
		},
		{
			Name: "two-interfaces", Access: AccessCable, run: twoInterfaces, cases: true, Fixes: []string{"probe", "lose"},
			Doc: "the node has an interface for each network: both up, and the second one set up for its move only; beside it, one interface that moves",
			Promise: "every handover completes, and nothing is lost, duplicated or reordered in either direction (reordered only in forced flips); " +
				"where the serving link is cut, the node goes on by the other, and nothing is lost after it; a node that is killed leaves nothing at either interface",
		},
		{
			Name: "walk", Access: AccessWifi, run: walk, cases: true, Adjust: adjustWalk,
			Doc: "the signal gets weaker, and the node moves by itself: to a better point of its network, and to the other network",
			Promise: "it prepares the other network before it leaves and moves there without being told, loses nothing but what was on the air, " +
				"and no access point it comes to authenticates; where a point of its own network is better it goes there instead",
		},
		{
			Name: "key-expiry", Access: AccessWifi, run: keyExpiry, Fixes: []string{"direction", "rate", "buffer", "probe"},
			Doc:     "the node prepares a network and is killed; its keys have a lifetime",
			Promise: "the keys are there before, at both ends of each access point, and when their lifetime is over none is",
		},
		{
			Name: "trap", Access: AccessWifi, run: trap, cases: true, Adjust: adjustTrap, Fixes: []string{"direction", "rate", "buffer", "probe"},
			Doc:     "roams inside a network, in which the kernel's neighbour table costs a second: without mpa-mn and with it",
			Promise: "the kernel alone stands for a second after link up in some roam; with mpa-mn the first packet comes within half a second in each",
		},
		{
			Name: "tcp", Access: AccessCable, run: tcpMoves, cases: true, Adjust: adjustTCP, Fixes: []string{"probe", "buffer"},
			Doc:     "one TCP connection, each way in turn, through many moves to and fro; beside it the same without moves, and without MPA",
			Promise: "every handover completes and all octets arrive as they were sent; no planned move with a link gone for up to 50 ms causes a retransmission time-out",
		},
		{
			Name: "rekey", Access: AccessCable, run: rekeyed, cases: true, Adjust: adjustRekey, Fixes: []string{"probe", "buffer", "nat", "lose"},
			Doc:     "packets go by the tunnel for 22 s before the move, in which it has other keys every 5 s; then the same with a core that takes 1400 octets",
			Promise: "every handover completes; nothing lost, duplicated or reordered in either direction (reordered only in forced flips); other keys three times at least",
		},
		{
			Name: "wireguard", Access: AccessCable, run: wireguard, cases: true, Fixes: []string{"buffer", "nat", "lose"},
			Doc:     "a WireGuard tunnel in the place of Mobile IP, moved by a hook: prepared, switched back, and without MPA",
			Promise: "prepared, every handover completes and nothing is lost, duplicated or reordered in either direction; else traffic goes on without loss after it",
		},
		{
			Name: "dead-link", Access: AccessCable, run: deadLink, Fixes: []string{"probe", "lose", "nat"},
			Doc: "the link carries nothing any more while its carrier stays, and the next network is prepared; then a machine that is far too busy",
			Promise: "the node notices within twice its watchdog's time, moves, and traffic goes on without loss after it; " +
				"on the busy machine it never takes a link for dead that is not",
		},
		{
			Name: "soak", Access: AccessCable, run: soak, Adjust: adjustSoak, Fixes: []string{"probe", "seconds", "buffer", "lose", "nat"},
			Doc:     "2,000 moves to and fro with traffic all the time",
			Promise: "every move completes; nothing lost, duplicated or reordered; memory, descriptors, goroutines and what the kernel holds stay as they are",
		},
		{
			Name: "conflict", Access: AccessCable, run: conflicts, cases: true, Fixes: []string{"probe", "nat", "lose", "buffer"},
			Doc: "a stranger has the address that the node would get at the next network, or takes it when nobody can find out before the move",
			Promise: "in use before, it is found out before the move, another one is taken, and nothing is lost, duplicated or reordered; " +
				"taken later, the node has another: IPv6: found out on arrival (RFC 4429), IPv4: defended once, and given up (RFC 5227 section 2.4); " +
				"IPv6: the node's own arrival is no conflict, as it is where the router's kernel has a proxy entry in the place of ours",
		},
		{
			Name: "ping-pong", Access: AccessCable, run: pingPong, cases: true, Adjust: adjustPingPong, Fixes: []string{"probe", "lose", "nat", "buffer"},
			Doc: "to four networks, each prepared, and then a move each second, to and fro between the last two",
			Promise: "each move completes; nothing lost, duplicated or reordered in either direction (reordered only in forced flips); " +
				"a return asks neither for authentication nor for an address, and interrupts no longer (median) than a prepared move in the same run; " +
				"what is held for it outlives its time nowhere",
		},
		{
			Name: "wander", Access: AccessCable, run: wander, Fixes: []string{"probe", "lose", "nat", "buffer", "repeat", "l2-gap"}, Adjust: adjustWander,
			Doc: "the node walks among seven points of five networks by an emulated signal and moves by itself, with each policy, in four labs beside one another; of other networks it hears from its router",
			Promise: "with each policy nothing is lost, duplicated or reordered in either direction (reordered only in forced flips); " +
				"each move is one that the node has decided, and each decision has a reason in words; nothing is left where it is no longer",
		},
		{
			Name: "unprepared", Access: AccessCable, run: unprepared, cases: true, Fixes: []string{"probe", "lose", "nat"},
			Doc:     "the link is cut, and comes up at a network that nobody has prepared, and then at one that the node has left",
			Promise: "the node follows, nothing is lost after it, and nothing is left where it is no longer",
		},
		{
			Name: "wrong-target", Access: AccessCable, run: wrongTarget, cases: true, Fixes: []string{"probe", "lose", "nat"},
			Doc:     "a network is prepared whole, and the link comes up at another one: not prepared, authenticated, with an address, or with a tunnel",
			Promise: "the node goes on with what there is, and asks for nothing that it has; nothing is lost after it, and what was prepared in vain is given back in its time",
		},
		{
			Name: "target-vanishes", Access: AccessCable, run: targetVanishes, cases: true, Fixes: []string{"probe", "lose", "nat"},
			Doc:     "the next network is prepared, binding included, and then its points are dead or refuse, or its router is gone, before the move and without one",
			Promise: "the node goes on where it was, nothing is lost after it, and nothing is left of what was prepared",
		},
		{
			Name: "router-reboots", Access: AccessCable, run: routerReboots, cases: true, Fixes: []string{"probe", "lose", "nat"},
			Doc:     "a router is killed and started again, with what it wrote down and without: the next one between binding and arrival, and the last one while it is held for a return",
			Promise: "the node arrives there or goes on where it was, nothing is lost after it, and nothing outlives its time",
		},
		{
			Name: "faults", Access: AccessCable, run: faults,
			Doc:     "everything that can go wrong before a move, a line each",
			Promise: "each handover fails with one clear reason, and the current connection loses nothing",
		},
		{
			Name: "aaa-failover", Access: AccessCable, run: aaaFailover, cases: true, Fixes: []string{"repeat", "probe", "aaa-down", "aaa-spare"},
			Doc: "the authentication server is killed at each message of an authentication, with a second one that stands by and without; then the servers' books",
			Promise: "with a second server every handover completes, by one authentication more at most, and nothing is lost; without one it fails with one clear reason, " +
				"and the current connection loses nothing; the books have one start and one stop of each session",
		},
		{
			Name: "wifi-faults", run: wifiFaults, Access: AccessWifi, Fixes: []string{"repeat", "probe", "buffer", "lose"},
			Doc:     "hostapd, wpa_supplicant, their control sockets, their keys and the agent of an access point go wrong before a move, a line each",
			Promise: "each is noticed and said, and everybody recovers; moves complete or switch back with a reason; traffic goes on, and no access point keeps a key of a node that has left",
		},
	}
}

// Find looks a scenario up by its name.
func Find(name string) (Scenario, error) {
	var names []string
	for _, s := range All() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Scenario{}, fmt.Errorf("scenario: there is no scenario %q; there are %s", name, strings.Join(names, ", "))
}

// run is a scenario under way.
type run struct {
	opt Options
	p   *Progress
	res *report.Result
	// strips are the flows of the last measured handover.
	strips Strips
	flowID uint32
	at     string // network that serves the node
	// caseName is that of the handovers to come, in scenarios with several.
	caseName string
	hooks    hooks
	// keyed has repeat look for keys of the network that was left, by 802.11.
	keyed bool
}

// problem notes a promise that was not kept.
func (r *run) problem(format string, args ...any) {
	r.res.Problems = append(r.res.Problems, fmt.Sprintf(format, args...))
}

// Run runs a scenario to its end. The result is there even with an error,
// as far as it came. The error is for what kept the lab from doing its
// work; promises that were not kept are in the result.
func Run(ctx context.Context, s Scenario, opt Options, p *Progress) (*report.Result, error) {
	res, _, err := runWithStrips(ctx, s, opt, p)
	return res, err
}

func runWithStrips(ctx context.Context, s Scenario, opt Options, p *Progress) (*report.Result, Strips, error) {
	now := time.Now().Round(time.Second)
	if opt.IP == 6 {
		opt.Rate, opt.Slow = opt.Rate.WithIPv6(), opt.Slow.WithIPv6()
	}
	r := &run{opt: opt, p: p, res: &report.Result{
		Scenario: s.Name, Commit: opt.Commit, Kernel: report.Kernel(), Started: &now, Machine: report.Here(), Flags: opt.Flags, Handovers: []report.Handover{},
	}}
	if opt.LoseMarkers {
		r.hooks.steal = impair.Markers
	}
	err := s.run(ctx, r)
	p.Done()
	if s.cases {
		r.res.SummarizeCases()
	} else {
		r.res.Summarize()
	}
	return r.res, r.strips, err
}

// withBed runs fn in a lab of its own and takes it apart after. What was
// left behind is a problem of the result.
func (r *run) withBed(ctx context.Context, opt bed.Options, fn func(*bed.Bed) error) error {
	b, err := bed.Start(ctx, opt)
	if err != nil {
		return err
	}
	r.at = "b"
	err = fn(b)
	if r.opt.Keep && ctx.Err() == nil {
		r.p.Done()
		keep(ctx, b, err)
	}
	r.p.Line("taking lab %d apart", b.Run.ID)
	if closed := b.Close(); closed != nil {
		for _, line := range strings.Split(closed.Error(), "\n") {
			r.problem("%s", line)
		}
	}
	r.addLinks(b)
	return err
}
