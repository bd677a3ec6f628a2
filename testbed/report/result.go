package report

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	"openmpa/testbed/traffic"
)

// A Result is one run of a scenario.
type Result struct {
	Scenario  string             `json:"scenario"`
	Commit    string             `json:"commit"`
	Kernel    string             `json:"kernel,omitempty"`  // release of the kernel it ran on
	Started   *time.Time         `json:"started,omitempty"` // when
	Machine   *Machine           `json:"machine,omitempty"`
	Flags     map[string]string  `json:"flags"`
	Handovers []Handover         `json:"handovers"`
	Summary   map[string]Figures `json:"summary"`
	// Cases are the figures of each case of a scenario that repeats several;
	// absent elsewhere.
	Cases []Case `json:"cases,omitempty"`
	// Streams are TCP connections, each over its whole time.
	Streams []Stream `json:"streams,omitempty"`
	// Links are the bad links by name.
	Links map[string]Link `json:"links,omitempty"`
	// Soak is of many moves in a row; absent elsewhere.
	Soak *Soak `json:"soak,omitempty"`
	// Journeys are what went on through several moves; absent elsewhere.
	Journeys []Journey `json:"journeys,omitempty"`
	// Problems are the promises that were not kept, a line each; absent when
	// all were.
	Problems []string `json:"problems,omitempty"`
}

// A Handover is one move of the mobile node, or an attempt at one.
type Handover struct {
	ID      string `json:"id,omitempty"`
	From    string `json:"from"`
	To      string `json:"to"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason,omitempty"`
	// TLS is its version in the authentication at the new network, by the
	// node's record of it.
	TLS string `json:"tls,omitempty"`
	// Case names what was done to it, in scenarios with several cases.
	Case string `json:"case,omitempty"`
	// MarkersLost are the kinds of markers that were lost on purpose.
	MarkersLost []string `json:"markers_lost,omitempty"`
	Flow        Flows    `json:"flow"`
	// TCP is what became of a TCP connection in it, and shortly after.
	TCP    *Stream            `json:"tcp,omitempty"`
	Phases map[string]float64 `json:"phases,omitempty"`
	Buffer *Buffer            `json:"buffer,omitempty"`
	// ViaHome is how many datagrams of the flow, and the probe, came to the home agent; absent where nobody counts them.
	ViaHome *int `json:"via_home,omitempty"`
	// Copies are what the home agent has sent to several care-of addresses; absent where the node is bound to one.
	Copies *Copies `json:"copies,omitempty"`
	// AAADown is what became of authentication servers; absent where none was to be killed.
	AAADown *AAADown `json:"aaa_down,omitempty"`
	// Radio is what only moves by 802.11 have.
	Radio *Radio `json:"radio,omitempty"`
	// Track is everything that can be drawn of it, where it was asked for.
	Track *Track `json:"track,omitempty"`
}

// AAADown is what became of authentication servers in a handover.
type AAADown struct {
	Killed   string         `json:"killed,omitempty"`   // the server that was; absent: none
	Messages map[string]int `json:"messages,omitempty"` // the router's to each server
}

// Machine is what the lab ran on. The lab measures in real time: with a load
// above the number of processors its figures say more about the machine.
type Machine struct {
	CPUs int `json:"cpus"`
	// Load is the mean number of threads that ran or wanted to, in the minute
	// before the run.
	Load float64 `json:"load"`
}

// busy reports whether more wanted to run than could.
func (m *Machine) busy() bool { return m != nil && m.Load > float64(m.CPUs) }

// A Case is the figures over the handovers of one case.
type Case struct {
	Name    string             `json:"case"`
	Summary map[string]Figures `json:"summary"`
}

// Flows are the two directions, as far as they carried anything.
type Flows struct {
	Down *Flow `json:"down,omitempty"` // from the correspondent to the mobile node
	Up   *Flow `json:"up,omitempty"`
}

// Flow is the JSON form of traffic.Stats.
type Flow struct {
	Sent       int `json:"sent"`
	Received   int `json:"received"`
	Lost       int `json:"lost"`
	Duplicated int `json:"duplicated"`
	Reordered  int `json:"reordered"`
	// LostOnLinks are those of Lost that the bad links of the lab count; absent
	// when there are none.
	LostOnLinks *int `json:"lost_on_links,omitempty"`
	// LostOnAir are those of Lost that were handed to a device of the node's link and came out of none; absent where
	// nobody counts them.
	LostOnAir *int `json:"lost_on_air,omitempty"`
	// Refused are those of Lost that the node's kernel had routed to a device whose link had gone; absent where LostOnAir is.
	Refused *int `json:"refused,omitempty"`
	// These are absent when too little arrived to say.
	IntervalMS *float64 `json:"interval_ms,omitempty"`
	MaxGapMS   *float64 `json:"max_gap_ms,omitempty"`
	JitterMS   *float64 `json:"jitter_ms,omitempty"`
	DelayP50MS *float64 `json:"delay_p50_ms,omitempty"`
	DelayP99MS *float64 `json:"delay_p99_ms,omitempty"`
	DelayMaxMS *float64 `json:"delay_max_ms,omitempty"`
	// SentLateP50MS and SentLateP99MS say how exactly the lab sent: after a packet was due.
	SentLateP50MS *float64 `json:"sent_late_p50_ms,omitempty"`
	SentLateP99MS *float64 `json:"sent_late_p99_ms,omitempty"`
	// HandoverGapMS is the silence around the time without a link, and
	// HandoverJitterMS what it is longer than IntervalMS.
	HandoverGapMS    *float64 `json:"handover_gap_ms,omitempty"`
	HandoverJitterMS *float64 `json:"handover_jitter_ms,omitempty"`
}

// Copies are what a home agent sends beside the packets to one care-of address while a node is bound to several.
type Copies struct {
	CareOf  int     `json:"care_of"` // addresses at most
	BoundMS float64 `json:"bound_ms"`
	Packets int     `json:"packets"` // copies
	Of      int     `json:"of"`      // packets sent to the node in all, once each
}

// Radio is what a move by 802.11 needed of others.
type Radio struct {
	Point string `json:"point"` // where the node came
	// EAP is how many authentications the new access point began, by its log.
	EAP int `json:"eap"`
	// RADIUS is how many packets the authentication server saw from the last word at the old access point to the end
	// of the 4-way handshake at the new one.
	RADIUS int `json:"radius"`
	// Tries is how many moves it took, of which the last one was measured; absent where none is repeated.
	Tries int `json:"tries,omitempty"`
}

// Buffer is what the router of the new network held.
type Buffer struct {
	Packets     int      `json:"packets"` // at most, at the same time
	HeldMS      *float64 `json:"held_ms,omitempty"`
	Dropped     int      `json:"dropped"`
	ForcedFlips int      `json:"forced_flips"`
	// Reasons counts the dropped packets by reason.
	Reasons map[string]int `json:"reasons,omitempty"`
	// SizedPackets is for how many it made room by itself, and ExpectedMS for how long it
	// expected the node to be away; absent where the node did not leave a tunnel.
	SizedPackets *int     `json:"sized_packets,omitempty"`
	ExpectedMS   *float64 `json:"expected_ms,omitempty"`
}

// Figures are over all handovers that have the field, as many as Count.
type Figures struct {
	Count int     `json:"count"`
	Mean  float64 `json:"mean"`
	Min   float64 `json:"min"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// MS is a duration in milliseconds, to the microsecond.
func MS(d time.Duration) float64 {
	return math.Round(float64(d)/float64(time.Microsecond)) / 1000
}

// rounded takes the noise of the arithmetic away: to the microsecond.
func rounded(ms float64) float64 { return math.Round(ms*1000) / 1000 }

// Add adds the packets of another flow; its times are left out.
func (f *Flow) Add(o *Flow) {
	f.Sent, f.Received, f.Lost = f.Sent+o.Sent, f.Received+o.Received, f.Lost+o.Lost
	f.Duplicated, f.Reordered = f.Duplicated+o.Duplicated, f.Reordered+o.Reordered
}

// FromStats is the JSON form of a flow's figures.
func FromStats(s traffic.Stats) *Flow {
	f := &Flow{Sent: s.Sent, Received: s.Received, Lost: s.Lost, Duplicated: s.Duplicated, Reordered: s.Reordered}
	put := func(to **float64, d time.Duration) { v := MS(d); *to = &v }
	if s.Received > 0 {
		put(&f.DelayP50MS, s.MedianDelay)
		put(&f.DelayP99MS, s.P99Delay)
		put(&f.DelayMaxMS, s.MaxDelay)
		if s.MaxGap > 0 {
			put(&f.MaxGapMS, s.MaxGap)
		}
	}
	if s.Sent > 0 {
		put(&f.SentLateP50MS, s.MedianLate)
		put(&f.SentLateP99MS, s.P99Late)
	}
	if s.Received > 1 {
		put(&f.IntervalMS, s.Interval)
		put(&f.JitterMS, s.Jitter)
	}
	return f
}

// SetHandoverGap notes the silence around the time without a link.
func (f *Flow) SetHandoverGap(d time.Duration) {
	if d <= 0 || f.IntervalMS == nil {
		return
	}
	gap := MS(d)
	jitter := rounded(gap - *f.IntervalMS)
	f.HandoverGapMS, f.HandoverJitterMS = &gap, &jitter
}

// Clean reports whether nothing was lost, duplicated or reordered.
func (f *Flow) Clean() bool { return f.Lost == 0 && f.Duplicated == 0 && f.Reordered == 0 }

// SetFloor notes what the kernel alone takes from link up to the first
// packet, and what of the handover's own figure is beyond that.
func (h *Handover) SetFloor(d time.Duration) {
	floor := MS(d)
	h.Phases["l3_floor_ms"] = floor
	if l3, ok := h.Phases["l3_ms"]; ok {
		h.Phases["l3_beyond_floor_ms"] = rounded(l3 - floor)
	}
}

// Fields are the handover's numbers by their path in the JSON object, such
// as "flow.down.lost".
func (h Handover) Fields() map[string]float64 {
	m := make(map[string]float64)
	opt := func(name string, v *float64) {
		if v != nil {
			m[name] = *v
		}
	}
	for name, f := range map[string]*Flow{"flow.down.": h.Flow.Down, "flow.up.": h.Flow.Up} {
		if f == nil {
			continue
		}
		m[name+"sent"] = float64(f.Sent)
		m[name+"received"] = float64(f.Received)
		m[name+"lost"] = float64(f.Lost)
		m[name+"duplicated"] = float64(f.Duplicated)
		m[name+"reordered"] = float64(f.Reordered)
		if f.LostOnLinks != nil {
			m[name+"lost_on_links"] = float64(*f.LostOnLinks)
		}
		if f.LostOnAir != nil {
			m[name+"lost_on_air"] = float64(*f.LostOnAir)
		}
		if f.Refused != nil {
			m[name+"refused"] = float64(*f.Refused)
		}
		opt(name+"interval_ms", f.IntervalMS)
		opt(name+"max_gap_ms", f.MaxGapMS)
		opt(name+"jitter_ms", f.JitterMS)
		opt(name+"delay_p50_ms", f.DelayP50MS)
		opt(name+"delay_p99_ms", f.DelayP99MS)
		opt(name+"delay_max_ms", f.DelayMaxMS)
		opt(name+"sent_late_p50_ms", f.SentLateP50MS)
		opt(name+"sent_late_p99_ms", f.SentLateP99MS)
		opt(name+"handover_gap_ms", f.HandoverGapMS)
		opt(name+"handover_jitter_ms", f.HandoverJitterMS)
	}
	if s := h.TCP; s != nil {
		for name, v := range map[string]int64{
			"timeouts": s.Timeouts, "spurious": s.Spurious, "retransmitted": s.Retransmitted, "probes": s.Probes, "needless": s.Needless, "out_of_order": s.OutOfOrder,
		} {
			m["tcp."+name] = float64(v)
		}
		m["tcp.mbit_s"], m["tcp.pause_ms"] = s.MbitS, s.PauseMS
	}
	for k, v := range h.Phases {
		m["phases."+k] = v
	}
	if c := h.Copies; c != nil {
		m["copies.care_of"], m["copies.bound_ms"], m["copies.packets"], m["copies.of"] = float64(c.CareOf), c.BoundMS, float64(c.Packets), float64(c.Of)
	}
	if r := h.Radio; r != nil {
		m["radio.eap"], m["radio.radius"] = float64(r.EAP), float64(r.RADIUS)
		if r.Tries > 0 {
			m["radio.tries"] = float64(r.Tries)
		}
	}
	if b := h.Buffer; b != nil {
		m["buffer.packets"] = float64(b.Packets)
		m["buffer.dropped"] = float64(b.Dropped)
		m["buffer.forced_flips"] = float64(b.ForcedFlips)
		opt("buffer.held_ms", b.HeldMS)
		opt("buffer.expected_ms", b.ExpectedMS)
		if b.SizedPackets != nil {
			m["buffer.sized_packets"] = float64(*b.SizedPackets)
		}
	}
	return m
}

// Summarize fills in the summary.
func (r *Result) Summarize() { r.Summary = summarize(r.Handovers) }

// SummarizeCases fills in the figures of each case instead: over different
// cases there is nothing to say.
func (r *Result) SummarizeCases() {
	r.Summary, r.Cases = map[string]Figures{}, nil
	of := make(map[string][]Handover)
	var names []string
	for _, h := range r.Handovers {
		if of[h.Case] == nil {
			names = append(names, h.Case)
		}
		of[h.Case] = append(of[h.Case], h)
	}
	for _, n := range names {
		r.Cases = append(r.Cases, Case{Name: n, Summary: summarize(of[n])})
	}
}

func summarize(hs []Handover) map[string]Figures {
	all := make(map[string][]float64)
	for _, h := range hs {
		for k, v := range h.Fields() {
			all[k] = append(all[k], v)
		}
	}
	out := make(map[string]Figures, len(all))
	for k, v := range all {
		out[k] = figures(v)
	}
	return out
}

// figures sorts v, which must not be empty.
func figures(v []float64) Figures {
	slices.Sort(v)
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return Figures{
		Count: len(v), Mean: rounded(sum / float64(len(v))),
		Min: v[0], P50: percentile(v, 50), P90: percentile(v, 90), P99: percentile(v, 99), Max: v[len(v)-1],
	}
}

// percentile of sorted values, by the nearest rank.
func percentile(v []float64, p int) float64 {
	return v[max((len(v)*p+99)/100, 1)-1]
}

// DropTracks takes out what is there for pictures only.
func (r *Result) DropTracks() {
	for i := range r.Handovers {
		r.Handovers[i].Track = nil
	}
	for _, j := range r.Journeys {
		if j.Policy != nil {
			j.Policy.Way = nil
		}
	}
}

// ReadJSON reads what WriteJSON wrote.
func ReadJSON(path string) (*Result, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	r := &Result{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("report: %s is not what `lab run --json` writes: %w", path, err)
	}
	if r.Scenario == "" {
		return nil, fmt.Errorf("report: %s is not what `lab run --json` writes: it names no scenario", path)
	}
	return r, nil
}

// WriteJSON writes the result to a file, or to standard output for "-".
func (r *Result) WriteJSON(path string) error { return WriteJSON(path, r) }

// WriteJSON writes results to a file, or to standard output for "-".
func WriteJSON(path string, results any) error {
	b, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	b = append(b, '\n')
	if path == "-" {
		_, err = os.Stdout.Write(b)
	} else {
		err = os.WriteFile(path, b, 0o644)
	}
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}
