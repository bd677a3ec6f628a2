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
//	A is known       all that waited for A is sent, and nothing else goes that way
//	... by turns, while that takes long ...
//	B is known       what waited for B in this short time is sent
//	(by the caller)  the real route
//
// The kernel keeps net.ipv4.neigh.DEV.unres_qlen_bytes of them, and for three seconds.
package standstill

import (
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
	// device, or to the queue of the next hop.
	chosen = 100 * time.Microsecond
	// sent is longer than one is on its way from there to the link, also while others run.
	sent = time.Millisecond
)

// Turns is how many next hops a kernel that is slow has packets wait for.
const Turns = turns + 1

// Nobody are the next hops. Nothing of ours has these addresses on any interface.
var Nobody = [2]netip.Addr{netip.AddrFrom4([4]byte{169, 254, 62, 60}), netip.AddrFrom4([4]byte{169, 254, 62, 61})}

// Way is one way of packets. On an interface there is one at a time.
type Way struct {
	Host host.Host
	Dev  string // the interface on which packets wait
	// Lead leads the packets to a next hop on Dev.
	Lead func(via netip.Addr) error

	at int // the hop for which packets wait
}

// Wait has packets wait. What has not chosen its way by then has when it returns.
func (w *Way) Wait() error {
	w.at = 0
	if err := w.Lead(Nobody[0]); err != nil {
		return err
	}
	w.Let(chosen)
	return nil
}

// Release sends what waits to mac, where what comes goes to as well, until the caller leads
// it elsewhere.
func (w *Way) Release(mac net.HardwareAddr) (err error) {
	for range turns {
		began := time.Now()
		next := 1 - w.at
		if e := w.Lead(Nobody[next]); e != nil {
			err = e
			break
		}
		w.Let(chosen)
		before := Nobody[w.at]
		w.at = next
		if e := errors.Join(w.Host.SetNeighbour(w.Dev, before, mac, true), w.Host.DelNeighbour(w.Dev, before)); e != nil {
			err = e
			break
		}
		if time.Since(began) < brief {
			break
		}
	}
	return errors.Join(err, w.Host.SetNeighbour(w.Dev, Nobody[w.at], mac, true))
}

// Forget takes the last next hop back, behind the real route.
func (w *Way) Forget() error {
	time.Sleep(sent)
	return w.Host.DelNeighbour(w.Dev, Nobody[w.at])
}

// Let lets others run for a time too short to sleep.
func (w *Way) Let(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		w.Host.Yield()
	}
}
