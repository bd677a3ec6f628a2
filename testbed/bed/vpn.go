package bed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"openmpa/examples/wireguard"
	"openmpa/testbed/peers"
	"openmpa/testbed/proc"
	"openmpa/testbed/space"
	"openmpa/testbed/topo"
)

// The ends of the lab's VPN among the children; see Options.VPN.
const (
	VPNServer = "vpn"
	VPNNode   = "vpn-mn"
)

const (
	vpnPort = 51820
	// vpnMTU has a packet of WireGuard fit mpa-mn's tunnel of 1400 octets.
	vpnMTU = 1340
)

// vpnEnd is one end of the VPN.
type vpnEnd struct {
	peers.WireGuard
	child, node string
	address     netip.Prefix // zero: none
}

// vpn is what the mobile node's home address is in, when there is a VPN.
type vpn struct {
	bed          *Bed
	server, node vpnEnd
}

func (b *Bed) newVPN() (*vpn, error) {
	v := &vpn{bed: b}
	home := netip.PrefixFrom(topo.HomeAddress, topo.HomeAddress.BitLen())
	v.server = vpnEnd{child: VPNServer, node: topo.HA, WireGuard: peers.WireGuard{
		Interface: fmt.Sprintf("wg%d-server", b.Run.ID), KeyFile: b.Run.File("vpn.key"), Port: vpnPort,
		Peer: peers.WireGuardPeer{Allowed: []netip.Prefix{home}},
	}}
	v.node = vpnEnd{child: VPNNode, node: topo.MN, address: home, WireGuard: peers.WireGuard{
		Interface: fmt.Sprintf("wg%d-node", b.Run.ID), KeyFile: b.Run.File("vpn-mn.key"),
		Peer: peers.WireGuardPeer{
			Endpoint: netip.AddrPortFrom(topo.HomeAgent, vpnPort), Allowed: []netip.Prefix{netip.PrefixFrom(topo.Correspondent, topo.Correspondent.BitLen())},
		},
	}}
	var err [2]error
	v.node.Peer.Key, err[0] = v.server.WriteKey(v.server.KeyFile)
	v.server.Peer.Key, err[1] = v.node.WriteKey(v.node.KeyFile)
	return v, errors.Join(err[:]...)
}

// startVPN starts both ends of the VPN.
func (b *Bed) startVPN(ctx context.Context) (err error) {
	b.opt.say("starting WireGuard")
	if b.vpn, err = b.newVPN(); err != nil {
		return err
	}
	if err := os.WriteFile(b.vpn.hook(), wireguard.Script, 0o755); err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	for _, e := range []vpnEnd{b.vpn.server, b.vpn.node} {
		if err := b.startVPNEnd(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// hook is the path of the executable.
func (v *vpn) hook() string { return v.bed.Run.File("wireguard-hook") }

// wg runs wg(8) where e is.
func (b *Bed) wg(e vpnEnd) peers.Run {
	return func(arguments ...string) (string, error) {
		tool, err := e.Tool()
		if err != nil {
			return "", err
		}
		var out []byte
		err = b.Top.Space(e.node).Do(func() error {
			out, err = exec.Command(tool, arguments...).CombinedOutput()
			return err
		})
		if err != nil {
			return "", fmt.Errorf("bed: wg %s on %s: %w: %s", arguments[0], e.node, err, strings.TrimSpace(string(out)))
		}
		return string(out), nil
	}
}

func (b *Bed) startVPNEnd(ctx context.Context, e vpnEnd) error {
	command, err := e.Command()
	if err != nil {
		return err
	}
	wg := b.wg(e)
	if err := b.run(ctx, proc.Spec{
		Name: e.child, Space: b.Top.Space(e.node), Command: command,
		Answers: func(ctx context.Context) error { return e.Answers(ctx, wg) },
	}); err != nil {
		return err
	}
	if err := e.Configure(wg); err != nil {
		return err
	}
	return e.up(b.Top.Space(e.node))
}

// up gives the interface its address and the routes to what is behind the peer.
func (e vpnEnd) up(s *space.Space) error {
	nl := s.Netlink()
	link, err := nl.LinkByName(e.Interface)
	if err != nil {
		return fmt.Errorf("bed: %s: %w", e.Interface, err)
	}
	errs := []error{nl.LinkSetMTU(link, vpnMTU)}
	if e.address.IsValid() {
		errs = append(errs, nl.AddrAdd(link, &netlink.Addr{IPNet: netlink.NewIPNet(e.address.Addr().AsSlice())}))
	}
	errs = append(errs, nl.LinkSetUp(link))
	for _, p := range e.Peer.Allowed {
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: netlink.NewIPNet(p.Addr().AsSlice()), Scope: netlink.SCOPE_LINK}
		if e.address.IsValid() {
			route.Src = e.address.Addr().AsSlice()
		}
		errs = append(errs, nl.RouteAdd(route))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("bed: %s: %w", e.Interface, err)
	}
	return nil
}

// awaitVPN waits until the ends have agreed on keys.
func (b *Bed) awaitVPN(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for {
		ok, err := b.vpn.node.HasPeer(b.wg(b.vpn.node))
		if ok || err != nil {
			return err
		}
		if err := Sleep(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("bed: the ends of the VPN do not agree on keys: %w", err)
		}
	}
}

// mobility is the mobile node's configuration of who moves the binding.
func (b *Bed) mobility() string {
	if b.vpn != nil {
		return fmt.Sprintf("  hook: {command: [%s, %s], timeout: 5s}", b.vpn.hook(), b.vpn.node.Interface)
	}
	if b.opt.six() {
		return b.mobility6()
	}
	return fmt.Sprintf("  mip4: {home-address: %v, home-agent: %v, spi: %d, key-file: mn-ha.key, algorithm: hmac-sha256, lifetime: 600s%s}",
		topo.HomeAddress, topo.HomeAgent, homeSPI, b.opt.several())
}
