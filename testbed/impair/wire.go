package impair

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/testbed/report"
)

// A wire carries the frames of one direction from one TAP device to another.
type wire struct {
	// Fixed after start.
	p        Params
	from, to int // descriptors of the devices
	timer    int // timerfd: the next frame is due
	stop     int // eventfd
	fate     func(frame []byte) Fate
	done     sync.WaitGroup

	// Guarded by mu.
	mu     sync.Mutex
	line   *Line
	late   lateness
	unsent uint64 // frames a device refused
	err    error
}

// startWire starts the goroutine that carries.
func startWire(line *Line, p Params, from, to int, fate func([]byte) Fate) (w *wire, err error) {
	w = &wire{p: p, from: from, to: to, timer: -1, stop: -1, fate: fate, line: line}
	if w.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err == nil {
		w.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("impair: %w", err), w.release())
	}
	w.done.Add(1)
	go w.run()
	return w, nil
}

// close ends the goroutine and what it waits on, not the devices.
func (w *wire) close() error {
	one := [8]byte{1}
	_, err := unix.Write(w.stop, one[:])
	if err != nil {
		return fmt.Errorf("impair: stop a link: %w", err)
	}
	w.done.Wait()
	return errors.Join(w.err, w.release())
}

func (w *wire) release() error {
	var errs []error
	for _, fd := range []int{w.timer, w.stop} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}

// batch bounds the frames that are read before those that are due are written.
const batch = 32

func (w *wire) run() {
	defer w.done.Done()
	// Never unlocked: the thread has a priority nobody else should have.
	runtime.LockOSThread()
	hurry()
	buf := make([]byte, 1<<16)
	fds := []unix.PollFd{
		{Fd: int32(w.from), Events: unix.POLLIN}, //nolint:gosec // descriptors are small
		{Fd: int32(w.timer), Events: unix.POLLIN},
		{Fd: int32(w.stop), Events: unix.POLLIN},
	}
	var set time.Duration // what the timer stands at
	for {
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			w.fail(err)
			return
		}
		if fds[2].Revents != 0 {
			return
		}
		if fds[1].Revents != 0 {
			set = 0
		}
		if err := w.read(buf); err != nil {
			w.fail(err)
			return
		}
		w.write()
		due, waits := w.due()
		if waits && due != set {
			set = due
			it := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(due))}
			if err := unix.TimerfdSettime(w.timer, unix.TFD_TIMER_ABSTIME, &it, nil); err != nil {
				w.fail(err)
				return
			}
		} else if !waits && fds[1].Revents != 0 {
			var ticks [8]byte
			// It has fired and is not set again: only reading makes it silent.
			_, _ = unix.Read(w.timer, ticks[:])
		}
	}
}

// hurry gives the thread the highest priority that is not real-time, and exact timers; where that is not allowed, what is
// measured says what it costs. With real-time priority it would now and then keep its processor for a second: the Go
// runtime waits for another thread by yielding, which to one of less priority is not to yield at all.
func hurry() {
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20)
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
}

func (w *wire) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = fmt.Errorf("impair: a link has ended: %w", err)
}

func (w *wire) read(buf []byte) error {
	for range batch {
		n, err := unix.Read(w.from, buf)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		fate := w.fate(buf[:n])
		w.mu.Lock()
		w.line.Offer(monotonic(), buf[:n], fate)
		w.mu.Unlock()
	}
	return nil
}

// write writes what is due.
func (w *wire) write() {
	for range 2 * batch {
		w.mu.Lock()
		octets, due, ok := w.line.Next(monotonic())
		w.mu.Unlock()
		if !ok {
			return
		}
		late := monotonic() - due
		_, err := unix.Write(w.to, octets)
		w.mu.Lock()
		w.late.add(late)
		if err != nil {
			w.unsent++ // the device is down
		}
		w.mu.Unlock()
	}
}

func (w *wire) due() (time.Duration, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.line.Due()
}

func (w *wire) gone(k Kind) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.line.Counts().Gone[k]
}

// report says what became of the frames; overflow are those the device had no
// room for.
func (w *wire) report(overflow uint64) report.LinkDirection {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.line.Counts()
	r := report.LinkDirection{
		Asked: w.p.String(), Frames: c.In, Delivered: c.Out - w.unsent, Lost: c.Lost, MarkersTaken: c.Taken, Refused: c.Refused,
		Duplicated: c.Duplicated, Reordered: c.Reordered, TooSlow: overflow,
		DataLost: report.DataLost{Down: c.Gone[KindDown], Up: c.Gone[KindUp], Probe: c.Gone[KindProbe]},
	}
	if w.late.n > 0 {
		r.LateP50MS, r.LateP99MS, r.LateMaxMS = report.MS(w.late.percentile(50)), report.MS(w.late.percentile(99)), report.MS(w.late.longest)
	}
	if w.p.Jitter == 0 {
		asked := report.MS(w.p.Delay)
		r.DelayMS = &asked
	}
	return r
}

func monotonic() time.Duration {
	var ts unix.Timespec
	// This clock always exists.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}
