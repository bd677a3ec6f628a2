package bed

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"openmpa/testbed/field"
	"openmpa/testbed/impair"
	"openmpa/testbed/peers"
	"openmpa/testbed/topo"
)

// Options say how a lab differs from the standard one. The zero value of a
// field is the standard.
type Options struct {
	Bin       string        // directory of the daemons' binaries
	Gap       time.Duration // time without a link in a move
	DAD       string        // "fast" (also when empty) or "rfc5227"
	NoPrepare bool          // the mobile node breaks before it makes
	// Ahead is how many addresses routers verify before anybody asks, as in their configuration; empty: none.
	Ahead string
	// BufferPackets bounds what a router holds for a node.
	BufferPackets int
	// BufferOff has routers hold nothing; the node's own queue stays.
	BufferOff bool
	// AAA is the authentication server: AAAEmbedded (also when empty), AAAFreeRADIUS, or AAAFreeDiameter:
	// one of ours behind freeDiameter, which relays.
	AAA string
	// Transport is what the routers speak with it: TransportRADIUS (also when empty), TransportRadSec,
	// TransportDiameter (also when empty, with AAAFreeDiameter) or TransportDiameterTLS.
	Transport string
	// Roaming has them ask a server of the visited operator, which forwards to the mobile node's home.
	Roaming bool
	// Spare has a second server beside the one that the routers ask, for when that is gone.
	Spare bool
	// AAADown lets the server that the routers ask be killed at a message, see Bed.ArmAAADown.
	AAADown bool
	// EAP is how the mobile node logs in: EAPTLS (also when empty), EAPPAP, EAPTTLS or EAPPEAP.
	EAP string
	// TLS is the only version of TLS it speaks, "1.2" or "1.3"; empty: both.
	TLS string
	// DHCP is the DHCP server: DHCPEmbedded (also when empty) or DHCPKea.
	DHCP string
	// IP is the family of the node's addresses at home and away: 4 (also when 0) with Mobile IPv4, or 6 with Mobile IPv6.
	IP int
	// Addresses says how nodes get theirs with IPv6: AddressesSLAAC (also when empty) or AddressesDHCP.
	Addresses string
	// Agent says how the node finds the PAA of the network that it attaches to first: AgentConfigured
	// (also when empty), AgentDHCP or AgentInvites.
	Agent string
	// Quick gives everything that waits for somebody else's sign of life a few
	// seconds: for scenarios in which daemons die.
	Quick bool
	// OwnAAA names a network whose router asks a second authentication
	// server, see Bed.OwnAAA, instead of the first.
	OwnAAA string
	// Links are the bad links by name, and Traffic is what they tell apart.
	Links   map[string]impair.Both
	Traffic impair.Traffic
	// NAT puts an address translator on each access router.
	NAT bool
	// Enforce has the routers stop what unauthorised nodes send, but to the correspondent.
	Enforce bool
	// Count has the packets of the measured flow counted at both ends of the node's link, see Bed.Air.
	Count bool
	// AtHome has the datagrams counted that come to the home agent, see Bed.AtHome.
	AtHome bool
	// Route has the correspondent take part in Mobile IPv6, and the node use route optimisation with it.
	Route bool
	// Capture is a file that gets what is said at the authentication servers that the routers ask, and with IPv6 the messages
	// of neighbour discovery, DHCPv6 and mobility, for Wireshark; empty: none.
	Capture string
	// Several has the node bound to several care-of addresses while it moves: those of the network it leaves, of the next one, and
	// with Further of the first of those, too.
	Several bool
	// Further is how many networks of topo.Further are added, which the mobile node knows, too.
	Further int
	// Site has the routers tell each other of their networks, over TLS, and the mobile node's configuration name only the one
	// that it attaches to first: of the others it hears in its session with its router.
	Site bool
	// Cells are where points are, which routers of a Site tell.
	Cells []field.Cell
	// Position has the mobile node know where it is, see Bed.SetPlace.
	Position bool
	// Hold says which router holds packets in a planned move: HoldNext (also when empty) or HoldPrevious.
	Hold string
	// Return is how long the mobile node keeps what it has in the network that it has left; 0: it gives that back at once.
	Return time.Duration
	// Decision is the section of that name in mpa-mn's configuration, by cable, see Wifi; empty: it moves when it is told.
	Decision string
	// Kept is how long it keeps what was prepared and not used; the program's default when 0.
	Kept time.Duration
	// Guard says when copies are kept against a cut: GuardNever (also when empty), GuardWeak, with a Decision, or GuardAlways.
	Guard string
	// Classes are the routers' classes of traffic, as in their configuration; empty: the standard.
	Classes string
	// LoseMarkers has Bed.Thief take markers on the links of both networks.
	LoseMarkers bool
	// VPN has the mobile node's home address be one in a WireGuard tunnel, whose
	// server stands where the home agent else does: mpa-mn moves it by the hook of
	// examples/wireguard, and there is no Mobile IP.
	VPN bool
	// Rekey is the age at which tunnels are to have other keys; the programs' default when 0.
	Rekey time.Duration
	// CoreMTU is that of the links of both routers with the core, in octets; as all others when 0.
	CoreMTU int
	// Lifetime is that of sessions with routers; an hour when 0.
	Lifetime time.Duration
	// Wifi has points of attachment that are radios; nil: a cable that moves.
	Wifi *Wifi
	// Records is how many records each daemon keeps; 0: as many as it likes.
	Records int
	// Second is the mobile node's second interface, which reaches network a while the
	// first one reaches b: SecondUp, or SecondAtMove for one that is set up for its
	// move only; empty: one interface reaches both.
	Second string
	// Logs is a directory that gets the daemons' logs and configurations
	// when the lab is taken apart; empty: they go with the lab.
	Logs string
	// LogLevel of the daemons; "debug" when empty.
	LogLevel string
	// Say is told of what happens, a line each; nil: nobody is.
	Say func(format string, args ...any)
}

// DADFast and DADStandard are the names of the timers for duplicate address
// detection.
const (
	DADFast     = "fast"
	DADStandard = "rfc5227"
)

// The servers that are not always ours.
const (
	AAAEmbedded     = "embedded"
	AAAFreeRADIUS   = "freeradius"
	AAAFreeDiameter = "freediameter"
	DHCPEmbedded    = "embedded"
	DHCPKea         = "kea"
)

// How nodes get an address with IPv6: they form one (RFC 4862), or DHCPv6 gives it.
const (
	AddressesSLAAC = "slaac"
	AddressesDHCP  = "dhcp"
)

// By whom the node is told of a PAA: its configuration, the DHCP server's option 136 (RFC 5192), or
// the PAA itself, which begins the session (RFC 5191 section 4.1) at an enforcement point.
const (
	AgentConfigured = "configured"
	AgentDHCP       = "dhcp"
	AgentInvites    = "invites"
)

// How a mobile node has its second interface.
const (
	SecondUp     = "always"
	SecondAtMove = "move"
)

// DescribeDAD says what a choice of timers means, for the output.
func DescribeDAD(name string) string {
	if name == DADStandard {
		return "duplicate address detection with the timers of RFC 5227 (4 to 8 s; IPv6: RFC 4862, 1 to 2 s), with and without MPA"
	}
	return "duplicate address detection with short timers (3 probes 50 to 80 ms apart; IPv6: one, and 100 ms), the same with and without MPA; " +
		"--dad rfc5227 takes those of the standard"
}

// What becomes of packets around a move, see Options.Hold and Options.Guard.
const (
	HoldNext     = "next"
	HoldPrevious = "previous"
	GuardNever   = "never"
	GuardWeak    = "weak"
	GuardAlways  = "always"
)

func (o Options) check() error {
	switch o.DAD {
	case "", DADFast, DADStandard:
	default:
		return fmt.Errorf("bed: %q are no timers for duplicate address detection: expected %s or %s", o.DAD, DADFast, DADStandard)
	}
	if err := o.checkAAA(); err != nil {
		return err
	}
	switch o.AAA {
	case AAAFreeRADIUS:
		if _, err := (peers.FreeRADIUS{}).Program(); err != nil {
			return err
		}
	case AAAFreeDiameter:
		if _, err := (peers.FreeDiameter{}).Program(); err != nil {
			return err
		}
	}
	switch o.DHCP {
	case "", DHCPEmbedded:
	case DHCPKea:
		if o.six() {
			if _, err := (peers.Kea6{}).Program(); err != nil {
				return err
			}
		} else if _, err := (peers.Kea{}).Program(); err != nil {
			return err
		}
	default:
		return fmt.Errorf("bed: %q is no DHCP server: expected %s or %s", o.DHCP, DHCPEmbedded, DHCPKea)
	}
	if err := o.checkSix(); err != nil {
		return err
	}
	switch o.Agent {
	case "", AgentConfigured, AgentDHCP:
	case AgentInvites:
		if !o.Enforce {
			return errors.New("bed: a PAA invites only nodes that it stops: expected Enforce, too")
		}
	default:
		return fmt.Errorf("bed: nobody finds a PAA by %q: expected %s, %s or %s", o.Agent, AgentConfigured, AgentDHCP, AgentInvites)
	}
	if err := o.checkEAP(); err != nil {
		return err
	}
	if o.VPN {
		if _, err := (peers.WireGuard{}).Command(); err != nil {
			return err
		}
	}
	switch o.TLS {
	case "", "1.2", "1.3":
	default:
		return fmt.Errorf("bed: %q is no version of TLS for EAP: expected 1.2 or 1.3", o.TLS)
	}
	if o.OwnAAA != "" && !slices.ContainsFunc(o.networks(), func(n topo.Network) bool { return n.Name == o.OwnAAA }) {
		return fmt.Errorf("bed: no network %q in this lab", o.OwnAAA)
	}
	if !slices.Contains([]string{"", HoldNext, HoldPrevious}, o.Hold) {
		return fmt.Errorf("bed: %q is no router that holds: expected %s or %s", o.Hold, HoldNext, HoldPrevious)
	}
	if !slices.Contains([]string{"", GuardNever, GuardWeak, GuardAlways}, o.Guard) {
		return fmt.Errorf("bed: %q is no time to keep copies: expected %s, %s or %s", o.Guard, GuardNever, GuardWeak, GuardAlways)
	}
	if o.Wifi != nil && o.Site {
		return errors.New("bed: radios are known by their BSSIDs, and the routers of a site here have none: expected no site with them")
	}
	switch o.Second {
	case "":
	case SecondUp, SecondAtMove:
		if o.Wifi != nil {
			return errors.New("bed: a second interface is a cable: expected no radios beside it")
		}
	default:
		return fmt.Errorf("bed: %q is no way to have a second interface: expected %s or %s", o.Second, SecondUp, SecondAtMove)
	}
	if o.Further < 0 || o.Further > len(topo.Further) {
		return fmt.Errorf("bed: %d further networks: expected 0 to %d", o.Further, len(topo.Further))
	}
	if o.Bin == "" {
		return fmt.Errorf("bed: it is not known where the daemons' binaries are")
	}
	return nil
}

// networks are those of the lab.
func (o Options) networks() []topo.Network {
	return slices.Concat(topo.Networks, topo.Further[:o.Further])
}

// configured are those of the mobile node's configuration.
func (o Options) configured() []topo.Network {
	if o.Site {
		return o.networks()[:1]
	}
	return o.networks()
}

// plan is the topology.
func (o Options) plan() topo.Plan {
	if o.Wifi == nil {
		p := topo.WithFurther(topo.Standard(), o.Further)
		if o.Second != "" {
			p = topo.WithSecond(p)
		}
		if o.Roaming {
			p = topo.WithAAA(p, topo.Visited)
		}
		if o.Spare {
			p = topo.WithAAA(p, topo.Spare)
		}
		return p
	}
	p := topo.Wireless()
	if o.Wifi.Plan != nil {
		o.Wifi.Plan(&p)
	}
	return p
}

// links are all links that are not to be good ones.
func (o Options) links() map[string]impair.Both {
	all := make(map[string]impair.Both)
	if o.LoseMarkers {
		for _, n := range o.networks() {
			all[n.Link] = impair.Both{} // it does nothing else
		}
	}
	if o.AAADown {
		for _, name := range o.linksOf() {
			all[name] = impair.Both{}
		}
	}
	maps.Copy(all, o.Links)
	return all
}

func (o Options) say(format string, args ...any) {
	if o.Say != nil {
		o.Say(format, args...)
	}
}
