package bed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/testbed/impair"
	"openmpa/testbed/tap"
	"openmpa/testbed/topo"
	"openmpa/tunnel/ipip"
)

// Air is what a lab's radios were given to say and what they heard, as far as it is the measured flow.
type Air struct {
	taps       []*tap.Tap
	classifier *impair.Classifier

	mu     sync.Mutex
	said   map[impair.Kind]int // guarded by mu: handed to a radio
	heard  map[impair.Kind]int // guarded by mu: come out of one
	radius []time.Time         // guarded by mu: of the packets at the authentication server
}

// listen opens taps at every radio, and at the authentication server.
func (b *Bed) listen() error {
	a := &Air{said: make(map[impair.Kind]int), heard: make(map[impair.Kind]int)}
	b.Radio.Air = a
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
	for _, p := range b.Radio.APs {
		open(p.Node, a.frame, p.Interface)
	}
	open(topo.MN, a.frame, topo.WirelessIf)
	open(topo.AAA, a.atServer, "core")
	return err
}

func (a *Air) frame(f tap.Frame) {
	kind := a.classifier.Classify(f.Bytes)
	a.mu.Lock()
	defer a.mu.Unlock()
	if f.Outgoing {
		a.said[kind]++
	} else {
		a.heard[kind]++
	}
}

// atServer notes packets to and from the port of RADIUS.
func (a *Air) atServer(f tap.Frame) {
	const ether = 14
	if len(f.Bytes) < ether {
		return
	}
	pkt := f.Bytes[ether:]
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

// Lost is how many frames with a datagram of the measured flow were handed to a radio so far, and came out of none.
func (a *Air) Lost(kind impair.Kind) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.said[kind] - a.heard[kind]
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
