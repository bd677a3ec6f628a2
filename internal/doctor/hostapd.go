package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"openmpa/internal/hostapd"
	"openmpa/internal/operators"
	"openmpa/internal/wpactrl"
)

// accessPoints compares those of the configuration with what hostapd runs, here or at an agent.
func (p *patient) accessPoints() {
	known := map[wpactrl.MAC]bool{}
	for _, a := range p.c.AccessPoints {
		known[a.BSSID] = true
		if a.Agent.IsValid() {
			p.agent(a)
			continue
		}
		p.accessPoint(a)
	}
	list, err := hostapd.Find(p.ctx, p.Root, p.own())
	if err != nil && len(list) == 0 && len(known) == 0 {
		p.warn("access point", err.Error(), "look at the log of hostapd")
	}
	for _, b := range list {
		if p.inAccess(b.Interface) && !known[b.BSSID] && !b.BSSID.IsZero() {
			p.warn("access point", fmt.Sprintf("%v on %s, %q, is not in the configuration: nodes authenticate in full there", b.BSSID, b.Interface, b.SSID),
				fmt.Sprintf("add to access-points: {name: NAME, bssid: \"%v\", akm: WPA-EAP, socket: %s}", b.BSSID, strings.TrimPrefix(b.Socket, strings.TrimSuffix(p.Root, "/"))))
		}
	}
}

func (p *patient) accessPoint(a accessPoint) {
	socket := filepath.Join(p.Root, a.Socket.String())
	if _, err := os.Stat(socket); err != nil {
		p.noHostapd(a)
		return
	}
	if !p.mayUse("hostapd", socket) {
		return
	}
	b, err := hostapd.Ask(p.ctx, socket, p.own())
	if err != nil {
		p.fail("access point", fmt.Sprintf("%s: %v", a.Name, err), "run: systemctl restart hostapd   and look at its log")
		return
	}
	before := len(p.findings)
	if b.BSSID != a.BSSID {
		p.fail("access point", fmt.Sprintf("%s: hostapd on %s has BSSID %v, the configuration says %v", a.Name, b.Interface, b.BSSID, a.BSSID),
			fmt.Sprintf("correct bssid: of %s, here and in the networks: of the nodes", a.Name))
	}
	if !slices.Contains(b.KeyMgmt, a.AKM) {
		p.fail("access point", fmt.Sprintf("%s: hostapd on %s has wpa_key_mgmt %q, the configuration says akm: %s", a.Name, b.Interface, strings.Join(b.KeyMgmt, " "), a.AKM),
			fmt.Sprintf("add %s to wpa_key_mgmt= of hostapd, with ieee8021x=1, and restart it", a.AKM))
	}
	if b.State != hostapd.Enabled {
		p.fail("access point", fmt.Sprintf("%s: the radio of hostapd on %s is %s, not on the air", a.Name, b.Interface, b.State), "look at the log of hostapd: country_code=, channel=, rfkill list")
	}
	if !p.inAccess(b.Interface) {
		p.fail("access point", fmt.Sprintf("%s: %s is no part of %s: stations are in another network", a.Name, b.Interface, p.c.Access.Interface),
			fmt.Sprintf("put bridge=%s into hostapd's configuration, or correct access: interface:", p.c.Access.Interface))
	}
	p.hostapdServers(a, b)
	if len(p.findings) == before {
		p.ok("access point", fmt.Sprintf("%s is on the air as %q, %v", a.Name, b.SSID, b.BSSID))
	}
}

// noHostapd says why there is no control socket.
func (p *patient) noHostapd(a accessPoint) {
	if p.runs("hostapd") {
		p.fail("access point", fmt.Sprintf("%s: hostapd runs, but has no control socket %s", a.Name, a.Socket),
			fmt.Sprintf("put ctrl_interface=%s into its configuration and restart it", filepath.Dir(a.Socket.String())))
		return
	}
	p.fail("access point", fmt.Sprintf("%s: hostapd does not run: no %s", a.Name, a.Socket), "run: systemctl enable --now hostapd   with a configuration as /etc/openmpa/hostapd.conf, which mpa-ar init writes")
}

// hostapdServers looks whether who comes without a key is authenticated, too.
func (p *patient) hostapdServers(a accessPoint, b hostapd.BSS) {
	if len(b.RADIUS) == 0 {
		p.fail("access point", fmt.Sprintf("%s: hostapd on %s has no RADIUS server: who comes unprepared cannot log in", a.Name, b.Interface),
			"put auth_server_addr=, auth_server_port= and auth_server_shared_secret= into its configuration; mpa-ar init writes them to /etc/openmpa/hostapd.conf")
		return
	}
	any := false
	for _, o := range p.c.AAA {
		if o.RADIUS == nil {
			continue
		}
		any = true
		if slices.ContainsFunc(o.RADIUS.Servers, func(s operators.RADIUSServer) bool { return slices.Contains(b.RADIUS, s.Address) }) {
			return
		}
	}
	if !any {
		return
	}
	p.warn("access point", fmt.Sprintf("%s: hostapd asks the RADIUS server %v, mpa-ar others", a.Name, b.RADIUS[0]), "nodes need an account at both: give hostapd the server of aaa: radius: servers:")
}

// inAccess says whether an interface is that of the access network, or a port of its bridge.
func (p *patient) inAccess(dev string) bool {
	_, err := os.Stat(filepath.Join(p.Root, "sys/class/net", p.c.Access.Interface, "brif", dev))
	return dev == p.c.Access.Interface || err == nil
}
