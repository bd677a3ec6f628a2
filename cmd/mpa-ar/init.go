package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"openmpa/aaa/server"
	"openmpa/internal/config"
	"openmpa/internal/daemon"
	"openmpa/internal/enroll"
)

// initialise is the command that sets a router up.
type initialise struct {
	name, access, points, realm string
	join, code, state, runDir   string
	address, dhcp, siteAddress  addr
	home                        prefix
	nodes                       int
	force                       bool
}

// addr and prefix are flags.
type (
	addr   struct{ netip.Addr }
	prefix struct{ netip.Prefix }
)

func (a *addr) Set(s string) (err error) {
	if a.Addr, err = netip.ParseAddr(s); err == nil && !a.Is4() {
		err = errors.New("expected an IPv4 address")
	}
	return err
}

func (a *addr) String() string {
	if !a.IsValid() {
		return ""
	}
	return a.Addr.String()
}

func (p *prefix) Set(s string) (err error) { p.Prefix, err = netip.ParsePrefix(s); return err }

func (p *prefix) String() string {
	if !p.IsValid() {
		return ""
	}
	return p.Prefix.String()
}

func (i *initialise) flags(fs *flag.FlagSet) {
	i.home.Prefix = netip.MustParsePrefix("10.9.0.0/24")
	fs.StringVar(&i.access, "access", "", "`INTERFACE` of the access network (default: the only one with an address beside that of the default route)")
	fs.Var(&i.address, "address", "`ADDRESS` of this router there (default: the interface's first)")
	fs.Var(&i.dhcp, "dhcp", "`ADDRESS` of the DHCP server of the access network, which takes requests of a relay agent")
	fs.StringVar(&i.name, "name", "", "`NAME` of this router and its network (default: the host's)")
	fs.StringVar(&i.points, "points", "", "`NAMES` of the points of attachment, with commas between (default: NAME-1)")
	fs.StringVar(&i.join, "join", "", "join the site whose first router has this `ADDRESS`, with a code made there by mpa-ar invite router")
	fs.StringVar(&i.code, "code", "", "the `CODE`; without it, it is read from standard input")
	fs.StringVar(&i.realm, "realm", "home.example", "of a new site: its `DOMAIN`; nodes are called NAME@DOMAIN")
	fs.Var(&i.home, "home", "of a new site: the `PREFIX` of home addresses, which the network around must route to this machine")
	fs.IntVar(&i.nodes, "nodes", 16, "of a new site: `HOW MANY` home addresses with keys to make")
	fs.Var(&i.siteAddress, "site-address", "of a new site: this machine's `ADDRESS` as RADIUS server and home agent (default: the one towards the default route)")
	fs.StringVar(&i.state, "state", "/var/lib/openmpa", "`DIR` of what the daemons keep")
	fs.StringVar(&i.runDir, "run", "/run/openmpa", "`DIR` of the control sockets")
	fs.BoolVar(&i.force, "force", false, "replace files that are there")
}

func (i *initialise) run(ctx context.Context, env daemon.Env, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("init: unexpected argument %q", args[0])
	}
	if err := i.detect(); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	network := enroll.Network{Name: i.name, Router: i.address.Addr, Points: strings.Split(i.points, ",")}
	if err := network.Check(); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	dir := filepath.Dir(env.ConfigPath)
	var files []enroll.File
	var next string
	var err error
	if i.join == "" {
		files, err = i.first(dir, network)
		next = "systemctl enable --now mpa-aaa mpa-ha mpa-ar"
	} else {
		files, err = i.second(ctx, dir, network)
		next = "systemctl enable --now mpa-ar   (and on the first router: systemctl restart mpa-aaa)"
	}
	if err == nil {
		err = enroll.Write(files, i.force)
	}
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	fmt.Fprintf(env.Stdout, "Network %s: access by %s, router %v, DHCP server %v.\n", i.name, i.access, i.address, i.dhcp.Addr)
	for _, f := range files {
		fmt.Fprintln(env.Stdout, "wrote", f.Path)
	}
	fmt.Fprintf(env.Stdout, "Next: mpactl doctor; %s\n", next)
	return nil
}

// detect fills in what no flag says.
func (i *initialise) detect() error {
	if i.access == "" {
		found, err := candidates()
		if err != nil {
			return err
		}
		if len(found) != 1 {
			return fmt.Errorf("which interface is that of the access network? Say --access, one of: %s", strings.Join(found, ", "))
		}
		i.access = found[0]
	}
	if !i.address.IsValid() {
		iface, err := net.InterfaceByName(i.access)
		if err != nil {
			return fmt.Errorf("--access %s: %w", i.access, err)
		}
		if i.address.Addr = ipv4(*iface); !i.address.IsValid() {
			return fmt.Errorf("%s has no IPv4 address: give it the router's, or say --address", i.access)
		}
	}
	if !i.dhcp.IsValid() {
		return errors.New("which is the DHCP server of the access network? Say --dhcp ADDRESS; it must take requests of a relay agent, and not listen on this router's own address")
	}
	if i.name == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("--name: %w", err)
		}
		i.name, _, _ = strings.Cut(strings.ToLower(host), ".")
	}
	config.Default(&i.points, i.name+"-1")
	if !i.siteAddress.IsValid() && i.join == "" {
		if i.siteAddress.Addr = i.address.Addr; sourceTo("192.0.2.1").IsValid() {
			i.siteAddress.Addr = sourceTo("192.0.2.1")
		}
	}
	return nil
}

// candidates are the interfaces that may be those of an access network.
func candidates() (out []string, err error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	uplink := sourceTo("192.0.2.1")
	for _, iface := range list {
		if a := ipv4(iface); a.IsValid() && a != uplink && iface.Flags&net.FlagLoopback == 0 {
			out = append(out, iface.Name)
		}
	}
	return out, nil
}

// sourceTo is the address that this machine takes towards another; it sends nothing.
func sourceTo(to string) netip.Addr {
	c, err := net.Dial("udp4", net.JoinHostPort(to, "9"))
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

func ipv4(iface net.Interface) netip.Addr {
	list, err := iface.Addrs()
	if err != nil {
		return netip.Addr{}
	}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if v, ok := netip.AddrFromSlice(n.IP.To4()); ok {
				return v
			}
		}
	}
	return netip.Addr{}
}

// first makes a site: its certificate authority, home addresses, and the configurations of three daemons.
func (i *initialise) first(dir string, network enroll.Network) ([]enroll.File, error) {
	first := i.home.Masked().Addr()
	for range i.nodes + 1 { // .1 is left to a router of the home network
		first = first.Next()
	}
	if i.nodes < 1 || i.nodes > 1000 || !i.home.Addr().Is4() || !i.home.Contains(first.Next()) {
		return nil, fmt.Errorf("%d nodes: expected 1 to 1000 that have room in %v", i.nodes, i.home)
	}
	if err := enroll.CheckName(strings.ReplaceAll(i.realm, ".", "-")); err != nil {
		return nil, fmt.Errorf("--realm %q: expected a domain such as home.example", i.realm)
	}
	s := &site{
		Realm: i.realm, ServerName: "aaa." + i.realm, Server: netip.AddrPortFrom(i.siteAddress.Addr, 1812), Agent: i.siteAddress.Addr,
		State: filepath.Join(i.state, "aaa"), Networks: []enroll.Network{network}, dir: dir,
	}
	_, secret, err := newSecret()
	if err != nil {
		return nil, err
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	secretFile := "routers/" + i.name + ".secret"
	files := []enroll.File{
		{Path: at("ar.yaml"), Text: i.config(s.Realm, s.Server, secretFile)},
		{Path: at("aaa.yaml"), Text: fmt.Appendf(nil, "node: aaa\ncontrol: %s/aaa.sock\nlisten: %v\nstate: %s\nserver-name: %s\n"+
			"# Keep this list last, a client a line: \"mpa-ar invite router\" adds to it.\nclients:\n%s",
			i.runDir, s.Server, s.State, s.ServerName, clientLine(i.siteAddress.Addr, secretFile))},
		{Path: at(secretFile), Text: secret},
	}
	ha := fmt.Sprintf("node: ha\ncontrol: %s/ha.sock\nstate: %s/ha.db\naddress: %v\nhome: {prefix: %v}\n"+
		"tunnel: {device: mpaha0}             # mpa0 is mpa-ar's\nnodes:\n", i.runDir, i.state, s.Agent, i.home.Masked())
	address := i.home.Masked().Addr().Next()
	for n := range i.nodes {
		address = address.Next()
		p := seat{Address: address, SPI: firstSPI + uint32(n), KeyFile: fmt.Sprintf("nodes/%v.key", address)}
		_, key, err := newSecret()
		if err != nil {
			return nil, err
		}
		s.Seats = append(s.Seats, p)
		files = append(files, enroll.File{Path: at(p.KeyFile), Text: key})
		ha += fmt.Sprintf("  - {home-address: %v, spi: %d, key-file: %s, algorithm: %s}\n", p.Address, p.SPI, p.KeyFile, algorithm)
	}
	record, err := s.file()
	if err != nil {
		return nil, err
	}
	files = append(files, enroll.File{Path: at("ha.yaml"), Text: []byte(ha)}, record)
	if !i.force {
		if err := enroll.Free(files); err != nil {
			return nil, err
		}
	}
	_, err = server.OpenState(s.State)
	return files, err
}

// second asks the first router of a site.
func (i *initialise) second(ctx context.Context, dir string, network enroll.Network) ([]enroll.File, error) {
	files := []enroll.File{{Path: filepath.Join(dir, "ar.yaml")}, {Path: filepath.Join(dir, "radius.secret")}}
	if !i.force {
		if err := enroll.Free(files); err != nil { // before the code is used
			return nil, err
		}
	}
	g, err := enroll.Ask(ctx, i.join, i.code, os.Stdin, enroll.Request{Kind: enroll.Router, Name: i.name, Network: &network})
	if err != nil {
		return nil, err
	}
	files[0].Text = i.config(g.Realm, g.RADIUS.Server, "radius.secret")
	files[1].Text = fmt.Appendf(nil, "hex:%x\n", g.RADIUS.Secret)
	return files, nil
}

// config is ar.yaml.
func (i *initialise) config(realm string, radius netip.AddrPort, secretFile string) []byte {
	return fmt.Appendf(nil, `node: %[1]s
control: %[2]s/ar.sock
state: %[3]s/ar.db
access: {interface: %[4]s}
address: %[5]v
identity: {ca: ca.%[1]s.%[6]s, ar: ar.%[1]s.%[6]s}
radius:
  nas-identifier: ar-%[1]s
  servers: [{address: "%[7]v", secret-file: %[8]s}]
dhcp: {server: %[9]v}
`, i.name, i.runDir, i.state, i.access, i.address.Addr, realm, radius, secretFile, i.dhcp.Addr)
}
