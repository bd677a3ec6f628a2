package config

import (
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/tunnel/esp"
)

func TestTunnel(t *testing.T) {
	type tunnel struct {
		Suites []Suite `yaml:"suites"`
		Rekey  Rekey   `yaml:"rekey"`
	}
	got, err := Parse[tunnel]("x.yaml", []byte("suites: [chacha20-poly1305, aes-256-gcm]\nrekey: {after: 10m, packets: 5000}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if s := Transforms(got.Suites); !slices.Equal(s, []esp.Transform{esp.ChaCha20, esp.AES256GCM}) {
		t.Errorf("suites %v", s)
	}
	if l := got.Rekey.Limits(); l != (esp.RekeyLimits{Age: 10 * time.Minute, Packets: 5000, Octets: 256 << 30}) || got.Rekey.Check() != nil {
		t.Errorf("limits %+v, %v", l, got.Rekey.Check())
	}
	if l := (Rekey{}).Limits(); l.Age != time.Hour || l.Hard() <= l.Age || (Rekey{}).Check() != nil {
		t.Errorf("by default %+v", l)
	}
	type wrapped struct {
		In Encapsulation `yaml:"in"`
	}
	for text, plain := range map[string]bool{"in: ipip": true, "in: esp": false, "{}": false} {
		if c, err := Parse[wrapped]("x.yaml", []byte(text)); err != nil || c.In.Plain() != plain {
			t.Errorf("%s: %v, %v", text, c.In, err)
		}
	}
	if _, err := Parse[wrapped]("x.yaml", []byte("in: gre")); err == nil {
		t.Error("gre is one")
	}
	if Transforms(nil) != nil {
		t.Error("no suites are some")
	}
	if _, err := Parse[tunnel]("x.yaml", []byte("suites: [des]\n")); err == nil || !strings.Contains(err.Error(), "aes-128-gcm") {
		t.Errorf("des: %v", err)
	}
	for _, r := range []Rekey{{After: 1}, {Packets: 1}, {Octets: 1}} {
		if r.Check() == nil {
			t.Errorf("%+v is fine", r)
		}
	}
}
