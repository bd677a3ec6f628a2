package main

import (
	"encoding/json"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openmpa/internal/catest"
	"openmpa/internal/config"
	"openmpa/internal/neighbourhood"
	"openmpa/paa/notify"
)

// withInfo is the example with other sections info and neighbours.
func withInfo(t *testing.T, text string) (configuration, error) {
	t.Helper()
	begin, end := strings.Index(example, "info:"), strings.Index(example, "# What comes while")
	c, err := config.Parse[configuration]("ar.yaml", []byte(example[:begin]+text+"\n"+example[end:]))
	return c.withDefaults(), err
}

func TestInfoConfig(t *testing.T) {
	c, err := withInfo(t, `info: {operator: home.example, cost: 3, points: [hall-1, {name: x, bssid: "02:00:00:00:0A:01", ssid: corp, freq: 2437, location: {lat: 52.5, lon: 13.4}}]}
neighbours:
  - {name: b, paa: 10.1.0.1, ca: ca.b, ar: ar.b, cost: -1, prefixes: [10.1.0.0/24], points: [poa-b]}
  - {name: c}`)
	if err != nil {
		t.Fatal(err)
	}
	own := c.own()
	if own.Name != "a" || own.Operator != "home.example" || *own.Cost != 3 || len(own.Points) != 2 || own.Points[0].Name != "hall-1" ||
		own.Points[1].Name != "02:00:00:00:0a:01" || own.Points[1].Location.Y != 52.5 {
		t.Errorf("%+v", own)
	}
	at := netip.MustParseAddrPort("10.2.0.1:716")
	if len(own.Agents) != 4 || own.Agents[0] != (neighbourhood.Agent{Role: neighbourhood.PAA, Addr: at}) || !own.Agents[1].Addr.Addr().Is6() || own.Agents[3].Identity != "ar.a.example" {
		t.Errorf("%+v", own.Agents)
	}
	b := c.informationConfig().Neighbours[0].Network
	if len(b.Agents) != 3 || b.Agents[2].Identity != "ar.b" || *b.Cost != -1 || len(b.Prefixes) != 1 || b.Points[0].Name != "poa-b" {
		t.Errorf("%+v", b)
	}
	around, err := openInformation(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer around.Close()
	text, err := json.Marshal(around.status())
	if err != nil || !strings.Contains(string(text), `"cost_db":3`) || !strings.Contains(string(text), `"role":"paa"`) {
		t.Errorf("%s, %v", text, err)
	}
}

// A router without the sections tells what it is.
func TestInfoLeftOut(t *testing.T) {
	c, err := withInfo(t, `access-points: [{name: poa-a1, bssid: "02:00:00:00:01:00", akm: WPA-EAP, socket: /run/hostapd/wlan0}]`)
	if err != nil {
		t.Fatal(err)
	}
	if own := c.own(); own.Name != "a" || len(own.Points) != 1 || own.Points[0].Name != "02:00:00:00:01:00" || own.Points[0].Security != neighbourhood.WPAEAP {
		t.Errorf("%+v", own)
	}
	if c, err = withInfo(t, "info: {off: true}"); err != nil {
		t.Fatal(err)
	}
	around, err := openInformation(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil || around.router() != nil || around.status() != nil || around.Close() != nil {
		t.Errorf("%+v, %v", around, err)
	}
}

func TestInfoMistakes(t *testing.T) {
	for text, want := range map[string]string{
		`info: {network: "a b"}`:                           "without space",
		`info: {points: [p, p]}`:                           "given twice",
		`info: {listen: "10.0.1.2:7161"}`:                  "info.listen",
		`info: {lifetime: 20s}`:                            "at least twice",
		`info: {lifetime: 2h}`:                             "at most 1h",
		`info: {hops: 9}`:                                  "hops",
		`neighbours: [{name: a}]`:                          "network a is given twice",
		`neighbours: [{name: b}, {name: b}]`:               "network b is given twice",
		`neighbours: [{name: b, router: "10.0.1.1:7161"}]`: "neighbours[0].router",
		`neighbours: [{name: b, prefixes: [10.1.0.1/24]}]`: "neighbours[0]",
		`neighbours: [{name: b, paa: 224.0.0.1}]`:          "unicast",
		`neighbours: [{name: b, points: [{reach: 4, name: p, location: {lat: 91, lon: 0}}]}]`: "lat",
	} {
		if _, err := withInfo(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, expected %q", text, err, want)
		}
	}
}

// Two routers by their files: one tells the other what it is.
func TestRoutersByFiles(t *testing.T) {
	dir := t.TempDir()
	authority := catest.NewAuthority(t)
	authority.Write(dir, "a", "ar.a.example")
	authority.Write(dir, "b", "ar.b.example")
	files := func(name string) string {
		return "ca: " + filepath.Join(dir, "ca.pem") + ", certificate: " + filepath.Join(dir, name+".pem") + ", key: " + filepath.Join(dir, name+".key")
	}
	log := slog.New(slog.DiscardHandler)
	c, err := withInfo(t, `info: {network: b, listen: "127.0.0.1:0", points: [poa-b], routers: [ar.a.example], `+files("b")+"}")
	if err != nil {
		t.Fatal(err)
	}
	b, err := openInformation(t.Context(), c, log)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c, err = withInfo(t, "info: {"+files("a")+"}\nneighbours: [{name: b, router: \""+b.Addr().String()+"\", identity: ar.b.example}]")
	if err != nil {
		t.Fatal(err)
	}
	a, err := openInformation(t.Context(), c, log)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for end := time.Now().Add(20 * time.Second); !a.status().Neighbours[0].Up; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v", a.status())
		}
	}
	r := a.Answer(1, &notify.NeighboursRequest{})
	list, err := notify.ParseNetworks(r.Data)
	if err != nil || len(list) != 2 || list[1].Name != "b" || list[1].Points[0].Name != "poa-b" || list[1].Hops != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	for _, agent := range list[1].Agents {
		if agent.Key.IsZero() == (agent.Role == neighbourhood.AR) {
			t.Errorf("key of the %v: %v", agent.Role, agent.Key)
		}
	}
}
