package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
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
	force                            bool
}

func (j *join) flags(fs *flag.FlagSet) {
	fs.StringVar(&j.code, "code", "", "the `CODE` that mpa-ar invite node shows; without it, it is read from standard input")
	fs.StringVar(&j.name, "name", "", "`NAME` of this node (default: the host's)")
	fs.StringVar(&j.iface, "interface", "", "`INTERFACE` towards the points of attachment (default: the one towards the router)")
	fs.StringVar(&j.state, "state", "/var/lib/openmpa", "`DIR` of what the daemon keeps")
	fs.StringVar(&j.runDir, "run", "/run/openmpa", "`DIR` of the control socket, and of the link controller's")
	fs.BoolVar(&j.force, "force", false, "replace files that are there")
}

func (j *join) run(ctx context.Context, env daemon.Env, args []string) error {
	if len(args) != 1 {
		return errors.New("join: expected the address of the site's first router, after the flags")
	}
	if err := j.detect(args[0]); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	dir := filepath.Dir(env.ConfigPath)
	at := func(name string) string { return filepath.Join(dir, name) }
	files := []enroll.File{{Path: env.ConfigPath}, {Path: at("mn.key")}, {Path: at("mn.pem")}, {Path: at("ca.pem")}, {Path: at("mn-ha.key")}}
	if !j.force {
		if err := enroll.Free(files); err != nil { // before the code is used
			return fmt.Errorf("join: %w", err)
		}
	}
	key, csr, err := newKey()
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	g, err := enroll.Ask(ctx, args[0], j.code, os.Stdin, enroll.Request{Kind: enroll.Node, Name: j.name, CSR: csr})
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	for i, text := range [][]byte{j.config(g), key, g.Certificate, g.CA, fmt.Appendf(nil, "hex:%x\n", g.Home.Key)} {
		files[i].Text = text
	}
	if err := enroll.Write(files, j.force); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	fmt.Fprintf(env.Stdout, "This is %s@%s, with the home address %v, on %s.\n", j.name, g.Realm, g.Home.Address, j.iface)
	for _, f := range files {
		fmt.Fprintln(env.Stdout, "wrote", f.Path)
	}
	fmt.Fprintf(env.Stdout, "Next: a program that moves the link, at %s/link.sock; mpactl doctor; systemctl enable --now mpa-mn\n", j.runDir)
	return nil
}

// detect fills in what no flag says.
func (j *join) detect(router string) error {
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
	if j.iface != "" {
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

// newKey makes this node's key, in PEM, and a certificate request, in DER.
func newKey() (keyPEM, csr []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if csr, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key); err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), csr, nil
}

// config is mn.yaml.
func (j *join) config(g *enroll.Grant) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `node: %[1]s
control: %[2]s/mn.sock
state: %[3]s/mn.db
interface: %[4]s
link: {type: external, socket: %[2]s/link.sock}   # the program that moves the link
eap: {identity: %[1]s@%[5]s, ca: ca.pem, certificate: mn.pem, key: mn.key, server-name: %[6]s}
mobility:
  mip4: {home-address: %[7]v, home-agent: %[8]v, spi: %[9]d, key-file: mn-ha.key, algorithm: %[10]s}
networks:
`, j.name, j.runDir, j.state, j.iface, g.Realm, g.ServerName, g.Home.Address, g.Home.Agent, g.Home.SPI, g.Home.Algorithm)
	for _, n := range g.Networks {
		fmt.Fprintf(&b, "  - {name: %s, paa: %v, points: [%s]}\n", n.Name, n.Router, strings.Join(n.Points, ", "))
	}
	return []byte(b.String())
}
