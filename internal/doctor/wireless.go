package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"openmpa/internal/config"
	"openmpa/internal/wpactrl"
	"openmpa/mn/link"
)

// point is one of a node's points of attachment.
type point struct {
	Name  string      `yaml:"name"`
	BSSID wpactrl.MAC `yaml:"bssid"`
	SSID  string      `yaml:"ssid"`
	Freq  int         `yaml:"freq"`
}

// Scalar implements the hook of package config: a name alone.
func (p *point) Scalar(text string) error {
	p.Name = text
	return nil
}

const controlTimeout = time.Second // of one answer of wpa_supplicant

// mover examines who moves the node's link: a program of the operator's, wpa_supplicant, or nobody.
func (p *patient) mover() {
	socket := p.c.Link.Socket.String()
	if p.c.Link.Type == "external" {
		c, err := net.Dial("unix", socket)
		if err != nil {
			p.fail("link", fmt.Sprintf("nobody listens on %s: %v", socket, errors.Unwrap(err)), "start the program that moves the link, or correct link: socket:")
			return
		}
		c.Close()
		p.ok("link", "a program listens on "+socket)
		return
	}
	if _, err := os.Stat(filepath.Join(p.Root, "sys/class/net", p.c.Interface, "phy80211")); err != nil && p.c.Link.Type != string(link.KindSupplicant) {
		return // a cable
	}
	if socket == "" {
		found, err := link.Find(os.DirFS(p.Root), p.c.Interface)
		if err != nil {
			p.noSupplicant()
			return
		}
		socket = filepath.Join(p.Root, found.Socket)
	}
	if !p.mayUse("wpa_supplicant", socket) {
		return
	}
	c, err := wpactrl.Open(wpactrl.Config{Socket: socket, Dir: p.own(), Timeout: controlTimeout})
	if err != nil {
		p.fail("link", err.Error(), "run this as root")
		return
	}
	defer c.Close()
	if err := c.Ping(p.ctx); err != nil {
		p.fail("link", fmt.Sprintf("wpa_supplicant does not answer on %s: %v", socket, err), fmt.Sprintf("run: systemctl restart wpa_supplicant@%s   and look at its log", p.c.Interface))
		return
	}
	p.ok("link", "wpa_supplicant answers on "+socket)
	p.blocks(c)
	p.air(c)
}

// noSupplicant says why wpa_supplicant has no control socket.
func (p *patient) noSupplicant() {
	dev := p.c.Interface
	if p.runs("wpa_supplicant") {
		p.fail("link", fmt.Sprintf("wpa_supplicant runs, but has no control socket for %s in /run/wpa_supplicant", dev),
			"put ctrl_interface=/run/wpa_supplicant into its configuration and restart it; if NetworkManager started it, take the interface from that (see manager), and run: systemctl enable --now wpa_supplicant@"+dev)
		return
	}
	p.fail("link", fmt.Sprintf("%s is wireless, and wpa_supplicant does not run", dev),
		fmt.Sprintf("write /etc/wpa_supplicant/wpa_supplicant-%s.conf (mpa-mn join --wpa-supplicant does) and run: systemctl enable --now wpa_supplicant@%s", dev, dev))
}

// mayUse says whether the daemon, which is root without the right to pass by permissions, can open a control socket of others'.
func (p *patient) mayUse(whose, socket string) bool {
	for _, path := range []string{filepath.Dir(socket), socket} {
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err != nil {
			p.fail("link", fmt.Sprintf("%s: %v", path, err), "start "+whose)
			return false
		}
		want := uint32(2) // connect needs w
		if path != socket {
			want = 1
		}
		granted := st.Mode & 0o7
		if st.Uid == 0 {
			granted = st.Mode >> 6
		} else if st.Gid == 0 {
			granted = st.Mode >> 3
		}
		if granted&want == 0 {
			p.fail("link", fmt.Sprintf("%s belongs to user %d with mode %o: %s cannot use it", path, st.Uid, st.Mode&0o777, p.program),
				fmt.Sprintf("run %s as root, without ctrl_interface_group= or GROUP= of another user; then restart it", whose))
			return false
		}
	}
	return true
}

// own is where to put sockets of ours, so that the daemons see them.
func (p *patient) own() string {
	if dir := filepath.Join(p.Root, "run"); isDir(dir) {
		return dir
	}
	return os.TempDir()
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().Type() == fs.ModeDir
}

// blocks looks whether wpa_supplicant knows the networks, and by which keys.
func (p *patient) blocks(c *wpactrl.Client) {
	answer, err := c.Command(p.ctx, "LIST_NETWORKS")
	if err != nil {
		p.fail("link", err.Error(), "look at the log of wpa_supplicant")
		return
	}
	list, err := wpactrl.ParseNetworks(answer)
	if err != nil {
		p.fail("link", err.Error(), "is that the socket of wpa_supplicant?")
		return
	}
	for _, ssid := range p.ssids() {
		i := slices.IndexFunc(list, func(n wpactrl.Network) bool { return n.SSID == ssid })
		if i < 0 {
			p.fail("network", fmt.Sprintf("wpa_supplicant has no network %q", ssid), "add it to its configuration: a block as those that mpa-mn join shows; then run: wpa_cli reconfigure")
			continue
		}
		mgmt, err := c.Command(p.ctx, "GET_NETWORK "+strconv.Itoa(list[i].ID)+" key_mgmt")
		switch {
		case err != nil:
			p.fail("network", err.Error(), "look at the log of wpa_supplicant")
		case !enterprise(strings.Fields(mgmt)):
			p.fail("network", fmt.Sprintf("wpa_supplicant's network %q has key_mgmt=%s: no 802.1X, so no key can be there before the node", ssid, wpactrl.Printable(mgmt)),
				"give that block key_mgmt=WPA-EAP, eap=TLS and the node's certificate; then run: wpa_cli reconfigure")
		case slices.Contains(list[i].Flags, "TEMP-DISABLED"):
			p.warn("network", fmt.Sprintf("wpa_supplicant has given up %q for a while: it was refused there", ssid), "do hostapd and this node ask the same RADIUS server? mpactl doctor on the router")
		default:
			p.ok("network", fmt.Sprintf("wpa_supplicant has network %q, with 802.1X", ssid))
		}
	}
}

// enterprise says whether one of the suites takes the key of an earlier EAP run.
func enterprise(suites []string) bool {
	return slices.Contains(suites, "WPA-EAP") || slices.Contains(suites, "WPA-EAP-SHA256")
}

// ssids are those of the configured points, each once.
func (p *patient) ssids() (out []string) {
	for _, n := range p.c.Networks {
		for _, pt := range n.Points {
			if pt.SSID != "" && !slices.Contains(out, pt.SSID) {
				out = append(out, pt.SSID)
			}
		}
	}
	return out
}

// air compares the points with what wpa_supplicant has seen last. What is not in sight is no fault.
func (p *patient) air(c *wpactrl.Client) {
	answer, err := c.Command(p.ctx, "SCAN_RESULTS")
	if err != nil {
		return // a driver that does not scan
	}
	seen, err := wpactrl.ParseScanResults(answer)
	if err != nil {
		return
	}
	for _, n := range p.c.Networks {
		for _, pt := range n.Points {
			if !pt.BSSID.IsZero() {
				p.sighting(pt, seen)
			}
		}
	}
}

func (p *patient) sighting(pt point, seen []wpactrl.BSS) {
	i := slices.IndexFunc(seen, func(b wpactrl.BSS) bool { return b.BSSID == pt.BSSID })
	if i < 0 {
		for _, b := range seen {
			if b.SSID == pt.SSID && !p.isPoint(b.BSSID) {
				p.warn("point", fmt.Sprintf("%s, %v, is not in sight; %q is at %v, which is no point of the configuration", pt.Name, pt.BSSID, pt.SSID, b.BSSID),
					"if the access point was replaced, correct bssid: of "+pt.Name+" (and on its router, access-points:)")
				return
			}
		}
		return
	}
	b := seen[i]
	offers := strings.Join(b.Flags, " ")
	switch {
	case pt.SSID != "" && b.SSID != pt.SSID:
		p.fail("point", fmt.Sprintf("%s, %v, is %q on the air, not %q", pt.Name, pt.BSSID, b.SSID, pt.SSID), "correct ssid: or bssid: of "+pt.Name)
	case !strings.Contains(offers, "EAP"):
		p.fail("point", fmt.Sprintf("%s, %v, offers %s: no 802.1X", pt.Name, pt.BSSID, wpactrl.Printable(offers)), "give its hostapd wpa_key_mgmt=WPA-EAP and ieee8021x=1; mpa-ar init writes the lines to /etc/openmpa/hostapd.conf there")
	case pt.Freq != 0 && b.Freq != pt.Freq:
		p.warn("point", fmt.Sprintf("%s is on %d MHz, not %d: it is found late", pt.Name, b.Freq, pt.Freq), "correct freq: of "+pt.Name)
	default:
		p.ok("point", fmt.Sprintf("%s is in sight, at %d dBm", pt.Name, b.Signal))
	}
}

func (p *patient) isPoint(b wpactrl.MAC) bool {
	for _, n := range p.c.Networks {
		if slices.ContainsFunc(n.Points, func(pt point) bool { return pt.BSSID == b }) {
			return true
		}
	}
	return false
}

// accessPoint is one that a router gives keys to.
type accessPoint struct {
	Name   string          `yaml:"name"`
	BSSID  wpactrl.MAC     `yaml:"bssid"`
	AKM    string          `yaml:"akm"`
	Socket config.Path     `yaml:"socket"`
	Agent  config.AddrPort `yaml:"agent"`
}

// agent looks whether an access point's agent on another machine can be reached.
func (p *patient) agent(a accessPoint) {
	ctx, cancel := context.WithTimeout(p.ctx, p.Wait)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", a.Agent.String())
	if err != nil {
		p.fail("access point", fmt.Sprintf("%s: no agent on %v: %v", a.Name, a.Agent, err), fmt.Sprintf("start mpa-ar ap-agent there, and let TCP port %d pass", a.Agent.Port()))
		return
	}
	c.Close()
	p.ok("access point", fmt.Sprintf("%s: somebody answers on %v", a.Name, a.Agent))
}
