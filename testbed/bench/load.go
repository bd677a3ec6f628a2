package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"openmpa/testbed/bed"
)

// warmUp is how long a load runs before it is measured.
const warmUp = 400 * time.Millisecond

// A load is traffic from left to right while it is measured.
type load struct {
	octets  atomic.Uint64 // of payload that arrived
	packets atomic.Uint64

	wg     sync.WaitGroup
	opened []interface{ Close() error }

	mu     sync.Mutex
	failed []error // guarded by mu
	ending atomic.Bool
}

func (l *load) fail(err error) {
	if err == nil || l.ending.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, err)
}

// stop ends the load and returns what went wrong before.
func (l *load) stop() error {
	l.ending.Store(true)
	for _, c := range l.opened {
		_ = c.Close() // which is what ends them
	}
	l.wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(l.failed...); err != nil {
		return fmt.Errorf("bench: traffic: %w", err)
	}
	return nil
}

// tcp starts streams from left to right.
func (p *pair) tcp(ctx context.Context, s *subject, streams int) (*load, error) {
	const chunk = 256 << 10
	l := &load{}
	from, to := s.addrs()
	var listener net.Listener
	err := p.right.Do(func() (err error) {
		listener, err = net.Listen("tcp4", netip.AddrPortFrom(to, 0).String())
		return err
	})
	if err != nil {
		return l, fmt.Errorf("bench: %w", err)
	}
	defer listener.Close()
	for range streams {
		// Both ends are opened on the namespaces' threads, which must not wait: a
		// connection is made while nobody accepts it yet.
		var out net.Conn
		err := p.left.Do(func() (err error) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}, Timeout: startWait}
			out, err = d.DialContext(ctx, "tcp4", listener.Addr().String())
			return err
		})
		if err != nil {
			return l, fmt.Errorf("bench: %w", err)
		}
		l.opened = append(l.opened, out)
		in, err := listener.Accept()
		if err != nil {
			return l, fmt.Errorf("bench: %w", err)
		}
		l.opened = append(l.opened, in)
		l.wg.Go(func() {
			buf := make([]byte, chunk)
			for {
				if _, err := out.Write(buf); err != nil {
					l.fail(err)
					return
				}
			}
		})
		l.wg.Go(func() {
			buf := make([]byte, chunk)
			for {
				n, err := in.Read(buf)
				l.octets.Add(uint64(n))
				if err != nil {
					l.fail(err)
					return
				}
			}
		})
	}
	return l, nil
}

// The UDP load keeps a window of packets on the way, as a bulk transfer does, so that
// what is measured is what the way carries, and not how a machine drops what is too much.
const (
	udpWindow = 2048 // packets; what the queue of a tunnel's interface holds, see queueLen
	udpBatch  = 64   // in one system call
	udpLost   = 50 * time.Millisecond
)

// udp starts a flow of datagrams of a payload from left to right.
func (p *pair) udp(s *subject, payload int) (*load, error) {
	l := &load{}
	from, to := s.addrs()
	in, err := listenUDP(p.right, to)
	if err != nil {
		return l, err
	}
	l.opened = append(l.opened, in)
	out, err := listenUDP(p.left, from)
	if err != nil {
		return l, err
	}
	l.opened = append(l.opened, out)
	var newest atomic.Uint64        // number of the last packet that arrived
	moved := make(chan struct{}, 1) // it is another now
	l.wg.Go(func() {
		msgs := messages(payload, nil)
		conn := ipv4.NewPacketConn(in)
		for {
			n, err := conn.ReadBatch(msgs, 0)
			if err != nil {
				l.fail(err)
				return
			}
			for _, m := range msgs[:n] {
				l.octets.Add(uint64(m.N))
				newest.Store(max(newest.Load(), binary.BigEndian.Uint64(m.Buffers[0])))
			}
			l.packets.Add(uint64(n))
			select {
			case moved <- struct{}{}:
			default:
			}
		}
	})
	l.wg.Go(func() {
		msgs := messages(payload, in.LocalAddr())
		conn := ipv4.NewPacketConn(out)
		var sent, base uint64 // base: up to here all have arrived, or are lost
		for !l.ending.Load() {
			if base = max(base, newest.Load()); sent-base+udpBatch > udpWindow {
				select {
				case <-moved:
				case <-time.After(udpLost):
					base = sent
				}
				continue
			}
			for i := range msgs {
				sent++
				binary.BigEndian.PutUint64(msgs[i].Buffers[0], sent)
			}
			for rest := msgs; len(rest) > 0; {
				n, err := conn.WriteBatch(rest, 0)
				if err != nil {
					l.fail(err)
					return
				}
				rest = rest[n:]
			}
		}
	})
	return l, nil
}

func messages(payload int, to net.Addr) []ipv4.Message {
	msgs := make([]ipv4.Message, udpBatch)
	for i := range msgs {
		msgs[i] = ipv4.Message{Buffers: [][]byte{make([]byte, payload)}, Addr: to}
	}
	return msgs
}

func listenUDP(at side, addr netip.Addr) (conn *net.UDPConn, err error) {
	// Room for the window, so that a reader that waits for a processor loses nothing.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
		}), err)
	}}
	err = at.Do(func() error {
		c, err := lc.ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(addr, 0).String())
		if err == nil {
			conn = c.(*net.UDPConn)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return conn, nil
}

// A pinger sends small packets there and back, and keeps how long they took.
type pinger struct {
	load
	mu    sync.Mutex
	trips []time.Duration // guarded by mu
}

// pingEvery is the distance of the pinger's packets.
const pingEvery = 5 * time.Millisecond

// ping starts a pinger from left to right.
func (p *pair) ping(s *subject) (*pinger, error) {
	g := &pinger{}
	from, to := s.addrs()
	far, err := listenUDP(p.right, to)
	if err != nil {
		return g, err
	}
	g.opened = append(g.opened, far)
	near, err := listenUDP(p.left, from)
	if err != nil {
		return g, err
	}
	g.opened = append(g.opened, near)
	g.wg.Go(func() { // the echo
		buf := make([]byte, 64)
		for {
			n, from, err := far.ReadFromUDPAddrPort(buf)
			if err == nil {
				_, err = far.WriteToUDPAddrPort(buf[:n], from)
			}
			if err != nil {
				g.fail(err)
				return
			}
		}
	})
	start := time.Now()
	g.wg.Go(func() {
		buf := make([]byte, 64)
		for {
			if _, err := near.Read(buf); err != nil {
				g.fail(err)
				return
			}
			took := time.Since(start) - time.Duration(binary.BigEndian.Uint64(buf))
			g.mu.Lock()
			g.trips = append(g.trips, took)
			g.mu.Unlock()
		}
	})
	g.wg.Go(func() {
		buf := make([]byte, 64)
		for !g.ending.Load() {
			binary.BigEndian.PutUint64(buf, uint64(time.Since(start)))
			if _, err := near.WriteTo(buf, far.LocalAddr()); err != nil {
				g.fail(err)
				return
			}
			time.Sleep(pingEvery)
		}
	})
	return g, nil
}

// percentile of the times so far, zero when there are none.
func (g *pinger) percentile(p int) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	slices.Sort(g.trips)
	if len(g.trips) == 0 {
		return 0
	}
	return g.trips[max((len(g.trips)*p+99)/100, 1)-1]
}

// reset forgets the times so far.
func (g *pinger) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.trips = g.trips[:0]
}

// A sample is what was seen of a load for some time.
type sample struct {
	took            time.Duration
	octets, packets uint64
	ends, machine   time.Duration // of processors: both ends of a tunnel, and all there is
}

// measure watches a load for d.
func (s *subject) measure(ctx context.Context, l *load, d time.Duration) (m sample, err error) {
	ends0, err1 := s.cpu()
	machine0, err2 := machineCPU()
	octets, packets, start := l.octets.Load(), l.packets.Load(), time.Now()
	if err := errors.Join(err1, err2, bed.Sleep(ctx, d)); err != nil {
		return m, err
	}
	m = sample{took: time.Since(start), octets: l.octets.Load() - octets, packets: l.packets.Load() - packets}
	ends1, err1 := s.cpu()
	machine1, err2 := machineCPU()
	m.ends, m.machine = ends1-ends0, machine1-machine0
	return m, errors.Join(err1, err2)
}
