package simnet

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"openmpa/internal/acd"
	"openmpa/tunnel/ipip"
)

// traceLength is how many lines of the trace are kept, if nobody asks for more.
const traceLength = 6000

type traceLine struct {
	at          time.Duration
	where, what string
	size        int
	head        [48]byte
}

// trace keeps the last lines; they are written out only when somebody asks.
type trace struct {
	start time.Time
	limit int
	ring  []traceLine
	next  int
}

// KeepTrace has the trace keep so many lines; before anything else is done.
func (w *World) KeepTrace(lines int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trace.limit = lines
}

// note adds a line about pkt, an IPv4 or ARP packet or nil. The caller holds mu.
func (w *World) note(where, what string, pkt []byte) {
	t := &w.trace
	l := traceLine{at: time.Since(t.start), where: where, what: what, size: len(pkt)}
	copy(l.head[:], pkt)
	if len(t.ring) < t.limit {
		t.ring = append(t.ring, l)
		return
	}
	t.ring[t.next] = l
	t.next = (t.next + 1) % t.limit
}

func (t *trace) lines() []string {
	out := make([]string, 0, len(t.ring))
	for i := range t.ring {
		l := &t.ring[(t.next+i)%len(t.ring)]
		s := fmt.Sprintf("%12.6f %-10s %s", l.at.Seconds(), l.where, l.what)
		if l.size > 0 {
			s += ": " + Describe(l.head[:min(l.size, len(l.head))], l.size)
		}
		out = append(out, s)
	}
	return out
}

// Describe says in a line what the head of a packet of size octets is.
func Describe(head []byte, size int) string {
	if p, err := acd.ParseARP(head); err == nil {
		kind := "reply"
		switch {
		case p.Op == acd.OpRequest && p.SenderIP == p.TargetIP:
			kind = "announcement"
		case p.Op == acd.OpRequest && p.IsProbe():
			kind = "probe"
		case p.Op == acd.OpRequest:
			kind = "request"
		}
		return fmt.Sprintf("ARP %s of %v (%v) for %v", kind, p.SenderIP, p.SenderMAC, p.TargetIP)
	}
	if len(head) < 20 || head[0]>>4 != 4 {
		return fmt.Sprintf("%d octets %s", size, hex.EncodeToString(head))
	}
	src, dst := addr4(head[12:]), addr4(head[16:])
	body := head[int(head[0]&15)*4:]
	s := fmt.Sprintf("%v > %v, %d octets", src, dst, size)
	switch {
	case head[9] == protoUDP && len(body) >= 8:
		s += fmt.Sprintf(", UDP %d > %d", binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:]))
		if rest := body[8:]; len(rest) > 0 {
			s += " " + hex.EncodeToString(rest[:min(len(rest), 16)])
		}
	case head[9] == ipip.Protocol && len(body) >= 20:
		s += fmt.Sprintf(", IP in IP %v > %v", addr4(body[12:]), addr4(body[16:]))
	default:
		s += fmt.Sprintf(", protocol %d", head[9])
	}
	return s
}
