package mip4

import (
	"fmt"
	"net/netip"
	"time"
)

// Output is what a Client wants done or known. The set is closed.
type Output interface{ output() }

// Send asks for a UDP datagram from From (any port, the same for all of a client's) to To.
type Send struct {
	From netip.Addr
	To   netip.AddrPort
	Data []byte
	// Path is the path identification this registration carries: arm the gate for
	// packets of the new path with it before sending. 0 when no markers are offered.
	Path uint64
	// Try counts the requests of this registration, from 1.
	Try int
}

// Registered says that the home agent has confirmed a binding.
type Registered struct {
	CareOf   netip.Addr
	Lifetime time.Duration // granted, counted from when the request was sent; or Infinite
	Expires  time.Time     // zero when it never does
	// ID identifies the change that made the home agent's current path. When it is
	// not the Path of this registration's Send, this registration changed no path.
	ID uint64
	// PathMarkers says that an old path is being ended by markers for ID: send ours
	// as the last packet on it, once for each ID, and wait for the home agent's.
	PathMarkers bool
	Several     bool // the home agent has retained others, as was asked for
	Renewal     bool // nobody asked for it: the binding was renewed in time
	Code        Code // 0 or 1
	Tries       int  // requests it took
	RTT         time.Duration
}

// Added says that the home agent has confirmed a further binding, beside the one that was
// registered before.
type Added struct {
	CareOf   netip.Addr
	Lifetime time.Duration // granted, or Infinite
}

// Deregistered says that the home agent has confirmed that there is no binding.
type Deregistered struct{}

// Failed says that a registration, renewal or deregistration came to nothing. A
// binding that was there before stays until its lifetime ends; after a failed renewal
// another is tried, and the next of further bindings after one that failed.
type Failed struct {
	CareOf  netip.Addr // home address for a deregistration
	Code    Code       // of the reply, 0 when there was none
	Err     error      // *CodeError, *TimeoutError, or why the request could not be made
	Renewal bool
	Beside  bool // it was for a further binding: the others stand
}

// Expired says that the lifetime of the binding is over (RFC 5944 section 3.6.2.2).
type Expired struct{ CareOf netip.Addr }

func (Send) output()         {}
func (Registered) output()   {}
func (Added) output()        {}
func (Deregistered) output() {}
func (Failed) output()       {}
func (Expired) output()      {}

// TimeoutError says that no acceptable reply came.
type TimeoutError struct {
	HomeAgent netip.Addr
	Tries     int
	Waited    time.Duration
	// Discarded is why the last reply that did come was not accepted, or nil.
	Discarded error
}

// Error implements error.
func (e *TimeoutError) Error() string {
	s := fmt.Sprintf("mip4: no acceptable reply from home agent %v to %d registration requests within %v", e.HomeAgent, e.Tries, e.Waited.Round(time.Millisecond))
	if e.Discarded != nil {
		s += "; the last one was discarded: " + e.Discarded.Error()
	}
	return s
}

// Unwrap gives the reason of the last discarded reply.
func (e *TimeoutError) Unwrap() error { return e.Discarded }

// Timeout marks the error as a time-out, as net.Error does.
func (e *TimeoutError) Timeout() bool { return true }
