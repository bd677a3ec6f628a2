package discover

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/internal/neighbourhood"
)

// neighbourhoodOf is what is known: a and b have SSIDs of their own, c and d one together.
func neighbourhoodOf() []neighbourhood.Known {
	net := func(name, point, ssid string) neighbourhood.Known {
		return neighbourhood.Known{Network: neighbourhood.Network{Name: name, Points: []neighbourhood.Point{{Name: point, SSID: ssid}}}}
	}
	return []neighbourhood.Known{net("a", "a1", "site-a"), net("b", "b1", "site-b"), net("c", "c1", "shared"), net("d", "d1", "shared"), net("e", "e1", "")}
}

// TestAttribute: which network what was seen is of.
func TestAttribute(t *testing.T) {
	seen := []Sight{
		{Point: "a1", SSID: "site-a", Freq: 2412, Signal: -50},
		{Point: "a2", SSID: "site-a", Freq: 2437, Signal: -60},
		{Point: "b1", SSID: "site-a", Freq: 2437, Signal: -60}, // it stays b's, whatever it sends
		{Point: "x1", SSID: "shared"},
		{Point: "x2", SSID: "other"},
		{Point: "x3"},
		{Point: "a3", SSID: "site-a", Age: time.Hour},
	}
	here := reporter{point: "a1", network: "a", sights: []Sight{{Point: "r1", Freq: 5180}, {Point: "c1", Freq: 5200}, {Point: "a2", Freq: 1}}}
	for unknown, want := range map[bool]string{
		false: "a[a1/site-a/2412] b[b1/site-a/2437] c[c1//5200]",
		true:  "a[a1/site-a/2412 a2/site-a/2437 r1//5180] b[b1/site-a/2437] c[c1//5200]",
	} {
		h := here
		if !unknown {
			h.sights = h.sights[1:2]
		}
		got := ""
		for _, n := range attribute(seen, h, neighbourhoodOf(), unknown) {
			got += " " + n.Name + "["
			for i, p := range n.Points {
				if i > 0 {
					got += " "
				}
				got += fmt.Sprintf("%s/%s/%d", p.Name, p.SSID, p.Freq)
			}
			got += "]"
		}
		if got[1:] != want {
			t.Errorf("unknown points %v: %s, expected %s", unknown, got[1:], want)
		}
	}
}

// TestCrowdedAir: thousands of access points with a network's SSID are bounded, and what the configuration says stays.
func TestCrowdedAir(t *testing.T) {
	var seen []Sight
	for i := range 5000 {
		seen = append(seen, Sight{Point: fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&255), SSID: "site-a", Freq: 2412, Signal: -40})
	}
	seen = append(seen[:100], append([]Sight{{Point: "a1", SSID: "site-a", Signal: -80}}, seen[100:]...)...)
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Networks: []neighbourhood.Network{{Name: "a", Points: []neighbourhood.Point{{Name: "a1", SSID: "site-a"}}}}, Log: quiet})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		said := 0
		Air{Seen: func(context.Context) ([]Sight, error) { return seen, nil }, Known: s.Known, Unknown: true, Log: quiet}.Run(ctx, func(st Statement) {
			said++
			s.Say(st)
		})
		if said < 6 || said > 10 {
			t.Errorf("said the same %d times in two minutes", said)
		}
		a := s.Known()[0]
		if len(a.Points) > neighbourhood.MaxPoints || !slices.ContainsFunc(a.Points, func(p neighbourhood.Point) bool { return p.Name == "a1" }) {
			t.Errorf("%d points: %+v", len(a.Points), a.Points)
		}
	})
}

// TestReporter: each point is asked once.
func TestReporter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		var at atomic.Pointer[string]
		first := "a1"
		at.Store(&first)
		a := Air{
			Seen:     func(context.Context) ([]Sight, error) { return nil, nil },
			Reported: func(context.Context) ([]Sight, error) { asked++; return []Sight{{Point: "r" + *at.Load()}}, nil },
			Present:  func(context.Context) (string, string) { return *at.Load(), (*at.Load())[:1] },
			Known:    neighbourhoodOf, Unknown: true, Log: quiet,
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var last Statement
		go func() { time.Sleep(31 * time.Second); next := "b1"; at.Store(&next) }()
		a.Run(ctx, func(st Statement) { last = st })
		if asked != 2 || len(last.Networks) != 1 || last.Networks[0].Name != "b" || last.Networks[0].Points[0].Name != "rb1" {
			t.Errorf("asked %d times, said %+v", asked, last)
		}
	})
}
