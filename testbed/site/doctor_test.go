package site

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"openmpa/internal/doctor"
)

// fault is something wrong, and what the doctor must say.
type fault struct {
	name   string
	plant  func(o *doctor.Options) (undo func())
	level  doctor.Level
	check  string
	text   string // part of what is said
	remedy string // part of what to do
}

// examine runs the doctor inside a machine.
func (m *machine) examine(o doctor.Options) []doctor.Finding {
	m.t.Helper()
	o.Config = m.etc
	if o.Wait == 0 {
		o.Wait = 2 * time.Second
	}
	var found []doctor.Finding
	var err error
	m.do(func() { found, err = doctor.Examine(m.t.Context(), o) })
	if err != nil {
		m.t.Fatal(err)
	}
	return found
}

// well fails unless there is no fault, and no warning but that nothing keeps the clock.
func (m *machine) well(when string) {
	m.t.Helper()
	for _, f := range m.examine(doctor.Options{Root: m.run, Wait: 20 * time.Second}) {
		if f.Level != doctor.OK && f.Check != "clock" {
			m.t.Errorf("%s: %+v", when, f)
		}
	}
}

func (m *machine) finds(faults []fault) {
	for _, c := range faults {
		o := doctor.Options{Root: m.run}
		undo := c.plant(&o)
		found := m.examine(o)
		undo()
		ok := false
		for _, f := range found {
			ok = ok || f.Level == c.level && f.Check == c.check && strings.Contains(f.Text, c.text) && strings.Contains(f.Remedy, c.remedy)
		}
		if !ok {
			m.t.Errorf("%s: expected %v, %s: ...%s... -> ...%s...; found", c.name, c.level, c.check, c.text, c.remedy)
			for _, f := range found {
				if f.Level != doctor.OK {
					m.t.Errorf("   %v", f)
				}
			}
		}
	}
}

// command is a fault that an ip command makes and another takes away.
func (m *machine) command(plant, undo string) func(*doctor.Options) func() {
	return func(*doctor.Options) func() {
		m.ip(plant)
		return func() {
			for _, c := range strings.Split(undo, ";") {
				m.ip(c)
			}
		}
	}
}

func (m *machine) setting(path, bad, good string) func(*doctor.Options) func() {
	return func(*doctor.Options) func() {
		m.sysctl(path, bad)
		return func() { m.sysctl(path, good) }
	}
}

// replaced changes a configuration.
func (m *machine) replaced(name, old, wrong string) func(*doctor.Options) func() {
	return func(*doctor.Options) func() {
		path := filepath.Join(m.etc, name)
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), old) {
			m.t.Fatalf("%s without %q: %v", path, old, err)
		}
		m.write(name, "%s", strings.Replace(string(text), old, wrong, 1))
		return func() { m.write(name, "%s", text) }
	}
}

// shift makes the clock wrong.
func shift(d time.Duration) func(*doctor.Options) func() {
	return func(o *doctor.Options) func() {
		o.Now = func() time.Time { return time.Now().Add(d) }
		return func() {}
	}
}

// program runs something of that name until undone, with a file below /run of the machine.
func (m *machine) program(name, arg, file, text string) func(*doctor.Options) func() {
	return func(*doctor.Options) func() {
		path := filepath.Join(m.t.TempDir(), name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\necho here\nread x\n"), 0o700); err != nil {
			m.t.Fatal(err)
		}
		cmd := exec.Command(path, arg)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			m.t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			m.t.Fatal(err)
		}
		m.do(func() { err = cmd.Start() })
		if err == nil {
			_, err = io.ReadFull(stdout, make([]byte, len("here")))
		}
		if err != nil {
			m.t.Fatal(err)
		}
		if file != "" {
			var link *net.Interface
			m.do(func() { link, err = net.InterfaceByName("eth0") })
			if err != nil {
				m.t.Fatal(err)
			}
			file = filepath.Join(m.run, file, fmt.Sprint(link.Index))
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				m.t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				m.t.Fatal(err)
			}
		}
		return func() {
			stdin.Close()
			_ = cmd.Wait() // read finds the end of its input: the script fails
		}
	}
}

// wall makes a packet filter: port 0 drops everything.
func (m *machine) wall(hook *nftables.ChainHook, port uint16) func(*doctor.Options) func() {
	return func(*doctor.Options) func() {
		var c *nftables.Conn
		var err error
		m.do(func() { c, err = nftables.New(nftables.AsLasting()) })
		if err != nil {
			m.t.Fatal(err)
		}
		policy := nftables.ChainPolicyAccept
		if port == 0 {
			policy = nftables.ChainPolicyDrop
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "wall"})
		chain := c.AddChain(&nftables.Chain{Name: "stones", Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityFilter, Policy: &policy})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
		if err := c.Flush(); err != nil {
			m.t.Fatal(err)
		}
		return func() {
			c.DelTable(table)
			if err := c.Flush(); err != nil {
				m.t.Error(err)
			}
			if err := c.CloseLasting(); err != nil {
				m.t.Error(err)
			}
		}
	}
}

func both(a, b func(*doctor.Options) func()) func(*doctor.Options) func() {
	return func(o *doctor.Options) func() {
		undoA, undoB := a(o), b(o)
		return func() { undoB(); undoA() }
	}
}

// TestDoctor plants one fault after the other on machines that are well.
func TestDoctor(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute of waiting for what does not answer")
	}
	w := newWorld(t)
	n, r, s := w.node, w.router, w.server
	for _, m := range []*machine{n, r, s} {
		m.well("before any fault")
	}
	year := 365 * 24 * time.Hour
	n.finds([]fault{
		{"an interface that is not there", n.replaced("mn.yaml", "interface: eth0", "interface: eth7"), doctor.Fail, "interface", "eth7", "interface:"},
		{
			"of two interfaces one that is not there",
			both(
				n.replaced("mn.yaml", "networks: [", "networks: [{name: dock, paa: 10.1.0.1, points: [desk]}, "),
				n.replaced("mn.yaml", "interface: eth0\nlink: ", "interfaces:\n- {name: eth7, points: [desk], raise: move, link: {type: ethernet}}\n- name: eth0\n  points: [poa-a1]\n  link: "),
			),
			doctor.Fail, "interface", "eth7", "interfaces[0].name",
		},
		{"an interface that is down", n.command("link set eth0 down", "link set eth0 up;route add default via 10.1.0.1"), doctor.Fail, "interface", "eth0 is down", "ip link set eth0 up"},
		{"an MTU too small", n.command("link set eth0 mtu 1400", "link set eth0 mtu 1500"), doctor.Warn, "mtu", "1400 octets", "mtu 1460"},
		{"no route", n.command("route del default", "route add default via 10.1.0.1"), doctor.Fail, "home agent", "no route to 10.0.0.2", "default route"},
		{"a clock of two years ago", shift(-2 * year), doctor.Fail, "certificate", "valid from", "timedatectl"},
		{"a certificate that has expired", shift(3 * year), doctor.Fail, "certificate", "was valid until", "mpa-aaa cert issue"},
		{"a clock a minute fast", shift(time.Minute), doctor.Fail, "home agent", "-1m0s off", "timedatectl"},
		{"a DHCP client", n.program("dhclient", "eth0", "", ""), doctor.Fail, "manager", "dhclient", "/etc/network/interfaces"},
		{"systemd-networkd", n.program("systemd-network", "", "run/systemd/netif/links", "ADMIN_STATE=configured\n"), doctor.Fail, "manager", "systemd-networkd manages eth0", "Unmanaged=yes"},
		{"NetworkManager", n.program("NetworkManager", "", "run/NetworkManager/devices", "[device]\nmanaged=true\n"), doctor.Fail, "manager", "NetworkManager manages eth0", "nmcli device set eth0 managed no"},
		{"a port filtered at the router", r.wall(nftables.ChainHookInput, 716), doctor.Fail, "pana", "no answer from 10.1.0.1:716", "716 and 4500"},
		{"a port filtered on the path", r.wall(nftables.ChainHookForward, 434), doctor.Fail, "home agent", "no answer from 10.0.0.2:434", "UDP port 434"},
		{"a network that is not allowed", both(
			n.command("address add 10.77.0.9/32 dev eth0", "address del 10.77.0.9/32 dev eth0"),
			both(r.command("route add 10.77.0.9/32 dev lan0", "route del 10.77.0.9/32"), n.command("route add 10.1.0.1/32 dev eth0 src 10.77.0.9", "route del 10.1.0.1/32")),
		), doctor.Fail, "pana", "not to a pre-authentication", "pana: allow:"},
		{"another key than the home agent's", n.replaced("mn-ha.key", "ffee", "eeee"), doctor.Fail, "home agent", "another key", "key-file:"},
		{"a mistake in the configuration", n.replaced("mn.yaml", "networks:", "netwerks:"), doctor.Fail, "configuration", `did you mean "networks"`, "mpa-mn --example"},
		{"nobody who moves the link", n.replaced("mn.yaml", "/link.sock", "/lonk.sock"), doctor.Fail, "link", "nobody listens on " + n.run + "/lonk.sock", "start the program that moves the link"},
		{"a key that everybody may read", func(*doctor.Options) func() {
			key := filepath.Join(n.etc, "mn-ha.key")
			chmod := func(mode os.FileMode) {
				if err := os.Chmod(key, mode); err != nil {
					t.Fatal(err)
				}
			}
			chmod(0o644)
			return func() { chmod(0o600) }
		}, doctor.Fail, "configuration", "open to every user", ""},
	})
	n.well("after the faults")

	w.stopRouter()
	r.well("with mpa-ar stopped")
	n.finds([]fault{{"mpa-ar does not run", func(*doctor.Options) func() { return func() {} }, doctor.Fail, "pana", "nothing listens on 10.1.0.1:716", "start mpa-ar"}})
	r.finds([]fault{
		{"no forwarding", r.setting("ipv4/ip_forward", "0", "1"), doctor.Fail, "routing", "does not forward", "sysctl -w net.ipv4.ip_forward=1"},
		{"a strict reverse path filter", r.setting("ipv4/conf/all/rp_filter", "1", "0"), doctor.Fail, "routing", "rp_filter=1", "rp_filter=2"},
		{"a strict filter on one interface", r.setting("ipv4/conf/lan0/rp_filter", "1", "0"), doctor.Fail, "routing", "lan0", "net/ipv4/conf/lan0/rp_filter=2"},
		{"a port that is taken", func(*doctor.Options) func() {
			other := &machine{t: t, do: r.do, etc: t.TempDir(), run: t.TempDir()}
			other.write("radius.secret", "of somebody else")
			other.write("aaa.yaml", "node: x\ncontrol: %[1]s/x.sock\nstate: %[1]s/x\nserver-name: x.example\nradius: {listen: \"0.0.0.0:4500\", clients: [{prefix: 10.0.0.0/8, secret-file: radius.secret}]}\n", other.run)
			return other.start("mpa-aaa")
		}, doctor.Fail, "port", "UDP 10.1.0.1:4500 is taken by mpa-aaa (process ", "another port than 4500"},
		{"a filter of its own", r.wall(nftables.ChainHookInput, 4500), doctor.Fail, "filter", "UDP port 4500 (wall stones)", "udp dport 4500 accept"},
		{"nothing is forwarded", r.wall(nftables.ChainHookForward, 0), doctor.Fail, "filter", "forwarded packets from lan0", `iifname "lan0"`},
		{"an address that is not there", r.command("address del 10.1.0.1/24 dev lan0", "address add 10.1.0.1/24 dev lan0"), doctor.Fail, "address", "10.1.0.1 is on no interface", "lan0"},
		{"the addresses of the TUN taken", r.command("address add 169.254.62.50/28 dev wan0", "address del 169.254.62.50/28 dev wan0"), doctor.Fail, "fence", "overlaps", "tunnel: address:"},
		{"another RADIUS secret", r.replaced("radius.secret", "0011", "1111"), doctor.Fail, "radius", "no answer from 10.0.0.2:1812", "the same secret"},
		{"a RADIUS server that is not there", r.replaced("ar.yaml", "10.0.0.2:1812", "10.0.0.2:1815"), doctor.Fail, "radius", "nothing listens", "start the RADIUS server"},
		{"a Diameter server that is not there", r.replaced("ar.yaml", `radius: {nas-identifier: ar-a, servers: [{address: "10.0.0.2:1812", secret-file: radius.secret}]}`,
			`diameter: {identity: ar-a.b.example, peers: [{address: "10.0.0.2:3868", identity: aaa.home.example, tls: false}]}`), doctor.Fail, "diameter", "nothing listens on 10.0.0.2:3868", "aaa: diameter: peers:"},
		{"a silent DHCP server", func(*doctor.Options) func() {
			w.dhcp.Mute(true)
			return func() { w.dhcp.Mute(false) }
		}, doctor.Fail, "dhcp", "10.0.0.2", "DHCP server running"},
		{"systemd-networkd that removes routes", r.program("systemd-network", "", "", ""), doctor.Warn, "manager", "removes routes", "ManageForeignRoutes=no"},
	})
	r.well("after the faults")
}
