package tunnel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/tunnel/bind"
	"openmpa/tunnel/esp"
)

const (
	batchPackets = 32      // datagrams a system call may return
	batchOctets  = 1 << 16 // the largest datagram there is
	errorPause   = 10 * time.Millisecond
)

// UDP is a socket for ESP in UDP, as *bind.UDP is one.
type UDP interface {
	LocalAddr() netip.AddrPort
	Send(to netip.AddrPort, pkt []byte, tos uint8) error
	SendBatch(to netip.AddrPort, pkts []byte, size int, tos uint8) (sent int, err error)
	ReadBatch(b *bind.Batch) ([]bind.Packet, error)
	Stats() bind.Stats
	Close() error
}

// Socket is a UDP socket of an endpoint.
type Socket struct {
	// fixed after Listen
	e    *Endpoint
	udp  UDP
	done chan struct{} // closed by Close

	once sync.Once

	// atomic
	received, toTunnels, keepalives atomic.Uint64
	dropped                         drops
}

// LocalAddr is the address and port the socket is bound to.
func (s *Socket) LocalAddr() netip.AddrPort { return s.udp.LocalAddr() }

// Stats returns the counters.
func (s *Socket) Stats() SocketStats {
	return SocketStats{
		Local:      s.udp.LocalAddr(),
		Received:   s.received.Load(),
		ToTunnels:  s.toTunnels.Load(),
		Keepalives: s.keepalives.Load(),
		Dropped:    s.dropped.counts(),
		Bind:       s.udp.Stats(),
	}
}

// Close closes the socket. Tunnels that use it stay, and their Send fails until
// Rebind gives them another one. A callback that already runs is not waited for,
// so a callback may call it. It may be called again.
func (s *Socket) Close() error {
	var err error
	s.once.Do(func() {
		close(s.done)
		err = s.udp.Close()
		s.e.mu.Lock()
		delete(s.e.sockets, s)
		s.e.mu.Unlock()
	})
	return err
}

// run reads until the socket is closed.
func (s *Socket) run() { s.e.read(s.udp, s.udp.LocalAddr(), s.done, s.packet) }

// reader is a socket that gives several datagrams at a time.
type reader interface {
	ReadBatch(b *bind.Batch) ([]bind.Packet, error)
}

// read has packet take what comes to a socket until that is closed, as done is then.
func (e *Endpoint) read(s reader, local fmt.Stringer, done <-chan struct{}, packet func(*bind.Packet)) {
	defer e.wg.Done()
	batch := bind.NewBatch(batchPackets, batchOctets)
	failures := 0 // one after another
	for {
		packets, err := s.ReadBatch(batch)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Nothing is known to cause this but a shortage that passes. Logged the
			// first, second, fourth, eighth ... time.
			if failures++; failures&(failures-1) == 0 {
				e.log.Error("cannot read from tunnel socket, trying again", "socket", local, "times", failures, "error", err)
			}
			select {
			case <-done:
				return
			case <-time.After(errorPause):
			}
			continue
		}
		failures = 0
		if e.before != nil {
			e.before()
		}
		for i := range packets {
			packet(&packets[i])
		}
		if e.after != nil {
			e.after()
		}
	}
}

// packet sorts one datagram (RFC 3948 section 2).
func (s *Socket) packet(p *bind.Packet) {
	s.received.Add(1)
	kind, spi := esp.Classify(p.Data)
	switch kind {
	case esp.KindESP:
		t := s.e.lookup(spi)
		if t == nil {
			s.drop(ReasonUnknownSPI)
			return
		}
		s.toTunnels.Add(1)
		t.receive(s, p)
	case esp.KindKeepalive: // section 2.3: ignored, and no sign of life either (section 4)
		s.keepalives.Add(1)
	case esp.KindNonESP:
		s.drop(ReasonNonESP)
	default:
		s.drop(ReasonShort)
	}
}

func (s *Socket) drop(r Reason) {
	s.dropped.add(r)
	s.e.dropped.add(r)
}
