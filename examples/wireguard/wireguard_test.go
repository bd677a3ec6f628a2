package wireguard

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/ipv4"

	"openmpa/internal/osnet/osnettest"
)

func TestMain(m *testing.M) { osnettest.Main(m) }

// fake stands for wg(8): what it shows is in files of $0's directory, and what it is
// told to set is kept.
const fake = `#!/bin/sh
D=$(dirname "$0")
case "$1 $3" in
show*) [ -e "$D/$3" ] && exec cat "$D/$3"; exit 1 ;;
set*) shift; echo "$*" >>"$D/set" ;;
esac
`

type bench struct {
	t   *testing.T
	dir string
	wg  string // the interface
}

func newBench(t *testing.T, endpoints string) *bench {
	osnettest.NeedRoot(t)
	osnettest.Enter(t)
	b := &bench{t, t.TempDir(), "wg9"}
	b.write("wg", fake)
	b.write("public-key", "us\n")
	b.write("endpoints", endpoints)
	b.write("persistent-keepalive", "K1=\toff\nK2=\t7\nK3=\toff\n")
	osnettest.IP(t, "link add wg9 type bridge")
	osnettest.IP(t, "link set wg9 mtu 1340")
	return b
}

func (b *bench) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o755); err != nil {
		b.t.Fatal(err)
	}
}

// call runs the script, and returns what it said, and what it had wg set.
func (b *bench) call(op, reason, mtu string) (said string, set []string) {
	b.t.Helper()
	b.write("script", string(Script))
	b.write("set", "")
	cmd := exec.Command(filepath.Join(b.dir, "script"), b.wg)
	cmd.Env = []string{"PATH=" + b.dir + ":/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdin = strings.NewReader(`{"version":1,"op":"` + op + `","care_of":"10.2.0.7","device":"mpa0","physical":"eth0","mtu":` + mtu +
		`,"table":7120,"handover":"ab","reason":"` + reason + `"}` + "\n")
	out, err := cmd.CombinedOutput()
	if err == nil && len(out) > 0 {
		b.t.Errorf("it succeeded, and said %q", out)
	} else if err != nil && len(out) == 0 {
		b.t.Errorf("%v, without a word", err)
	}
	text, err := os.ReadFile(filepath.Join(b.dir, "set"))
	if err != nil {
		b.t.Fatal(err)
	}
	return strings.TrimSpace(string(out)), strings.Split(strings.TrimSpace(string(text)), "\n")
}

// rules are those of the script.
func (b *bench) rules() string {
	b.t.Helper()
	return osnettest.IP(b.t, "rule show pref 7090")
}

// TestFollow: the peers' endpoints get their way, WireGuard forgets its source and
// sends; where a peer moves the old rule goes; in the end nothing is left.
func TestFollow(t *testing.T) {
	b := newBench(t, "K1=\t192.0.2.1:51820\nK2=\t192.0.2.2:443\nK3=\t(none)\n")
	told := []string{
		"wg9 peer K1= persistent-keepalive 0", "wg9 peer K1= endpoint 192.0.2.1:51820 persistent-keepalive 25", "wg9 peer K1= persistent-keepalive 0",
		"wg9 peer K2= persistent-keepalive 0", "wg9 peer K2= endpoint 192.0.2.2:443 persistent-keepalive 25", "wg9 peer K2= persistent-keepalive 7",
	}
	for range 2 { // again it changes nothing
		said, set := b.call("bind", "handover", "1400")
		if d := cmp.Diff(told, set); said != "" || d != "" {
			t.Errorf("said %q; set %s", said, d)
		}
		if got, want := b.rules(), "7090:\tfrom all to 192.0.2.1 lookup 7120\n7090:\tfrom all to 192.0.2.2 lookup 7120\n"; got != want {
			t.Errorf("rules\n%s", got)
		}
	}
	if said, set := b.call("refresh", "arrived", "1400"); said != "" || set[0] != "" {
		t.Errorf("arrived: said %q, set %q", said, set)
	}
	b.write("endpoints", "K1=\t192.0.2.9:51820\n")
	if said, set := b.call("refresh", "session", "1400"); said != "" || len(set) != 3 {
		t.Errorf("said %q, set %q", said, set)
	}
	if got := b.rules(); got != "7090:\tfrom all to 192.0.2.9 lookup 7120\n" {
		t.Errorf("rules\n%s", got)
	}
	said, set := b.call("unbind", "shutdown", "1400")
	if d := cmp.Diff([]string{"wg9 peer K1= endpoint 192.0.2.9:51820"}, set); said != "" || d != "" {
		t.Errorf("said %q; set %s", said, d)
	}
	if got := b.rules(); got != "" {
		t.Errorf("rules\n%s", got)
	}
}

// TestNarrow: an interface whose packets do not fit gets a smaller MTU, and its own
// back.
func TestNarrow(t *testing.T) {
	b := newBench(t, "K1=\t192.0.2.1:51820\n")
	for _, step := range []struct{ op, want string }{{"bind", "mtu 1300 "}, {"bind", "mtu 1300 "}, {"unbind", "mtu 1340 "}} {
		if said, _ := b.call(step.op, "attach", "1360"); said != "" {
			t.Errorf("said %q", said)
		}
		if got := osnettest.IP(t, "link show wg9"); !strings.Contains(got, step.want) {
			t.Errorf("after %s: expected %s, is %s", step.op, step.want, got)
		}
	}
}

// TestRefused: what cannot be helped is said in one line.
func TestRefused(t *testing.T) {
	b := newBench(t, "K1=\t[2001:db8::1]:51820\n")
	expect := func(op, want string) {
		t.Helper()
		if said, _ := b.call(op, "attach", "1400"); !strings.Contains(said, want) || strings.Contains(said, "\n") {
			t.Errorf("said %q, expected %q", said, want)
		}
	}
	expect("bind", "IPv6 endpoint")
	b.write("endpoints", "K1=\t(none)\n")
	expect("bind", "no peer of wg9 has an endpoint")
	expect("rebind", `expected bind, refresh or unbind, came "rebind"`)
	if err := os.Remove(filepath.Join(b.dir, "public-key")); err != nil {
		t.Fatal(err)
	}
	expect("bind", "no WireGuard interface wg9")
	expect("unbind", "") // nothing to restore
	if got := b.rules(); got != "" {
		t.Errorf("rules\n%s", got)
	}
}

// newOutside is a bench with WireGuard outside of the kernel.
func newOutside(t *testing.T) *bench {
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("nft is missing: apt-get install --no-install-recommends nftables")
	}
	b := newBench(t, "K1=\t192.0.2.1:51820\n")
	b.wg = fmt.Sprintf("wgt%d", os.Getpid()) // its socket's name is the whole machine's
	osnettest.IP(t, "link set wg9 name "+b.wg)
	if err := os.MkdirAll("/run/wireguard", 0o755); err != nil {
		t.Fatal(err)
	}
	control, err := net.Listen("unix", "/run/wireguard/"+b.wg+".sock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = control.Close() })
	return b
}

// TestInOrder: wireguard-go has heard by the link, and sends there; what it sends goes behind what
// still takes the other way, as the routes say, though mpa-mn's own packets pass by the link.
func TestInOrder(t *testing.T) {
	b := newOutside(t)
	inside := osnettest.Other(t)
	osnettest.VethTo(t, "mpa0", "far", inside)
	osnettest.Veth(t, "eth0", "nobody")
	osnettest.IP(t, "address add 10.2.0.7/32 dev eth0")
	osnettest.IP(t, "route add default dev mpa0 table 7120")
	osnettest.IP(t, "route add default dev eth0 table 7110")
	osnettest.IP(t, "rule add pref 7098 from 10.2.0.7 oif eth0 lookup 7110")
	var server *net.UDPConn
	inside(func() {
		osnettest.IP(t, "link set lo up")
		osnettest.IP(t, "address add 192.0.2.1/32 dev lo")
		osnettest.IP(t, "route add 10.2.0.7 dev far")
		var err error
		if server, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 51820}); err != nil {
			t.Fatal(err)
		}
	})
	defer server.Close()
	if said, _ := b.call("bind", "handover", "1400"); said != "" {
		t.Fatalf("bind said %q", said)
	}
	node, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 5000})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	link, err := net.InterfaceByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	remembered := &ipv4.ControlMessage{Src: net.IPv4(10, 2, 0, 7), IfIndex: link.Index}
	if _, err := ipv4.NewPacketConn(node).WriteTo([]byte("packet"), remembered, server.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if err := server.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var buf [20]byte
	n, from, err := server.ReadFrom(buf[:])
	if err != nil || from.String() != "10.2.0.7:5000" || string(buf[:n]) != "packet" {
		t.Errorf("%q from %v, %v; expected it from 10.2.0.7:5000, by mpa0", buf[:n], from, err)
	}
}

// TestOutside: what wireguard-go sends from an address it sticks to leaves from the
// bound one.
func TestOutside(t *testing.T) {
	b := newOutside(t)
	osnettest.IP(t, "link set lo up")
	for _, a := range []string{"10.1.0.7", "10.2.0.7", "192.0.2.1"} {
		osnettest.IP(t, "address add "+a+"/32 dev lo")
	}
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 51820})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	node, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 1, 0, 7), Port: 5000})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	for _, step := range []struct{ op, from string }{{"bind", "10.2.0.7:5000"}, {"bind", "10.2.0.7:5000"}, {"unbind", "10.1.0.7:5000"}} {
		if said, _ := b.call(step.op, "handover", "1400"); said != "" {
			t.Fatalf("%s said %q", step.op, said)
		}
		if _, err := node.WriteTo([]byte("packet"), server.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		var buf [20]byte
		n, from, err := server.ReadFrom(buf[:])
		if err != nil || from.String() != step.from || string(buf[:n]) != "packet" {
			t.Errorf("after %s: %q from %v, %v; expected it from %s", step.op, buf[:n], from, err, step.from)
		}
	}
}
