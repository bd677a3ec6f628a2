package event

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultSize is the ring's size when NewRecorder is given none: some hundred handovers.
const DefaultSize = 8192

// Recorder keeps the last records of one daemon. It may be used by several
// goroutines at once. A nil Recorder records nothing and has no records.
type Recorder struct {
	// fixed after NewRecorder
	node string
	log  *slog.Logger

	// atomic
	lost atomic.Uint64

	// guarded by mu
	mu        sync.Mutex
	ring      []Event // record seq lies at (seq-1) % cap(ring)
	seq       uint64  // of the last record
	followers map[*follower]struct{}
}

type follower struct {
	ch chan Event
}

// NewRecorder makes a recorder for the node of that name, which keeps the last
// size records (DefaultSize when size is 0 or less) and writes each to log, which may be nil.
func NewRecorder(node string, log *slog.Logger, size int) *Recorder {
	if size <= 0 {
		size = DefaultSize
	}
	return &Recorder{node: node, log: log, ring: make([]Event, 0, size), followers: make(map[*follower]struct{})}
}

// Begin records that phase p begins and returns the span to end it. attrs are
// key, value pairs or slog.Attr, as in slog. h may be zero.
func (r *Recorder) Begin(h HandoverID, p Phase, attrs ...any) *Span {
	s := &Span{rec: r, handover: h, phase: p, start: time.Now()}
	if r == nil {
		return s
	}
	s.attrs = collect(attrs)
	r.add(Event{Time: s.start, Node: r.node, Handover: h, Phase: p, Kind: KindBegin, Attrs: s.attrs})
	return s
}

// Point records a moment within phase p.
func (r *Recorder) Point(h HandoverID, p Phase, name string, attrs ...any) {
	if r == nil {
		return
	}
	r.add(Event{Time: time.Now(), Node: r.node, Handover: h, Phase: p, Kind: KindPoint, Name: name, Attrs: collect(attrs)})
}

// Import adds another node's record under a sequence number of this recorder.
// Its node, time and attributes stay as they are; the caller gives up e.Attrs.
func (r *Recorder) Import(e Event) {
	if r == nil {
		return
	}
	r.add(e)
}

func (r *Recorder) add(e Event) {
	r.mu.Lock()
	r.seq++
	e.Seq = r.seq
	if len(r.ring) < cap(r.ring) {
		r.ring = append(r.ring, e)
	} else {
		r.ring[(e.Seq-1)%uint64(cap(r.ring))] = e
	}
	for f := range r.followers {
		select {
		case f.ch <- e:
		default:
			r.lost.Add(1)
		}
	}
	r.mu.Unlock()
	r.write(e)
}

// write logs a record: begins for debugging, failures as warnings.
func (r *Recorder) write(e Event) {
	if r.log == nil {
		return
	}
	level := slog.LevelInfo
	switch {
	case e.Kind == KindBegin:
		level = slog.LevelDebug
	case !e.Outcome.good():
		level = slog.LevelWarn
	}
	ctx := context.Background()
	if !r.log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 8+len(e.Attrs))
	attrs = append(attrs, slog.String("kind", string(e.Kind)))
	if e.Node != r.node {
		attrs = append(attrs, slog.String("node", e.Node))
	}
	if !e.Handover.IsZero() {
		attrs = append(attrs, slog.String("handover", e.Handover.String()))
	}
	if e.Name != "" {
		attrs = append(attrs, slog.String("name", e.Name))
	}
	if e.Kind == KindEnd {
		attrs = append(attrs, slog.Duration("duration", e.Duration), slog.String("outcome", string(e.Outcome)))
	}
	if e.Reason != "" {
		attrs = append(attrs, slog.String("reason", e.Reason))
	}
	for _, k := range sortedKeys(e.Attrs) {
		attrs = append(attrs, slog.Any(k, e.Attrs[k]))
	}
	r.log.LogAttrs(ctx, level, string(e.Phase), attrs...)
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Events returns the records kept of one handover in order, or all of them when h is zero.
func (r *Recorder) Events(h HandoverID) []Event {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Event
	for e := range r.kept(0) {
		if h.IsZero() || e.Handover == h {
			out = append(out, e)
		}
	}
	return out
}

// kept yields the records after since that the ring still holds, in order. mu is held.
func (r *Recorder) kept(since uint64) func(func(Event) bool) {
	return func(yield func(Event) bool) {
		first := r.seq - uint64(len(r.ring)) + 1
		for seq := max(first, since+1); seq <= r.seq && seq > since; seq++ {
			if !yield(r.ring[(seq-1)%uint64(cap(r.ring))]) {
				return
			}
		}
	}
}

// Subscribe returns the records kept whose sequence number is above since, and a
// channel with those that follow, without a gap between the two. buffer (at least
// 1) is how many records the reader may lag behind before it loses some; see
// Lost. cancel ends the subscription and closes the channel; it may be called
// more than once.
func (r *Recorder) Subscribe(since uint64, buffer int) (past []Event, ch <-chan Event, cancel func()) {
	f := &follower{ch: make(chan Event, max(buffer, 1))}
	if r == nil {
		return nil, f.ch, sync.OnceFunc(func() { close(f.ch) })
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for e := range r.kept(since) {
		past = append(past, e)
	}
	r.followers[f] = struct{}{}
	return past, f.ch, sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.followers, f)
		close(f.ch)
	})
}

// Lost returns how many records followers lost, in sum, because they were too slow.
func (r *Recorder) Lost() uint64 {
	if r == nil {
		return 0
	}
	return r.lost.Load()
}

// Span is a phase that has begun. Its methods may be called by any goroutine;
// only the first end counts.
type Span struct {
	// fixed after Begin
	rec      *Recorder
	handover HandoverID
	phase    Phase
	start    time.Time
	attrs    map[string]any

	// atomic
	done atomic.Bool
}

// End records the end of the phase: ok when err is nil, cancelled when err is or
// wraps context.Canceled, failed otherwise with err's text as the reason.
// attrs join those of Begin.
func (s *Span) End(err error, attrs ...any) {
	switch {
	case err == nil:
		s.EndOutcome(OK, "", attrs...)
	case errors.Is(err, context.Canceled):
		s.EndOutcome(Cancelled, err.Error(), attrs...)
	default:
		s.EndOutcome(Failed, err.Error(), attrs...)
	}
}

// EndOutcome records the end of the phase with an outcome and a reason of the caller's.
func (s *Span) EndOutcome(o Outcome, reason string, attrs ...any) {
	if s == nil || s.done.Swap(true) || s.rec == nil {
		return
	}
	now := time.Now()
	s.rec.add(Event{
		Time: now, Node: s.rec.node, Handover: s.handover, Phase: s.phase, Kind: KindEnd,
		Duration: now.Sub(s.start), Outcome: o, Reason: reason, Attrs: merge(s.attrs, collect(attrs)),
	})
}
