package link

import (
	"testing"

	"openmpa/internal/wpactrl"
)

// TestLearn: places that were learned count where the configuration has none, until others are learned.
func TestLearn(t *testing.T) {
	mac := func(s string) wpactrl.MAC {
		m, err := wpactrl.ParseMAC(s)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	const ours, learned = "02:00:00:00:0b:01", "02:00:00:00:0b:02"
	s := &Supplicant{
		cfg:   SupplicantConfig{Points: map[string]Place{"b1": {BSSID: mac(ours), Network: 3, SSID: "site-b"}}},
		names: map[wpactrl.MAC]string{mac(ours): "b1"},
	}
	place := func(name string, want Place) {
		t.Helper()
		if got, err := s.place(name); err != nil || got != want {
			t.Errorf("%s is at %+v, %v, expected %+v", name, got, err, want)
		}
	}
	place(learned, Place{BSSID: mac(learned), Network: AnyNetwork})
	there := Place{BSSID: mac(learned), Network: AnyNetwork, SSID: "site-a", Freq: 2412}
	s.Learn(map[string]Place{learned: there, ours: {BSSID: mac(ours), SSID: "evil"}})
	place(learned, there)
	place(ours, s.cfg.Points["b1"])
	place("b1", s.cfg.Points["b1"])
	s.Learn(nil)
	place(learned, Place{BSSID: mac(learned), Network: AnyNetwork})
}
