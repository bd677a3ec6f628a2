package mn

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/internal/event"
)

// stream is numbered packets one way, each of which is to come once and in order.
type stream struct {
	what     string
	from, to *net.UDPConn
	dst      func() netip.AddrPort
	every    time.Duration
	anyOrder bool
	came     func(newest bool, from netip.AddrPort) // nil: nobody asks

	began time.Time
	sent  []time.Duration // when each was, since then
	ended time.Time       // when no more were
	late  []lateness      // what came behind later ones
	done  chan struct{}   // closed with ended
}

// lateness is a packet that came behind another.
type lateness struct {
	packet uint32
	behind int
	at     time.Duration
}

// What comes behind the last packet is a copy of one that has come, which waited for
// others until then; and how long one is waited for that has not come.
const (
	copyWithin = 2 * mergeWait
	lostWithin = 2 * time.Second
)

// send sends until ctx ends.
func (s *stream) send(ctx context.Context, t *testing.T) {
	defer func() {
		s.ended = time.Now()
		close(s.done)
	}()
	for ctx.Err() == nil {
		at := time.Since(s.began)
		if _, err := s.from.WriteToUDPAddrPort(binary.BigEndian.AppendUint32(nil, uint32(len(s.sent))), s.dst()); err != nil {
			t.Errorf("%s: %v", s.what, err)
			return
		}
		s.sent = append(s.sent, at)
		time.Sleep(s.every)
	}
}

// receive takes what comes, until nothing can come any more.
func (s *stream) receive(t *testing.T) {
	var buf [100]byte
	came, highest, last := map[uint32]time.Duration{}, -1, time.Time{}
	ended := func() bool {
		select {
		case <-s.done:
			return true
		default:
			return false
		}
	}
	for {
		_ = s.to.SetReadDeadline(time.Now().Add(copyWithin))
		_, from, err := s.to.ReadFromUDPAddrPort(buf[:])
		now := time.Since(s.began)
		if err != nil {
			if ended() && (len(came) >= len(s.sent) || min(time.Since(last), time.Since(s.ended)) > lostWithin) {
				break
			}
			continue
		}
		last = time.Now()
		k := binary.BigEndian.Uint32(buf[:])
		if at, twice := came[k]; twice {
			t.Errorf("%s: packet %d came twice, at %v and %v", s.what, k, at, now)
		}
		newest := int(k) > highest
		if !newest && !s.anyOrder {
			s.late = append(s.late, lateness{k, highest, now})
		}
		if s.came != nil {
			s.came(newest, from)
		}
		came[k], highest = now, max(highest, int(k))
	}
	var lost []uint32
	for k := range s.sent {
		if _, ok := came[uint32(k)]; !ok {
			lost = append(lost, uint32(k))
		}
	}
	if len(lost) > 0 {
		t.Errorf("%s: %d packets came, lost are %v, sent from %v to %v", s.what, len(came), lost, s.sent[lost[0]], s.sent[slices.Max(lost)])
	}
}

// streams has packets flow until stop, which looks whether they came.
func (b *bed) streams(mn *net.UDPConn, list ...*stream) (stop func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	var wg sync.WaitGroup
	for _, s := range list {
		s.began, s.done = time.Now(), make(chan struct{})
		wg.Go(func() { s.send(ctx, b.t) })
		wg.Go(func() { s.receive(b.t) })
	}
	began, before := list[0].began, b.t.Failed()
	return func() {
		cancel()
		wg.Wait()
		_ = mn.Close()
		for _, s := range list {
			for _, l := range s.late {
				if !b.forcedFlip(s.began.Add(l.at)) {
					b.t.Errorf("%s: packet %d came behind %d, at %v", s.what, l.packet, l.behind, l.at)
				}
			}
		}
		if b.t.Failed() && !before {
			b.tell(began)
		}
	}
}

// forcedFlip says whether a router gave a visitor to its kernel just then without a pause of the
// visitor's packets, which may change their order: a busy machine has it do so.
func (b *bed) forcedFlip(at time.Time) bool {
	const near = 50 * time.Millisecond
	return slices.ContainsFunc(b.node.cfg.Recorder.Events(event.HandoverID{}), func(e event.Event) bool {
		return e.Phase == event.PhaseFlip && e.Attrs["forced"] == true && e.Time.Sub(at).Abs() < near
	})
}

// tell logs what the node did since then.
func (b *bed) tell(began time.Time) {
	for _, e := range b.node.cfg.Recorder.Events(event.HandoverID{}) {
		if at := e.Time.Sub(began); at > 0 {
			b.t.Logf("%v %s: %s %s%s in %v: %s %s %v", at, e.Node, e.Phase, e.Kind, e.Name, e.Duration, e.Outcome, e.Reason, e.Attrs)
		}
	}
	s := b.node.Status()
	b.t.Logf("dropped %v, uplink %+v, downlink %+v", s.Dropped, s.Uplink, s.Downlink)
}

// socket opens the node's end of a flow, and makes room in both: what was held comes in
// one go.
func (b *bed) socket(at netip.AddrPort) *net.UDPConn {
	b.t.Helper()
	mn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range []*net.UDPConn{mn, b.cn} {
		raw, err := c.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) })
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
	return mn
}

// flow sends numbered packets both ways all the time until stop, and checks that
// each came once and in order.
func (b *bed) flow() (stop func()) {
	b.t.Helper()
	home, peer := b.addresses()
	mn := b.socket(netip.AddrPortFrom(home, 7000))
	to := func(a netip.Addr) func() netip.AddrPort {
		return func() netip.AddrPort { return netip.AddrPortFrom(a, 7000) }
	}
	return b.streams(mn,
		&stream{what: "uplink", from: mn, to: b.cn, every: time.Millisecond, dst: to(peer)},
		&stream{what: "downlink", from: b.cn, to: mn, every: time.Millisecond, dst: to(home)})
}
