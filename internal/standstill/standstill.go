// Package standstill changes the way of packets in order: from a moment on they wait in the
// kernel, in the order in which they come, for the link-layer address of a next hop that
// nobody is. When the next hop is given that of the real one, the kernel sends them.
//
// A packet that comes while it does so does not wait any more, and may pass some of them. So
// before that, what comes is led to another such next hop, and this one is emptied behind
// it, until few can be left:
//
//	route via A      packets wait for A
//	(by the caller)  all that took the way before has gone
//	route via B      packets wait for B
//	A is known       all that waited for A is sent, and what still comes for it
//	... and so on, while that takes long ...
//	B is known       what waited for B in this short time is sent
//	(by the caller)  the real route
//	A, B forgotten   when nothing can be on its way to them
//
// The kernel asks nobody who these next hops are, and nobody can say so unasked: they are
// drawn by lot, for each time, of addresses that nobody has (240.0.0.0/4, RFC 1112 section 4), or, for
// IPv6, of the 2^64 link-local ones with the prefix fe80::/64.
// It keeps as much as Octets of packets for each, which is more than comes in Longest at
// 1 Gb/s in packets of full size.
package standstill

import (
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"time"

	"openmpa/internal/host"
)

const (
	// turns is how often next hops are changed at most, and brief the time for one after
	// which hardly anything can wait.
	turns = 8
	brief = 500 * time.Microsecond
	// chosen is longer than a packet is on its way from the choice of its route to the
	// device, or to the queue of the next hop, unless its processor is taken away meanwhile.
	chosen = 100 * time.Microsecond
)

// Turns is how many next hops a kernel that is slow has packets wait for.
const Turns = turns + 1

// Longest is how long a caller may have packets wait.
const Longest = 200 * time.Millisecond

// Octets are what waits for one next hop at most, as the kernel counts: with what it needs
// to keep them, about half as much again for packets of full size.
const Octets = 40 << 20

// Way is one way of packets, for one time. Its methods are called in the order in which they
// stand, Forget by whoever has called Prepare; a second time it does nothing.
type Way struct {
	Host host.Host
	Dev  string // the interface on which packets wait
	IPv6 bool   // the packets are
	// Lead leads the packets to a next hop on Dev.
	Lead func(via netip.Addr) error
	// Hurry says that somebody waits for the end; nil: nobody does.
	Hurry func() bool

	raised bool
	led    bool         // to one of hops, if it may be to any
	hops   []netip.Addr // packets wait for the last one
}

// Prepare has all ready for Wait, which is not to take long. Packets go on as they do.
func (w *Way) Prepare() error {
	if err := w.Host.RaiseQueue(w.Dev, Octets); err != nil {
		return err
	}
	w.raised = true
	return w.hop()
}

// hop makes another next hop.
func (w *Way) hop() error {
	hop := Nobody(w.IPv6)
	if err := w.Host.HoldNeighbour(w.Dev, hop); err != nil {
		return err
	}
	w.hops = append(w.hops, hop)
	return nil
}

// Nobody is an address that nobody has, and nobody can guess.
func Nobody(six bool) netip.Addr {
	var a [16]byte
	_, _ = rand.Read(a[:]) // never fails
	if six {
		copy(a[:8], []byte{0xFE, 0x80, 0, 0, 0, 0, 0, 0})
		return netip.AddrFrom16(a)
	}
	four := [4]byte(a[:])
	four[0] |= 0xF0
	if four == [4]byte{255, 255, 255, 255} {
		four[3] = 0
	}
	return netip.AddrFrom4(four)
}

// at is the next hop for which packets wait.
func (w *Way) at() netip.Addr { return w.hops[len(w.hops)-1] }

// Wait has packets wait. What has not chosen its way by then has when it returns. If it
// fails, some may wait, where there is more than one route to lead.
func (w *Way) Wait() error {
	if len(w.hops) == 0 {
		return errors.New("standstill: no next hop: expected Prepare to have made one")
	}
	w.led = true
	if err := w.Lead(w.at()); err != nil {
		return err
	}
	w.Let(chosen)
	return nil
}

// Release sends what waits to mac, where what comes goes to as well, until the caller leads
// it elsewhere.
func (w *Way) Release(mac net.HardwareAddr) (err error) {
	if !w.led {
		return nil // nothing waits
	}
	for range turns {
		before := w.at()
		if err = w.hop(); err != nil {
			break
		}
		began := time.Now()
		if err = w.Lead(w.at()); err != nil {
			err = errors.Join(err, w.Host.SetNeighbour(w.Dev, before, mac, true))
			break
		}
		w.Let(chosen)
		if err = w.Host.SetNeighbour(w.Dev, before, mac, true); err != nil {
			break
		}
		if time.Since(began) < brief || w.Hurry != nil && w.Hurry() {
			break
		}
	}
	return errors.Join(err, w.Host.SetNeighbour(w.Dev, w.at(), mac, true))
}

// Settle returns when nothing is on its way to a next hop any more that was not led there
// by the last route.
func (w *Way) Settle() {
	if w.led {
		w.Host.Settle()
	}
}

// Forget takes the next hops back: after Settle, when the real route is there. As long as
// the kernel refuses that, packets go by the last one, and it is not to be called.
func (w *Way) Forget() error {
	var errs []error
	for _, hop := range w.hops {
		errs = append(errs, w.Host.DelNeighbour(w.Dev, hop))
	}
	w.hops = nil
	if w.raised {
		w.raised = false
		errs = append(errs, w.Host.LowerQueue(w.Dev))
	}
	return errors.Join(errs...)
}

// Let lets others run for a time too short to sleep.
func (w *Way) Let(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		w.Host.Yield()
	}
}
