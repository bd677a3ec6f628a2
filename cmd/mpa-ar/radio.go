package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"openmpa/internal/config"
	"openmpa/internal/enroll"
	"openmpa/internal/hostapd"
	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
)

const (
	defaultChannel = 6
	hostapdFile    = "hostapd.conf" // that init writes, beside the other files
)

// accessPoints are those of the access network that this machine is itself.
type accessPoints struct {
	found  []hostapd.BSS // that hostapd runs
	new    *newPoint     // to be made, where it runs none
	bridge string        // the access interface, where it is not the radio
	names  []string      // of the points, in the order of found
}

// newPoint is an access point that hostapd has still to be told of.
type newPoint struct {
	hostapd.BSS
	channel int
}

// findRadios looks at what hostapd runs; where that is nothing, at the radio there is.
func findRadios(ctx context.Context, i *initialise) (accessPoints, error) {
	var a accessPoints
	if i.radio == "none" {
		return a, nil
	}
	list, err := hostapd.Find(ctx, i.root, filepath.Join(i.root, "run"))
	if err != nil {
		return a, err
	}
	for _, b := range list {
		if i.isAccess(b.Interface) && !b.BSSID.IsZero() {
			a.found = append(a.found, b)
		}
	}
	if len(a.found) > 0 {
		return a, nil
	}
	if i.radio == "" {
		if i.radio = i.ask.text("Wireless interface to make an access point of, or none", i.wireless()); i.radio == "none" {
			return a, nil
		}
	}
	freq := frequency(i.channel)
	if freq == 0 {
		return a, fmt.Errorf("--channel %d: expected one of 2.4 GHz (1 to 13) or 5 GHz (36 to 177)", i.channel)
	}
	iface, err := net.InterfaceByName(i.radio)
	if err != nil {
		return a, fmt.Errorf("--radio %s: %w", i.radio, err)
	}
	if len(iface.HardwareAddr) != len(wpactrl.MAC{}) {
		return a, fmt.Errorf("--radio %s: expected a wireless interface", i.radio)
	}
	if i.ssid == "" {
		i.ssid = i.ask.text("Name of its network on the air (SSID)", i.name)
	}
	a.new = &newPoint{channel: i.channel, BSS: hostapd.BSS{
		Interface: i.radio, Socket: filepath.Join("/", hostapd.Dir, i.radio), BSSID: wpactrl.MAC(iface.HardwareAddr), SSID: i.ssid, Freq: freq,
		KeyMgmt: []string{keys.AKM8021X.String()},
	}}
	if i.radio != i.access {
		a.bridge = i.access
	}
	return a, nil
}

// isAccess says whether an interface is that of the access network, or a port of its bridge.
func (i *initialise) isAccess(dev string) bool {
	_, err := os.Stat(filepath.Join(i.root, "sys/class/net", i.access, "brif", dev))
	return dev == i.access || err == nil
}

// wireless is the radio to propose: that of the access network, the only one of this machine, or none.
func (i *initialise) wireless() string {
	list, err := filepath.Glob(filepath.Join(i.root, "sys/class/net/*/phy80211"))
	if err != nil {
		return "none" // the pattern is right
	}
	for n, path := range list {
		list[n] = filepath.Base(filepath.Dir(path))
	}
	if at := slices.IndexFunc(list, i.isAccess); at >= 0 {
		return list[at]
	}
	if len(list) == 1 {
		return list[0]
	}
	return "none"
}

// frequency of a channel, in MHz (IEEE 802.11-2020 annex E); 0: none we know.
func frequency(channel int) int {
	switch {
	case channel >= 1 && channel <= 13:
		return 2407 + 5*channel
	case channel >= 36 && channel <= 177:
		return 5000 + 5*channel
	}
	return 0
}

// all are the access points there are or will be.
func (a *accessPoints) all() []hostapd.BSS {
	if a.new != nil {
		return []hostapd.BSS{a.new.BSS}
	}
	return a.found
}

// points are the network's: the names in turn for our own access points, what is left over for others' or cables.
func (a *accessPoints) points(names []string) (out []enroll.Point) {
	a.names = nil
	for n, b := range a.all() {
		name := strings.TrimRight(names[0], "0123456789") + fmt.Sprint(n+1)
		if n < len(names) {
			name = names[n]
		}
		a.names = append(a.names, name)
		out = append(out, enroll.Point{Name: name, BSSID: b.BSSID, SSID: b.SSID, Freq: b.Freq})
	}
	for _, name := range names[min(len(out), len(names)):] {
		out = append(out, enroll.Point{Name: name})
	}
	return out
}

// section is the part of ar.yaml that names the access points which mpa-ar gives keys to.
func (a *accessPoints) section() string {
	var b strings.Builder
	for n, p := range a.all() {
		suite := p.Suite()
		config.Default(&suite, keys.AKM8021X) // it is told to have that
		fmt.Fprintf(&b, "  - {name: %s, bssid: \"%v\", akm: %v, socket: %s}\n", a.names[n], p.BSSID, suite, p.Socket)
	}
	if b.Len() == 0 {
		return ""
	}
	return "access-points:\n" + b.String()
}

// wanted says whether hostapd has still to be told something.
func (a *accessPoints) wanted() bool {
	return slices.ContainsFunc(a.all(), func(b hostapd.BSS) bool { return len(b.RADIUS) == 0 || b.Suite() == 0 })
}

// config is what hostapd needs: 802.1X at the site's RADIUS server.
func (a *accessPoints) config(dir string, own netip.Addr, server netip.AddrPort, secret []byte) []enroll.File {
	if !a.wanted() {
		return nil
	}
	var b strings.Builder
	if p := a.new; p != nil {
		mode := "g"
		if p.channel > 13 {
			mode = "a"
		}
		fmt.Fprintf(&b, "# Access point %s.\ninterface=%s\ndriver=nl80211\nssid2=\"%s\"\nhw_mode=%s\nchannel=%d\n", a.names[0], p.Interface, p.SSID, mode, p.channel)
		if a.bridge != "" {
			fmt.Fprintf(&b, "bridge=%s\n", a.bridge)
		}
	} else {
		b.WriteString("# Put these lines into the configuration of hostapd, in place of those of the same names there.\n")
	}
	fmt.Fprintf(&b, `ctrl_interface=%s
# 802.1X at the site's RADIUS server; mpa-ar adds keys of nodes that have not come yet.
wpa=2
wpa_key_mgmt=%v
rsn_pairwise=CCMP
ieee8021x=1
own_ip_addr=%v
nas_identifier=%s
auth_server_addr=%v
auth_server_port=%d
auth_server_shared_secret=%s
`, filepath.Join("/", hostapd.Dir), keys.AKM8021X, own, a.names[0], server.Addr(), server.Port(), secret)
	return []enroll.File{{Path: filepath.Join(dir, hostapdFile), Text: []byte(b.String())}}
}

// advise says what is to be done with hostapd.
func (a *accessPoints) advise(w io.Writer, file string) {
	switch {
	case a.new != nil:
		fmt.Fprintf(w, "Next: start hostapd on %s with %s, as by: cp %s /etc/hostapd/; systemctl unmask hostapd; systemctl enable --now hostapd\n", a.new.Interface, file, file)
	case a.wanted():
		var without []error
		for _, b := range a.found {
			without = append(without, fmt.Errorf("hostapd on %s has key_mgmt %q, RADIUS servers %v", b.Interface, strings.Join(b.KeyMgmt, " "), b.RADIUS))
		}
		fmt.Fprintf(w, "%v.\nNext: bring %s into its configuration, and restart it\n", errors.Join(without...), file)
	}
}
