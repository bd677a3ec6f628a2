package par

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// fence sends packets of the router's own through the TUN: when one has come
// out, everything that went in before it has come out too.
type fence struct {
	conn   *net.UDPConn
	far    netip.Addr // routed into the TUN, nobody's
	turn   chan uint32
	passed chan uint32
}

// fenceWait bounds the wait for one fence; a full queue may have dropped it.
const fenceWait = 20 * time.Millisecond

var errFenceLost = errors.New("a packet of our own did not come out of the TUN: its queue is full or the reader is starved")

func newFence(p netip.Prefix) (*fence, error) {
	far := p.Masked().Addr()
	if far == p.Addr() {
		far = far.Next()
	}
	if p.Bits() != 31 || !far.Is4() {
		return nil, fmt.Errorf("address %s of the TUN: expected an IPv4 prefix of length 31, whose other address is free", p)
	}
	conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: p.Addr().AsSlice()}, &net.UDPAddr{IP: far.AsSlice(), Port: 9})
	if err != nil {
		return nil, fmt.Errorf("fence: %w", err)
	}
	f := &fence{conn: conn, far: far, turn: make(chan uint32, 1), passed: make(chan uint32, 1)}
	f.turn <- 0
	return f, nil
}

// pass sends one packet through the TUN, waits for it, and returns when it was sent.
func (f *fence) pass(ctx context.Context) (sent time.Time, err error) {
	n := <-f.turn + 1
	defer func() { f.turn <- n }()
	sent = time.Now()
	if _, err := f.conn.Write(binary.BigEndian.AppendUint32(nil, n)); err != nil {
		return sent, fmt.Errorf("fence: %w", err)
	}
	timer := time.NewTimer(fenceWait)
	defer timer.Stop()
	for {
		select {
		case got := <-f.passed:
			if got == n {
				return sent, nil
			}
		case <-timer.C:
			return sent, errFenceLost
		case <-ctx.Done():
			return sent, ctx.Err()
		}
	}
}

// came is called by the TUN's reader with a packet for far.
func (f *fence) came(pkt []byte) {
	const udp = 20 + 8
	if len(pkt) != udp+4 {
		return
	}
	select {
	case f.passed <- binary.BigEndian.Uint32(pkt[udp:]):
	default: // nobody waits any more
		select {
		case <-f.passed:
		default:
		}
	}
}

func (f *fence) close() { _ = f.conn.Close() }
