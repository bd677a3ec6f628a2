package trace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"openmpa/mn/decision"
)

const (
	maxWaiting = 1 << 20         // octets that wait to be written
	maxFile    = 512 << 20       // octets of a trace: two days of ten samples a second
	flushEvery = 2 * time.Second // what is older than that survives a kill
)

// Writer writes a trace. What cannot be written in time is lost and counted: nobody waits for a disk. Its methods may be called by
// any goroutine, in the order in which the engine's are; those of a nil Writer do nothing.
type Writer struct {
	out  io.WriteCloser
	wake chan struct{}
	done chan struct{}

	mu      sync.Mutex
	waiting []byte
	size    int64
	lost    uint64 // in all
	untold  uint64 // of them not in the trace yet
	err     error
	closing bool
	last    decisionKey
	said    bool
}

// decisionKey is what makes a decision a new one.
type decisionKey struct {
	action     decision.Action
	to         decision.PointID
	now, look  bool
	both       bool
	code       decision.Code
	rungs      int
	ladder     [decision.MaxRungs]decision.Rung
	otherPoint decision.PointID
}

// NewWriter begins a trace. It is the writer's to close out.
func NewWriter(out io.WriteCloser, h Header) *Writer {
	w := &Writer{out: out, wake: make(chan struct{}, 1), done: make(chan struct{})}
	w.add(headerLine{Trace: Version, Node: h.Node, Began: h.Began, Policy: policyOf(h.Policy)})
	go w.run()
	return w
}

// Know writes what the engine is told by its method of that name; the others likewise.
func (w *Writer) Know(at time.Duration, networks []decision.Network, points []decision.Point) {
	if w != nil {
		w.add(line{At: int64(at), Know: knowOf(networks, points)})
	}
}

// Sample writes what the engine's Step is told.
func (w *Writer) Sample(s *decision.Sample) {
	if w != nil {
		w.add(line{At: int64(s.At), Sample: sampleOf(s)})
	}
}

// Moved writes a move.
func (w *Writer) Moved(at time.Duration, m decision.Move) {
	if w != nil {
		w.add(line{At: int64(at), Moved: &moveLine{uint16(m.From), uint16(m.To), m.Depth.String(), m.Chosen}})
	}
}

// Failed writes that a decision came to nothing.
func (w *Writer) Failed(at time.Duration, d decision.Decision) {
	if w != nil {
		w.add(line{At: int64(at), Failed: decisionOf(&d)})
	}
}

// Took writes what a step took.
func (w *Writer) Took(at time.Duration, n decision.NetworkID, d decision.Depth, took time.Duration, ok bool) {
	if w != nil {
		w.add(line{At: int64(at), Took: &tookLine{uint16(n), d.String(), int64(took), ok}})
	}
}

// RTT writes how far a router is.
func (w *Writer) RTT(at time.Duration, n decision.NetworkID, rtt time.Duration) {
	if w != nil {
		w.add(line{At: int64(at), RTT: &rttLine{uint16(n), int64(rtt)}})
	}
}

// Decided writes what Step has decided, if that is something else than before, with the decision in words.
func (w *Writer) Decided(at time.Duration, d decision.Decision, words string) {
	if w == nil {
		return
	}
	k := decisionKey{action: d.Action, to: d.To, now: d.Now, look: d.Look, both: d.Both, code: d.Reason.Code, otherPoint: d.Reason.Other}
	k.rungs = copy(k.ladder[:], d.Ladder)
	w.mu.Lock()
	news := !w.said || k != w.last
	w.last, w.said = k, true
	w.mu.Unlock()
	if news {
		w.add(line{At: int64(at), Decided: decisionOf(&d), Words: words})
	}
}

// Lost is how many records could not be written.
func (w *Writer) Lost() uint64 {
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost
}

// add has one line be written, or counts it as lost.
func (w *Writer) add(v any) {
	text, err := json.Marshal(v)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil || w.closing || w.err != nil || len(w.waiting)+len(text) > maxWaiting || w.size+int64(len(text)) > maxFile {
		w.lost++
		w.untold++
		return
	}
	if l, ok := v.(line); ok && w.untold > 0 {
		if told, err := json.Marshal(line{At: l.At, Lost: w.untold}); err == nil {
			w.put(told)
			w.untold = 0
		}
	}
	w.put(text)
	if len(w.waiting) > maxWaiting/2 {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func (w *Writer) put(text []byte) {
	w.waiting = append(append(w.waiting, text...), '\n')
	w.size += int64(len(text)) + 1
}

// run writes what waits, now and then, until Close.
func (w *Writer) run() {
	defer close(w.done)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	var spare []byte
	for {
		select {
		case <-tick.C:
		case <-w.wake:
		}
		w.mu.Lock()
		text, closing := w.waiting, w.closing
		w.waiting = spare[:0]
		w.mu.Unlock()
		if len(text) > 0 {
			if _, err := w.out.Write(text); err != nil {
				w.mu.Lock()
				w.err = errors.Join(w.err, err)
				w.mu.Unlock()
			}
		}
		spare = text
		if closing {
			return
		}
	}
}

// Close writes what waits and closes the trace. The error is the first that came up in writing.
func (w *Writer) Close() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	if w.closing {
		w.mu.Unlock()
		<-w.done
		return nil
	}
	w.closing = true
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	<-w.done
	err := errors.Join(w.err, w.out.Close())
	if err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	return nil
}
