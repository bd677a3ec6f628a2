package main

import (
	"log/slog"
	"strings"
	"testing"

	"openmpa/internal/config"
	"openmpa/internal/neighbourhood"
	"openmpa/mn/discover"
)

// TestDiscovery: what the file says of networks, and of where more is learned.
func TestDiscovery(t *testing.T) {
	with := func(edits ...string) configuration {
		t.Helper()
		c, err := config.Parse[configuration]("mn.yaml", []byte(strings.NewReplacer(edits...).Replace(example)))
		if err != nil {
			t.Fatal(err)
		}
		return c.withDefaults()
	}
	a := with().networks()[1].About
	p := a.Points[0]
	if *a.Cost != 3 || a.Operator != "home.example" || a.Prefixes[0].String() != "10.2.0.0/24" || len(a.Agents) != 2 || a.Agents[1].Identity != "ar.a.example" ||
		p.SSID != "site-a" || p.Freq != 2437 || p.Security != neighbourhood.WPAEAP || *p.Location != (neighbourhood.Location{Plan: "hall", X: 12, Y: 4}) || p.Reach != 40 {
		t.Errorf("%+v", a)
	}
	d := with().discovery(slog.Default())
	if !d.Router || d.Locator != nil || d.Aliases["02:00:00:00:0a:02"] != "poa-a2" {
		t.Errorf("%+v", d)
	}
	if d := with("discovery: {router: true, dns: true}", "discovery: {router: false, position: {gpsd: 'localhost:2947'}}").discovery(slog.Default()); d.Router || d.Locator.(discover.GPSD).Addr != "localhost:2947" {
		t.Errorf("%+v", d)
	}
	if d := with("discovery: {router: true, dns: true}", "discovery: {position: {file: /run/place, plan: hall}}").discovery(slog.Default()); !d.Router || d.Locator.(discover.File).Plan != "hall" {
		t.Errorf("%+v", d)
	}
	if p := with("location: {plan: hall, x: 12, y: 4}", "location: {lat: 47.37, lon: 8.54, alt: 400}").networks()[1].About.Points[0]; *p.Location != (neighbourhood.Location{X: 8.54, Y: 47.37, Alt: 400}) {
		t.Errorf("%+v", p.Location)
	}
}
