package bed

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"openmpa/testbed/topo"
)

// Names in certificates and keys.
const (
	MNIdentity = "mn@home.example"
	ServerName = "aaa.home.example"
	homeSPI    = 256
	tunName    = "mpa0"

	radiusSecret = "radius.secret" // file of the routers' secret
)

// Ports of the routers.
const (
	PANAPort   = 716
	TunnelPort = 4500
)

// dad is the configuration of duplicate address detection, the same for
// every daemon.
func (o Options) dad() string {
	if o.DAD == DADStandard {
		return "dad: {probe-wait: 1s, probe-num: 3, probe-min: 1s, probe-max: 2s, announce-wait: 2s}"
	}
	return "dad: {probe-wait: 20ms, probe-num: 3, probe-min: 50ms, probe-max: 80ms, announce-wait: 100ms}"
}

// writeSecrets makes the keys the daemons share; each lab has its own.
func (b *Bed) writeSecrets() error {
	// FreeRADIUS takes no octets for a secret: its digits are the secret.
	for name, prefix := range map[string]string{radiusSecret: "", "mn-ha.key": "hex:"} {
		key := make([]byte, 32)
		if _, err := rand.Read(key); err != nil {
			return fmt.Errorf("bed: %w", err)
		}
		if err := os.WriteFile(b.Run.File(name), []byte(prefix+hex.EncodeToString(key)+"\n"), 0o600); err != nil {
			return fmt.Errorf("bed: %w", err)
		}
	}
	return nil
}

// writeConfig writes a daemon's configuration and returns the path.
func (b *Bed) writeConfig(name, text string) (string, error) {
	if b.opt.Records > 0 {
		text = fmt.Sprintf("records: %d\n%s", b.opt.Records, text)
	}
	path := b.Run.File(name + ".yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("bed: %w", err)
	}
	return path, nil
}

func (b *Bed) configHA() string {
	if b.opt.six() {
		return b.configHA6()
	}
	return fmt.Sprintf(`node: ha
control: %s
state: ha.db
address: %v
home: {interface: home0, prefix: %v}
tunnel: {device: %s, mtu: 1400}
nodes: [{home-address: %v, spi: %d, key-file: mn-ha.key, algorithm: hmac-sha256}]
lifetime: 600s
`, b.Run.File("ha.sock"), topo.HomeAgent, topo.HomePrefix, tunName, topo.HomeAddress, homeSPI)
}

func (b *Bed) configAR(n topo.Network) string {
	var allow []string
	for _, other := range b.opt.networks() {
		switch {
		case other.Name == n.Name:
		case b.opt.NAT:
			allow = append(allow, netip.PrefixFrom(other.Outer, 32).String()) // as which its nodes appear
		default:
			allow = append(allow, other.Prefix.String())
			if b.opt.six() {
				allow = append(allow, strconv.Quote(topo.SixPrefix(other.Prefix).String()))
			}
		}
	}
	text := fmt.Sprintf(`node: %[1]s
control: %[2]s
state: %[1]s.db
access: {interface: lan0}
address: %[3]v
identity: {ca: ca.%[1]s.example, ar: ar.%[1]s.example}
pana: {lifetime: %[10]v, allow: [%[4]s]}
%[5]sdhcp: {server: %[6]v}
%[7]s
tunnel: {device: %[8]s, port: %[9]d%[11]s}
`, n.Name, b.Run.File(n.Name+".sock"), n.Address, strings.Join(allow, ", "), b.configOperators(n), n.DHCP, b.opt.dad(), tunName, TunnelPort, cmp.Or(b.opt.Lifetime, time.Hour), b.rekey())
	text += b.configPoints(n) + b.configAround(n) + b.opt.Classes + b.configAR6(n)
	if b.opt.Enforce {
		text = strings.Replace(text, "{interface: lan0}", fmt.Sprintf("{interface: lan0, enforce: true, open: [%v]}", b.opt.open()), 1)
	}
	if b.opt.Quick {
		text = strings.NewReplacer("pana: {", "pana: {ping: 2s, ", "tunnel: {", "tunnel: {unused: 5s, ").Replace(text)
	}
	if b.opt.Ahead != "" {
		text += "ahead: " + b.opt.Ahead + "\n"
	}
	switch {
	case b.opt.BufferOff:
		text += "buffer: {off: true}\n"
	case b.opt.BufferPackets > 0:
		text += fmt.Sprintf("buffer: {packets: %d}\n", b.opt.BufferPackets)
	}
	return text
}

// rekey is what is said of rekeying in both ends' configurations of tunnels.
func (b *Bed) rekey() string {
	if b.opt.Rekey == 0 {
		return ""
	}
	return fmt.Sprintf(", rekey: {after: %v}", b.opt.Rekey)
}

func (b *Bed) configMN() string {
	var nets strings.Builder
	for i, n := range b.opt.configured() {
		points, agent := n.Points, fmt.Sprintf("paa: %q, ", b.opt.at(n.Address))
		if i == 0 && cmp.Or(b.opt.Agent, AgentConfigured) != AgentConfigured {
			agent = ""
		}
		if b.Radio != nil {
			points = nil
			for _, p := range n.Points {
				points = append(points, b.Radio.AP(p).wirelessPoint())
			}
		}
		fmt.Fprintf(&nets, "  - {name: %s, %spoints: [%s]}\n", n.Name, agent, strings.Join(points, ", "))
	}
	deciding := ""
	section := b.opt.Decision
	if b.Radio != nil {
		section = b.opt.Wifi.Decision
	}
	if section != "" {
		deciding = "decision: " + section + "\n"
	}
	moves := ""
	if b.opt.Hold != "" || b.opt.Guard != "" {
		moves = fmt.Sprintf("handover: {hold: %s, guard: %s}\n", cmp.Or(b.opt.Hold, HoldNext), cmp.Or(b.opt.Guard, GuardNever))
	}
	timers := "timers: {auth: 10s, configure: 30s, tunnel: 5s, bind: 5s, depart: 200ms, link-up: 2s"
	if b.Radio != nil { // its processor may be an emulated one
		timers = "timers: {auth: 20s, configure: 30s, tunnel: 10s, bind: 10s, depart: 500ms, link-up: 6s, arrive: 10s"
	}
	ping := ""
	if b.opt.Quick {
		timers, ping = "timers: {auth: 4s, configure: 6s, tunnel: 3s, bind: 3s, depart: 200ms, link-up: 2s", "ping: 2s, "
	}
	if b.opt.Kept > 0 {
		timers += fmt.Sprintf(", prepared: %v", b.opt.Kept)
	}
	timers += fmt.Sprintf(", hold: %v}", b.opt.Return)
	session := fmt.Sprintf("pana: {%sawait: %v}", ping, b.opt.Agent == AgentInvites)
	return fmt.Sprintf(`node: mn
control: %s
state: mn.db
%s
tunnel: {device: %s, mtu: %d%s}
eap:
  identity: %s
  ca: mn/ca.pem
%s  server-name: %s
networks:
%smobility:
%s
%s
%s
%s
prepare: %v
%s`, b.Run.File("mn.sock"), b.interfaces(), tunName, b.opt.innerMTU(), b.rekey(), MNIdentity, b.configEAP(), ServerName, nets.String(),
		b.mobility(), b.opt.dad(), timers, session, !b.opt.NoPrepare, deciding+moves+b.discovery()+b.configMN6())
}

// interfaces are those of the mobile node, and who moves them.
func (b *Bed) interfaces() string {
	external := func(socket string) string { return fmt.Sprintf("{type: external, socket: %s}", b.Run.File(socket)) }
	switch {
	case b.Radio != nil:
		return fmt.Sprintf("interface: %s\nlink: {type: wpa_supplicant, socket: %s}", topo.WirelessIf, b.Radio.Station.Socket())
	case b.opt.Second == "":
		return fmt.Sprintf("interface: %s\nlink: %s", topo.MNIf, external(linkSocket))
	}
	reached := make(map[string][]string)
	for _, n := range b.opt.networks() {
		by := topo.MNIf
		if n.Name == secondReaches {
			by = topo.SecondIf
		}
		reached[by] = append(reached[by], n.Points...)
	}
	return fmt.Sprintf(`interfaces:
  - {name: %s, points: [%s], link: %s}
  - {name: %s, points: [%s], raise: %s, link: %s}`,
		topo.MNIf, strings.Join(reached[topo.MNIf], ", "), external(linkSocket),
		topo.SecondIf, strings.Join(reached[topo.SecondIf], ", "), b.opt.Second, external(secondSocket))
}
