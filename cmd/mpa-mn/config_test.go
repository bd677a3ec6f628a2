package main

import (
	"crypto/tls"
	"strings"
	"testing"

	"openmpa/internal/config"
	"openmpa/mn"
)

func TestExample(t *testing.T) {
	c, err := config.Parse[configuration]("mn.yaml", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	c = c.withDefaults()
	n := c.networks()
	if len(n) != 2 || n[1].PAA.String() != "10.2.0.1:716" || tlsVersion(c.EAP.MaxVersion) != tls.VersionTLS13 {
		t.Errorf("%+v", n)
	}
	if c.timers() != mn.DefaultTimers() {
		t.Errorf("timers %+v", c.timers())
	}
}

func TestMistakes(t *testing.T) {
	for name, edit := range map[string][2]string{
		"no server name":    {"  server-name: aaa.home.example ", "  server-name: '' "},
		"no key":            {"  key: mn.key\n", ""},
		"two of one name":   {"- name: a\n", "- name: b\n"},
		"point in two nets": {"{name: poa-a1,", "{name: poa-b1,"},
		"no points":         {"[{name: poa-b1, bssid: 02:00:00:00:0b:01, ssid: site-b, freq: 2412}]", "[]"},
		"IPv6 home agent":   {"home-agent: 10.0.3.1", "home-agent: 2001:db8::1"},
		"reserved SPI":      {"spi: 256", "spi: 255"},
		"unknown algorithm": {"hmac-sha256", "rot13"},
		"large MTU":         {"mtu: 1400", "mtu: 1500"},
		"unknown key":       {"prepare: true", "prepared: true"},
		"DAD backwards":     {"probe-max: 2s", "probe-max: 500ms"},
		"other link":        {"type: auto", "type: magic"},
		"hasty pings":       {"ping: 15s", "ping: 15ms"},
		"no identity":       {"identity: mn@home.example", "identity: ''"},
		"not a duration":    {"lifetime: 600s", "lifetime: 600"},
	} {
		text := strings.Replace(example, edit[0], edit[1], 1)
		if text == example {
			t.Fatalf("%s: the example does not contain %q", name, edit[0])
		}
		_, err := config.Parse[configuration]("mn.yaml", []byte(text))
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if !strings.Contains(err.Error(), "mn.yaml:") {
			t.Errorf("%s: no place in %q", name, err)
		}
	}
}
