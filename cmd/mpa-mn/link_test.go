package main

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"openmpa/internal/config"
	"openmpa/internal/osnet"
	"openmpa/internal/wpactrl"
	"openmpa/mn"
	"openmpa/mn/decision"
	"openmpa/mn/link"
)

// linkPart is a configuration whose parts that say who moves the link are text's.
func linkPart(t *testing.T, text string) (configuration, error) {
	t.Helper()
	head, rest, ok := strings.Cut(example, "interface: wlan0")
	_, middle, ok2 := strings.Cut(rest, "tunnel: ")
	before, rest, ok3 := strings.Cut(middle, "networks: ")
	_, after, ok4 := strings.Cut(rest, "mobility: ")
	after, _, ok5 := strings.Cut(after, "decision: ")
	if !ok || !ok2 || !ok3 || !ok4 || !ok5 {
		t.Fatal("the example has changed")
	}
	c, err := config.Parse[configuration]("mn.yaml", []byte(head+text+"\ntunnel: "+before+"mobility: "+after))
	return c.withDefaults(), err
}

func TestDecision(t *testing.T) {
	c, err := linkPart(t, "interface: wlan0\ndecision: {policy: predictive, leave: -80, dwell: 0s, interval: 1s}\n"+onAir)
	policy := decision.DefaultPolicy(decision.Predictive)
	policy.Leave, policy.Dwell = -80, 0
	if want := (mn.Deciding{Policy: policy, Interval: time.Second}); err != nil || c.deciding() == nil || *c.deciding() != want {
		t.Errorf("%+v %v", c.deciding(), err)
	}
	for text, want := range map[string]string{
		"{policy: clever}": "decision.policy", "{policy: sra, accept: -99}": "decision.accept", "{policy: sra, candidates: 99}": "decision.candidates",
		"{policy: sra, interval: 1ms}": "decision.interval",
	} {
		if _, err := linkPart(t, "interface: wlan0\ndecision: "+text+"\n"+onAir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, expected %s", text, err, want)
		}
	}
}

const (
	twoNets = "networks:\n- {name: b, paa: 10.1.0.1, points: [poa-b1]}\n- {name: a, paa: 10.2.0.1, points: [poa-a1, {name: poa-a2}]}"
	onAir   = "networks:\n- {name: b, paa: 10.1.0.1, points: [{name: poa-b1, bssid: 02:00:00:00:0b:01, ssid: site b, freq: 2412, network: 3}, '02:00:00:00:0b:02', {bssid: 02:00:00:00:0b:03}]}"
	oneCase = "networks:\n- {name: b, paa: 10.1.0.1, points: [desk]}"
)

func machine() fs.FS {
	socket := &fstest.MapFile{Mode: 0o770 | fs.ModeSocket}
	return fstest.MapFS{
		"sys/class/net/eth0/ifindex":         {},
		"sys/class/net/wlan0/phy80211/index": {},
		"sys/class/net/wlan1/phy80211/index": {},
		"run/wpa_supplicant/wlan0":           socket,
	}
}

func TestPoints(t *testing.T) {
	c, err := linkPart(t, "interface: wlan0\n"+onAir)
	if err != nil {
		t.Fatal(err)
	}
	p := c.Networks[0].Points
	if got, want := p[0].place(), (link.Place{BSSID: wpactrl.MAC{2, 0, 0, 0, 11, 1}, SSID: "site b", Freq: 2412, Network: 3}); got != want {
		t.Errorf("%+v", got)
	}
	for i, name := range []string{"02:00:00:00:0b:02", "02:00:00:00:0b:03"} {
		if got := p[i+1]; got.Name != name || got.BSSID.String() != name || got.place().Network != link.AnyNetwork {
			t.Errorf("%+v", got)
		}
	}
	if w := c.watchdog(); w.Asks != 3 || w.Within() > time.Second {
		t.Errorf("a watchdog of %+v when nothing is said of it, which takes %v", w, w.Within())
	}
	if c.deciding() != nil {
		t.Errorf("a decision nobody asked for: %+v", c.deciding())
	}
	if n := c.networks(); len(n[0].Points) != 3 || n[0].Points[0] != "poa-b1" || c.Link.Type != linkAuto {
		t.Errorf("%+v %q", n, c.Link.Type)
	}
}

func TestLinkMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"link: {type: ethernet}\ndecision: {}\n" + oneCase:                                          "decision: link.type ethernet cannot tell the signal",
		"decision: {look: -90}\n" + oneCase:                                                         "decision.look: -90: expected at least that of leave",
		"watchdog: {quiet: 1ms}\n" + oneCase:                                                        "watchdog.quiet: 1ms: expected 20ms to 1m",
		"watchdog: {asks: -1}\n" + oneCase:                                                          "watchdog.asks: -1",
		"decision: {interval: 1ms}\n" + oneCase:                                                     "decision.interval: 1ms",
		"link: {type: magic}\n" + oneCase:                                                           "link.type: \"magic\": expected auto, wpa_supplicant, ethernet or external",
		"link: {type: external}\n" + twoNets:                                                        "link.socket: missing",
		"link: {type: ethernet, socket: /run/x}\n" + oneCase:                                        "link.type: ethernet takes no socket",
		"link: {timeout: 1h}\n" + oneCase:                                                           "link.timeout: 1h",
		strings.Replace(onAir, "0b:02", "0b:01", 1):                                                 "networks[0].points[1]: 02:00:00:00:0b:01, or its bssid, stands in two places",
		strings.Replace(twoNets, "{name: poa-a2}", "{name: poa-a2, bssid: 2}", 1):                   "points[1].bssid: ",
		strings.Replace(twoNets, "{name: poa-a2}", "{name: poa-a2, bssid: 'ff:ff:ff:ff:ff:ff'}", 1): "expected the address of one access point",
		strings.Replace(twoNets, "{name: poa-a2}", "{ssid: x}", 1):                                  "points[1].name: ",
		strings.Replace(twoNets, "{name: poa-a2}", "{name: x, freq: 6}", 1):                         "points[1].freq: 6: expected the channel's frequency",
		strings.Replace(twoNets, "{name: poa-a2}", "{name: x, network: -1}", 1):                     "points[1].network: -1",
		strings.Replace(twoNets, "{name: poa-a2}", "'two words'", 1):                                "points[1].name: ",
	} {
		if _, err := linkPart(t, "interface: wlan0\n"+text); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "mn.yaml:") {
			t.Errorf("%s\n%v\nwant %s", text, err, want)
		}
	}
}

func TestAdapter(t *testing.T) {
	n, err := osnet.OpenReader()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for text, want := range map[string]string{
		"interface: eth0\n" + oneCase:                                                          "*link.Ethernet",
		"interface: wlan0\n" + onAir:                                                           "*link.Supplicant",
		"interface: wlan1\nlink: {socket: /run/elsewhere/wlan1}\n" + onAir:                     "*link.Supplicant",
		"interface: eth0\nlink: {type: wpa_supplicant, socket: /run/elsewhere/eth0}\n" + onAir: "*link.Supplicant",
		"interface: wlan7\nlink: {type: external, socket: /run/x}\n" + twoNets:                 "*link.External",
		"interface: wlan0\nlink: {type: ethernet}\n" + oneCase:                                 "*link.Ethernet",
		"interface: eth0\n" + twoNets:                                                          "networks: eth0 is a cable",
		"interface: eth0\nlink: {socket: /run/openmpa/link.sock}\n" + twoNets:                  "type: external",
		"interface: eth0\nlink: {type: wpa_supplicant}\n" + onAir:                              "eth0 is not wireless",
		"interface: wlan1\n" + onAir:                                                           "link: interface wlan1 is wireless: no control socket of wpa_supplicant",
		"interface: wlan7\n" + onAir:                                                           "file does not exist",
		"interface: wlan0\n" + twoNets:                                                         "networks[0].points[0]: poa-b1: bssid is missing",
	} {
		c, err := linkPart(t, text)
		if err != nil {
			t.Fatal(err)
		}
		c.Control = config.Path(t.TempDir() + "/mn.sock")
		a, err := c.adapter(c.interfaces()[0], machine(), n, nil, nil)
		var got string
		switch a := a.(type) {
		case *link.Ethernet:
			got = "*link.Ethernet"
		case *link.Supplicant:
			got = "*link.Supplicant"
			err = a.Close()
		case *link.External:
			got = "*link.External"
			err = a.Close()
		}
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s\n%s\nwant %s", text, got, want)
		}
	}
}

// twoCards is a configuration with two interfaces.
const twoCards = `interfaces:
- {name: wlan0, points: [poa-b1], link: {type: external, socket: /run/x}}
- {name: eth0, points: [poa-a1, poa-a2], raise: move, link: {type: external, socket: /run/y}}
` + twoNets

func TestInterfaces(t *testing.T) {
	c, err := linkPart(t, twoCards)
	if err != nil {
		t.Fatal(err)
	}
	got := c.interfaces()
	if len(got) != 2 || got[0].Raise == raiseMove || got[1].Raise != raiseMove || got[1].Name != "eth0" || len(got[1].Points) != 2 {
		t.Errorf("%+v", got)
	}
	if c, err = linkPart(t, "interface: wlan0\n"+twoNets); err != nil || len(c.interfaces()) != 1 || len(c.interfaces()[0].Points) != 3 {
		t.Errorf("the short form: %+v, %v", c.interfaces(), err)
	}
	for _, m := range []struct{ old, text, want string }{
		{"interfaces:", "interface: wlan0\ninterfaces:", "interface: interfaces: is there, too"},
		{"interfaces:", "link: {type: auto}\ninterfaces:", "link: there are several interfaces"},
		{"name: eth0", "name: wlan0", "interfaces[1].name: wlan0 stands in two places"},
		{"name: eth0, ", "", "interfaces[1].name: missing"},
		{"raise: move", "raise: later", "interfaces[1].raise: \"later\": expected always, or move"},
		{"{name: wlan0,", "{name: wlan0, raise: move,", "interfaces: all have raise: move"},
		{"points: [poa-b1]", "points: []", "interfaces[0].points: missing"},
		{"points: [poa-b1]", "points: [poa-b1, poa-c1]", "interfaces[0].points: poa-c1 is no point of any of networks"},
		{"points: [poa-b1]", "points: [poa-b1, poa-a1]", "interfaces[1].points: poa-a1 is reached by wlan0 already"},
		{"points: [poa-a1, poa-a2]", "points: [poa-a1]", "networks[1].points[1]: poa-a2 is at no interface"},
		{"points: [poa-b1], link", "points: [poa-b1, poa-a2], link", "interfaces[1].points: poa-a2 is reached by wlan0 already"},
		{"points: [poa-b1], link: {type: external, socket: /run/x}}\n- {name: eth0, points: [poa-a1, poa-a2]", "points: [poa-b1, poa-a2], link: {type: external, socket: /run/x}}\n- {name: eth0, points: [poa-a1]", "networks[1].points[1]: poa-a2 is reached by wlan0, poa-a1 by eth0"},
	} {
		text := strings.Replace(twoCards, m.old, m.text, 1)
		if text == twoCards {
			t.Fatalf("%q is not in the configuration", m.old)
		}
		if _, err := linkPart(t, text); err == nil || !strings.Contains(err.Error(), m.want) {
			t.Errorf("%s\n%v\nwant %s", text, err, m.want)
		}
	}
}
