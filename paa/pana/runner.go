package pana

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// datagram is what a reader hands to the owner goroutine.
type datagram struct {
	from netip.AddrPort
	data *[]byte
	n    int
}

// smallBuffer holds what most messages need; what is longer gets a buffer of its own.
const smallBuffer = 2048

// buffers recycles receive buffers.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, smallBuffer)
	return &b
}}

// class is the queue that a datagram waits in for the owner goroutine.
type class uint8

const (
	classSession  class = iota // of a session that exists; handled before the others, and never dropped here
	classStart                 // says that a PAR[S] has arrived
	classStranger              // the rest: whoever floods fills this queue, and what does not fit is dropped
	classes
)

// queueLen is how many datagrams of a class may wait.
const queueLen = 256

// roundLen is how many datagrams of sessions are handled before all else has its turn: timers,
// calls, and of the other classes startLen datagrams at most. Anybody can have a session begun, and
// say more in it than can be heard.
const (
	roundLen = 16
	startLen = 4
)

// runner is what Client and Server share: one owner goroutine, which alone
// touches the machine, and one reader goroutine for each socket.
type runner struct {
	// fixed
	queues   [classes]chan datagram
	classify func(b []byte) class // called by readers
	wake     chan struct{}        // calls are waiting
	done     chan struct{}        // the owner goroutine has ended
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	overflow atomic.Uint64 // datagrams that found their queue full

	mu     sync.Mutex
	calls  []func(now time.Time) // guarded by mu
	closed bool                  // guarded by mu: nobody runs calls any more

	// owner goroutine
	conn Conn
	six  Conn // of a Server, for IPv6; nil: there is none
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

func newRunner(conn Conn, classify func([]byte) class) *runner {
	r := &runner{classify: classify, wake: make(chan struct{}, 1), done: make(chan struct{}), conn: conn}
	for i := range r.queues {
		r.queues[i] = make(chan datagram, queueLen)
	}
	return r
}

// run starts the goroutines.
func (r *runner) run(ctx context.Context, m machine) {
	ctx, r.cancel = context.WithCancel(ctx)
	r.read(r.conn)
	if r.six != nil {
		r.read(r.six)
	}
	r.wg.Go(func() { r.own(ctx, m) })
}

// own is the owner goroutine. It works in rounds: first datagrams of sessions, then what is due
// by time or by a call, a few of the others', and all of theirs when no session says anything.
func (r *runner) own(ctx context.Context, m machine) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer r.end()
	defer m.abandon()
	for ctx.Err() == nil {
		m.flush()
		busy := r.round(m)
		now := time.Now()
		at, waits := m.deadline()
		if busy {
			if waits && due(now, at) {
				m.onDeadline(now)
			}
			r.called(m)
			r.turn(m, classStart, startLen)
			r.turn(m, classStranger, 1)
			continue
		}
		if waits {
			timer.Reset(at.Sub(now))
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
		case <-timer.C:
			m.onDeadline(time.Now())
		case <-r.wake:
			r.call(m)
		case d := <-r.queues[classSession]:
			r.deliver(m, d)
		case d := <-r.queues[classStart]:
			r.deliver(m, d)
		case d := <-r.queues[classStranger]:
			r.deliver(m, d)
		}
	}
}

// round handles what sessions say, and reports whether there may be more of it.
func (r *runner) round(m machine) bool { return r.turn(m, classSession, roundLen) }

// turn handles n datagrams of a class, and reports whether there were as many.
func (r *runner) turn(m machine, c class, n int) bool {
	for range n {
		select {
		case d := <-r.queues[c]:
			r.deliver(m, d)
			m.flush()
		default:
			return false
		}
	}
	return true
}

// called makes the calls that wait, if there are any.
func (r *runner) called(m machine) {
	select {
	case <-r.wake:
		r.call(m)
	default:
	}
}

func (r *runner) call(m machine) {
	for _, f := range r.take() {
		f(time.Now())
		m.flush()
	}
}

func (r *runner) deliver(m machine, d datagram) {
	m.packet(time.Now(), d.from, (*d.data)[:d.n])
	if len(*d.data) == smallBuffer {
		buffers.Put(d.data)
	}
}

// end closes the sockets, which ends their readers, and lets go of waiting calls.
func (r *runner) end() {
	_ = r.conn.Close() // nothing is lost: UDP has no buffers worth an error
	if r.six != nil {
		_ = r.six.Close()
	}
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
		b := make([]byte, 65536)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
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
			if !r.queue(from, b[:n]) {
				return
			}
		}
	})
}

// queue hands a copy of b to the owner goroutine; false: that one has ended.
func (r *runner) queue(from netip.AddrPort, b []byte) bool {
	c := r.classify(b)
	queue := r.queues[c]
	if c != classSession && len(queue) == cap(queue) {
		r.overflow.Add(1)
		return true
	}
	data := buffers.Get().(*[]byte)
	if len(b) > smallBuffer {
		long := make([]byte, len(b))
		data = &long
	}
	d := datagram{from: from, data: data, n: copy(*data, b)}
	if c == classSession {
		select {
		case queue <- d:
			return true
		case <-r.done:
			return false
		}
	}
	select {
	case queue <- d:
	case <-r.done:
		return false
	default:
		r.overflow.Add(1)
	}
	return true
}

// close ends the goroutines and waits for them.
func (r *runner) close() {
	r.cancel()
	r.wg.Wait()
}
