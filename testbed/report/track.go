package report

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Track is everything that can be drawn of one handover. Times are in
// milliseconds, or microseconds, from Origin.
type Track struct {
	// Origin is when the link went, or when the first packet was sent if it
	// did not.
	Origin time.Time `json:"origin"`
	// Away are the times without a link.
	Away   []Span       `json:"away,omitempty"`
	Phases []TrackPhase `json:"phases"`
	Down   *Packets     `json:"down,omitempty"`
	Up     *Packets     `json:"up,omitempty"`
}

// A Span of time.
type Span struct {
	AtMS   float64 `json:"at_ms"`
	TookMS float64 `json:"took_ms"`
}

// End is when it ends, in milliseconds.
func (s Span) End() float64 { return s.AtMS + s.TookMS }

// A TrackPhase is a phase of the timeline that has ended.
type TrackPhase struct {
	Phase   string `json:"phase"`
	Node    string `json:"node"`
	Outcome string `json:"outcome"`
	Span
}

// Packets are one direction of a flow, by number.
type Packets struct {
	// SentUS is when each was sent: the first from the origin, each other
	// from the one before it.
	SentUS Series `json:"sent_us"`
	// DelayUS is how long each took to its first arrival, negative for one
	// that did not arrive.
	DelayUS Series `json:"delay_us"`
}

// Lost is the delay of a packet that did not arrive.
const Lost = -1

// PacketsOf packs a direction of a flow.
func PacketsOf(origin time.Time, s Strip) *Packets {
	p := &Packets{SentUS: make(Series, len(s.Sent)), DelayUS: make(Series, len(s.Sent))}
	before := origin.UnixMicro()
	for i, at := range s.Sent {
		us := at / 1000
		p.SentUS[i], before = us-before, us
		p.DelayUS[i] = Lost
	}
	for _, a := range s.Arrivals {
		if a.Seq < uint64(len(s.Sent)) && p.DelayUS[a.Seq] < 0 {
			p.DelayUS[a.Seq] = max(a.At/1000-s.Sent[a.Seq]/1000, 0)
		}
	}
	return p
}

// Each calls fn for every packet in the order of sending, with times from the
// origin; arrived is below sent for one that did not arrive.
func (p *Packets) Each(fn func(n int, sentMS, arrivedMS float64)) {
	at := int64(0)
	for n, d := range p.SentUS {
		at += d
		fn(n, float64(at)/1000, float64(at+p.DelayUS[n])/1000)
	}
}

// UnmarshalJSON checks that the two series belong together.
func (p *Packets) UnmarshalJSON(b []byte) error {
	type plain Packets
	if err := json.Unmarshal(b, (*plain)(p)); err != nil {
		return err
	}
	if len(p.SentUS) != len(p.DelayUS) {
		return fmt.Errorf("report: a track has %d packets sent and the delays of %d: expected the same number", len(p.SentUS), len(p.DelayUS))
	}
	return nil
}

// A Series is a list of integers that is written as one string, numbers with
// spaces between, because there are many.
type Series []int64

// MarshalText implements encoding.TextMarshaler.
func (s Series) MarshalText() ([]byte, error) {
	b := make([]byte, 0, 6*len(s))
	for i, v := range s {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, v, 10)
	}
	return b, nil
}

// UnmarshalText reads what MarshalText writes.
func (s *Series) UnmarshalText(text []byte) error {
	fields := strings.Fields(string(text))
	*s = make(Series, len(fields))
	for i, f := range fields {
		v, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return fmt.Errorf("report: series of numbers: %w", err)
		}
		(*s)[i] = v
	}
	return nil
}
