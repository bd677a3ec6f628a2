package main

import (
	"net/netip"
	"time"

	"openmpa/internal/neighbourhood"
	"openmpa/mn"
	"openmpa/mn/discover"
	"openmpa/par/info"
)

// fakeNetworks is what a node knows whose router lies about b.
func fakeNetworks() mn.Surroundings {
	router, configured := neighbourhood.Source{Kind: neighbourhood.Router, Name: "b"}, neighbourhood.Source{Name: "configuration"}
	paa := func(a string) []neighbourhood.Agent {
		return []neighbourhood.Agent{{Role: neighbourhood.PAA, Addr: netip.MustParseAddrPort(a)}}
	}
	cost, busy := float32(3), float32(0.4)
	return mn.Surroundings{
		Point: "poa-b1", Follows: map[string]float64{"02:00:00:00:0a:01": 0.75},
		Status: discover.Status{
			Networks: []discover.NetworkStatus{
				{Network: neighbourhood.Network{
					Name: "a", Agents: paa("10.2.0.1:716"), Cost: &cost,
					Points: []neighbourhood.Point{{Name: "02:00:00:00:0a:01", SSID: "site\x1b[2Ja", Freq: 2437, Security: neighbourhood.WPAEAP, Load: &busy}},
				}, From: []neighbourhood.Source{router}, Left: 90},
				{Network: neighbourhood.Network{Name: "b", Agents: paa("10.1.0.1:716"), Points: []neighbourhood.Point{{Name: "poa-b1"}}}, From: []neighbourhood.Source{configured, router}},
			},
			Contradictions: []neighbourhood.Contradiction{{Network: "b", Field: "paa", Kept: "10.1.0.1:716", KeptBy: configured, Dropped: "10.66.0.1:716", By: router}},
			Place:          &discover.PlaceStatus{Where: neighbourhood.Location{Plan: "hall", X: 3, Y: 4}, Age: 0.5},
			Counts:         neighbourhood.Counts{Networks: 2, Contradictions: 3, Crowded: 7},
		},
	}
}

// fakeAround is what a router knows that hears one neighbour of two.
func fakeAround() info.Status {
	now := time.Now()
	paa := func(a string) []neighbourhood.Agent {
		return []neighbourhood.Agent{{Role: neighbourhood.PAA, Addr: netip.MustParseAddrPort(a)}}
	}
	half := float32(0.5)
	c := neighbourhood.Source{Kind: neighbourhood.Router, Name: "c"}
	return info.Status{
		Network: "a",
		Networks: []neighbourhood.Known{
			{Network: neighbourhood.Network{Name: "a", Agents: paa("10.2.0.1:716"), Points: []neighbourhood.Point{{Name: "poa-a", Load: &half}}}, From: []neighbourhood.Source{{}}},
			{Network: neighbourhood.Network{Name: "c", Agents: paa("10.3.0.1:716")}, From: []neighbourhood.Source{c}, Until: now.Add(90*time.Second + 500*time.Millisecond)},
		},
		Contradictions: []neighbourhood.Contradiction{{Network: "c", Field: "paa", Kept: "10.3.0.1:716", KeptBy: c, Dropped: "10.9.0.1:716", By: neighbourhood.Source{Kind: neighbourhood.Router, Name: "d"}}},
		Table:          neighbourhood.Counts{Contradictions: 1},
		Neighbours: []info.NeighbourStatus{
			{Network: "b", Address: "10.0.1.1:7161", Identity: "ar.b.example", Why: "expected the router\nar.b.example"},
			{Network: "c", From: "10.0.1.3:50000", Identity: "ar.c.example", Up: true, Heard: now.Add(-1500 * time.Millisecond), Networks: 3},
		},
	}
}
