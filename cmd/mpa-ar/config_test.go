package main

import (
	"strings"
	"testing"
	"time"

	"openmpa/internal/config"
)

func TestExample(t *testing.T) {
	c, err := config.Parse[configuration]("ar.yaml", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	c = c.withDefaults()
	if len(c.Tunnel.Suites) != 3 || c.Tunnel.Rekey.Limits().Age != time.Hour || c.listen().String() != "10.2.0.1:716" || c.RADIUS.Timeout == 0 {
		t.Errorf("%+v", c)
	}
}

func TestBuffer(t *testing.T) {
	for text, want := range map[string]int{
		"{packets: 4096, bytes": 4096,
		"{packets: 7, bytes":    7,
		"{packets: 0, bytes":    4096, // left out
		"{off: true, bytes":     0,
	} {
		c, err := config.Parse[configuration]("ar.yaml", []byte(strings.Replace(example, "{packets: 4096, bytes", text, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.withDefaults().buffer().Packets; got != want {
			t.Errorf("%s: %d packets may be held, expected %d", text, got, want)
		}
	}
}

func TestMistakes(t *testing.T) {
	for name, edit := range map[string][2]string{
		"node":               {"node: a ", "node: '' "},
		"address":            {"address: 10.2.0.1 ", "address: fe80::1 "},
		"unknown":            {"dhcp:", "colour: blue\ndhcp:"},
		"tunnel.suites":      {"aes-128-gcm", "rot13"},
		"tunnel.rekey":       {"after: 1h", "after: 1ms"},
		"radius.servers[0]":  {"{address: \"10.0.5.1:1812\", secret-file: radius.secret}", "{address: \"10.0.5.1:1812\"}"},
		"radius.retransmit":  {"retransmit: 2s", "retransmit: 1ms"},
		"dad":                {"probe-min: 1s", "probe-min: 3s"},
		"identity":           {"ca: ca.a.example, ", ""},
		"access.interface":   {"{interface: lan0}", "{}"},
		"dhcp.server":        {"{server: 10.2.0.3}", "{}"},
		"allow: expected":    {"10.1.0.0/24", "10.1.0.0"},
		"lifetime: expected": {"lifetime: 1h", "lifetime: long"},
		"bytes: expected":    {"8MiB", "8 elephants"},
		"missing: at least":  {"servers: [{address: \"10.0.5.1:1812\", secret-file: radius.secret}]", "servers: []"},
		"control socket":     {"control: /run/openmpa/a.sock", "control: ''"},
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
