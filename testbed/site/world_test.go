package site

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"openmpa/internal/osnet/osnettest"
	"openmpa/testbed/dhcpd"
)

func TestMain(m *testing.M) { osnettest.Main(m) }

// machine is a network namespace with a folder of configurations.
type machine struct {
	t   testing.TB
	do  func(func())
	etc string
	run string // of its control sockets and state
}

func (m *machine) ip(cmd string) { m.do(func() { osnettest.IP(m.t, cmd) }) }

func (m *machine) sysctl(path, value string) { m.do(func() { osnettest.Sysctl(m.t, path, value) }) }

func (m *machine) write(name, format string, args ...any) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.etc, name), fmt.Appendf(nil, format, args...), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// start runs a daemon until the test ends or stop is called, and waits for its socket.
func (m *machine) start(program string) (stop func()) {
	m.t.Helper()
	short := strings.TrimPrefix(program, "mpa-")
	log, err := os.Create(filepath.Join(m.run, short+".log"))
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := exec.Command(program, "--config", filepath.Join(m.etc, short+".yaml"))
	cmd.Stdout, cmd.Stderr = log, log
	m.do(func() { err = cmd.Start() })
	log.Close()
	if err != nil {
		m.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	ended := false
	stop = func() {
		if !ended {
			ended = true
			cmd.Process.Signal(syscall.SIGTERM)
			if err := <-done; err != nil {
				m.t.Errorf("%s: %v", program, err)
			}
		}
	}
	m.t.Cleanup(stop)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(log.Name())
		switch {
		case err == nil && strings.Contains(string(text), "msg=ready"):
			return stop
		case time.Now().After(deadline) || err != nil:
			m.t.Fatalf("%s is not ready: %v\n%s", program, err, text)
		}
		select {
		case err := <-done:
			ended = true
			m.t.Fatalf("%s has ended: %v\n%s", program, err, text)
		default:
		}
	}
}

// world is a server, a router and a node, in a row.
type world struct {
	server, router, node *machine
	dhcp                 *dhcpd.Server
	stopRouter           func() // ends mpa-ar
}

// build makes the programs and puts them on PATH.
func build(t testing.TB) {
	t.Helper()
	bin := t.TempDir()
	cmd := exec.Command("go", "build", "-o", bin+"/", "openmpa/cmd/mpa-aaa", "openmpa/cmd/mpa-ar", "openmpa/cmd/mpa-ha", "openmpa/cmd/mpa-mn", "openmpa/cmd/mpactl")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

// newMachine makes a machine of a namespace, nil for that of the process: servers whose sockets are opened by goroutines must
// be there.
func newMachine(t testing.TB, do func(func())) *machine {
	t.Helper()
	if do == nil {
		// A new goroutine never runs on one of the threads that are elsewhere.
		do = func(fn func()) {
			var wg sync.WaitGroup
			wg.Go(fn)
			wg.Wait()
		}
		do(func() { osnettest.IP(t, "link set lo up") })
	}
	do(func() { osnettest.Forward(t) })
	return &machine{t: t, do: do, etc: t.TempDir(), run: t.TempDir()}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	build(t)
	osnettest.NeedRoot(t)
	w := &world{server: newMachine(t, nil), router: newMachine(t, osnettest.Other(t)), node: newMachine(t, osnettest.Other(t))}
	w.router.do(func() {
		osnettest.VethTo(t, "wan0", "eth0", w.server.do)
		osnettest.VethTo(t, "lan0", "eth0", w.node.do)
	})
	t.Cleanup(func() { w.server.ip("link del eth0") }) // the process's namespace stays
	w.router.ip("address add 10.0.0.1/24 dev wan0")
	w.router.ip("address add 10.1.0.1/24 dev lan0")
	w.server.ip("address add 10.0.0.2/24 dev eth0")
	w.server.ip("route add default via 10.0.0.1")
	w.node.ip("address add 10.1.0.9/24 dev eth0")
	w.node.ip("route add default via 10.1.0.1")

	const secret, key = "hex:00112233445566778899aabbccddeeff", "hex:ffeeddccbbaa99887766554433221100"
	s := w.server
	s.write("radius.secret", secret)
	s.write("mn.key", key)
	s.write("aaa.yaml", "node: aaa\ncontrol: %[1]s/aaa.sock\nstate: %[1]s/aaa\nserver-name: aaa.home.example\n"+
		"radius: {listen: \"10.0.0.2:1812\", clients: [{prefix: 10.0.0.1/32, secret-file: radius.secret}]}\n", s.run)
	s.write("ha.yaml", "node: ha\ncontrol: %[1]s/ha.sock\nstate: %[1]s/ha.db\naddress: 10.0.0.2\nhome: {prefix: 10.9.0.0/24}\n"+
		"nodes: [{home-address: 10.9.0.2, spi: 256, key-file: mn.key, algorithm: hmac-sha256}]\n", s.run)
	s.start("mpa-aaa")
	s.start("mpa-ha")
	w.dhcp = serveDHCP(t, pool("a", "eth0", "10.0.0.2", "10.1.0.0/24"))

	r := w.router
	r.write("radius.secret", secret)
	r.write("ar.yaml", "node: a\ncontrol: %[1]s/ar.sock\nstate: %[1]s/ar.db\naccess: {interface: lan0}\naddress: 10.1.0.1\n"+
		"identity: {ca: ca.a.example, ar: ar.a.example}\npana: {allow: [10.1.0.0/24]}\n"+
		"aaa: [{radius: {nas-identifier: ar-a, servers: [{address: \"10.0.0.2:1812\", secret-file: radius.secret}]}}]\ndhcp: {server: 10.0.0.2}\n", r.run)
	w.stopRouter = r.start("mpa-ar")

	n := w.node
	n.write("mn-ha.key", key)
	if out, err := exec.Command("mpa-aaa", "cert", "issue", "--name", "mn@home.example", "--state", s.run+"/aaa", "--out", n.etc).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n.write("mn.yaml", "node: mn\ncontrol: %[1]s/mn.sock\nstate: %[1]s/mn.db\ninterface: eth0\nlink: {type: external, socket: %[1]s/link.sock}\n"+
		"eap: {identity: mn@home.example, ca: ca.pem, certificate: mn.pem, key: mn.key, server-name: aaa.home.example}\n"+
		"networks: [{name: a, paa: 10.1.0.1, points: [poa-a1]}]\n"+
		"mobility: {mip4: {home-address: 10.9.0.2, home-agent: 10.0.0.2, spi: 256, key-file: mn-ha.key, algorithm: hmac-sha256}}\n", n.run)
	n.controller("poa-a1")
	return w
}
