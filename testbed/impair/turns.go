package impair

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// A Tripwire watches one client's requests to servers, in both directions of the links by which
// these are reached. What a client says until it is answered is one turn, however many frames
// it takes, repetitions too; so turns are messages wherever each waits for the answer to the one
// before, as in EAP, by whatever protocol and under whatever cipher. Each server has turns of its own.
type Tripwire struct {
	mu      sync.Mutex
	client  netip.Addr // guarded by mu, as all that follows; the zero value: nobody is watched
	ports   []uint16   // of the servers
	at      int        // the turn that trips it; 0: none
	fn      func(server netip.Addr)
	servers map[netip.Addr]*turns
}

type turns struct {
	n       int
	waiting bool // for an answer
}

// Arm counts the turns of a client with servers at these ports from now on, and calls fn, once, when the first
// frame of turn number at with one of them has come to the link and before it goes on to that server: the link
// waits for fn. With at 0 it only counts.
func (t *Tripwire) Arm(client netip.Addr, ports []uint16, at int, fn func(server netip.Addr)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.client, t.ports, t.at, t.fn, t.servers = client, slices.Clone(ports), at, fn, make(map[netip.Addr]*turns)
}

// Disarm ends that, and tells how many turns there were with each server.
func (t *Tripwire) Disarm() map[netip.Addr]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.client, t.fn = netip.Addr{}, nil
	all := make(map[netip.Addr]int, len(t.servers))
	for a, s := range t.servers {
		all[a] = s.n
	}
	return all
}

// Frame is to be called with each frame on the links, away from the core or towards it.
func (t *Tripwire) Frame(d Direction, frame []byte) {
	s, ok := parseSpoken(frame)
	if !ok {
		return
	}
	t.mu.Lock()
	var fn func(netip.Addr)
	switch {
	case !t.client.IsValid():
	case d == Out && s.from == t.client && slices.Contains(t.ports, s.toPort):
		with := t.servers[s.to]
		if with == nil {
			with = &turns{}
			t.servers[s.to] = with
		}
		if !with.waiting {
			if with.n++; with.n == t.at {
				fn, t.fn = t.fn, nil
			}
		}
		with.waiting = true
	case d == In && s.to == t.client && slices.Contains(t.ports, s.fromPort):
		if with := t.servers[s.from]; with != nil {
			with.waiting = false
		}
	}
	t.mu.Unlock()
	if fn != nil {
		fn(s.to)
	}
}

// spoken is a frame in which somebody says something to somebody.
type spoken struct {
	from, to         netip.Addr
	fromPort, toPort uint16
}

// parseSpoken reads a frame of UDP or TCP over IPv4 that has octets of an application; others are
// none.
func parseSpoken(frame []byte) (s spoken, ok bool) {
	const etherLen, ipLen = 14, 20
	if len(frame) < etherLen+ipLen || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IP {
		return s, false
	}
	ip := frame[etherLen:]
	header, total := int(ip[0]&0xf)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if ip[0]>>4 != 4 || header < ipLen || total > len(ip) || total < header+8 {
		return s, false
	}
	// A fragment but the first has no ports; it belongs to the turn of the first one.
	if binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 {
		return s, false
	}
	s.from, s.to = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
	rest := ip[header:total]
	s.fromPort, s.toPort = binary.BigEndian.Uint16(rest), binary.BigEndian.Uint16(rest[2:])
	switch ip[9] {
	case unix.IPPROTO_UDP:
		return s, len(rest) > 8
	case unix.IPPROTO_TCP:
		return s, len(rest) >= 20 && len(rest) > int(rest[12]>>4)*4
	}
	return s, false
}
