package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	sendBuffer    = 8 << 20
	receiveBuffer = 32 << 20
	readTimeout   = 20 * time.Millisecond // how soon a receiver sees that it is to end
)

func socket(e Endpoint, port uint16) (fd int, err error) {
	err = e.Space.Do(func() error {
		family := unix.AF_INET
		if e.Addr.Is6() {
			family = unix.AF_INET6
		}
		fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := unix.Bind(fd, sockaddr(e.Addr, port)); err != nil {
			unix.Close(fd)
			return fmt.Errorf("bind %v:%d: %w", e.Addr, port, err)
		}
		return nil
	})
	return fd, err
}

func sockaddr(a netip.Addr, port uint16) unix.Sockaddr {
	if a.Is6() {
		return &unix.SockaddrInet6{Port: int(port), Addr: a.As16()}
	}
	return &unix.SockaddrInet4{Port: int(port), Addr: a.As4()}
}

func sendSocket(e Endpoint, port uint16) (int, error) {
	// Its own port, above the receiver's, so that it gets no datagrams.
	fd, err := socket(e, port+1)
	if err != nil {
		return -1, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("send buffer: %w", err)
	}
	return fd, nil
}

func receiveSocket(e Endpoint, port uint16) (int, error) {
	fd, err := socket(e, port)
	if err != nil {
		return -1, err
	}
	tv := unix.NsecToTimeval(int64(readTimeout))
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv),
	)
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("receive options: %w", err)
	}
	return fd, nil
}

func closeFD(fd int) error { return unix.Close(fd) }

// send is the sender's goroutine.
func (f *Flow) send() {
	defer f.sender.Done()
	// Never unlocked: the thread has a timer slack nobody else should have, and stays where it is, see space.StayOn.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		f.err = fmt.Errorf("timer slack: %w", err)
		return
	}
	if err := stay(); err != nil {
		f.err = fmt.Errorf("stay on a processor: %w", err)
		return
	}
	to := sockaddr(f.spec.To.Addr, f.spec.Port)
	buf := make([]byte, f.spec.Rate.Payload)
	p := newPacer(f.spec.Rate, monotonic())
	for seq := uint64(0); !f.stopSend.Load(); seq++ {
		if !f.sleepUntil(p.next()) {
			break
		}
		now := wall()
		putHeader(buf, f.spec.ID, seq, now)
		f.sent = append(f.sent, now)
		f.nSent.Add(1)
		if err := unix.Sendto(f.out, buf, unix.MSG_DONTWAIT, to); err != nil {
			f.failed++
		}
		at := monotonic()
		f.late = append(f.late, max(0, at-p.due()))
		p.sent(at)
	}
	f.stalls = p.stalls
}

// stay has the thread run on no other processor than the one it is on.
func stay() error {
	var here uint32
	if _, _, errno := unix.Syscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&here)), 0, 0); errno != 0 {
		return errno
	}
	var one unix.CPUSet
	one.Set(int(here))
	return unix.SchedSetaffinity(0, &one)
}

// sleepUntil sleeps in slices, so that a slow sender can be stopped; false
// says that it was.
func (f *Flow) sleepUntil(at time.Duration) bool {
	const slice = 50 * time.Millisecond
	for {
		if f.stopSend.Load() {
			return false
		}
		now := monotonic()
		if now >= at {
			return true
		}
		ts := unix.NsecToTimespec(int64(min(at, now+slice)))
		// An interrupted sleep is looked at again above.
		_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil)
	}
}

// receive is the receiver's goroutine.
func (f *Flow) receive() {
	defer f.reader.Done()
	buf := make([]byte, 2048)
	oob := make([]byte, 256)
	var known []bool // by number
	for !f.stopRead.Load() {
		n, oobn, _, _, err := unix.Recvmsg(f.in, buf, oob, 0)
		if err != nil {
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
				continue
			}
			time.Sleep(time.Millisecond) // an ICMP error for one; the socket goes on
			continue
		}
		at, dropped := control(oob[:oobn])
		if dropped > 0 {
			f.overrun.Store(dropped)
		}
		seq, sent, ok := parseHeader(buf[:n], f.spec.ID)
		if !ok {
			continue
		}
		if at == 0 {
			at = wall()
		}
		a := Arrival{Seq: seq, Sent: sent, At: at}
		f.mu.Lock()
		f.arrivals = append(f.arrivals, a)
		f.mu.Unlock()
		f.nSeen.Add(1)
		if seq < uint64(f.nSent.Load()) { //nolint:gosec // never negative
			if grow := int(seq) + 1 - len(known); grow > 0 { //nolint:gosec // a number that was sent
				known = append(known, make([]bool, grow)...)
			}
			if !known[seq] {
				known[seq] = true
				f.nOnce.Add(1)
			}
		}
		if f.spec.OnArrival != nil {
			f.spec.OnArrival(a)
		}
	}
}

// control reads the time stamp and the number of datagrams that the socket
// had no room for out of the control messages; zero when there is none.
func control(oob []byte) (at int64, dropped uint32) {
	for len(oob) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return at, dropped
		}
		if h.Level == unix.SOL_SOCKET {
			switch {
			case h.Type == unix.SCM_TIMESTAMPNS && len(data) >= int(unsafe.Sizeof(unix.Timespec{})):
				sec := int64(binary.NativeEndian.Uint64(data))
				nsec := int64(binary.NativeEndian.Uint64(data[8:]))
				at = sec*int64(time.Second) + nsec
			case h.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
				dropped = binary.NativeEndian.Uint32(data)
			}
		}
		oob = rest
	}
	return at, dropped
}

func monotonic() time.Duration { return clock(unix.CLOCK_MONOTONIC) }

func wall() int64 { return int64(clock(unix.CLOCK_REALTIME)) }

func clock(id int32) time.Duration {
	var ts unix.Timespec
	// These clocks always exist.
	_ = unix.ClockGettime(id, &ts)
	return time.Duration(ts.Nano())
}
