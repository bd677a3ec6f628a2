package main

import (
	"net/netip"

	"openmpa/internal/neighbourhood"
	"openmpa/mn"
	"openmpa/mn/discover"
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
