package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openmpa/internal/config"
	"openmpa/internal/enroll"
	"openmpa/internal/wpactrl"
	"openmpa/internal/wpactrl/wpactrltest"
)

func grant() *enroll.Grant {
	at := func(last byte) wpactrl.MAC { return wpactrl.MAC{2, 0, 0, 0, 0, last} }
	return &enroll.Grant{
		Realm: "home.example", ServerName: "aaa.home.example",
		Networks: []enroll.Network{
			{Name: "a", Router: netip.MustParseAddr("10.1.0.1"), Points: []enroll.Point{{Name: "a-1", BSSID: at(1), SSID: `site "a": #1`, Freq: 2412}, {Name: "a-2", BSSID: at(2), SSID: `site "a": #1`}}},
			{Name: "b", Router: netip.MustParseAddr("10.2.0.1"), Points: []enroll.Point{{Name: "b-1", BSSID: at(3), SSID: "b", Freq: 5180}}},
		},
		Home: &enroll.Home{Address: netip.MustParseAddr("10.9.0.2"), Agent: netip.MustParseAddr("10.0.0.1"), SPI: 256, Key: make([]byte, 16), Algorithm: "hmac-sha256"},
	}
}

// TestJoinWireless: the node's configuration is one that it takes, and wpa_supplicant's one that the real one takes.
func TestJoinWireless(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "sys/class/net/wlan0/phy80211"), 0o755); err != nil {
		t.Fatal(err)
	}
	j := join{name: "laptop", root: root, runDir: "/run/openmpa", state: "/var/lib/openmpa"}
	if err := j.detectInterface("10.1.0.1"); err != nil || j.iface != "wlan0" {
		t.Errorf("%q, %v", j.iface, err)
	}
	g := grant()
	j.chooseLink(g)
	c, err := config.Parse[configuration]("mn.yaml", j.config(g))
	if err != nil {
		t.Fatalf("%v\n%s", err, j.config(g))
	}
	if p := c.Networks[0].Points; c.Link.Type != linkAuto || len(p) != 2 || p[0].SSID != `site "a": #1` || p[0].Freq != 2412 || p[1].BSSID.String() != "02:00:00:00:00:02" {
		t.Errorf("%+v", c.Networks)
	}
	if c.deciding() != nil {
		t.Error("it moves by itself, which nobody has told it to")
	}
	byItself := strings.Replace(string(j.config(g)), "\n#decision:", "\ndecision:", 1)
	if c, err := config.Parse[configuration]("mn.yaml", []byte(byItself)); err != nil || c.deciding() == nil {
		t.Errorf("with the decision that is proposed: %v\n%s", err, byItself)
	}
	dir := t.TempDir()
	text := string(append(supplicantHead(), j.blocks(g, "/etc/openmpa")...))
	socket := filepath.Join(dir, "lo")
	wpactrltest.Supplicant(t, "none", "lo", strings.Replace(text, "/run/wpa_supplicant", dir, 1), socket)
	client, err := wpactrl.Open(wpactrl.Config{Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	answer, err := client.Command(t.Context(), "LIST_NETWORKS")
	if err != nil {
		t.Fatal(err)
	}
	if l, err := wpactrl.ParseNetworks(answer); err != nil || len(l) != 2 || l[0].SSID != `site "a": #1` || l[1].SSID != "b" {
		t.Errorf("%+v, %v; expected a block for each of two ESSes", l, err)
	}
	for name, want := range map[string]string{"eap": "TLS", "identity": `"laptop@home.example"`, "domain_match": `"aaa.home.example"`, "client_cert": `"/etc/openmpa/mn.pem"`} {
		if got, err := client.Command(t.Context(), "GET_NETWORK 0 "+name); err != nil || got != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
}

// TestJoinCable: a cable with one point needs nobody to move it; with more it does.
func TestJoinCable(t *testing.T) {
	g := grant()
	for i := range g.Networks {
		g.Networks[i].Points = []enroll.Point{{Name: g.Networks[i].Name + "-1"}}
	}
	j := join{name: "laptop", root: t.TempDir(), iface: "eth0", runDir: "/run/openmpa", state: "/var/lib/openmpa"}
	j.chooseLink(g)
	c, err := config.Parse[configuration]("mn.yaml", j.config(g))
	if err != nil || c.Link.Type != linkExternal || c.Link.Socket != "/run/openmpa/link.sock" || len(j.blocks(g, "/x")) != 0 {
		t.Errorf("%+v, %v", c.Link, err)
	}
	j.link, g.Networks = "", g.Networks[:1]
	j.chooseLink(g)
	if c, err = config.Parse[configuration]("mn.yaml", j.config(g)); err != nil || c.Link.Type != linkAuto {
		t.Errorf("%+v, %v", c.Link, err)
	}
	j.link = "magic"
	if err := j.detectName(); err == nil || !strings.Contains(err.Error(), "--link") {
		t.Errorf("%v", err)
	}
}
