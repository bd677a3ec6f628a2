package site

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openmpa/internal/doctor"
	"openmpa/internal/osnet/osnettest"
	"openmpa/par/info"
	"openmpa/testbed/dhcpd"
	"openmpa/testbed/space"
)

// output runs a program inside a machine, with its folders and what it reads.
func (m *machine) output(stdin string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out []byte
	var err error
	m.do(func() { out, err = cmd.CombinedOutput() })
	return string(out), err
}

// setUp runs a command that writes configuration.
func (m *machine) setUp(stdin, program, command string, args ...string) {
	m.t.Helper()
	config := filepath.Join(m.etc, strings.TrimPrefix(program, "mpa-")+".yaml")
	out, err := m.output(stdin, program, append([]string{command, "--config", config, "--state", m.run, "--run", m.run}, args...)...)
	if err != nil || !strings.Contains(out, "wrote "+config) {
		m.t.Fatalf("%s %s: %v\n%s", program, command, err, out)
	}
}

// invite starts an invitation and returns its code, and what waits for its end and gives the rest of what it says.
func (m *machine) invite(kind string) (code string, end func() string) {
	m.t.Helper()
	cmd := exec.Command("mpa-ar", "invite", "--config", m.etc+"/ar.yaml", kind)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	m.do(func() { err = cmd.Start() })
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill() // a test that failed before its end
			_ = cmd.Wait()
		}
	})
	r := bufio.NewReader(stdout)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			m.t.Fatalf("invite %s shows no code: %v", kind, err)
		}
		if line = strings.TrimSpace(line); strings.Count(line, "-") > 8 {
			code = line
			break
		}
	}
	return code, func() string {
		rest, err := io.ReadAll(r)
		if err == nil {
			err = cmd.Wait()
		}
		if err != nil {
			m.t.Errorf("invite %s: %v\n%s", kind, err, rest)
		}
		return string(rest)
	}
}

// controller is a program that moves no link: the machine is at a point, and stays.
func (m *machine) controller(point string) {
	m.t.Helper()
	l, err := net.Listen("unix", m.run+"/link.sock")
	if err != nil {
		m.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			for in := bufio.NewScanner(c); in.Scan(); {
				_ = json.NewEncoder(c).Encode(map[string]any{"ok": true, "point": point}) // who asks notices
			}
			c.Close()
		}
	}()
	m.t.Cleanup(func() { l.Close(); <-done })
}

// TestJoin makes a site of two routers and a node with nothing but init, invite and join, and uses it.
func TestJoin(t *testing.T) {
	osnettest.NeedRoot(t)
	build(t)
	dhcp := newMachine(t, nil)
	a, b, n := newMachine(t, osnettest.Other(t)), newMachine(t, osnettest.Other(t)), newMachine(t, osnettest.Other(t))
	a.do(func() {
		osnettest.VethTo(t, "core0", "core1", b.do)
		osnettest.VethTo(t, "port1", "eth0", n.do)
		osnettest.VethTo(t, "port2", "dhcpa", dhcp.do)
	})
	b.do(func() {
		osnettest.VethTo(t, "dhcp0", "dhcpb", dhcp.do)
		osnettest.Veth(t, "lan0", "lan1")
	})
	for _, c := range []struct {
		m    *machine
		cmds []string
	}{
		{a, []string{"link add lan0 type bridge", "link set port1 master lan0", "link set port2 master lan0", "link set lan0 up", "address add 10.0.0.1/24 dev core0", "address add 10.1.0.1/24 dev lan0", "route add 10.2.0.0/24 via 10.0.0.2"}},
		{b, []string{"address add 10.0.0.2/24 dev core1", "address add 10.2.0.1/24 dev lan0", "address add 10.4.0.1/24 dev dhcp0", "route add 10.1.0.0/24 via 10.0.0.1", "route add 10.9.0.0/24 via 10.0.0.1"}},
		{n, []string{"address add 10.1.0.9/24 dev eth0", "route add default via 10.1.0.1"}},
		{dhcp, []string{"address add 10.1.0.2/24 dev dhcpa", "address add 10.4.0.2/24 dev dhcpb", "route add 10.2.0.0/24 via 10.4.0.1"}},
	} {
		for _, cmd := range c.cmds {
			c.m.ip(cmd)
		}
	}
	serveDHCP(t, pool("a", "dhcpa", "10.1.0.2", "10.1.0.0/24"), pool("b", "dhcpb", "10.4.0.2", "10.2.0.0/24"))

	// Which interface is the access network's cannot be told here: several have addresses.
	if out, err := a.output("", "mpa-ar", "init", "--config", a.etc+"/ar.yaml", "--name", "a", "--dhcp", "10.1.0.2"); err == nil || !strings.Contains(out, "core0, lan0") {
		t.Errorf("without --access: %v, %s", err, out)
	}
	// The DHCP server is found, where one answers.
	if out, err := b.output("", "mpa-ar", "init", "--config", b.etc+"/ar.yaml", "--name", "b", "--access", "lan0"); err == nil || !strings.Contains(out, "say --dhcp ADDRESS") {
		t.Errorf("without a DHCP server: %v, %s", err, out)
	}
	if out, err := a.output("", "mpa-ar", "init", "--config", a.etc+"/ar.yaml", "--name", "a", "--access", "lan0", "--dry-run"); err != nil || !strings.Contains(out, "DHCP server 10.1.0.2") || !strings.Contains(out, "would write "+a.etc+"/site.json") {
		t.Errorf("dry run: %v, %s", err, out)
	}
	a.setUp("", "mpa-ar", "init", "--name", "a", "--access", "lan0", "--site-address", "10.1.0.1", "--nodes", "2")
	if out, err := a.output("", "mpa-ar", "init", "--config", a.etc+"/ar.yaml", "--name", "a", "--access", "lan0", "--dhcp", "10.1.0.2", "--state", a.run); err == nil || !strings.Contains(out, "--force") {
		t.Errorf("again: %v, %s", err, out)
	}

	code, end := a.invite("router")
	b.setUp(code+"\n", "mpa-ar", "init", "--name", "b", "--access", "lan0", "--dhcp", "10.4.0.2", "--join", "10.1.0.1")
	if got := end(); !strings.Contains(got, "router b has joined, from 10.0.0.2") {
		t.Errorf("invite says %q", got)
	}
	code, end = a.invite("node")
	n.setUp(code+"\n", "mpa-mn", "join", "--name", "laptop", "10.1.0.1")
	if got := end(); !strings.Contains(got, "node laptop has joined, from 10.1.0.9") {
		t.Errorf("invite says %q", got)
	}
	for _, m := range []*machine{a, b, n} {
		onlyForOwner(t, m.etc)
	}

	a.start("mpa-aaa")
	a.start("mpa-ha")
	a.start("mpa-ar")
	b.start("mpa-ar")
	n.controller("a-1")
	for _, m := range []*machine{a, b, n} {
		m.well("as set up")
	}
	a.hears("b")
	b.hears("a")
	b.finds([]fault{
		{"nobody asked", b.replaced("ar.yaml", "10.1.0.1:7161", "10.1.0.1:7162"), doctor.Warn, "neighbour", "the router of a is not heard", "info: listen: 10.1.0.1:7162"},
		{"another router", b.replaced("ar.yaml", "identity: ar.a.", "identity: ar.c."), doctor.Warn, "neighbour", "ar.c.home.example", "correct identity:"},
		{"certificate is old", shift(30 * 365 * 24 * time.Hour), doctor.Fail, "certificate", "this router's certificate", "mpa-aaa cert issue --name ar.b.home.example"},
	})
	// The daemon leases the address itself.
	n.ip("address flush dev eth0")
	n.start("mpa-mn") // is ready when it has logged in, with the certificate, and has an address
	var l net.Listener
	var err error
	b.do(func() { l, err = net.Listen("tcp4", "10.0.0.2:7") })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n.do(func() {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(10, 9, 0, 2)}, Timeout: time.Minute}
		c, err := d.Dial("tcp4", "10.0.0.2:7")
		if err != nil {
			t.Errorf("from the home address: %v", err)
			return
		}
		c.Close()
	})
}

// hears waits until a router is told what is around by that of another network.
func (m *machine) hears(network string) {
	m.t.Helper()
	var out string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		var all map[string]struct {
			Around info.Status `json:"neighbourhood"`
		}
		out, _ = m.output("", "mpactl", "--json", "--socket", m.run+"/ar.sock", "status")
		if json.Unmarshal([]byte(out), &all) != nil {
			continue
		}
		for _, daemon := range all {
			for _, n := range daemon.Around.Neighbours {
				if n.Network == network && n.Up && n.Networks > 0 {
					return
				}
			}
		}
	}
	m.t.Errorf("the router of %s is not heard: %s", network, out)
}

// onlyForOwner looks whether others may read something.
func onlyForOwner(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if st, err := d.Info(); err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, st, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func pool(network, dev, server, prefix string) dhcpd.Pool {
	p := netip.MustParsePrefix(prefix)
	router := p.Addr().Next()
	low := p.Addr().As4()
	low[3] = 100
	high := low
	high[3] = 120
	return dhcpd.Pool{
		Network: network, Interface: dev, Server: netip.MustParseAddr(server), Prefix: p,
		Low: netip.AddrFrom4(low), High: netip.AddrFrom4(high), Router: router,
	}
}

// serveDHCP serves in the namespace of the process until the test ends.
func serveDHCP(t testing.TB, pools ...dhcpd.Pool) *dhcpd.Server {
	t.Helper()
	own, err := space.Current()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { own.Close() })
	s, err := dhcpd.Serve(own, pools, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
