package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

// The cases of the scenario tcp.
const (
	tcpMoving     = "planned moves"
	tcpStanding   = "no moves"
	tcpUnprepared = "moves without MPA"
)

const (
	// tcpGap is the longest time without a link in which a planned move must not
	// cause a retransmission time-out: the shortest time-out of Linux is 200 ms
	// (RFC 6298 has one second), and what is held besides is short.
	tcpGap = 50 * time.Millisecond
	// tcpEnd bounds how long what was sent may be under way at the end: a sender
	// after several time-outs waits for seconds.
	tcpEnd = 20 * time.Second
	// tcpBack bounds how long a connection may stand still after a move.
	tcpBack = time.Minute
)

func adjustTCP(o *Options, given func(string) bool) {
	if !given("rate") {
		o.Rate, _ = traffic.ParseRate(tcpRate)
	}
	if !given("repeat") {
		o.Repeat = 50
	}
}

// tcpMoves has one TCP connection, each way in turn, go through many moves to
// and fro, then stand still for as long, and then move without MPA.
func tcpMoves(ctx context.Context, r *run) error {
	r.opt.Probe = false
	if !r.opt.Rate.Bits() {
		return fmt.Errorf("scenario: tcp: the rate %v is one of datagrams; expected bits a second, such as 100M", r.opt.Rate)
	}
	ways := []Direction{Down, Up}
	if r.opt.Direction == Down || r.opt.Direction == Up {
		ways = []Direction{r.opt.Direction}
	}
	asTold := func(b *bed.Bed) orders {
		return func(_ context.Context, _ int, to string) (order, error) { return ordered(b, to), nil }
	}
	err := r.withBed(ctx, r.opt.bed(r.p), func(b *bed.Bed) error {
		for _, way := range ways {
			took, err := r.streamThroughMoves(ctx, b, way, tcpMoving, asTold(b), r.judgeStream)
			if err != nil {
				return err
			}
			if err := r.streamAlone(ctx, b, way, took); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	opt := r.opt.bed(r.p)
	opt.NoPrepare = true
	return r.withBed(ctx, opt, func(b *bed.Bed) error {
		for _, way := range ways {
			judge := func(name string, m measured) { r.expectOutcome(name, m, event.Completed) }
			if _, err := r.streamThroughMoves(ctx, b, way, tcpUnprepared, asTold(b), judge); err != nil {
				return err
			}
		}
		return nil
	})
}

// judgeStream holds a planned move to what TCP is promised.
func (r *run) judgeStream(name string, m measured) {
	r.expectOutcome(name, m, event.Completed)
	if m.TCP.Timeouts > 0 && r.opt.Gap <= tcpGap {
		r.problem("%s: %d retransmission time-outs, of which the sender found %d to be without cause; the link was gone for %v ms",
			name, m.TCP.Timeouts, m.TCP.Spurious, m.Phases["l2_ms"])
	}
	if m.TCP.Octets == 0 {
		r.problem("%s: no octet came in %.1f s", name, m.TCP.Seconds)
	}
}

// A streamRun is a TCP connection that is looked at from time to time.
type streamRun struct {
	*traffic.Stream
	way      Direction
	from, to traffic.Endpoint
}

// openStream connects the correspondent and the node's home address, starts to
// send and gives TCP a moment to find its window.
func (r *run) openStream(ctx context.Context, b *bed.Bed, way Direction) (*streamRun, error) {
	s := &streamRun{way: way, from: b.Endpoint(topo.CN), to: b.Endpoint(topo.MN)}
	if way == Up {
		s.from, s.to = s.to, s.from
	}
	rate, err := traffic.ParseBits(r.opt.Rate.Flag())
	if err != nil {
		return nil, err
	}
	if s.Stream, err = traffic.OpenStream(traffic.StreamSpec{Name: string(way), From: s.from, To: s.to, Port: flowPort, Rate: rate}); err != nil {
		return nil, err
	}
	s.Start()
	if err := bed.Sleep(ctx, r.opt.Lead); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// A streamMark is what was counted at a time.
type streamMark struct {
	at               time.Time
	octets           int64
	sender, receiver traffic.TCPCount
}

func (s *streamRun) mark() (m streamMark, err error) {
	m.at = time.Now()
	_, m.octets = s.Octets()
	var err1, err2 error
	m.sender, err1 = traffic.CountTCP(s.from.Space)
	m.receiver, err2 = traffic.CountTCP(s.to.Space)
	return m, errors.Join(err1, err2)
}

// since is what became of the stream from a mark until now.
func (s *streamRun) since(m streamMark) (*report.Stream, error) {
	now, err := s.mark()
	if err != nil {
		return nil, err
	}
	info, algorithm, err := s.Info()
	if err != nil {
		return nil, err
	}
	out := &report.Stream{
		Direction: string(s.way), Congestion: algorithm, PauseMS: report.MS(traffic.Pause(s.Progress(), m.at, now.at)),
		RTTMS: report.MS(time.Duration(info.Rtt) * time.Microsecond),
	}
	out.Measure(now.octets-m.octets, now.at.Sub(m.at), now.sender.Since(m.sender), now.receiver.Since(m.receiver))
	return out, nil
}

// finish notes the stream's figures, and whether all of it came.
func (r *run) finish(s *streamRun, from streamMark, name string, handovers int) error {
	figures, err := s.since(from)
	if err != nil {
		return err
	}
	figures.Case, figures.Handovers = name, handovers
	r.res.Streams = append(r.res.Streams, *figures)
	s.Stop(tcpEnd)
	if err := s.Whole(); err != nil {
		r.problem("%s, %s: %v", s.way, name, err)
	}
	return nil
}

// orders gets everything ready for the n-th move, to a network, and says how to have it.
type orders func(ctx context.Context, n int, to string) (order, error)

// streamThroughMoves moves as often as asked, and says how long that took.
func (r *run) streamThroughMoves(ctx context.Context, b *bed.Bed, way Direction, name string, orders orders, judge func(string, measured)) (took time.Duration, err error) {
	s, err := r.openStream(ctx, b, way)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	begun, err := s.mark()
	if err != nil {
		return 0, err
	}
	for i := range r.opt.Repeat {
		to := topo.Other(r.at)
		title := fmt.Sprintf("%s, %s: %d of %d, from %s to %s", way, name, i+1, r.opt.Repeat, r.at, to)
		r.p.Line("tcp: %s", title)
		if err := r.awaitClean(ctx, b, to); err != nil {
			return 0, err
		}
		give, err := orders(ctx, i, to)
		if err != nil {
			return 0, err
		}
		m, err := r.streamThroughMove(ctx, b, s, to, give)
		if err != nil {
			return 0, fmt.Errorf("scenario: tcp: %s: %w", title, err)
		}
		m.Case = (&report.Stream{Direction: string(way), Case: name}).Name()
		r.res.Handovers = append(r.res.Handovers, m.Handover)
		judge(title, m)
		if r.at, err = serves(ctx, b); err != nil {
			return 0, err
		}
	}
	took = time.Since(begun.at)
	return took, r.finish(s, begun, name, r.opt.Repeat)
}

// streamThroughMove is one of the moves, with the time after it.
func (r *run) streamThroughMove(ctx context.Context, b *bed.Bed, s *streamRun, to string, give order) (m measured, err error) {
	m.From, m.To, m.begun = r.at, to, time.Now()
	before, err := s.mark()
	if err != nil {
		return m, err
	}
	drops, err := b.Drops()
	if err != nil {
		return m, err
	}
	routers := askRouters(ctx, b)
	if m.moves, err = r.command(ctx, b, to, give, &m); err != nil {
		return m, err
	}
	if err := bed.Sleep(ctx, r.opt.Lead); err != nil {
		return m, err
	}
	// After several time-outs a sender waits long. Another move before it tries
	// again would be no move of this connection.
	_, there := s.Octets()
	if err := await(ctx, tcpBack, func() bool { _, n := s.Octets(); return n > there }); err != nil {
		return m, fmt.Errorf("no octet came after the move: %w", err)
	}
	if m.TCP, err = s.since(before); err != nil {
		return m, err
	}
	dropsNow, err := b.Drops()
	if err != nil {
		return m, err
	}
	m.kernel = bed.DropsSince(drops, dropsNow)
	return m, m.countRouters(ctx, b, routers)
}

// streamAlone is the same without a move.
func (r *run) streamAlone(ctx context.Context, b *bed.Bed, way Direction, d time.Duration) (err error) {
	r.p.Line("tcp: %s, %s, for %v", way, tcpStanding, d.Round(time.Second))
	s, err := r.openStream(ctx, b, way)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	begun, err := s.mark()
	if err != nil {
		return err
	}
	if err := bed.Sleep(ctx, d); err != nil {
		return err
	}
	return r.finish(s, begun, tcpStanding, 0)
}
