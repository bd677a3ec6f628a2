package tunnel

import (
	"errors"
	"net/netip"
	"sync/atomic"

	"openmpa/tunnel/bind"
	"openmpa/tunnel/esp"
	"openmpa/tunnel/ipip"
)

// Reason says why a packet was dropped.
type Reason string

// Reasons of a socket, which drops what belongs to no tunnel.
const (
	ReasonUnknownSPI Reason = "unknown spi" // no tunnel has this SPI (any more)
	ReasonNonESP     Reason = "non-esp"     // non-ESP marker: IKE, which nobody speaks here
	ReasonShort      Reason = "short"       // too short for any of RFC 3948 section 2
)

// Reasons of a tunnel for packets that arrived.
const (
	ReasonFormat      Reason = "format"            // no ESP packet, or wrong padding
	ReasonReplay      Reason = "replay"            // received before
	ReasonTooOld      Reason = "too old"           // left of the replay window
	ReasonAuth        Reason = "auth"              // integrity check failed
	ReasonNextHeader  Reason = "next header"       // neither IPv4, IPv6 nor a dummy, nor numbered where that is agreed on
	ReasonDummy       Reason = "dummy"             // dummy packet of another implementation
	ReasonMarker      Reason = "marker"            // marker of another version or kind, or cut short
	ReasonSource      Reason = "inner source"      // not the address allowed (AllowSrc)
	ReasonDestination Reason = "inner destination" // not the address allowed (AllowDst)
	ReasonOuter       Reason = "outer source"      // IP in IP from where the peer is no more
	ReasonECN         Reason = "ecn"               // congestion mark for a transport without ECN (RFC 6040 section 4.2)
)

// Reasons for both directions, and those for packets to be sent.
const (
	ReasonShim      Reason = "shim"         // no shim header of a version and class known here
	ReasonInner     Reason = "inner packet" // no sane packet inside
	ReasonExpired   Reason = "expired"      // lifetime of the security association has ended
	ReasonClosed    Reason = "closed"       // the tunnel or its socket is closed
	ReasonExhausted Reason = "sequence"     // sequence numbers used up
	ReasonNoPeer    Reason = "no peer"      // FollowPeer, and nothing arrived yet
	ReasonSend      Reason = "send"         // the kernel refused the outer packet
)

// drops has a counter for each reason; the index is the reason's place in reasons.
type drops [len(reasons)]atomic.Uint64

var reasons = [...]Reason{
	ReasonUnknownSPI, ReasonNonESP, ReasonShort, ReasonFormat, ReasonReplay, ReasonTooOld, ReasonAuth, ReasonNextHeader,
	ReasonDummy, ReasonMarker, ReasonSource, ReasonDestination, ReasonECN, ReasonInner, ReasonExpired, ReasonClosed,
	ReasonExhausted, ReasonNoPeer, ReasonSend, ReasonShim, ReasonOuter,
}

func (d *drops) add(r Reason) {
	for i := range reasons {
		if reasons[i] == r {
			d[i].Add(1)
			return
		}
	}
}

// counts returns the counters that are not zero.
func (d *drops) counts() map[Reason]uint64 {
	m := map[Reason]uint64{}
	for i := range d {
		if n := d[i].Load(); n != 0 {
			m[reasons[i]] = n
		}
	}
	return m
}

// openReason translates an error of esp.Inbound.
func openReason(err error) Reason {
	switch {
	case errors.Is(err, esp.ErrTooOld): // before ErrReplay, which it matches too
		return ReasonTooOld
	case errors.Is(err, esp.ErrReplay):
		return ReasonReplay
	case errors.Is(err, esp.ErrAuth):
		return ReasonAuth
	case errors.Is(err, esp.ErrExpired):
		return ReasonExpired
	}
	return ReasonFormat
}

// innerReason translates an error of package ipip.
func innerReason(err error) Reason {
	if errors.Is(err, ipip.ErrECN) {
		return ReasonECN
	}
	return ReasonInner
}

// SocketStats counts the datagrams of a socket: Received is the sum of ToTunnels,
// Keepalives and all of Dropped. What the kernel dropped before is in
// Bind.KernelDrops and Bind.Truncated.
type SocketStats struct {
	Local      netip.AddrPort
	Received   uint64
	ToTunnels  uint64
	Keepalives uint64
	Dropped    map[Reason]uint64
	Bind       bind.Stats
}

// Stats counts the packets of a tunnel. When nothing is under way, Received is
// the sum of Delivered, MarkersIn and all of DroppedIn, and what Send and
// SendMarker were given is the sum of Sent, MarkersOut and all of DroppedOut.
type Stats struct {
	Received       uint64 // ESP packets with the tunnel's SPI
	Delivered      uint64 // inner packets given to Receive
	PlainIn        uint64 // of those, by IP in IP: not authenticated
	DeliveredBytes uint64 // octets of those
	MarkersIn      uint64
	DroppedIn      map[Reason]uint64

	Sent          uint64 // inner packets
	SentBytes     uint64 // octets of those
	Plain         uint64 // of those, by IP in IP
	MarkersOut    uint64
	KeepalivesOut uint64
	DroppedOut    map[Reason]uint64

	ECNAlarms   uint64 // packets with ECN fields that no ingress makes (RFC 6040 section 4.2)
	Rekeys      uint64 // times a successor of the security association took over
	PeerChanges uint64 // times the outer address of the peer was adopted from a packet
}

type counters struct {
	received, delivered, deliveredBytes, markersIn atomic.Uint64
	sent, sentBytes, markersOut, keepalivesOut     atomic.Uint64
	plain, plainIn                                 atomic.Uint64 // plainIn: not in delivered
	ecnAlarms, rekeys, peerChanges                 atomic.Uint64
	droppedIn, droppedOut                          drops
}

func (c *counters) stats() Stats {
	plainIn := c.plainIn.Load()
	return Stats{
		Received:       c.received.Load(),
		Delivered:      c.delivered.Load() + plainIn,
		PlainIn:        plainIn,
		DeliveredBytes: c.deliveredBytes.Load(),
		MarkersIn:      c.markersIn.Load(),
		DroppedIn:      c.droppedIn.counts(),
		Sent:           c.sent.Load(),
		SentBytes:      c.sentBytes.Load(),
		Plain:          c.plain.Load(),
		MarkersOut:     c.markersOut.Load(),
		KeepalivesOut:  c.keepalivesOut.Load(),
		DroppedOut:     c.droppedOut.counts(),
		ECNAlarms:      c.ecnAlarms.Load(),
		Rekeys:         c.rekeys.Load(),
		PeerChanges:    c.peerChanges.Load(),
	}
}
