package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

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
	radio, ssid                 string
	channel                     int
	serveDHCP, force, dryRun    bool

	root   string     // of the file system: "/"
	ask    *questions // nil: nobody to ask
	radios accessPoints
	subnet netip.Prefix // of the access network, with serveDHCP
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
	i.root = "/"
	fs.StringVar(&i.access, "access", "", "`INTERFACE` of the access network (default: the only one with an address beside that of the default route)")
	fs.Var(&i.address, "address", "`ADDRESS` of this router there (default: the interface's first)")
	fs.Var(&i.dhcp, "dhcp", "`ADDRESS` of the DHCP server of the access network, which takes requests of a relay agent (default: the one that answers there)")
	fs.BoolVar(&i.serveDHCP, "serve-dhcp", false, "make this machine the DHCP server of the access network, which must be a bridge: by mpa-dhcp@INTERFACE, with dnsmasq")
	fs.StringVar(&i.name, "name", "", "`NAME` of this router and its network (default: the host's)")
	fs.StringVar(&i.points, "points", "", "`NAMES` of the points of attachment, with commas between (default: NAME-1, and one for each access point of this machine)")
	fs.StringVar(&i.radio, "radio", "", "wireless `INTERFACE` to make an access point of, where hostapd does not run yet (default: that of the access network); none: there is none")
	fs.StringVar(&i.ssid, "ssid", "", "of that access point: its `NAME` on the air (default: NAME)")
	fs.IntVar(&i.channel, "channel", defaultChannel, "of that access point: its `CHANNEL`")
	fs.StringVar(&i.join, "join", "", "join the site whose first router has this `ADDRESS`, with a code made there by mpa-ar invite router")
	fs.StringVar(&i.code, "code", "", "the `CODE`; without it, it is read from standard input")
	fs.StringVar(&i.realm, "realm", "home.example", "of a new site: its `DOMAIN`; nodes are called NAME@DOMAIN")
	fs.Var(&i.home, "home", "of a new site: the `PREFIX` of home addresses, which the network around must route to this machine")
	fs.IntVar(&i.nodes, "nodes", 16, "of a new site: `HOW MANY` home addresses with keys to make")
	fs.Var(&i.siteAddress, "site-address", "of a new site: this machine's `ADDRESS` as RADIUS server and home agent (default: the one towards the default route)")
	fs.StringVar(&i.state, "state", "/var/lib/openmpa", "`DIR` of what the daemons keep")
	fs.StringVar(&i.runDir, "run", "/run/openmpa", "`DIR` of the control sockets")
	fs.BoolVar(&i.force, "force", false, "replace files that are there")
	fs.BoolVar(&i.dryRun, "dry-run", false, "say what was found and would be written, and end")
}

func (i *initialise) run(ctx context.Context, env daemon.Env, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("init: unexpected argument %q", args[0])
	}
	i.ask = newQuestions(os.Stdin, env.Stdout)
	if err := i.detect(ctx); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	network := enroll.Network{Name: i.name, Router: i.address.Addr, Points: i.radios.points(strings.Split(i.points, ","))}
	if err := network.Check(); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	i.tell(env.Stdout, network)
	dir := filepath.Dir(env.ConfigPath)
	switch files, err := i.plan(dir); {
	case err != nil:
		return fmt.Errorf("init: %w", err)
	case i.dryRun:
		for _, f := range files {
			fmt.Fprintln(env.Stdout, "would write", f.Path)
		}
		return nil
	case !i.ask.yes(fmt.Sprintf("Write %d files in %s?", len(files), dir)):
		return errors.New("init: nothing was written")
	}
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
	if i.serveDHCP {
		files = append(files, enroll.File{Path: filepath.Join(dir, i.dhcpFile()), Text: i.dhcpSettings()})
		next = fmt.Sprintf("systemctl enable --now mpa-dhcp@%s; %s", i.access, next)
	}
	if err == nil {
		err = enroll.Write(files, i.force)
	}
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	for _, f := range files {
		fmt.Fprintln(env.Stdout, "wrote", f.Path)
	}
	i.radios.advise(env.Stdout, filepath.Join(dir, hostapdFile))
	fmt.Fprintf(env.Stdout, "Next: mpactl doctor; %s\n", next)
	return nil
}

// plan lists what will be written, the texts still empty; no file may be there unless forced.
func (i *initialise) plan(dir string) ([]enroll.File, error) {
	names := []string{"ar.yaml", arKey, arCertificate, arAuthority, "radius.secret"}
	if i.join == "" {
		names = []string{"ar.yaml", arKey, arCertificate, arAuthority, "aaa.yaml", "ha.yaml", "site.json", i.secretFile()}
		if err := i.checkSite(); err != nil {
			return nil, err
		}
		for _, a := range i.homeAddresses() {
			names = append(names, nodeKey(a))
		}
	}
	if i.radios.wanted() {
		names = append(names, hostapdFile)
	}
	if i.serveDHCP {
		names = append(names, i.dhcpFile())
	}
	var files []enroll.File
	for _, name := range names {
		files = append(files, enroll.File{Path: filepath.Join(dir, name)})
	}
	if i.force {
		return files, nil
	}
	return files, enroll.Free(files)
}

// checkSite says what is wrong with the flags of a new site.
func (i *initialise) checkSite() error {
	if i.nodes < 1 || i.nodes > 1000 || !i.home.Addr().Is4() || i.home.Bits() > 30 || i.nodes > 1<<(32-i.home.Bits())-3 {
		return fmt.Errorf("%d nodes: expected 1 to 1000 that have room in %v", i.nodes, i.home)
	}
	if err := enroll.CheckName(strings.ReplaceAll(i.realm, ".", "-")); err != nil {
		return fmt.Errorf("--realm %q: expected a domain such as home.example", i.realm)
	}
	return nil
}

// homeAddresses are those of the nodes; .1 is left to a router of the home network.
func (i *initialise) homeAddresses() (out []netip.Addr) {
	a := i.home.Masked().Addr().Next()
	for range i.nodes {
		a = a.Next()
		out = append(out, a)
	}
	return out
}

func (i *initialise) secretFile() string { return "routers/" + i.name + ".secret" }

func nodeKey(a netip.Addr) string { return fmt.Sprintf("nodes/%v.key", a) }

// first makes a site: its certificate authority, home addresses, and the configurations of three daemons. plan has found nothing
// wrong.
func (i *initialise) first(dir string, network enroll.Network) ([]enroll.File, error) {
	s := &site{
		Realm: i.realm, ServerName: "aaa." + i.realm, Server: netip.AddrPortFrom(i.siteAddress.Addr, 1812), Agent: i.siteAddress.Addr,
		State: filepath.Join(i.state, "aaa"), Networks: []enroll.Network{network}, dir: dir,
	}
	secret, err := newRADIUSSecret()
	if err != nil {
		return nil, err
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	key, csr, err := enroll.NewKey()
	if err != nil {
		return nil, err
	}
	certificate, ca, err := s.sign(routerName(i.name, s.Realm), csr)
	if err != nil {
		return nil, err
	}
	text := i.config(s.Realm, s.Server, i.secretFile())
	text = append(text, infoSection(network, s.Realm, "", i.siteAddress.Addr)...)
	files := []enroll.File{
		{Path: at("ar.yaml"), Text: text},
		{Path: at(arKey), Text: key},
		{Path: at(arCertificate), Text: certificate},
		{Path: at(arAuthority), Text: ca},
		{Path: at("aaa.yaml"), Text: fmt.Appendf(nil, "node: aaa\ncontrol: %s/aaa.sock\nstate: %s\nserver-name: %s\nbooks: %s.books\nradius:\n  listen: %v\n"+
			"  # Keep this list last, a client a line: \"mpa-ar invite router\" adds to it.\n  clients:\n%s",
			i.runDir, s.State, s.ServerName, s.State, s.Server, clientLine(i.siteAddress.Addr, i.secretFile()))},
		{Path: at(i.secretFile()), Text: append(bytes.Clone(secret), '\n')},
	}
	files = append(files, i.radios.config(dir, i.address.Addr, s.Server, secret)...)
	ha := fmt.Sprintf("node: ha\ncontrol: %s/ha.sock\nstate: %s/ha.db\naddress: %v\nhome: {prefix: %v}\n"+
		"tunnel: {device: mpaha0}             # mpa0 is mpa-ar's\nnodes:\n", i.runDir, i.state, s.Agent, i.home.Masked())
	for n, address := range i.homeAddresses() {
		p := seat{Address: address, SPI: firstSPI + uint32(n), KeyFile: nodeKey(address)}
		key, err := newSecret()
		if err != nil {
			return nil, err
		}
		s.Seats = append(s.Seats, p)
		files = append(files, enroll.File{Path: at(p.KeyFile), Text: fmt.Appendf(nil, "hex:%x\n", key)})
		ha += fmt.Sprintf("  - {home-address: %v, spi: %d, key-file: %s, algorithm: %s}\n", p.Address, p.SPI, p.KeyFile, algorithm)
	}
	record, err := s.file()
	if err != nil {
		return nil, err
	}
	return append(files, enroll.File{Path: at("ha.yaml"), Text: []byte(ha)}, record), nil
}

// second asks the first router of a site.
func (i *initialise) second(ctx context.Context, dir string, network enroll.Network) ([]enroll.File, error) {
	key, csr, err := enroll.NewKey()
	if err != nil {
		return nil, err
	}
	g, err := enroll.Ask(ctx, i.join, i.code, os.Stdin, enroll.Request{Kind: enroll.Router, Name: i.name, Network: &network, CSR: csr})
	if err != nil {
		return nil, err
	}
	text := i.config(g.Realm, g.RADIUS.Server, "radius.secret")
	files := []enroll.File{{Path: filepath.Join(dir, "radius.secret"), Text: fmt.Appendf(nil, "%s\n", g.RADIUS.Secret)}}
	if len(g.Certificate) > 0 { // a first router of before has none
		text = append(text, infoSection(network, g.Realm, g.First, g.RADIUS.Server.Addr())...)
		for name, text := range map[string][]byte{arKey: key, arCertificate: g.Certificate, arAuthority: g.CA} {
			files = append(files, enroll.File{Path: filepath.Join(dir, name), Text: text})
		}
	}
	files = append(files, enroll.File{Path: filepath.Join(dir, "ar.yaml"), Text: text})
	return append(files, i.radios.config(dir, i.address.Addr, g.RADIUS.Server, g.RADIUS.Secret)...), nil
}

// config is ar.yaml.
func (i *initialise) config(realm string, radius netip.AddrPort, secretFile string) []byte {
	return fmt.Appendf(nil, `node: %[1]s
control: %[2]s/ar.sock
state: %[3]s/ar.db
access: {interface: %[4]s}
address: %[5]v
identity: {ca: ca.%[1]s.%[6]s, ar: ar.%[1]s.%[6]s}
aaa:
  - radius:
      nas-identifier: ar-%[1]s
      servers: [{address: "%[7]v", secret-file: %[8]s}]
      orders: "0.0.0.0:%[11]d"         # of those servers, and nobody else
dhcp: {server: %[9]v}
%[10]s`, i.name, i.runDir, i.state, i.access, i.address.Addr, realm, radius, secretFile, i.dhcp.Addr, i.radios.section(), portOrders)
}
