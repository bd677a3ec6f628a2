package vhandover

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"

	"openmpa/testbed/simnet"
	"openmpa/tunnel/esp"
	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// An application packet: magic, direction, number, padding. It is longer than
// anything else that crosses a tunnel, so that in ESP its length tells it.
const (
	appPort   = 9000
	appSize   = 1330
	espPort   = 4500
	protoUDP  = 17
	udpHeader = 8
)

// sizes are those of an application packet in ESP, with a number or without, and of such
// a packet in ESP again, for a router's tunnel also carries that of another.
var sizes = func() map[int]bool {
	all := map[int]bool{}
	var seal func(n, depth int)
	seal = func(n, depth int) {
		for _, shim := range []int{0, flow.ShimLen} {
			sealed := esp.SealedLen(shim + n)
			if all[sealed] = true; depth > 1 {
				seal(20+udpHeader+sealed, depth-1)
			}
		}
	}
	seal(20+20+udpHeader+appSize, 3)
	return all
}()

var magic = []byte("MPAv")

// direction of an application packet.
type direction uint8

const (
	up   direction = iota // mobile node to correspondent
	down                  // and back
)

func (d direction) String() string { return [...]string{"up", "down"}[d] }

type packetID struct {
	dir direction
	n   uint64
}

func payload(id packetID) []byte {
	b := make([]byte, appSize)
	copy(b, magic)
	b[len(magic)] = byte(id.dir)
	binary.BigEndian.PutUint64(b[len(magic)+1:], id.n)
	return b
}

func parsePayload(b []byte) (packetID, bool) {
	if len(b) < len(magic)+9 || !bytes.HasPrefix(b, magic) {
		return packetID{}, false
	}
	return packetID{direction(b[len(magic)]), binary.BigEndian.Uint64(b[len(magic)+1:])}, true
}

// sort finds an application packet, as it is or in IP in IP; sealed says that it is
// one in ESP, which nobody can tell.
func sort(pkt []byte) (id packetID, plain, sealed bool) {
	_, _, proto, body, total, err := ipip.ParseIPv4(pkt)
	switch {
	case err != nil:
		return id, false, false
	case proto == ipip.Protocol:
		return sort(pkt[body:total])
	case proto != protoUDP || total < body+udpHeader:
		return id, false, false
	}
	if id, ok := parsePayload(pkt[body+udpHeader : total]); ok {
		return id, true, false
	}
	sport, dport := binary.BigEndian.Uint16(pkt[body:]), binary.BigEndian.Uint16(pkt[body+2:])
	return id, false, (sport == espPort || dport == espPort) && sizes[total-body-udpHeader]
}

// balance is what became of the copies of a packet outside the daemons.
type balance struct{ in, out, doubled, lost, delivered int }

// ledger is a simnet.Watcher that keeps the books on application packets.
type ledger struct {
	mu      sync.Mutex
	packets map[packetID]*balance
	sealed  balance
	inside  map[string]int // by machine: taken less given
	why     map[string]int // losses by place and reason
	refused int            // the machine had no route, or no socket, for the application
	newest  [2]uint64      // number of the newest packet delivered, and one
	late    [2]int         // packets delivered behind a newer one
}

func newLedger() *ledger {
	return &ledger{packets: map[packetID]*balance{}, inside: map[string]int{}, why: map[string]int{}}
}

// book changes the balance of what pkt is, if it is an application's.
func (l *ledger) book(pkt []byte, change func(*balance)) bool {
	id, plain, sealed := sort(pkt)
	if !plain && !sealed {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &l.sealed
	if plain {
		if b = l.packets[id]; b == nil {
			b = &balance{}
			l.packets[id] = b
		}
	}
	change(b)
	return true
}

// Lost implements simnet.Watcher.
func (l *ledger) Lost(where string, why simnet.Reason, pkt []byte) {
	if l.book(pkt, func(b *balance) { b.out++; b.lost++ }) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.why[where+": "+string(why)]++
	}
}

// Doubled implements simnet.Watcher.
func (l *ledger) Doubled(_ string, pkt []byte) {
	l.book(pkt, func(b *balance) { b.in++; b.doubled++ })
}

// Taken implements simnet.Watcher.
func (l *ledger) Taken(machine string, _ simnet.Via, pkt []byte) {
	l.book(pkt, func(b *balance) { b.out++; l.inside[machine]++ })
}

// Given implements simnet.Watcher.
func (l *ledger) Given(machine string, _ simnet.Via, pkt []byte) {
	l.book(pkt, func(b *balance) { b.in++; l.inside[machine]-- })
}

// sent and delivered are the application's.
func (l *ledger) sent(id packetID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.packets[id] = &balance{in: 1}
}

func (l *ledger) unsent(id packetID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.packets[id].out++
	l.refused++
}

func (l *ledger) delivered(id packetID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.packets[id] == nil {
		l.packets[id] = &balance{}
	}
	l.packets[id].out++
	l.packets[id].delivered++
	if id.n+1 < l.newest[id.dir] {
		l.late[id.dir]++
	}
	l.newest[id.dir] = max(l.newest[id.dir], id.n+1)
}

// flows says what became of the packets of each direction.
func (l *ledger) flows() (f [2]Flow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, b := range l.packets {
		s := &f[id.dir]
		s.Sent++
		if b.delivered > 0 {
			s.Delivered++
		}
		s.Doubled += max(0, b.delivered-1)
	}
	for dir := range f {
		f[dir].Late = l.late[dir]
	}
	return f
}

// next are the numbers of the packets that will be sent next.
func (l *ledger) next() (first [2]uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.packets {
		first[id.dir] = max(first[id.dir], id.n+1)
	}
	return first
}

// silence says which packets from those numbers on were not delivered once.
func (l *ledger) silence(first [2]uint64) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sent, missing [2]int
	for id, b := range l.packets {
		if id.n < first[id.dir] {
			continue
		}
		if sent[id.dir]++; b.delivered != 1 {
			missing[id.dir]++
		}
	}
	if missing == [2]int{} && sent[up] > 0 && sent[down] > 0 {
		return ""
	}
	return fmt.Sprintf("of %d packets up and %d down, %d and %d were not delivered once", sent[up], sent[down], missing[up], missing[down])
}

// lostAt is how many packets were lost at a place for a reason.
func (l *ledger) lostAt(why string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why[why]
}

// losses is why packets were lost, outside the daemons.
func (l *ledger) losses() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("lost by the network: %v; refused to the application: %d", l.why, l.refused)
}

// check says what does not add up, when nothing is under way any more. swallowed is
// what each machine's daemons themselves say they have dropped; one that crashed took
// its counters along. again is how many of those they gave out they say they gave out before.
func (l *ledger) check(swallowed, again map[string]uint64, crashed map[string]bool) (wrong []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := slices.SortedFunc(maps.Keys(l.packets), func(a, b packetID) int {
		if a.dir != b.dir {
			return int(a.dir) - int(b.dir)
		}
		return int(a.n) - int(b.n)
	})
	for _, id := range ids {
		b := l.packets[id]
		if b.in != b.out {
			wrong = append(wrong, fmt.Sprintf("packet %v %d: the network had %d copies and knows the end of %d", id.dir, id.n, b.in, b.out))
		}
		if b.delivered > 1+b.doubled-min(b.doubled, b.lost) {
			wrong = append(wrong, fmt.Sprintf("packet %v %d was delivered %d times, the network doubled it %d times", id.dir, id.n, b.delivered, b.doubled))
		}
	}
	if b := l.sealed; b.in != b.out {
		wrong = append(wrong, fmt.Sprintf("packets in ESP: the network had %d and knows the end of %d", b.in, b.out))
	}
	for _, machine := range slices.Sorted(maps.Keys(l.inside)) {
		if n := l.inside[machine]; !crashed[machine] && (-n > int(again[machine]) || n > int(swallowed[machine])) {
			wrong = append(wrong, fmt.Sprintf("%s: %d application packets went in and not out; its counters know of %d, and of %d given out twice", machine, n, swallowed[machine], again[machine]))
		}
	}
	return wrong
}
