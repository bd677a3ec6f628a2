package wpactrl

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What Debian's wpa_supplicant and hostapd 2.10 answered.
const (
	statusRadio = "bssid=02:00:00:00:01:00\nfreq=2437\nssid=m\\\"p\\xc3\\xa4\nid=0\nmode=station\npairwise_cipher=CCMP\ngroup_cipher=CCMP\n" +
		"key_mgmt=WPA2/IEEE 802.1X/EAP\nwpa_state=COMPLETED\naddress=02:00:00:00:02:00\nSupplicant PAE state=AUTHENTICATED\n"
	statusIdle = "wpa_state=DISCONNECTED\naddress=e2:70:74:8a:a3:cc\nuuid=6c24f456-0184-5d82-b15d-a2f2dba9eac7\n"
	scan       = "bssid / frequency / signal level / flags / ssid\n" +
		"02:00:00:00:00:00\t2412\t-30\t[WPA2-EAP-CCMP][ESS]\tmpa\n" +
		"02:00:00:00:01:00\t2437\t-50\t[WPA2-EAP-SHA256-CCMP][ESS]\t\n"
	pmksaAP  = "Index / SPA / PMKID / expiration (in seconds) / opportunistic\n0 02:00:00:00:02:00 12121212121212121212121212121212 3600 0\n"
	pmksaSTA = "Index / AA / PMKID / expiration (in seconds) / opportunistic\n1 02:00:00:00:00:00 11111111111111111111111111111111 3600 0\n"
	networks = "network id / ssid / bssid / flags\n0\tmpa\tany\t[CURRENT]\n1\ta b\t02:00:00:00:00:01\t[DISABLED]\n"
	sta      = "02:00:00:00:02:00\nflags=[AUTH][ASSOC][AUTHORIZED]\naid=1\ninactive_msec=40\nsignal=-30\nlast_eap_type_as=13 (TLS)\nconnected_time=12\n"
)

func mac(last byte) MAC { return MAC{2, 0, 0, 0, last, 0} }

func check(t *testing.T, what string, got, want any, err error) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%s: %v\n%s", what, err, diff)
	}
}

func TestParse(t *testing.T) {
	st, err := ParseStatus(statusRadio)
	check(t, "STATUS", st, Status{
		State: StateCompleted, BSSID: mac(1), SSID: "m\"pä", Network: 0, Freq: 2437,
		KeyMgmt: "WPA2/IEEE 802.1X/EAP", Address: mac(2),
	}, err)
	st, err = ParseStatus(statusIdle)
	check(t, "STATUS idle", st, Status{State: "DISCONNECTED", Network: -1, Address: MAC{0xe2, 0x70, 0x74, 0x8a, 0xa3, 0xcc}}, err)
	seen, err := ParseScanResults(scan)
	check(t, "SCAN_RESULTS", seen, []BSS{
		{BSSID: mac(0), Freq: 2412, Signal: -30, Flags: []string{"WPA2-EAP-CCMP", "ESS"}, SSID: "mpa"},
		{BSSID: mac(1), Freq: 2437, Signal: -50, Flags: []string{"WPA2-EAP-SHA256-CCMP", "ESS"}},
	}, err)
	one, ok := ParseBSS("id=1\nbssid=02:00:00:00:01:00\nfreq=2437\nlevel=-50\nage=3\nflags=[ESS]\nssid=mpa\n")
	check(t, "BSS", one, BSS{BSSID: mac(1), Freq: 2437, Signal: -50, Flags: []string{"ESS"}, SSID: "mpa", Age: 3 * time.Second}, nil)
	if _, none := ParseBSS(""); none || !ok {
		t.Errorf("BSS: %v %v", ok, none)
	}
	sig, err := ParseSignalPoll("RSSI=-30\nLINKSPEED=54\nNOISE=9999\nFREQUENCY=2437\nAVG_RSSI=-31\n")
	check(t, "SIGNAL_POLL", sig, Signal{RSSI: -30, Average: -31, Noise: 9999, Freq: 2437, Speed: 54}, err)
	nets, err := ParseNetworks(networks)
	check(t, "LIST_NETWORKS", nets, []Network{
		{ID: 0, SSID: "mpa", Flags: []string{"CURRENT"}},
		{ID: 1, SSID: "a b", BSSID: MAC{2, 0, 0, 0, 0, 1}, Flags: []string{"DISABLED"}},
	}, err)
	for _, c := range []struct {
		answer string
		addr   MAC
		id     byte
	}{{pmksaAP, mac(2), 0x12}, {pmksaSTA, mac(0), 0x11}} {
		p, err := ParsePMKSA(c.answer)
		want := PMKSA{Addr: c.addr, Expires: time.Hour}
		for i := range want.PMKID {
			want.PMKID[i] = c.id
		}
		check(t, "PMKSA", p, []PMKSA{want}, err)
		for cut := range c.answer { // the daemons cut at 4,096 octets: a part of a row is no row
			if p, _ := ParsePMKSA(c.answer[:cut]); len(p) > 0 && cut < len(c.answer)-2 {
				t.Errorf("PMKSA cut at %d: %+v", cut, p)
			}
		}
	}
	s, err := ParseStation(sta)
	check(t, "STA", s, Station{MAC: mac(2), Flags: []string{"AUTH", "ASSOC", "AUTHORIZED"}, Signal: -30, Connected: 12 * time.Second, Inactive: 40 * time.Millisecond, EAP: 13}, err)
	for what, f := range map[string]func(string) error{
		"STATUS":        func(a string) error { _, err := ParseStatus(a); return err },
		"SCAN_RESULTS":  func(a string) error { _, err := ParseScanResults(a); return err },
		"SIGNAL_POLL":   func(a string) error { _, err := ParseSignalPoll(a); return err },
		"LIST_NETWORKS": func(a string) error { _, err := ParseNetworks(a); return err },
		"PMKSA":         func(a string) error { _, err := ParsePMKSA(a); return err },
		"STA":           func(a string) error { _, err := ParseStation(a); return err },
	} {
		if err := f("something else\x1b[1m"); err == nil || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: %v", what, err)
		}
	}
	many := "bssid / frequency / signal level / flags / ssid\n" + strings.Repeat("02:00:00:00:00:00\t2412\t-30\t[ESS]\tmpa\n", 1000)
	if b, err := ParseScanResults(many); len(b) != maxRows || err != nil {
		t.Errorf("%d rows %v, want %d", len(b), err, maxRows)
	}
	var lines strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&lines, "f%d=1\n", i)
	}
	if n := len(Lines(lines.String())); n != maxFields {
		t.Errorf("%d fields, want %d", n, maxFields)
	}
}

func TestParseEvents(t *testing.T) {
	for text, want := range map[string]MAC{
		"<3>CTRL-EVENT-CONNECTED - Connection to 02:00:00:00:01:00 completed [id=0 id_str=]":                             mac(1),
		"<3>CTRL-EVENT-DISCONNECTED bssid=02:00:00:00:01:00 reason=3 locally_generated=1":                                mac(1),
		"<3>CTRL-EVENT-ASSOC-REJECT bssid=02:00:00:00:01:00 status_code=53":                                              mac(1),
		"<3>CTRL-EVENT-ASSOC-REJECT status_code=17 timeout=assoc":                                                        {},
		"<3>CTRL-EVENT-AUTH-REJECT 02:00:00:00:01:00 auth_type=0 auth_transaction=2 status_code=17":                      mac(1),
		"<3>AP-STA-CONNECTED 02:00:00:00:01:00 keyid=x":                                                                  mac(1),
		"<3>EAPOL-4WAY-HS-COMPLETED 02:00:00:00:01:00":                                                                   mac(1),
		"<3>RRM-NEIGHBOR-REP-RECEIVED bssid=02:00:00:00:01:00 info=0x8f op_class=81 chan=6 phy_type=7":                   mac(1),
		"<3>CTRL-EVENT-SSID-TEMP-DISABLED id=0 ssid=\"bssid=02:00:00:00:01:00 x\" auth_failures=1 duration=10 reason=X":  {},
		"<4>CTRL-EVENT-SSID-TEMP-DISABLED id=0 ssid=\"\\\" bssid=02:00:00:00:01:00\" auth_failures=1 duration=10 reason": {},
		"<3>CTRL-EVENT-CONNECTED something else":                                                                         {},
	} {
		e, ok := parseEvent(text)
		if !ok || e.Peer() != want {
			t.Errorf("%s: %v %v, want %v", text, ok, e.Peer(), want)
		}
	}
	e, _ := parseEvent("<3>CTRL-EVENT-DISCONNECTED bssid=02:00:00:00:01:00 reason=15 locally_generated=1")
	if n, ok := e.Int("reason"); n != 15 || !ok {
		t.Errorf("reason: %d %v", n, ok)
	}
	e, _ = parseEvent("<3>RRM-NEIGHBOR-REP-RECEIVED bssid=02:00:00:00:01:00 info=0x8f op_class=81 chan=6 phy_type=7 lci=x")
	n, ok := e.Neighbour()
	if check(t, "neighbour", n, Neighbour{BSSID: mac(1), Info: 0x8f, OpClass: 81, Channel: 6, PHYType: 7}, nil); !ok {
		t.Error("neighbour report not taken")
	}
	e, _ = parseEvent("<3>CTRL-EVENT-SIGNAL-CHANGE above=0 signal=-75 noise=9999 txrate=54000")
	s, ok := e.SignalChange()
	if check(t, "signal", s, SignalChange{Signal: -75, Noise: 9999}, nil); !ok {
		t.Error("signal change not taken")
	}
	if _, ok := e.Neighbour(); ok {
		t.Error("a signal change taken for a neighbour")
	}
	for _, bad := range []string{"", "<", "<3>", "<9>X", "3>X Y", "<33>X", "<3> X"} {
		if e, ok := parseEvent(bad); ok {
			t.Errorf("%q: %+v", bad, e)
		}
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{`a\"b\\c\e\n\r\t\x00`: "a\"b\\c\x1b\n\r\t\x00", "": "", "ä": "ä"} {
		if got, ok := Unescape(in); got != want || !ok {
			t.Errorf("%q: %q %v", in, got, ok)
		}
	}
	for _, bad := range []string{`\`, `\x`, `\x1`, `\xzz`, `\q`, strings.Repeat("a", 33), strings.Repeat(`\x00`, 33)} {
		if got, ok := Unescape(bad); ok {
			t.Errorf("%q: %q", bad, got)
		}
	}
}

func TestMAC(t *testing.T) {
	m, err := ParseMAC("02:AB:00:00:00:ff")
	if err != nil || m.String() != "02:ab:00:00:00:ff" || m.IsGroup() || m.IsZero() {
		t.Errorf("%v %v", m, err)
	}
	if !(MAC{1}).IsGroup() || !(MAC{}).IsZero() {
		t.Error("group or zero")
	}
	for _, bad := range []string{"", "02-ab-00-00-00-ff", "02:ab:00:00:00", "02:ab:00:00:00:ff:01:02", "02ab.0000.00ff"} {
		if err := new(MAC).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q: want an error", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{statusRadio, statusIdle, scan, pmksaAP, pmksaSTA, networks, sta, "RSSI=-3\n", "<3>A b=c", "<3>CTRL-EVENT-CONNECTED - Connection to 0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if st, err := ParseStatus(s); err == nil && (st.State == "" || len(st.SSID) > maxSSID) {
			t.Errorf("STATUS believed: %+v", st)
		}
		if rows, _ := ParseScanResults(s); len(rows) > maxRows {
			t.Errorf("%d rows", len(rows))
		}
		if rows, _ := ParsePMKSA(s); len(rows) > maxRows {
			t.Errorf("%d entries", len(rows))
		} else {
			for _, p := range rows {
				if p.Expires < 0 {
					t.Errorf("expires in %v", p.Expires)
				}
			}
		}
		if rows, _ := ParseNetworks(s); len(rows) > maxRows {
			t.Errorf("%d networks", len(rows))
		}
		_, _ = ParseStation(s)
		_, _ = ParseSignalPoll(s)
		if b, ok := ParseBSS(s); ok && b.BSSID.IsZero() {
			t.Error("a BSS without BSSID")
		}
		if e, ok := parseEvent(s); ok {
			_ = e.Peer()
			_, _ = e.SignalChange()
			if n, ok := e.Neighbour(); ok && n.BSSID.IsZero() {
				t.Error("a neighbour without BSSID")
			}
		}
		if n := len(Words(s)); n > maxFields {
			t.Errorf("%d words", n)
		}
	})
}
