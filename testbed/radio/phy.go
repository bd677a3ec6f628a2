package radio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"openmpa/testbed/space"
)

// driver is the one whose radios the lab may take: simulated ones.
const driver = "mac80211_hwsim"

// A Phy is a simulated radio.
type Phy struct {
	Name    string // phy0
	Address net.HardwareAddr
}

// Phys are the simulated radios of the namespace this process was started in, by address. A machine's real ones are left
// alone.
func Phys() ([]Phy, error) {
	dirs, err := filepath.Glob("/sys/class/ieee80211/*")
	if err != nil {
		return nil, fmt.Errorf("radio: %w", err)
	}
	var all []Phy
	for _, d := range dirs {
		made, err := filepath.EvalSymlinks(filepath.Join(d, "device", "driver"))
		if err != nil || filepath.Base(made) != driver {
			continue
		}
		text, err := os.ReadFile(filepath.Join(d, "macaddress"))
		if err != nil {
			return nil, fmt.Errorf("radio: %w", err)
		}
		addr, err := net.ParseMAC(strings.TrimSpace(string(text)))
		if err != nil {
			return nil, fmt.Errorf("radio: %s: %w", d, err)
		}
		all = append(all, Phy{Name: filepath.Base(d), Address: addr})
	}
	slices.SortFunc(all, func(a, b Phy) int { return bytes.Compare(a.Address, b.Address) })
	return all, nil
}

// Move takes a radio to a namespace and gives its interface a name; it is down then. With the namespace's end the kernel
// gives the radio back to the one where processes start.
func (p Phy) Move(ctx context.Context, s *space.Space, ifname string) error {
	out, err := exec.CommandContext(ctx, "iw", "phy", p.Name, "set", "netns", "name", s.Name()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("radio: %s to %s: %w: %s", p.Name, s.Name(), err, bytes.TrimSpace(out))
	}
	nl := s.Netlink()
	links, err := nl.LinkList()
	if err != nil {
		return fmt.Errorf("radio: %s: %w", s.Name(), err)
	}
	for _, l := range links {
		if !bytes.Equal(l.Attrs().HardwareAddr, p.Address) {
			continue
		}
		err := nl.LinkSetDown(l)
		if err == nil && l.Attrs().Name != ifname {
			err = nl.LinkSetName(l, ifname)
		}
		if err != nil {
			return fmt.Errorf("radio: %s as %s in %s: %w", p.Name, ifname, s.Name(), err)
		}
		return nil
	}
	return errors.New("radio: " + p.Name + " has no interface in " + s.Name())
}
