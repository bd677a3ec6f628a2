package pana

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// datagram is what a reader hands to the owner goroutine.
type datagram struct {
	from netip.AddrPort
	data *[]byte
	n    int
}

// buffers recycles receive buffers.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, 65536)
	return &b
}}

// runner is what Client and Server share: one owner goroutine, which alone
// touches the machine, and one reader goroutine for each socket.
type runner struct {
	// fixed
	packets chan datagram
	wake    chan struct{} // calls are waiting
	done    chan struct{} // the owner goroutine has ended
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu     sync.Mutex
	calls  []func(now time.Time) // guarded by mu
	closed bool                  // guarded by mu: nobody runs calls any more

	// owner goroutine
	conn Conn
}

// Conn is a datagram socket that is not connected, as *net.UDPConn is one. Close
// ends a read under way with an error that is net.ErrClosed.
type Conn interface {
	ReadFromUDPAddrPort(b []byte) (n int, from netip.AddrPort, err error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	Close() error
}

// machine is what the owner goroutine drives.
type machine interface {
	deadline() (time.Time, bool)
	onDeadline(now time.Time)
	packet(now time.Time, from netip.AddrPort, b []byte)
	flush()   // outputs: datagrams to the socket, the rest to the handler
	abandon() // nobody drives the machine any more
}

func newRunner(conn Conn) *runner {
	return &runner{
		packets: make(chan datagram, 64), wake: make(chan struct{}, 1), done: make(chan struct{}), conn: conn,
	}
}

// run starts the goroutines.
func (r *runner) run(ctx context.Context, m machine) {
	ctx, r.cancel = context.WithCancel(ctx)
	r.read(r.conn)
	r.wg.Go(func() { r.own(ctx, m) })
}

// own is the owner goroutine.
func (r *runner) own(ctx context.Context, m machine) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer r.end()
	defer m.abandon()
	for {
		m.flush()
		if at, ok := m.deadline(); ok {
			timer.Reset(time.Until(at))
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			m.onDeadline(time.Now())
		case <-r.wake:
			for _, f := range r.take() {
				f(time.Now())
				m.flush()
			}
		case d := <-r.packets:
			m.packet(time.Now(), d.from, (*d.data)[:d.n])
			buffers.Put(d.data)
		}
	}
}

// end closes the socket, which ends its reader, and lets go of waiting calls.
func (r *runner) end() {
	_ = r.conn.Close() // nothing is lost: UDP has no buffers worth an error
	r.mu.Lock()
	r.closed = true
	r.calls = nil
	r.mu.Unlock()
	close(r.done)
}

func (r *runner) take() []func(time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	return calls
}

// post queues f for the owner goroutine.
func (r *runner) post(f func(now time.Time)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrRunnerClosed
	}
	r.calls = append(r.calls, f)
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return nil
}

// do runs f on the owner goroutine and waits until it has.
func (r *runner) do(f func(now time.Time)) error {
	ran := make(chan struct{})
	if err := r.post(func(now time.Time) { f(now); close(ran) }); err != nil {
		return err
	}
	select {
	case <-ran:
		return nil
	case <-r.done:
		select {
		case <-ran:
			return nil
		default:
			return ErrRunnerClosed
		}
	}
}

// read starts a reader, which ends when conn is closed.
func (r *runner) read(conn Conn) {
	r.wg.Go(func() {
		for {
			data := buffers.Get().(*[]byte)
			n, from, err := conn.ReadFromUDPAddrPort(*data)
			if err != nil {
				buffers.Put(data)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				// An ICMP error of an earlier datagram, or memory is short:
				// neither is the end of the socket. Never spin on it.
				select {
				case <-r.done:
					return
				case <-time.After(time.Millisecond):
				}
				continue
			}
			from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
			select {
			case r.packets <- datagram{from: from, data: data, n: n}:
			case <-r.done:
				return
			}
		}
	})
}

// close ends the goroutines and waits for them.
func (r *runner) close() {
	r.cancel()
	r.wg.Wait()
}
