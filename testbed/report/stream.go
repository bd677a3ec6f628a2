package report

import (
	"fmt"
	"math"
	"time"

	"openmpa/testbed/traffic"
)

// A Stream is what became of a TCP connection in a time.
type Stream struct {
	// Case and Direction say which one, where that is not said elsewhere.
	Case      string  `json:"case,omitempty"`
	Direction string  `json:"direction,omitempty"`
	Handovers int     `json:"handovers,omitempty"` // in that time
	Seconds   float64 `json:"seconds"`
	Octets    int64   `json:"octets"` // received
	MbitS     float64 `json:"mbit_s"`
	PauseMS   float64 `json:"pause_ms"` // the longest without an octet
	// The counters of the sender's kernel; OutOfOrder is the receiver's.
	Retransmitted int64 `json:"retransmitted"` // segments
	Timeouts      int64 `json:"timeouts"`
	Spurious      int64 `json:"spurious"` // of Timeouts: without a cause, as the sender found
	Probes        int64 `json:"probes"`   // tail loss probes, with new octets or old ones
	Needless      int64 `json:"needless"` // of Retransmitted: the receiver had them already
	OutOfOrder    int64 `json:"out_of_order"`
	// RTTMS is the sender's smoothed estimate at the end.
	RTTMS      float64 `json:"rtt_ms,omitempty"`
	Congestion string  `json:"congestion,omitempty"` // the sender's algorithm
}

// Name is the stream's name in tables, and the case of its handovers.
func (s *Stream) Name() string { return s.Direction + ", " + s.Case }

// Measure is what the two ends counted while a stream carried octets for a time.
func (s *Stream) Measure(octets int64, d time.Duration, sender, receiver traffic.TCPCount) {
	s.Octets, s.Seconds = octets, MS(d)/1000
	if d > 0 {
		s.MbitS = math.Round(float64(octets)*8/d.Seconds()/1e4) / 100
	}
	s.Retransmitted, s.Timeouts, s.Spurious, s.Probes, s.Needless = sender.Retransmitted, sender.Timeouts, sender.Spurious, sender.Probes, sender.Needless
	s.OutOfOrder = receiver.OutOfOrder
}

// StreamTable shows the streams of a run, a line each; empty without any.
func StreamTable(r *Result) string {
	if len(r.Streams) == 0 {
		return ""
	}
	of := make(map[string]map[string]Figures)
	for _, c := range r.Cases {
		of[c.Name] = c.Summary
	}
	rows := [][]string{{"", "moves", "s", "Mbit/s", "time-outs", "sent again", "needless", "probes", "out of order", "longest pause", "in a move, median", "RTT"}}
	for _, s := range r.Streams {
		pause, moved := of[s.Name()]["tcp.pause_ms"]
		n := func(v int64) string { return fmt.Sprint(v) }
		rows = append(rows, []string{
			s.Name(), fmt.Sprint(s.Handovers), fmt.Sprintf("%.1f", s.Seconds), fmt.Sprintf("%.1f", s.MbitS),
			n(s.Timeouts), n(s.Retransmitted), n(s.Needless), n(s.Probes), n(s.OutOfOrder),
			Cell(s.PauseMS, true, "ms"), Cell(pause.P50, moved, "ms"), Cell(s.RTTMS, s.RTTMS > 0, "ms"),
		})
	}
	return "time-outs: for retransmission. sent again: segments; needless: of them, the receiver had them. probes: of tail loss, by new or old segments\n" + Table(rows)
}
