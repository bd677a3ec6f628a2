package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openmpa/internal/hostapd"
	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/wpactrl/wpactrltest"
)

// house is a root with interfaces: a bridge br0 with wlan0 in it.
func house(t *testing.T) *initialise {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"run", "sys/class/net/br0/brif/wlan0", "sys/class/net/wlan0/phy80211", "sys/class/net/eth0"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return &initialise{root: root, access: "br0", name: "a", channel: defaultChannel}
}

func TestRunningHostapd(t *testing.T) {
	i := house(t)
	answer := func(mgmt, mib string) func(string) string {
		return func(c string) string {
			return map[string]string{
				"STATUS": "state=ENABLED\nfreq=2412\n", "GET_CONFIG": "bssid=02:00:00:00:0a:01\nssid=site \"a\"\nkey_mgmt=" + mgmt + "\n", "MIB": mib + "\n",
			}[c]
		}
	}
	const mib = "radiusAuthServerAddress=10.0.0.1\nradiusAuthClientServerPortNumber=1812"
	d := wpactrltest.Start(t, filepath.Join(i.root, hostapd.Dir, "wlan0"), answer("WPA-EAP-SHA256", mib))
	wpactrltest.Start(t, filepath.Join(i.root, hostapd.Dir, "eth0"), answer("WPA-EAP", mib)) // of no access network
	a, err := findRadios(t.Context(), i)
	if err != nil {
		t.Fatal(err)
	}
	points := a.points([]string{"a-1", "a-2"})
	if len(points) != 2 || points[0].BSSID.String() != "02:00:00:00:0a:01" || points[0].SSID != `site "a"` || points[0].Freq != 2412 || !points[1].BSSID.IsZero() {
		t.Errorf("%+v", points)
	}
	want := "access-points:\n  - {name: a-1, bssid: \"02:00:00:00:0a:01\", akm: WPA-EAP-SHA256, socket: " + d.Socket + "}\n"
	if got := a.section(); got != want || a.wanted() {
		t.Errorf("%s, wanted %v", got, a.wanted())
	}
	d.Stop()
	wpactrltest.Start(t, d.Socket, answer("WPA-PSK", "x=y"))
	if a, err = findRadios(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	a.points([]string{"a-1"})
	a.advise(&said, "/etc/openmpa/hostapd.conf")
	if !a.wanted() || !strings.Contains(a.section(), "akm: WPA-EAP,") || !strings.Contains(said.String(), `"WPA-PSK"`) || !strings.Contains(said.String(), "hostapd.conf") {
		t.Errorf("without 802.1X: %s; %s", a.section(), said.String())
	}
}

// TestNewAccessPoint: what init writes is a configuration that hostapd takes.
func TestNewAccessPoint(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Veth(t, "ap0", "ap1")
	i := house(t)
	if a, err := findRadios(t.Context(), i); err == nil {
		t.Errorf("wlan0 of the root is none of this machine: %+v", a)
	}
	if err := os.RemoveAll(filepath.Join(i.root, "sys/class/net/wlan0/phy80211")); err != nil {
		t.Fatal(err)
	}
	i.radio = "" // nothing wireless is left
	if a, err := findRadios(t.Context(), i); err != nil || a.wanted() || len(a.points([]string{"a-1"})) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
	i.radio = "ap0"
	for _, channel := range []int{0, 14, 35} {
		i.channel = channel
		if _, err := findRadios(t.Context(), i); err == nil || !strings.Contains(err.Error(), "--channel") {
			t.Errorf("channel %d: %v", channel, err)
		}
	}
	i.channel, i.ssid = 44, "site a"
	a, err := findRadios(t.Context(), i)
	if err != nil {
		t.Fatal(err)
	}
	p := a.points([]string{"a-1"})
	if len(p) != 1 || p[0].Freq != 5220 || p[0].SSID != "site a" || a.bridge != "br0" || !a.wanted() {
		t.Errorf("%+v %+v", p, a)
	}
	dir := t.TempDir()
	files := a.config(dir, netip.MustParseAddr("127.0.0.1"), netip.MustParseAddrPort("127.0.0.1:1812"), []byte("0123456789abcdef"))
	if len(files) != 1 {
		t.Fatalf("%+v", files)
	}
	text := string(files[0].Text)
	for _, line := range []string{"interface=ap0", "bridge=br0", "hw_mode=a", "channel=44", `ssid2="site a"`, "auth_server_shared_secret=0123456789abcdef"} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	// The real one, without a radio.
	text = strings.NewReplacer("driver=nl80211", "driver=none", "bridge=br0\n", "", "/run/hostapd", dir, "hw_mode=a\nchannel=44\n", "").Replace(text)
	wpactrltest.Hostapd(t, text, filepath.Join(dir, "ap0"))
	b, err := hostapd.Ask(t.Context(), filepath.Join(dir, "ap0"), dir)
	if err != nil || b.SSID != "site a" || b.Suite() == 0 || len(b.RADIUS) != 1 {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestQuestions(t *testing.T) {
	var nobody *questions
	if got := nobody.text("Name", "a"); got != "a" || !nobody.yes("Go on?") {
		t.Errorf("nobody answers %q", got)
	}
	var out strings.Builder
	in := strings.NewReader("\n b \nno\nTHE-CODE")
	q := &questions{in: in, out: &out}
	if got := q.text("Name", "a") + q.text("Name", "a"); got != "ab" || q.yes("Write?") {
		t.Errorf("answers %q", got)
	}
	if in.Len() != len("THE-CODE") || out.String() != "Name [a]: Name [a]: Write? (yes or no) [yes]: " {
		t.Errorf("%d octets left, asked %q", in.Len(), out.String())
	}
}
