package discover

import (
	"slices"
	"time"

	"openmpa/internal/neighbourhood"
)

// Status is what is known of the neighbourhood, for people and programs.
type Status struct {
	Networks       []NetworkStatus               `json:"networks"`
	Contradictions []neighbourhood.Contradiction `json:"contradictions,omitempty"`
	Sources        []SourceStatus                `json:"sources"`
	Place          *PlaceStatus                  `json:"place,omitempty"`
	Counts         neighbourhood.Counts          `json:"counts"`
}

// NetworkStatus is a network as all sources together have it.
type NetworkStatus struct {
	neighbourhood.Network
	From []neighbourhood.Source `json:"from"`             // the most trusted first
	Left float64                `json:"left_s,omitempty"` // until something of it is over; absent: it stays
}

// SourceStatus is about a source.
type SourceStatus struct {
	neighbourhood.Source
	Networks int     `json:"networks"` // that it spoke of
	Age      float64 `json:"age_s"`
	Left     float64 `json:"left_s,omitempty"` // absent: what it said stays
}

// PlaceStatus is where the node is.
type PlaceStatus struct {
	Where   neighbourhood.Location `json:"where"`
	Age     float64                `json:"age_s"`
	Speed   *float64               `json:"speed_mps,omitempty"`
	Heading *float64               `json:"heading_rad,omitempty"` // anticlockwise from east
}

// Counts says how much is known now, and how much was refused.
func (s *Service) Counts() neighbourhood.Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.table.Counts(time.Now())
}

// Status is what is known now.
func (s *Service) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	out := Status{Networks: []NetworkStatus{}, Sources: []SourceStatus{}, Counts: s.table.Counts(now), Contradictions: s.table.Contradictions(now)}
	for _, k := range s.table.Networks(now) {
		out.Networks = append(out.Networks, NetworkStatus{Network: k.Network, From: slices.Clone(k.From), Left: until(now, k.Until)})
	}
	for _, from := range s.table.Sources(now) {
		what := s.said[from]
		one := SourceStatus{Source: from, Networks: what.networks, Age: now.Sub(what.at).Seconds()}
		if what.lifetime > 0 {
			one.Left = until(now, what.at.Add(what.lifetime))
		}
		out.Sources = append(out.Sources, one)
	}
	if f, ok := s.Fix(); ok {
		p := &PlaceStatus{Where: f.Where, Age: now.Sub(f.At).Seconds()}
		if f.Speed >= 0 {
			p.Speed = &f.Speed
		}
		if f.Speed > 0 {
			p.Heading = &f.Heading
		}
		out.Place = p
	}
	return out
}

// until is how many seconds there are; 0 for the zero time.
func until(now, end time.Time) float64 {
	if end.IsZero() {
		return 0
	}
	return max(end.Sub(now).Seconds(), 0)
}
