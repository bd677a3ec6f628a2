package scenario

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"openmpa/internal/wpactrl"
	"openmpa/testbed/bed"
	"openmpa/testbed/radio"
	"openmpa/testbed/topo"
)

// radios are those of a lab, as the bed has them before anybody changes them.
func radios() *bed.Radio {
	all := &bed.Radio{}
	for i, a := range topo.Antennas() {
		p := &bed.AccessPoint{Antenna: a, BSSID: wpactrl.MAC{2, 0, 0, 0, byte(i)}}
		p.AP = radio.AP{Name: bed.APName(a.Point), Interface: a.Interface, Channel: a.Channel, BSSes: []radio.BSS{{
			SSID: a.SSID, Bridge: a.Bridge, Own: a.Address, Server: netip.AddrPortFrom(topo.AAAServer, 1812), Secret: "s", NASID: a.Point,
		}}}
		all.APs = append(all.APs, p)
	}
	all.Station.Networks = []radio.ESS{{SSID: "site-b"}, {SSID: "site-a", Disabled: true}}
	return all
}

// TestNetworksOfFigure10: the two points have a BSS of each mode, all addresses
// differ, and the station joins none of them by itself.
func TestNetworksOfFigure10(t *testing.T) {
	all := radios()
	addNetworks(all)
	var seen []wpactrl.MAC
	for _, a := range all.APs {
		want := 1
		if slices.Contains(figure10Points[:], a.Point) {
			want += len(plainModes)
		}
		if len(a.AP.BSSes) != want {
			t.Fatalf("%s has %d BSSes, expected %d", a.Point, len(a.AP.BSSes), want)
		}
		for i, b := range a.AP.BSSes {
			bssid := b.BSSID
			if i == 0 {
				bssid = a.BSSID
			} else if b.Mode != plainModes[i-1] || b.Bridge != dsBridge || b.Interface == a.Interface || len(b.Interface) > 15 {
				t.Errorf("%s: %+v", a.Point, b)
			}
			if slices.Contains(seen, bssid) {
				t.Errorf("%s: BSSID %v is not the only one", a.Point, bssid)
			}
			seen = append(seen, bssid)
			if (b.Domain != nil) != (b.Mode == radio.FT) || b.Domain != nil && len(b.Domain.Holders) != len(figure10Points) {
				t.Errorf("%s: mode %v, domain %+v", a.Point, b.Mode, b.Domain)
			}
		}
		if a.SSID != a.AP.BSSes[0].SSID || a.SSID != all.APs[0].SSID {
			t.Errorf("%s: SSID %q and %q, expected one name for all", a.Point, a.SSID, a.AP.BSSes[0].SSID)
		}
	}
	for i, n := range all.Station.Networks {
		if n.Disabled != (i > 0) || (n.Mode == radio.Installed) != (i == 0) {
			t.Errorf("network %d: %+v", i, n)
		}
	}
	for _, w := range plainWays {
		if got := all.AP(figure10Points[0]).AP.BSSes[w.ess].Mode; got != w.mode {
			t.Errorf("%s is at BSS %d, which has mode %v, expected %v", w.name, w.ess, got, w.mode)
		}
	}
}

// TestDS: both routers have a port of the bridge.
func TestDS(t *testing.T) {
	p := topo.Wireless()
	addDS(&p)
	with := 0
	for _, n := range p.Nodes {
		if slices.Contains(n.Bridges, dsBridge) {
			with++
		}
	}
	if l := p.Links[len(p.Links)-1]; with != 2 || l.A.Bridge != dsBridge || l.B.Bridge != dsBridge {
		t.Errorf("%d bridges, %+v", with, l)
	}
}

// TestRadioFaultsAreWhole: each can be made, seen and made right again.
func TestRadioFaultsAreWhole(t *testing.T) {
	var names []string
	for _, f := range radioFaults() {
		if slices.Contains(names, f.name) {
			t.Errorf("%s is there twice", f.name)
		}
		names = append(names, f.name)
		if f.strike == nil || f.seen == nil || f.healed == nil || len(f.outcomes) == 0 {
			t.Errorf("%s lacks something", f.name)
		}
		if (f.heal == nil) == (f.late == nil) {
			t.Errorf("%s: expected one of heal and late", f.name)
		}
	}
}

func TestPollEnds(t *testing.T) {
	n := 0
	if err := poll(t.Context(), time.Minute, func() bool { n++; return n == 2 }); err != nil || n != 2 {
		t.Errorf("%d, %v", n, err)
	}
	if err := poll(t.Context(), time.Millisecond, func() bool { return false }); err == nil {
		t.Error("it never holds, and that is well")
	}
}
