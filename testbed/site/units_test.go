package site

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/wpactrl/wpactrltest"
)

// machineOf is what every machine has, before anything of ours.
var machineOf = []string{"systemd", "systemd-sysv", "apt", "iproute2", "procps"}

// bring copies packages to the machine.
func (b *box) bring(debs []string) {
	b.t.Helper()
	b.run("mkdir -p /root/debs")
	for _, deb := range debs {
		text, err := os.ReadFile(deb)
		must(b.t, err)
		b.put("/root/debs/"+filepath.Base(deb), text)
	}
}

// settles waits for a state of a unit.
func (b *box) settles(unit, state string) {
	b.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		out, _ := b.try("systemctl is-active " + unit) // it fails unless active
		if strings.TrimSpace(out) == state {
			return
		}
		if time.Now().After(deadline) {
			journal, _ := b.try("journalctl --no-pager -n 30 -o cat -u " + unit)
			b.t.Fatalf("%s is %s, expected %s:\n%s", unit, strings.TrimSpace(out), state, journal)
		}
	}
}

// traces are what daemons of ours make in the kernel, and must be gone after them.
func (b *box) traces() string {
	return b.run("ls /sys/class/net; ip -4 -o address; ip -4 rule; ip -6 rule; ip -4 route show table all; ls /run/netns 2>/dev/null || true")
}

// units runs every unit of a router under systemd: start, stop, restart, and after a kill.
func units(t *testing.T, debs []string) {
	osnettest.NeedRoot(t)
	b := bootBox(t, makeRoot(t, append(machineOf, "dnsmasq-base", "hostapd")...), "router")
	b.bring(debs)
	b.run("apt-get install -y ./debs/openmpa-common_*.deb ./debs/openmpa-router_*.deb")
	cable(t, b, "port0", nil, "port9")
	b.run("ip link add br0 type bridge; ip address add 10.1.0.1/24 dev br0; ip link set br0 up; ip link set port0 master br0 up")
	before := b.traces()
	b.run("mpa-ar init --name a --access br0 --serve-dhcp --radio none")
	b.run("mkdir -p /run/hostapd; mpa-aaa cert issue --name ap@home.example --state /var/lib/openmpa/aaa --out /etc/openmpa/ap")
	b.put("/root/hostapd.conf", []byte(wpactrltest.HostapdConfig("ap0", "none", "/run/hostapd")))
	b.run("systemd-run --quiet --unit=hostapd-test hostapd /root/hostapd.conf")
	b.put("/etc/openmpa/ap-agent.yaml", []byte("control: /run/openmpa/ap-agent.sock\nlisten: 127.0.0.1:7161\nca: ap/ca.pem\ncertificate: ap/ap.pem\nkey: ap/ap.key\nrouters: [ar.a.home.example]\n"+
		"access-points: [{name: a-9, bssid: \"02:00:00:00:0a:09\", akm: WPA-EAP, socket: /run/hostapd/ap0}]\n"))

	list := []string{"mpa-dhcp@br0", "mpa-aaa", "mpa-ha", "mpa-ar", "mpa-ap-agent"}
	b.run("systemctl enable --now " + strings.Join(list, " "))
	for _, u := range list {
		b.settles(u, "active")
	}
	if got := b.run("journalctl -u mpa-ap-agent -o cat"); !strings.Contains(got, "BSSID") {
		t.Errorf("mpa-ap-agent has not talked to hostapd, which has another BSSID:\n%s", got)
	}
	for _, u := range list {
		pid := func() string { return strings.TrimSpace(b.run("systemctl show --value -p MainPID " + u)) }
		was := pid()
		b.run("systemctl kill --kill-whom=main --signal=KILL " + u)
		for deadline := time.Now().Add(30 * time.Second); pid() == was || pid() == "0"; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s does not come back after kill -9", u)
			}
		}
		b.settles(u, "active")
		b.run("systemctl restart " + u)
		b.run("systemctl stop " + u)
		b.settles(u, "inactive")
		b.run("systemctl start " + u)
		b.settles(u, "active")
	}
	b.run("systemctl stop mpa-ar") // so that the doctor asks the DHCP server itself
	out, err := b.try("mpactl doctor --all --wait 10s")
	for _, want := range []string{"radius: ", "dhcp: 10.1.0.2 offers", "tun: /dev/net/tun opens"} {
		if !strings.Contains(out, want) {
			t.Errorf("doctor says nothing of %q", want)
		}
	}
	if err != nil {
		t.Errorf("doctor: %v\n%s", err, out)
	}
	for _, u := range list {
		if u == "mpa-dhcp@br0" {
			continue // it makes namespaces and runs dnsmasq
		}
		if out, err := b.try(fmt.Sprintf("systemd-analyze security --no-pager --threshold=35 %s", u)); err != nil {
			t.Errorf("%s is more exposed than 3.5 of 10:\n%s", u, out)
		} else {
			t.Log(out[strings.LastIndex(out, "Overall"):])
		}
	}
	b.run("systemctl stop " + strings.Join(list, " "))
	if after := b.traces(); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
	b.run("systemctl start " + strings.Join(list, " "))
	b.run("apt-get purge -y openmpa-router openmpa-common")
	if after := b.traces(); after != before {
		t.Errorf("left behind by the packages:\n%s\nbefore:\n%s", after, before)
	}
	if out := b.run("find / -xdev -iname '*mpa-*' -not -path '/root/*' -not -path '/var/log/*' -o -xdev -iname '*openmpa*' -not -path '/root/*' -not -path '/var/log/*'; ls -d /run/openmpa /etc/openmpa /var/lib/openmpa 2>/dev/null || true"); out != "" {
		t.Errorf("files are left:\n%s", out)
	}
}
