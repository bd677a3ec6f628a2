package main

import (
	"testing"
	"time"

	"openmpa/internal/event"
)

func TestClues(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := cluesOf([]event.Event{
		{Node: "mn", Time: at, Phase: event.PhaseAuth, Kind: event.KindEnd, Duration: time.Second, Attrs: map[string]any{"from": "10.1.0.100:4000"}},
		{Node: "mn", Time: at, Phase: event.PhaseBind, Kind: event.KindEnd, Attrs: map[string]any{"path": "eeab"}},
		{Node: "mn", Time: at, Phase: event.PhaseBind, Kind: event.KindEnd, Attrs: map[string]any{"path": "0000000000000000"}},
	})
	for name, x := range map[string]struct {
		e    event.Event
		want bool
	}{
		"home agent":       {event.Event{Node: "ha", Time: at, Phase: event.PhaseBind, Attrs: map[string]any{"path": "eeab"}}, true},
		"first binding":    {event.Event{Node: "ha", Time: at, Phase: event.PhaseBind, Attrs: map[string]any{"path": "0000000000000000"}}, false},
		"no path":          {event.Event{Node: "ha", Time: at, Phase: event.PhaseBind}, false},
		"router":           {event.Event{Node: "a", Time: at.Add(-time.Second), Phase: event.PhaseAuth, Attrs: map[string]any{"peer": "10.1.0.100:4000"}}, true},
		"other session":    {event.Event{Node: "a", Time: at, Phase: event.PhaseAuth, Attrs: map[string]any{"peer": "10.1.0.100:4001"}}, false},
		"AAA":              {event.Event{Node: "aaa", Time: at, Phase: event.PhaseAuth, Attrs: map[string]any{"station": "10.1.0.100"}}, true},
		"other node":       {event.Event{Node: "aaa", Time: at, Phase: event.PhaseAuth, Attrs: map[string]any{"station": "10.1.0.101"}}, false},
		"another time":     {event.Event{Node: "aaa", Time: at.Add(time.Second), Phase: event.PhaseAuth, Attrs: map[string]any{"station": "10.1.0.100"}}, false},
		"another phase":    {event.Event{Node: "a", Time: at, Phase: event.PhaseDHCP, Attrs: map[string]any{"peer": "10.1.0.100:4000"}}, false},
		"the node's other": {event.Event{Node: "mn", Time: at, Phase: event.PhaseAuth, Attrs: map[string]any{"peer": "10.1.0.100:4000"}}, false},
	} {
		if got := c.fit(x.e); got != x.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestCluesBehindATranslator: the router sees another address than the node has,
// but the same session, and tells the AAA server what it sees.
func TestCluesBehindATranslator(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	auth := func(node string, attrs map[string]any) event.Event {
		return event.Event{Node: node, Time: at, Phase: event.PhaseAuth, Kind: event.KindEnd, Duration: time.Second, Attrs: attrs}
	}
	c := cluesOf([]event.Event{auth("mn", map[string]any{"from": "10.1.0.100:4000", "session": "0000beef"})})
	router := auth("a", map[string]any{"peer": "10.0.1.1:20011", "session": "0000beef"})
	another := auth("b", map[string]any{"peer": "10.9.9.9:1", "session": "0000dead"})
	server := auth("aaa", map[string]any{"station": "10.0.1.1"})
	late := router
	late.Time = at.Add(time.Minute)
	late.Attrs = map[string]any{"peer": "10.8.8.8:1", "session": "0000beef"}
	c.follow([][]event.Event{{server}, {another}, {router, late}})
	for name, x := range map[string]struct {
		e    event.Event
		want bool
	}{
		"router":             {router, true},
		"AAA server":         {server, true},
		"another session":    {another, false},
		"the same, later on": {late, false},
		"another's station":  {auth("aaa", map[string]any{"station": "10.9.9.9"}), false},
	} {
		if got := c.fit(x.e); got != x.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAttrText(t *testing.T) {
	got := attrText(map[string]any{"rtt_ms": 1.529074, "tries": 1, "reasons": map[string]any{}, "more": map[string]any{"full": 3.0, "age": 1.0}, "none": nil})
	if want := "more=age=1,full=3 rtt_ms=1.529 tries=1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
