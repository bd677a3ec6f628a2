package main

import (
	"strings"
	"testing"
	"time"

	"openmpa/internal/config"
	"openmpa/par"
)

func TestExample(t *testing.T) {
	c, err := config.Parse[configuration]("ar.yaml", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	c = c.withDefaults()
	if len(c.Tunnel.Suites) != 3 || c.Tunnel.Rekey.Limits().Age != time.Hour || c.listen().String() != "10.2.0.1:716" || len(c.AAA) != 1 || c.AAA[0].RADIUS.Timeout == 0 {
		t.Errorf("%+v", c)
	}
}

func TestBuffer(t *testing.T) {
	own := par.DefaultBuffer()
	for text, want := range map[string]func(*par.Buffer){
		"buffer: {packets: 4096, bytes: 8MiB, age: 10s}": func(b *par.Buffer) { b.Each.Packets, b.Each.Bytes = 4096, 8<<20 }, // as before there was more to say
		"buffer: {packets: 7}":                           func(b *par.Buffer) { b.Each.Packets = 7 },
		"buffer: {packets: 100000, bytes: 1GiB}": func(b *par.Buffer) {
			b.Each.Packets, b.Each.Bytes, b.All.Packets, b.All.Bytes = 100000, 1<<30, 100000, 1<<30
		},
		"buffer: {packets: 0, age: 1s}":     func(b *par.Buffer) { b.Each.MaxAge = time.Second },
		"buffer: {router: {packets: 100}}":  func(b *par.Buffer) { b.All.Packets, b.Each.Packets = 100, 100 },
		"buffer: {gap: 0s, spare: 0}":       func(b *par.Buffer) { b.Gap, b.Spare = 0, 0 },
		"buffer: {guarantee: {packets: 3}}": func(b *par.Buffer) { b.Guaranteed.Packets = 3 },
		"buffer: {off: true, packets: 10}":  func(b *par.Buffer) { *b = par.Buffer{} },
		"#":                                 func(*par.Buffer) {},
	} {
		begin, end := strings.Index(example, "buffer:"), strings.Index(example, "# 802.11")
		c, err := config.Parse[configuration]("ar.yaml", []byte(example[:begin]+text+"\n"+example[end:]))
		if err != nil {
			t.Fatal(err)
		}
		expected := own
		want(&expected)
		if got := c.withDefaults().Buffer.buffer(); got != expected {
			t.Errorf("%s: %+v, expected %+v", text, got, expected)
		}
	}
}

func TestAccessRate(t *testing.T) {
	c, err := config.Parse[configuration]("ar.yaml", []byte(strings.Replace(example, "lan0}", "lan0, rate: 100Mb/s}", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if l := c.Access.link(); l.Rate != 100e6 {
		t.Errorf("%+v", l)
	}
}

func TestAhead(t *testing.T) {
	for text, want := range map[string]par.Ahead{
		"#ahead":               {},
		"ahead: {max: 3} #":    {Most: 3},
		"ahead":                {Least: 1, Most: 8, Idle: 10 * time.Minute},
		"ahead: {idle: 1m}  #": {Idle: time.Minute},
	} {
		c, err := config.Parse[configuration]("ar.yaml", []byte(strings.Replace(example, "#ahead", text, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Ahead.ahead(); got != want {
			t.Errorf("%s: %+v, expected %+v", text, got, want)
		}
	}
}

func TestMistakes(t *testing.T) {
	for name, edit := range map[string][2]string{
		"node":                {"node: a ", "node: '' "},
		"address":             {"address: 10.2.0.1 ", "address: fe80::1 "},
		"unknown":             {"dhcp:", "colour: blue\ndhcp:"},
		"tunnel.suites":       {"aes-128-gcm", "rot13"},
		"expected esp":        {"encapsulation: esp", "encapsulation: gre"},
		"tunnel.rekey":        {"after: 1h", "after: 1ms"},
		"radius: is now":      {"aaa: ", "radius: {servers: []}\naaa: "},
		"aaa: missing":        {example[strings.Index(example, "aaa: "):strings.Index(example, "dhcp: {")], ""},
		"radius.servers[0]":   {"{address: \"10.0.5.1:1812\", secret-file: radius.secret}", "{address: \"10.0.5.1:1812\"}"},
		"radius.retransmit":   {"retransmit: 2s", "retransmit: 1ms"},
		"dad":                 {"probe-min: 1s", "probe-min: 3s"},
		"identity":            {"ca: ca.a.example, ", ""},
		"ahead: at least 9":   {"#ahead: {max: 8, min: 1", "ahead: {max: 8, min: 9"},
		"access.interface":    {"{interface: lan0}", "{}"},
		"access.rate":         {"lan0}", "lan0, rate: 54 B/s}"},
		"access.rate: 54":     {"lan0}", "lan0, rate: 54b/s}"},
		"access.open":         {"lan0}", "lan0, open: [10.0.4.53/32]}"},
		"access.open[0]":      {"lan0}", "lan0, enforce: true, open: [\"fe80::/64\"]}"},
		"access.open[1]":      {"lan0}", "lan0, enforce: true, open: [\"2001:db8::/64\", \"ff02::/64\"]}"},
		"ipv6.address":        {"address: 2001:db8:2::1/64", "address: fe80::1/64"},
		"ipv6.address: /128":  {"address: 2001:db8:2::1/64", "address: 2001:db8:2::1/128"},
		"ipv6.addresses":      {"addresses: slaac", "addresses: eui64"},
		"ipv6.dhcp: missing":  {"addresses: slaac                   # nodes form them, unless the router advertisement says M; dhcp: they come from the server\n  dhcp: 2001:db8:2::3", "addresses: dhcp"},
		"ipv6.dhcp: expected": {"dhcp: 2001:db8:2::3", "dhcp: 10.2.0.3"},
		"ipv6.dad":            {"transmits: 1, retrans: 1s", "transmits: 101, retrans: 1s"},
		"access.burst":        {"lan0}", "lan0, burst: 1kB}"},
		"guarantee":           {"guarantee: {packets: 16", "guarantee: {packets: 99999"},
		"router":              {"packets: 32768", "packets: -1"},
		"spare":               {"spare: 0.25", "spare: -1"},
		"dhcp.server":         {"{server: 10.2.0.3}", "{}"},
		"allow: expected":     {"10.1.0.0/24", "10.1.0.0"},
		"lifetime: expected":  {"lifetime: 1h", "lifetime: long"},
		"bytes: expected":     {"64MiB", "8 elephants"},
		"missing: at least":   {"servers: [{address: \"10.0.5.1:1812\", secret-file: radius.secret}]", "servers: []"},
		"pana.per-node":       {"per-node: 8", "per-node: 1"},
		"control socket":      {"control: /run/openmpa/a.sock", "control: ''"},
	} {
		text := strings.Replace(example, edit[0], edit[1], 1)
		if text == example {
			t.Fatalf("%s: the example does not contain %q", name, edit[0])
		}
		_, err := config.Parse[configuration]("ar.yaml", []byte(text))
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if !strings.Contains(err.Error(), "ar.yaml:") {
			t.Errorf("%s: no place in %q", name, err)
		}
	}
}

// TestExampleOperators: what the example only mentions is right, too.
func TestExampleOperators(t *testing.T) {
	text := strings.NewReplacer("#  - name: partner", "  - name: partner", "#    realms:", "    realms:", "#    radsec:", "    radsec:", "#  - diameter:", "  - diameter:").Replace(example)
	c, err := config.Parse[configuration]("ar.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.AAA) != 3 || c.AAA[1].RadSec == nil || c.AAA[2].Diameter == nil || !c.AAA[0].RADIUS.Orders.IsValid() {
		t.Errorf("%+v", c.AAA)
	}
}
