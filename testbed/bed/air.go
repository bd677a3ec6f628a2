package bed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/testbed/impair"
	"openmpa/testbed/tap"
	"openmpa/testbed/topo"
	"openmpa/tunnel/ipip"
)

// Air is what the ends of the mobile node's link were given to say and what they heard, as far as it is the measured flow.
type Air struct {
	taps       []*tap.Tap
	classifier *impair.Classifier
	given      *given

	mu     sync.Mutex
	said   map[frameOf][]spoken // guarded by mu: handed to a device
	taken  outgoing             // guarded by mu: of what the mobile node said
	heard  map[frameOf][]spoken // guarded by mu: came out of one
	radius []time.Time          // guarded by mu: of the packets at the authentication server
}

// spoken is one frame. Its packet is the same at both ends, and no other is like it: flows are numbered, and so is ESP.
type spoken struct {
	at     time.Time
	packet uint64 // hash
}

var frameSeed = maphash.MakeSeed()

// etherLen is the length of an Ethernet header.
const etherLen = 14

// frameOf is what is counted together.
type frameOf struct {
	node string // where it was said or heard
	kind impair.Kind
}

// listen opens taps at both ends of the node's link: every radio, and at the authentication server, or the access routers.
func (b *Bed) listen() error {
	a := &Air{given: b.given, said: make(map[frameOf][]spoken), heard: make(map[frameOf][]spoken)}
	b.Air = a
	var err error
	if a.classifier, err = impair.NewClassifier(b.opt.Traffic); err != nil {
		return err
	}
	open := func(node string, report func(tap.Frame), interfaces ...string) {
		t, e := tap.Open(b.Top.Space(node), report, interfaces...)
		if e == nil {
			a.taps = append(a.taps, t)
		}
		err = errors.Join(err, e)
	}
	if b.Radio != nil {
		for _, p := range b.Radio.APs {
			open(p.Node, a.at(p.Node), p.Interface)
		}
		open(topo.AAA, a.atServer, "core")
	} else {
		for _, n := range b.opt.networks() {
			open(n.Router, a.at(n.Router), topo.AccessIf)
		}
	}
	open(topo.MN, a.at(topo.MN), b.interfaceNames()...)
	return err
}

// at notes what a node says and hears of the flow.
func (a *Air) at(node string) func(tap.Frame) {
	return func(f tap.Frame) {
		kind := a.classifier.Classify(f.Bytes)
		if node == topo.MN && f.Outgoing {
			a.take(f.Bytes, kind)
		}
		if kind != impair.KindDown && kind != impair.KindUp {
			return
		}
		key, s := frameOf{node, kind}, spoken{f.At, maphash.Bytes(frameSeed, f.Bytes[etherLen:])}
		a.mu.Lock()
		defer a.mu.Unlock()
		if f.Outgoing {
			a.said[key] = append(a.said[key], s)
		} else {
			a.heard[key] = append(a.heard[key], s)
		}
	}
}

// take counts what the mobile node's device has taken.
func (a *Air) take(frame []byte, kind impair.Kind) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n, ok := a.classifier.InTunnel(frame); ok {
		a.taken.octets += n
	} else if kind == impair.KindUp {
		a.taken.native++
	}
}

// atServer notes packets to and from the port of RADIUS.
func (a *Air) atServer(f tap.Frame) {
	if len(f.Bytes) < etherLen {
		return
	}
	pkt := f.Bytes[etherLen:]
	_, _, proto, header, total, err := ipip.ParseIPv4(pkt)
	if err != nil || proto != unix.IPPROTO_UDP || total > len(pkt) || total < header+4 {
		return
	}
	if binary.BigEndian.Uint16(pkt[header:]) != aaaPort && binary.BigEndian.Uint16(pkt[header+2:]) != aaaPort {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.radius = append(a.radius, f.At)
}

// Settle waits until all that was said and heard until now is counted.
func (a *Air) Settle() error {
	var errs []error
	for _, t := range a.taps {
		errs = append(errs, t.Settle())
	}
	return errors.Join(errs...)
}

// Lost is how many frames with a datagram of the measured flow were handed to a device so far, and came out of none.
func (a *Air) Lost(kind impair.Kind) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for key, times := range a.said {
		if key.kind == kind {
			n += len(times)
		}
	}
	for key, times := range a.heard {
		if key.kind == kind {
			n -= len(times)
		}
	}
	return n
}

// Refused is how many datagrams of the measured flow the kernel has routed to a device of the mobile node's so far, and
// not handed to it, as the carrier had gone. In 802.11 the link is down before its device.
func (a *Air) Refused() (int, error) {
	if a.given == nil {
		return 0, nil
	}
	all, err := a.given.so()
	if err != nil {
		return 0, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	// What is not of the flow in the tunnel is far shorter.
	return all.native - a.taken.native + (all.octets-a.taken.octets)/a.classifier.UpInESP(), nil
}

// Said is how many frames with such a datagram a node handed to its device from one point in time to another, and Heard how many came out of it.
func (a *Air) Said(node string, kind impair.Kind, from, to time.Time) int {
	return a.between(a.said, frameOf{node, kind}, from, to)
}

// Heard is the counterpart of Said.
func (a *Air) Heard(node string, kind impair.Kind, from, to time.Time) int {
	return a.between(a.heard, frameOf{node, kind}, from, to)
}

func (a *Air) between(all map[frameOf][]spoken, key frameOf, from, to time.Time) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range all[key] {
		if !s.at.Before(from) && !s.at.After(to) {
			n++
		}
	}
	return n
}

// Missed is how many of those that one node handed to its device from one point in time to another never came out of
// the device of another node; first and last are when the first and the last one were handed over that did.
func (a *Air) Missed(node, by string, kind impair.Kind, from, to time.Time) (n int, first, last time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	came := make(map[uint64]bool)
	for _, s := range a.heard[frameOf{by, kind}] {
		came[s.packet] = true
	}
	for _, s := range a.said[frameOf{node, kind}] {
		switch {
		case s.at.Before(from), s.at.After(to):
		case !came[s.packet]:
			n++
		default:
			if last = s.at; first.IsZero() {
				first = s.at
			}
		}
	}
	return n, first, last
}

// RADIUS is how many packets the authentication server got and sent between two points in time.
func (a *Air) RADIUS(from, to time.Time) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range a.radius {
		if !at.Before(from) && !at.After(to) {
			n++
		}
	}
	return n
}

// close ends the taps. That one has missed frames is an error: its counts are wrong.
func (a *Air) close() error {
	var errs []error
	for _, t := range a.taps {
		n, err := t.Missed()
		if n > 0 {
			err = fmt.Errorf("bed: a tap missed %d frames, and the counts of the air are wrong", n)
		}
		errs = append(errs, err, t.Close())
	}
	return errors.Join(errs...)
}
