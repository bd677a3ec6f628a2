package bench

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"openmpa/testbed/tap"
	"openmpa/tunnel/ipip"
)

// A radiusWire listens to the link between routers and a RADIUS server, where one
// authentication follows the other, and has no part in them.
type radiusWire struct {
	server netip.AddrPort
	tap    *tap.Tap

	mu  sync.Mutex // guards the fields below
	now *onWire    // nil: none is under way
	all []onWire
	odd int // packets that belong to none
}

// onWire is one authentication as the wire has it.
type onWire struct {
	Began, Ended time.Time
	Trips        int // requests, each once
	Repeated     int // requests that were sent again
	Accepted     bool
	Up, Down     int // octets of EAP

	last [17]byte // identifier and authenticator of the last request
}

// Took is from the first request to the last answer.
func (w onWire) Took() time.Duration { return w.Ended.Sub(w.Began) }

// listen opens one at a side's end of the link.
func (s side) listen(dev string, server netip.AddrPort) (*radiusWire, error) {
	w := &radiusWire{server: server}
	var err error
	w.tap, err = tap.Open(s.Space, w.frame, dev)
	return w, err
}

// Numbers of RADIUS (RFC 2865 section 3, RFC 3579 section 3.1).
const (
	radiusHeader        = 20
	codeAccessRequest   = 1
	codeAccessAccept    = 2
	codeAccessReject    = 3
	codeAccessChallenge = 11
	attributeState      = 24
	attributeEAP        = 79
)

func (w *radiusWire) frame(f tap.Frame) {
	const etherLen, udpLen = 14, 8
	if len(f.Bytes) < etherLen {
		return
	}
	ip := f.Bytes[etherLen:]
	src, dst, proto, header, total, err := ipip.ParseIPv4(ip)
	if err != nil || proto != 17 || total > len(ip) || total < header+udpLen+radiusHeader {
		return
	}
	udp := ip[header:total]
	from := netip.AddrPortFrom(src, binary.BigEndian.Uint16(udp))
	to := netip.AddrPortFrom(dst, binary.BigEndian.Uint16(udp[2:]))
	w.mu.Lock()
	defer w.mu.Unlock()
	switch packet := udp[udpLen:]; {
	case to == w.server:
		w.request(f.At, packet)
	case from == w.server:
		w.answer(f.At, packet)
	}
}

// walk reads the attributes: whether State is there, and the octets of EAP.
func walk(packet []byte) (state bool, eap int) {
	for b := packet[radiusHeader:]; len(b) >= 2 && int(b[1]) >= 2 && int(b[1]) <= len(b); b = b[b[1]:] {
		switch b[0] {
		case attributeState:
			state = true
		case attributeEAP:
			eap += int(b[1]) - 2
		}
	}
	return state, eap
}

func (w *radiusWire) request(at time.Time, packet []byte) {
	if packet[0] != codeAccessRequest {
		return
	}
	var id [17]byte
	id[0] = packet[1]
	copy(id[1:], packet[4:radiusHeader])
	state, eap := walk(packet)
	switch {
	case w.now != nil && bytes.Equal(id[:], w.now.last[:]):
		w.now.Repeated++
		return
	case !state:
		if w.now != nil {
			w.odd++ // the one before has no end
		}
		w.now = &onWire{Began: at}
	case w.now == nil:
		w.odd++
		return
	}
	w.now.last = id
	w.now.Trips++
	w.now.Up += eap
}

func (w *radiusWire) answer(at time.Time, packet []byte) {
	if w.now == nil {
		return // again, of whoever has tried whether the server is there
	}
	_, eap := walk(packet)
	w.now.Down += eap
	switch packet[0] {
	case codeAccessAccept, codeAccessReject:
		w.now.Ended, w.now.Accepted = at, packet[0] == codeAccessAccept
		w.all = append(w.all, *w.now)
		w.now = nil
	case codeAccessChallenge:
	default:
		w.odd++
	}
}

// take returns what has ended since it was called last.
func (w *radiusWire) take() ([]onWire, error) {
	if err := w.tap.Settle(); err != nil {
		return nil, err
	}
	missed, err := w.tap.Missed()
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	all, odd, open := w.all, w.odd, w.now != nil
	w.all, w.odd, w.now = nil, 0, nil
	switch {
	case missed > 0:
		return nil, fmt.Errorf("bench: %d frames of the link were not seen", missed)
	case odd > 0:
		return nil, fmt.Errorf("bench: %d RADIUS packets belong to no authentication, expected one after the other", odd)
	case open:
		return nil, errors.New("bench: an authentication has no end on the wire")
	}
	return all, nil
}

func (w *radiusWire) close() error { return w.tap.Close() }
