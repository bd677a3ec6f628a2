package mip6

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Output is what a machine wants done or known. The set is closed.
type Output interface{ output() }

// Send asks for an IPv6 packet to be sent.
type Send struct {
	Packet []byte
	// Tunnel says that the packet goes through the tunnel to the home agent (RFC 6275
	// section 11.6.1); only a [Route] asks for it.
	Tunnel bool
	// Path is the path identification that a home registration carries: arm the gate for
	// packets of the new path with it before sending. 0 when no markers are offered.
	Path uint64
}

// CareOf is a care-of address. ID is its binding identifier (RFC 5648), 0 where there is
// one binding only.
type CareOf struct {
	Addr netip.Addr
	ID   uint16
}

// Registered says that the home agent has confirmed bindings.
type Registered struct {
	CareOf []CareOf
	// Denied are the care-of addresses of a registration of several that were denied.
	Denied   map[CareOf]Status
	Lifetime time.Duration // granted, counted from when the request was sent
	Expires  time.Time
	Renewal  bool // nobody asked for it: the binding was renewed in time
	Status   Status
	// ID identifies the change that made the home agent's current path. When it is not
	// the Path of this registration's Send, this registration changed no path.
	ID uint64
	// PathMarkers says that an old path is being ended by markers for ID: send ours as the
	// last packet on it, once for each ID, and wait for the home agent's.
	PathMarkers bool
	Tries       int // requests it took
	RTT         time.Duration
}

// Deregistered says that the home agent has confirmed that there is no binding.
type Deregistered struct{}

// Failed says that a registration, renewal or deregistration came to nothing. A binding
// that was there before stays until its lifetime ends, and is renewed; after a failed
// deregistration it only runs out.
type Failed struct {
	Err     error // *StatusError, *TimeoutError, or why the request could not be made
	Renewal bool
}

// Expired says that the lifetime of the bindings at the home agent is over.
type Expired struct{ CareOf []CareOf }

// RouteUp says that a correspondent has confirmed a binding: packets may go to it with a
// Home Address option from CareOf, until Expires.
type RouteUp struct {
	CareOf  netip.Addr
	Expires time.Time
	Renewal bool
	// OldPath says that the correspondent takes packets from the care-of address before for a
	// while, once there is another: they may be under way while the binding moves.
	OldPath bool
}

// RouteDown says that a correspondent has no binding any more: packets go through the
// home agent. Err is nil when that was asked for.
type RouteDown struct{ Err error }

// RouteFailed says that a binding at a correspondent could not be made. What was there
// before stays until its lifetime ends, unless RouteDown follows.
type RouteFailed struct{ Err error }

// DAD asks for duplicate address detection of a home address on the home link, and of
// the link-local address with the same interface identifier where LinkLocal is set (RFC
// 6275 section 10.3.1). Tell [Agent.DADDone].
type DAD struct {
	Home      netip.Addr
	LinkLocal bool
}

// Changed says that the bindings of a home address are others now: its home agent intercepts
// its packets while there are any, and a correspondent takes what it sends there through
// AppendOutgoing. It comes before the answer to the mobile node.
type Changed struct {
	Home     netip.Addr
	Bindings []Binding // none: the home address is nobody's charge any more
	Expired  bool      // nobody asked for the change: a lifetime is over
}

func (Send) output()         {}
func (Registered) output()   {}
func (Deregistered) output() {}
func (Failed) output()       {}
func (Expired) output()      {}
func (RouteUp) output()      {}
func (RouteDown) output()    {}
func (RouteFailed) output()  {}
func (DAD) output()          {}
func (Changed) output()      {}

// queue holds outputs until they are asked for.
type queue struct{ out []Output }

// Poll returns the next output, and false when there is none.
func (q *queue) Poll() (Output, bool) {
	if len(q.out) == 0 {
		q.out = nil
		return nil, false
	}
	o := q.out[0]
	q.out = q.out[1:]
	return o, true
}

func (q *queue) put(o Output) { q.out = append(q.out, o) }

// Errors that say why a packet was not taken.
var (
	// ErrUnexpected says that a message belongs to nothing that is under way.
	ErrUnexpected = errors.New("message that nobody waits for")
	// ErrNotOurs says that a packet is for somebody else.
	ErrNotOurs = errors.New("packet for somebody else")
	// ErrRefused says that a Binding Update is not processed, and nothing is answered.
	ErrRefused = errors.New("binding update refused")
	// ErrUnsupported says that a correspondent does not know Mobile IPv6.
	ErrUnsupported = errors.New("mip6: the correspondent does not know Mobile IPv6: packets go through the home agent")
	// ErrDeregisteredByPeer says that a binding was accepted with a lifetime of zero.
	ErrDeregisteredByPeer = errors.New("mip6: a lifetime of zero was granted: there is no binding")
	// ErrNoBinding says that a packet has a Home Address option for which there is no binding.
	ErrNoBinding = errors.New("home address option without a binding")
	// ErrExpired says that a lifetime is over.
	ErrExpired = errors.New("mip6: the binding's lifetime is over")
)

// TimeoutError says that no acceptable answer came.
type TimeoutError struct {
	Peer   netip.Addr
	What   string // what was asked for
	Tries  int
	Waited time.Duration
	// Discarded is why the last answer that did come was not accepted, or nil.
	Discarded error
}

// Error implements error.
func (e *TimeoutError) Error() string {
	s := fmt.Sprintf("mip6: no acceptable answer from %v to %d messages (%s) within %v", e.Peer, e.Tries, e.What, e.Waited.Round(time.Millisecond))
	if e.Discarded != nil {
		s += "; the last one was discarded: " + e.Discarded.Error()
	}
	return s
}

// Unwrap gives the reason of the last discarded answer.
func (e *TimeoutError) Unwrap() error { return e.Discarded }

// Timeout marks the error as a time-out, as net.Error does.
func (e *TimeoutError) Timeout() bool { return true }
