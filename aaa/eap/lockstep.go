package eap

import (
	"bytes"
	"net"
	"sync"
	"time"
)

// lockstep is a net.Conn whose other end is a caller that alternates: it gives
// what came from the network, waits until the user of the connection wants to
// read more or has ended, and takes what was written meanwhile.
//
//	caller   feed(in) ------------------------------> take() feed(in) ...
//	            |                                 ^
//	            v resume                   parked | or done
//	user     Read returns, computes, Write, Read -+
//
// The channels order all access to in and out: only one side runs at a time.
type lockstep struct {
	// fixed
	resume chan []byte   // caller to user: here is input
	parked chan struct{} // user to caller: nothing left to read
	closed chan struct{} // closed once by shut
	done   chan struct{} // closed when the user's function has returned

	// whoever runs
	in      []byte
	out     []byte
	passing bool // the user parks for the other side's next message, which may be empty

	once sync.Once
}

func newLockstep() *lockstep {
	return &lockstep{
		resume: make(chan []byte),
		parked: make(chan struct{}),
		closed: make(chan struct{}),
		done:   make(chan struct{}),
	}
}

// start runs user on a goroutine and waits until it parks or ends.
func (l *lockstep) start(user func()) {
	go func() {
		defer close(l.done)
		user()
	}()
	l.wait()
}

// feed gives input to the parked user, waits until it parks again or ends, and
// returns what it wrote. Input for a user that has ended is dropped.
func (l *lockstep) feed(in []byte) {
	select {
	case l.resume <- in:
		l.wait()
	case <-l.done:
	}
}

func (l *lockstep) wait() {
	select {
	case <-l.parked:
	case <-l.done:
	}
}

// pass is for the user: it gives the turn away and returns when the caller has fed
// something, or nothing.
func (l *lockstep) pass() error {
	left := bytes.Clone(l.in) // the caller's memory, which it may use again
	l.passing = true
	in, err := l.park()
	l.passing = false
	l.in = in
	if len(left) > 0 {
		l.in = append(left, in...)
	}
	return err
}

func (l *lockstep) park() ([]byte, error) {
	select {
	case l.parked <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	select {
	case in := <-l.resume:
		return in, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// take returns what was written since the last take. The caller must be the side
// that runs.
func (l *lockstep) take() []byte {
	out := l.out
	l.out = nil
	return out
}

// shut makes Read and Write fail, so that the user's function returns.
func (l *lockstep) shut() { l.once.Do(func() { close(l.closed) }) }

// Read implements net.Conn. With nothing left it parks until the caller feeds.
func (l *lockstep) Read(p []byte) (int, error) {
	for len(l.in) == 0 {
		in, err := l.park()
		if err != nil {
			return 0, err
		}
		l.in = in
	}
	n := copy(p, l.in)
	l.in = l.in[n:]
	return n, nil
}

// Write implements net.Conn. What does not fit one EAP-TLS message fails.
func (l *lockstep) Write(p []byte) (int, error) {
	select {
	case <-l.closed:
		return 0, net.ErrClosed
	default:
	}
	if len(l.out)+len(p) > maxMessage {
		return 0, errFlightTooLong
	}
	l.out = append(l.out, p...)
	return len(p), nil
}

// Close implements net.Conn.
func (l *lockstep) Close() error { l.shut(); return nil }

// The rest of net.Conn. Time is the caller's business.

type lockstepAddr struct{}

func (lockstepAddr) Network() string { return "eap" }
func (lockstepAddr) String() string  { return "eap" }

func (l *lockstep) LocalAddr() net.Addr              { return lockstepAddr{} }
func (l *lockstep) RemoteAddr() net.Addr             { return lockstepAddr{} }
func (l *lockstep) SetDeadline(time.Time) error      { return nil }
func (l *lockstep) SetReadDeadline(time.Time) error  { return nil }
func (l *lockstep) SetWriteDeadline(time.Time) error { return nil }
