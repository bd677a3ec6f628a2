package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"openmpa/internal/daemon"
	"openmpa/internal/enroll"
)

// join is the command that makes this machine a node of a site.
type join struct {
	code, name, iface, state, runDir string
	link, supplicant                 string
	force                            bool

	root string // of the file system: "/"
}

func (j *join) flags(fs *flag.FlagSet) {
	fs.StringVar(&j.code, "code", "", "the `CODE` that mpa-ar invite node shows; without it, it is read from standard input")
	fs.StringVar(&j.name, "name", "", "`NAME` of this node (default: the host's)")
	j.root = "/"
	fs.StringVar(&j.iface, "interface", "", "`INTERFACE` towards the points of attachment (default: the wireless one where there are access points, else the one towards the router)")
	fs.StringVar(&j.link, "link", "", "who moves it: auto, wpa_supplicant, ethernet or external (default: auto where it is wireless or has one point, else external)")
	fs.StringVar(&j.supplicant, "wpa-supplicant", "", "`FILE` to write for wpa_supplicant, such as /etc/wpa_supplicant/wpa_supplicant-wlan0.conf (default: none; what it needs is shown)")
	fs.StringVar(&j.state, "state", "/var/lib/openmpa", "`DIR` of what the daemon keeps")
	fs.StringVar(&j.runDir, "run", "/run/openmpa", "`DIR` of the control socket, and of the link controller's")
	fs.BoolVar(&j.force, "force", false, "replace files that are there")
}

func (j *join) run(ctx context.Context, env daemon.Env, args []string) error {
	if len(args) != 1 {
		return errors.New("join: expected the address of the site's first router, after the flags")
	}
	if err := j.detectName(); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	dir := filepath.Dir(env.ConfigPath)
	at := func(name string) string { return filepath.Join(dir, name) }
	files := []enroll.File{{Path: env.ConfigPath}, {Path: at("mn.key")}, {Path: at("mn.pem")}, {Path: at("ca.pem")}, {Path: at("mn-ha.key")}}
	if j.supplicant != "" {
		files = append(files, enroll.File{Path: j.supplicant})
	}
	if !j.force {
		if err := enroll.Free(files); err != nil { // before the code is used
			return fmt.Errorf("join: %w", err)
		}
	}
	if err := j.detectInterface(args[0]); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	key, csr, err := enroll.NewKey()
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	g, err := enroll.Ask(ctx, args[0], j.code, os.Stdin, enroll.Request{Kind: enroll.Node, Name: j.name, CSR: csr})
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	j.chooseLink(g)
	for i, text := range [][]byte{j.config(g), key, g.Certificate, g.CA, fmt.Appendf(nil, "hex:%x\n", g.Home.Key)} {
		files[i].Text = text
	}
	blocks := j.blocks(g, dir)
	if j.supplicant != "" {
		if len(blocks) == 0 {
			files = files[:len(files)-1] // nothing to write: no network has an access point
		} else {
			files[len(files)-1].Text = append(supplicantHead(), blocks...)
		}
	}
	if err := enroll.Write(files, j.force); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	fmt.Fprintf(env.Stdout, "This is %s@%s, with the home address %v, on %s.\n", j.name, g.Realm, g.Home.Address, j.iface)
	for _, f := range files {
		fmt.Fprintln(env.Stdout, "wrote", f.Path)
	}
	if j.supplicant == "" && len(blocks) > 0 {
		fmt.Fprintf(env.Stdout, "wpa_supplicant needs these networks, and ctrl_interface=/run/wpa_supplicant:\n\n%s\n", blocks)
	}
	next := ""
	if j.link == linkExternal {
		next = fmt.Sprintf("a program that moves the link, at %s/link.sock; ", j.runDir)
	}
	fmt.Fprintf(env.Stdout, "Next: %smpactl doctor; systemctl enable --now mpa-mn\n", next)
	return nil
}

func (j *join) detectName() error {
	if j.name == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("--name: %w", err)
		}
		j.name, _, _ = strings.Cut(strings.ToLower(host), ".")
	}
	if err := enroll.CheckName(j.name); err != nil {
		return fmt.Errorf("--name: %w", err)
	}
	switch j.link {
	case "", linkAuto, linkSupplicant, linkEthernet, linkExternal:
		return nil
	}
	return fmt.Errorf("--link %q: expected auto, wpa_supplicant, ethernet or external", j.link)
}

// detectInterface takes the only wireless one, else the one towards the router.
func (j *join) detectInterface(router string) error {
	if j.iface != "" {
		return nil
	}
	radios, err := filepath.Glob(filepath.Join(j.root, "sys/class/net/*/phy80211"))
	if err == nil && len(radios) == 1 {
		j.iface = filepath.Base(filepath.Dir(radios[0]))
		return nil
	}
	c, err := net.Dial("udp4", net.JoinHostPort(router, "9")) // sends nothing
	if err != nil {
		return fmt.Errorf("no way to %s: %w; attach to the network of that router first", router, err)
	}
	defer c.Close()
	ours := c.LocalAddr().(*net.UDPAddr).IP
	list, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range list {
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ours) {
				j.iface = i.Name
				return nil
			}
		}
	}
	return errors.New("which interface leads to the points of attachment? Say --interface")
}

// chooseLink says who moves the link, where no flag does.
func (j *join) chooseLink(g *enroll.Grant) {
	if j.link != "" {
		return
	}
	j.link = linkExternal
	_, err := os.Stat(filepath.Join(j.root, "sys/class/net", j.iface, "phy80211"))
	if wireless := err == nil; wireless || len(g.Networks) == 1 && len(g.Networks[0].Points) == 1 {
		j.link = linkAuto
	}
}

// supplicantHead begins a configuration of wpa_supplicant.
func supplicantHead() []byte {
	return []byte("# Written by mpa-mn join. mpa-mn tells wpa_supplicant where to go, by this socket.\nctrl_interface=/run/wpa_supplicant\n\n")
}

// blocks are the networks for wpa_supplicant, one an ESS: 802.1X with the certificate of this node.
func (j *join) blocks(g *enroll.Grant, dir string) []byte {
	var b bytes.Buffer
	seen := map[string]bool{}
	for _, n := range g.Networks {
		for _, p := range n.Points {
			if p.SSID == "" || seen[p.SSID] {
				continue
			}
			seen[p.SSID] = true
			fmt.Fprintf(&b, `network={
    ssid="%s"
    key_mgmt=WPA-EAP WPA-EAP-SHA256
    eap=TLS
    identity="%s@%s"
    ca_cert="%[4]s/ca.pem"
    domain_match="%[5]s"
    client_cert="%[4]s/mn.pem"
    private_key="%[4]s/mn.key"
}
`, p.SSID, j.name, g.Realm, dir, g.ServerName)
		}
	}
	return b.Bytes()
}

// config is mn.yaml.
func (j *join) config(g *enroll.Grant) []byte {
	link := "{type: " + j.link + "}"
	if len(j.blocks(g, "")) > 0 && j.link != linkExternal && j.link != linkEthernet {
		link += "\n#decision: {policy: era}   # dBm; to move by itself. Without it the node moves when it is told"
	}
	if j.link == linkExternal {
		link = fmt.Sprintf("{type: external, socket: %s/link.sock}   # the program that moves the link", j.runDir)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `node: %[1]s
control: %[2]s/mn.sock
state: %[3]s/mn.db
interface: %[4]s
link: %[11]s
eap: {identity: %[1]s@%[5]s, ca: ca.pem, certificate: mn.pem, key: mn.key, server-name: %[6]s}
mobility:
  mip4: {home-address: %[7]v, home-agent: %[8]v, spi: %[9]d, key-file: mn-ha.key, algorithm: %[10]s}
networks:
`, j.name, j.runDir, j.state, j.iface, g.Realm, g.ServerName, g.Home.Address, g.Home.Agent, g.Home.SPI, g.Home.Algorithm, link)
	for _, n := range g.Networks {
		fmt.Fprintf(&b, "  - name: %s\n    paa: %v\n    points:\n", n.Name, n.Router)
		for _, p := range n.Points {
			b.WriteString("      - {name: " + p.Name)
			if !p.BSSID.IsZero() {
				fmt.Fprintf(&b, ", bssid: \"%v\", ssid: %q", p.BSSID, p.SSID)
			}
			if p.Freq != 0 {
				fmt.Fprintf(&b, ", freq: %d", p.Freq)
			}
			b.WriteString("}\n")
		}
	}
	return []byte(b.String())
}
