package mn

import (
	"io"
	"log/slog"
	"net/netip"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/acd/nd"
	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/internal/state"
	"openmpa/mn/decision"
	"openmpa/mn/link"
	"openmpa/mn/mobility/hook"
	"openmpa/mn/mobility/mip4"
	"openmpa/mn/mobility/mip6"
	"openmpa/paa/pana"
	"openmpa/tunnel/esp"
	"openmpa/tunnel/flow"
)

// HoldAt says which router holds what comes for the node during a planned move.
type HoldAt string

// The routers. The binding moves before the link with HoldNext, and after it with
// HoldPrevious.
const (
	HoldNext     HoldAt = "next"
	HoldPrevious HoldAt = "previous"
)

// Timers bound the steps of a handover.
type Timers struct {
	Auth      time.Duration // from the first PANA message to the end of EAP
	Configure time.Duration // address acquisition and duplicate detection by the router
	Tunnel    time.Duration
	Bind      time.Duration
	Depart    time.Duration // wait for the router's marker without a packet from it, at least five round trips; ten times that if packets come all the time; then the node leaves without it
	LinkUp    time.Duration // from leaving one point to the link at the next
	LinkAuth  time.Duration // in place of LinkUp where the link authenticates, as 802.11 does: with a key that was given to it it takes as long as any, without one it asks its AAA server
	Arrive    time.Duration // from link up to the router's acknowledgement
	Settle    time.Duration // for the router's report after arrival, and for taking leave of the old one
	Prepared  time.Duration // how long a complete candidate is kept for its move
	Hold      time.Duration // how long what the node has in the network it has left is kept for a return; 0: it is given back at once
	PathEnd   time.Duration // wait for the marker that ends the old path, from the last packet on it, or the first on the new one if that is later
}

// DefaultTimers are generous for a path around the world, except those that
// run while nothing is delivered.
func DefaultTimers() Timers {
	return Timers{
		Auth: 10 * time.Second, Configure: 60 * time.Second, Tunnel: 5 * time.Second, Bind: 8 * time.Second,
		Depart: 300 * time.Millisecond, LinkUp: 2 * time.Second, LinkAuth: 10 * time.Second, Arrive: 3 * time.Second, Settle: 8 * time.Second,
		Prepared: time.Minute, Hold: 30 * time.Second, PathEnd: 500 * time.Millisecond,
	}
}

// defaultPing keeps mappings of NATs, too: some end after 30 s.
const defaultPing = 15 * time.Second

// Interface is one towards points of attachment.
type Interface struct {
	Name   string
	Points []string // it reaches; the only interface reaches all
	AtMove bool     // it is set up at the moment of the move, and down behind the next; else it is up all the time
	Link   func(host.Host) (link.Adapter, error)
}

// Config of a Node.
type Config struct {
	Interfaces []Interface
	Device     string // name of the TUN
	MTU        int    // of the TUN
	Offload    bool   // several packets in one call, from and to the kernel
	Networks   []Network
	Discovery  Discovery
	Family     int    // of care-of addresses and the home address: 4 or 6; 0: 4
	ClientID   []byte // DHCP client identifier; nil: hardware type and address, or of IPv6, where it is the DUID, one that is drawn and kept
	Identifier nd.IID // of IPv6 addresses that the node forms; zero: stable and opaque ones (RFC 7217)
	NewEAP     func() (pana.EAPPeer, error)
	Home       mip4.ClientConfig
	Home6      mip6.ClientConfig // in the place of Home, where the family is 6
	// Correspondents are those to whom packets go without the home agent, if they can
	// (RFC 6275 section 5.2), where the family is 6.
	Correspondents []netip.Prefix
	// Several has the care-of address here stay bound beside that of the next network, until the
	// node has arrived there: its home agent sends to both (RFC 5648; RFC 5944 section 3.6.1.2).
	Several bool
	// Beside names networks that are prepared as well whenever one is, and bound with it: the home
	// agent sends to the addresses there, too. Several is needed.
	Beside   []string
	Hook     hook.Config // in the place of either, when it has a command
	DAD      acd.Timers
	DAD6     nd.Timers // zero: those of RFC 4862
	Timers   Timers
	Await    bool                 // where nobody names a PAA the link's router may begin the session (RFC 5191 section 4.1)
	Ping     time.Duration        // silence after which a router is asked whether it is there; as long again without an answer ends the session; default 15 s
	Buffer   flow.Limits          // uplink while between two links, and what waits for a path's end
	Suites   []esp.Transform      // offered for tunnels, the best first; nil: what the processor likes
	Plain    bool                 // packets go by IP in IP, unprotected, where the router allows it
	Rekey    esp.RekeyLimits      // when a tunnel is to have other keys
	Prepare  bool                 // false: break before make
	Deciding *Deciding            // nil: the node moves when it is told
	Hold     HoldAt               // who holds packets during a planned move; empty: HoldNext
	Guard    GuardWhen            // when copies are kept against a cut; empty: GuardNever
	Watch    decision.WatchLimits // of a link that dies with its carrier up; zero: it is not watched
	Reach    bool                 // a point is tested before the old one is left for it
	Host     host.Opener          // nil: host.Linux
	State    state.Store          // what is kept over a crash; nil: nothing is
	Rand     io.Reader
	Recorder *event.Recorder
	Log      *slog.Logger
}
