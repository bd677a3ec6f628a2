package doctor

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// process is one of this machine.
type process struct {
	pid  int
	name string   // as the kernel has it, at most 15 octets
	args []string // of the command line
	dir  string   // in /proc
}

// eachProcess calls fn for the processes of this network namespace until it returns false.
func eachProcess(fn func(process) bool) {
	here, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return // the pattern is right
	}
	for _, dir := range dirs {
		ns, err := os.Readlink(dir + "/ns/net")
		if err != nil || ns != here {
			continue
		}
		comm, err := os.ReadFile(dir + "/comm")
		if err != nil {
			continue // ended meanwhile
		}
		cmdline, err := os.ReadFile(dir + "/cmdline")
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		p := process{pid: pid, name: string(bytes.TrimSpace(comm)), args: strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00"), dir: dir}
		if !fn(p) {
			return
		}
	}
}

// runs tells whether a program of that name runs here. Some are scripts: then the interpreter has the script's name second.
func (p *patient) runs(name string) bool {
	found := false
	eachProcess(func(proc process) bool {
		found = proc.name == name || len(proc.args) > 1 && filepath.Base(proc.args[1]) == name
		return !found
	})
	return found
}

// dhcpClients are the programs that put addresses and routes on an interface.
var dhcpClients = []string{"dhclient", "dhcpcd", "udhcpc", "connmand"}

// managers looks for who else manages an interface: on a node nobody may give it addresses; on a router that is fine, but
// nobody may remove what the daemon makes.
func (p *patient) managers(dev string, node bool) {
	before := len(p.findings)
	p.networkd(dev, node)
	if node {
		p.networkManager(dev)
		eachProcess(func(proc process) bool {
			for _, client := range dhcpClients {
				if proc.name != client {
					continue
				}
				named := strings.Contains(strings.Join(proc.args, " "), dev)
				if named || len(interfaces(proc.args)) == 0 {
					p.fail("manager", fmt.Sprintf("%s (process %d) manages %s: it will remove the node's address or add a second one", client, proc.pid, dev), stopClient(client, dev))
				}
			}
			return true
		})
	}
	if len(p.findings) == before {
		p.ok("manager", "nobody else manages "+dev)
	}
}

// interfaces are the arguments that name interfaces; a client without any takes all.
func interfaces(args []string) (out []string) {
	for _, a := range args {
		if _, err := os.Stat(filepath.Join("/sys/class/net", filepath.Base(a))); err == nil && a != "" && !strings.Contains(a, "/") {
			out = append(out, a)
		}
	}
	return out
}

func stopClient(client, dev string) string {
	switch client {
	case "dhcpcd":
		return fmt.Sprintf("put \"denyinterfaces %s\" into /etc/dhcpcd.conf and run: dhcpcd -x %s; systemctl restart dhcpcd", dev, dev)
	case "connmand":
		return fmt.Sprintf("put \"NetworkInterfaceBlacklist=%s\" below [General] in /etc/connman/main.conf and run: systemctl restart connman", dev)
	}
	return fmt.Sprintf("take %s out of /etc/network/interfaces (or make it \"manual\") and end the process", dev)
}

// networkd looks whether systemd-networkd has the interface. It removes routes and rules that others make whenever it
// configures one, unless it is told not to.
func (p *patient) networkd(dev string, node bool) {
	if !p.runs("systemd-network") { // cut to 15 octets
		return
	}
	if node {
		if state := p.linkState("run/systemd/netif/links", dev); state != "" && !strings.Contains(state, "ADMIN_STATE=unmanaged") {
			p.fail("manager", "systemd-networkd manages "+dev+": it will remove the node's address or add a second one",
				fmt.Sprintf("write /etc/systemd/network/05-openmpa.network with \"[Match]\\nName=%s\\n[Link]\\nUnmanaged=yes\" and run: networkctl reload", dev))
			return
		}
	}
	for _, key := range []string{"ManageForeignRoutes", "ManageForeignRoutingPolicyRules"} {
		if !p.networkdSays(key) {
			p.warn("manager", "systemd-networkd removes routes and rules of others when it configures an interface ("+key+")",
				"write /etc/systemd/networkd.conf.d/openmpa.conf with \"[Network]\\nManageForeignRoutes=no\\nManageForeignRoutingPolicyRules=no\" and run: systemctl restart systemd-networkd")
			return
		}
	}
}

// networkdSays tells whether a key is "no" in networkd's configuration.
func (p *patient) networkdSays(key string) bool {
	files := []string{filepath.Join(p.Root, "etc/systemd/networkd.conf")}
	for _, dir := range []string{"usr/lib", "run", "etc"} {
		list, err := filepath.Glob(filepath.Join(p.Root, dir, "systemd/networkd.conf.d/*.conf"))
		if err == nil {
			files = append(files, list...)
		}
	}
	off := false
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.TrimSpace(name) == key {
				value = strings.ToLower(strings.TrimSpace(value))
				off = value == "no" || value == "false" || value == "off" || value == "0"
			}
		}
	}
	return off
}

func (p *patient) networkManager(dev string) {
	if !p.runs("NetworkManager") {
		return
	}
	state := p.linkState("run/NetworkManager/devices", dev)
	if state == "" || strings.Contains(state, "managed=false") {
		return
	}
	p.fail("manager", "NetworkManager manages "+dev+": it will remove the node's address or add a second one",
		fmt.Sprintf("run: nmcli device set %s managed no   and write /etc/NetworkManager/conf.d/openmpa-%s.conf with \"[keyfile]\\nunmanaged-devices+=interface-name:%s\"", dev, dev, dev))
}

// linkState is what a manager keeps about an interface, in a file with the number of it.
func (p *patient) linkState(dir, dev string) string {
	l, err := p.net.LinkByName(dev)
	if err != nil {
		return ""
	}
	text, err := os.ReadFile(filepath.Join(p.Root, dir, strconv.Itoa(l.Index)))
	if err != nil {
		return ""
	}
	return string(text)
}
