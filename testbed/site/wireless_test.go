package site

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/nftables"

	"openmpa/internal/doctor"
	"openmpa/internal/wpactrl/wpactrltest"
)

// radio makes a machine's interface look like a radio, with a daemon behind its control socket that gives these answers. The
// map may be changed by plants: nothing asks meanwhile.
func (m *machine) radio(dev, socket string, answers map[string]string) *wpactrltest.Daemon {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Join(m.run, "sys/class/net", dev, "phy80211"), 0o755); err != nil {
		m.t.Fatal(err)
	}
	return wpactrltest.Start(m.t, filepath.Join(m.run, socket), func(c string) string { return answers[c] })
}

// says is a fault by which a daemon gives another answer.
func says(answers map[string]string, command, old, wrong string) func(*doctor.Options) func() {
	return func(*doctor.Options) func() {
		was := answers[command]
		if !strings.Contains(was, old) {
			panic(command + " without " + old)
		}
		answers[command] = strings.Replace(was, old, wrong, 1)
		return func() { answers[command] = was }
	}
}

// stopped is a fault by which a daemon has no socket.
func stopped(d *wpactrltest.Daemon) func(*doctor.Options) func() {
	return func(*doctor.Options) func() {
		d.Stop()
		return d.Restart
	}
}

// closed is one by which a control socket is another user's.
func (m *machine) closed(socket string) func(*doctor.Options) func() {
	return func(*doctor.Options) func() {
		own := func(uid int, mode os.FileMode) {
			if err := os.Chown(socket, uid, uid); err != nil {
				m.t.Fatal(err)
			}
			if err := os.Chmod(socket, mode); err != nil {
				m.t.Fatal(err)
			}
		}
		own(1234, 0o770)
		return func() { own(0, 0o755) }
	}
}

// TestDoctorWireless plants what can be wrong with radios, on machines that are well.
func TestDoctorWireless(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the daemons")
	}
	w := newWorld(t)
	n, r := w.node, w.router
	const point = "{name: poa-a1, bssid: 02:00:00:00:0a:01, ssid: site-a, freq: 2412}"
	n.replaced("mn.yaml", "points: [poa-a1]", "points: ["+point+"]")(nil)
	n.replaced("mn.yaml", "link: {type: external, socket: "+n.run+"/link.sock}", "link: {type: auto}")(nil)
	station := map[string]string{
		"LIST_NETWORKS":          "network id / ssid / bssid / flags\n0\tsite-a\tany\t[CURRENT]\n",
		"GET_NETWORK 0 key_mgmt": "WPA-EAP WPA-EAP-SHA256\n",
		"SCAN_RESULTS":           "bssid / frequency / signal level / flags / ssid\n02:00:00:00:0a:01\t2412\t-40\t[WPA2-EAP-CCMP][ESS]\tsite-a\n",
	}
	supplicant := n.radio("eth0", "run/wpa_supplicant/eth0", station)
	ap := map[string]string{
		"STATUS":     "state=ENABLED\nfreq=2412\n",
		"GET_CONFIG": "bssid=02:00:00:00:0a:01\nssid=site-a\nkey_mgmt=WPA-EAP\n",
		"MIB":        "radiusAuthServerAddress=10.0.0.2\nradiusAuthClientServerPortNumber=1812\n",
	}
	hostapd := r.radio("lan0", "run/hostapd/lan0", ap)
	text, err := os.ReadFile(filepath.Join(r.etc, "ar.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	r.write("ar.yaml", "%saccess-points: [{name: poa-a1, bssid: 02:00:00:00:0a:01, akm: WPA-EAP, socket: /run/hostapd/lan0}]\n", text)
	n.well("before any fault")
	r.well("before any fault")

	n.finds([]fault{
		{"no wpa_supplicant", stopped(supplicant), doctor.Fail, "link", "eth0 is wireless, and wpa_supplicant does not run", "wpa_supplicant-eth0.conf"},
		{"a wpa_supplicant without socket", both(stopped(supplicant), n.program("wpa_supplicant", "-u", "", "")), doctor.Fail, "link", "no control socket for eth0", "ctrl_interface=/run/wpa_supplicant"},
		{"a wpa_supplicant that hangs", func(*doctor.Options) func() {
			supplicant.Mute(true)
			return func() { supplicant.Mute(false) }
		}, doctor.Fail, "link", "does not answer", "systemctl restart wpa_supplicant@eth0"},
		{"a socket of another user", n.closed(supplicant.Socket), doctor.Fail, "link", "belongs to user 1234 with mode 770", "ctrl_interface_group="},
		{"no such network", says(station, "LIST_NETWORKS", "site-a", "site-b"), doctor.Fail, "network", `no network "site-a"`, "mpa-mn join shows"},
		{"a network given up", says(station, "LIST_NETWORKS", "[CURRENT]", "[TEMP-DISABLED]"), doctor.Warn, "network", "given up", "RADIUS"},
		{"another suite at the node", says(station, "GET_NETWORK 0 key_mgmt", "WPA-EAP WPA-EAP-SHA256", "WPA-PSK"), doctor.Fail, "network", "key_mgmt=WPA-PSK", "key_mgmt=WPA-EAP, eap=TLS"},
		{"another suite on the air", says(station, "SCAN_RESULTS", "WPA2-EAP", "WPA2-PSK"), doctor.Fail, "point", "WPA2-PSK-CCMP", "ieee8021x=1"},
		{"another BSSID on the air", says(station, "SCAN_RESULTS", "0a:01", "0a:0f"), doctor.Warn, "point", "is at 02:00:00:00:0a:0f", "correct bssid: of poa-a1"},
		{"another SSID on the air", says(station, "SCAN_RESULTS", "\tsite-a", "\tsite-b"), doctor.Fail, "point", `is "site-b" on the air`, "ssid:"},
		{"another channel", says(station, "SCAN_RESULTS", "2412", "2437"), doctor.Warn, "point", "on 2437 MHz, not 2412", "freq:"},
	})
	n.well("after the faults")
	r.finds([]fault{
		{"no hostapd", stopped(hostapd), doctor.Fail, "access point", "hostapd does not run", "systemctl enable --now hostapd"},
		{"a hostapd without ctrl_interface", both(stopped(hostapd), r.program("hostapd", "/etc/hostapd/hostapd.conf", "", "")), doctor.Fail, "access point", "runs, but has no control socket /run/hostapd/lan0", "ctrl_interface=/run/hostapd"},
		{"a hostapd that hangs", func(*doctor.Options) func() {
			hostapd.Mute(true)
			return func() { hostapd.Mute(false) }
		}, doctor.Fail, "access point", "STATUS", "systemctl restart hostapd"},
		{"hostapd's socket of another user", r.closed(hostapd.Socket), doctor.Fail, "link", "belongs to user 1234", "run hostapd as root"},
		{"a wrong BSSID", r.replaced("ar.yaml", "02:00:00:00:0a:01", "02:00:00:00:0a:02"), doctor.Fail, "access point", "has BSSID 02:00:00:00:0a:01, the configuration says 02:00:00:00:0a:02", "correct bssid:"},
		{"another suite at the access point", says(ap, "GET_CONFIG", "WPA-EAP", "WPA-PSK"), doctor.Fail, "access point", `wpa_key_mgmt "WPA-PSK"`, "add WPA-EAP to wpa_key_mgmt="},
		{"a radio off the air", says(ap, "STATUS", "ENABLED", "COUNTRY_UPDATE"), doctor.Fail, "access point", "COUNTRY_UPDATE, not on the air", "country_code="},
		{"no 802.1X server", says(ap, "MIB", "radius", "x"), doctor.Fail, "access point", "no RADIUS server", "auth_server_addr="},
		{"another 802.1X server", says(ap, "MIB", "10.0.0.2", "10.0.0.3"), doctor.Warn, "access point", "10.0.0.3:1812, mpa-ar others", "radius: servers:"},
		{"an access point that nobody named", r.replaced("ar.yaml", "access-points: [{name: poa-a1, bssid: 02:00:00:00:0a:01, akm: WPA-EAP, socket: /run/hostapd/lan0}]", ""), doctor.Warn, "access point", "is not in the configuration", "socket: /run/hostapd/lan0"},
		{"a BSS of another network", func(*doctor.Options) func() {
			socket := filepath.Join(r.run, "run/hostapd/wlan7")
			other := wpactrltest.Start(t, socket, func(c string) string { return ap[c] })
			undo := r.replaced("ar.yaml", "/run/hostapd/lan0", "/run/hostapd/wlan7")(nil)
			return func() { undo(); other.Stop() }
		}, doctor.Fail, "access point", "wlan7 is no part of lan0", "bridge=lan0"},
		{"firewalld", both(r.program("firewalld", "--nofork", "", ""), r.wall(nftables.ChainHookInput, 716)), doctor.Fail, "filter", "UDP port 716", "firewall-cmd --permanent --add-port=716/udp"},
	})
	r.well("after the faults")
}
