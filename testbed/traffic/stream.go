package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A StreamSpec describes a TCP connection that carries octets one way.
type StreamSpec struct {
	Name     string
	From, To Endpoint
	Port     uint16 // of the receiver
	// Rate is what the sender's kernel paces to at most, in bits a second of
	// what TCP carries; 0: as fast as it goes.
	Rate float64
}

// A Stream is a TCP connection between two sockets of the kernel. The octets
// say at which place of the stream they stand, so that a receiver sees one that
// is not the next.
type Stream struct {
	// Fixed after start.
	spec     StreamSpec
	out, in  *net.TCPConn
	sender   sync.WaitGroup
	receiver sync.WaitGroup
	once     sync.Once

	// Atomic.
	stop     atomic.Bool
	sent     atomic.Int64 // octets that the sender's kernel took
	received atomic.Int64

	// Guarded by mu.
	mu       sync.Mutex
	progress []Progress
	sendErr  error
	recvErr  error
}

// Progress is how far a stream was at a time.
type Progress struct {
	At     int64 // ns of the wall clock
	Octets int64 // received until then
}

// progressStep bounds how often progress is noted.
const progressStep = 500 * time.Microsecond

const (
	streamBlock = 64 << 10 // octets of one write or read, a multiple of a word
	dialLimit   = 5 * time.Second
	congestion  = "cubic" // as nearly every sender on the Internet
)

// word is the n-th word of 8 octets of every stream: no two are alike.
func word(n uint64) uint64 {
	// The finalizer of SplitMix64, which is a permutation.
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// fill writes what stands at an offset of a stream, which is a multiple of 8,
// as is the length of b.
func fill(b []byte, offset int64) {
	n := uint64(offset) / 8 //nolint:gosec // never negative
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], word(n))
		n++
	}
}

// OpenStream connects both ends. Nothing is sent before Start; Close must follow.
func OpenStream(spec StreamSpec) (*Stream, error) {
	fail := func(err error) (*Stream, error) {
		return nil, fmt.Errorf("traffic: stream %s from %v to %v: %w", spec.Name, spec.From.Addr, spec.To.Addr, err)
	}
	var l *net.TCPListener
	at := net.TCPAddrFromAddrPort(netip.AddrPortFrom(spec.To.Addr, spec.Port))
	err := spec.To.Space.Do(func() (err error) {
		l, err = net.ListenTCP("tcp", at)
		return err
	})
	if err != nil {
		return fail(err)
	}
	defer l.Close()
	s := &Stream{spec: spec}
	err = spec.From.Space.Do(func() error {
		d := net.Dialer{Timeout: dialLimit, LocalAddr: &net.TCPAddr{IP: spec.From.Addr.AsSlice()}, Control: s.options}
		c, err := d.Dial("tcp", at.String())
		if err == nil {
			s.out = c.(*net.TCPConn)
		}
		return err
	})
	if err != nil {
		return fail(err)
	}
	if err = l.SetDeadline(time.Now().Add(dialLimit)); err == nil {
		s.in, err = l.AcceptTCP()
	}
	if err != nil {
		return fail(errors.Join(err, s.out.Close()))
	}
	s.receiver.Add(1)
	go s.receive()
	return s, nil
}

// options prepares the sender's socket.
func (s *Stream) options(_, _ string, c syscall.RawConn) (err error) {
	return errors.Join(c.Control(func(fd uintptr) {
		// Without it the kernel's default does.
		_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, congestion)
		if s.spec.Rate > 0 {
			err = unix.SetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, uint64(s.spec.Rate/8))
		}
	}), err)
}

// Start begins to send; it does so once.
func (s *Stream) Start() {
	s.once.Do(func() {
		s.sender.Add(1)
		go s.send()
	})
}

// send is the sender's goroutine.
func (s *Stream) send() {
	defer s.sender.Done()
	block := make([]byte, streamBlock)
	offset := int64(0)
	for !s.stop.Load() {
		fill(block, offset)
		n, err := s.out.Write(block)
		offset += int64(n)
		s.sent.Store(offset)
		if err == nil {
			continue
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) { // which is how Stop wakes it
			s.note(&s.sendErr, err)
		}
		break
	}
	if err := s.out.CloseWrite(); err != nil {
		s.note(&s.sendErr, err)
	}
}

func (s *Stream) note(to *error, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*to = errors.Join(*to, err)
}

// receive is the receiver's goroutine.
func (s *Stream) receive() {
	defer s.receiver.Done()
	got, want := make([]byte, streamBlock), make([]byte, streamBlock+16)
	offset, noted := int64(0), int64(0)
	for {
		n, err := s.in.Read(got)
		if n > 0 {
			at := wall()
			skip := int(offset % 8)
			end := (skip + n + 7) &^ 7
			fill(want[:end], offset-int64(skip))
			if string(got[:n]) != string(want[skip:skip+n]) {
				s.note(&s.recvErr, fmt.Errorf("the %d octets at %d are not those that were sent there", n, offset))
				return
			}
			offset += int64(n)
			s.received.Store(offset)
			if at-noted >= int64(progressStep) {
				noted = at
				s.mu.Lock()
				s.progress = append(s.progress, Progress{at, offset})
				s.mu.Unlock()
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			s.note(&s.recvErr, err)
			return
		}
	}
}

// Stop ends the sender and waits until the receiver has everything, for no
// longer than limit.
func (s *Stream) Stop(limit time.Duration) {
	s.once.Do(func() {}) // a later Start does nothing
	s.stop.Store(true)
	// These fail on closed sockets only, whose goroutines have ended.
	_ = s.out.SetWriteDeadline(time.Now())
	_ = s.in.SetReadDeadline(time.Now().Add(limit))
	s.sender.Wait()
	s.receiver.Wait()
}

// Close ends the stream and gives its sockets back.
func (s *Stream) Close() error {
	s.Stop(0)
	return errors.Join(s.out.Close(), s.in.Close())
}

// Octets are what the sender's kernel took so far, and what was received.
func (s *Stream) Octets() (sent, received int64) { return s.sent.Load(), s.received.Load() }

// Progress is how far it was, about each half millisecond in which octets came.
func (s *Stream) Progress() []Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Progress(nil), s.progress...)
}

// Whole says what is wrong with a stream that was stopped: octets that are
// missing or others, an end before its time. Nil: nothing.
func (s *Stream) Whole() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := errors.Join(s.sendErr, s.recvErr)
	if sent, received := s.Octets(); err == nil && sent != received {
		err = fmt.Errorf("%d octets were sent and %d received", sent, received)
	}
	if err != nil {
		return fmt.Errorf("traffic: stream %s: %w", s.spec.Name, err)
	}
	return nil
}

// Info is what the sender's kernel says of the connection. Call it before Close.
func (s *Stream) Info() (info *unix.TCPInfo, algorithm string, err error) {
	raw, err := s.out.SyscallConn()
	if err != nil {
		return nil, "", fmt.Errorf("traffic: stream %s: %w", s.spec.Name, err)
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		info, inner = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if inner == nil {
			algorithm, inner = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		}
	})
	if err = errors.Join(err, inner); err != nil {
		return nil, "", fmt.Errorf("traffic: stream %s: TCP_INFO: %w", s.spec.Name, err)
	}
	return info, algorithm, nil
}

// Pause is the longest time without an octet from one time on; until is when it
// ended at the latest.
func Pause(progress []Progress, from, until time.Time) time.Duration {
	longest, last := int64(0), from.UnixNano()
	for _, p := range progress {
		if p.At < last {
			continue
		}
		if p.At > until.UnixNano() {
			break
		}
		longest, last = max(longest, p.At-last), p.At
	}
	return time.Duration(max(longest, until.UnixNano()-last))
}
