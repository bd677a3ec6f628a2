package osnet

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// sysctlPath turns a.b.c or a/b/c into a file name. As with sysctl(8) the first separator decides, so an interface name with
// a dot is written net/ipv4/conf/eth0.100/rp_filter.
func sysctlPath(key string) (string, error) {
	if i := strings.IndexAny(key, "./"); i > 0 && key[i] == '.' {
		key = strings.ReplaceAll(key, ".", "/")
	}
	if !strings.HasPrefix(key, "net/") {
		return "", fmt.Errorf("osnet: sysctl %q: expected a key below net", key)
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." {
			return "", fmt.Errorf("osnet: sysctl %q: malformed key", key)
		}
	}
	return "/proc/sys/" + key, nil
}

// Sysctl reads a key below net in this namespace, without surrounding space.
func (n *Net) Sysctl(key string) (string, error) {
	path, err := sysctlPath(key)
	if err != nil {
		return "", err
	}
	var b []byte
	if err := n.Do(func() (err error) { b, err = os.ReadFile(path); return err }); err != nil {
		return "", fmt.Errorf("osnet: read sysctl %s: %w", key, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// SetSysctl writes a key below net in this namespace; Close restores what was there before the first write. Writes nothing if
// the value is there already. After a crash nothing restores it.
func (n *Net) SetSysctl(key, value string) error {
	path, err := sysctlPath(key)
	if err != nil {
		return err
	}
	if err := n.begin(); err != nil {
		return err
	}
	defer n.mu.Unlock()
	old, err := n.Sysctl(key)
	if err != nil {
		return err
	}
	if old == value {
		return nil
	}
	write := func(v string) error { return n.writeSysctl(path, key, v) }
	if err := write(value); err != nil {
		return err
	}
	undo := "sysctl " + path
	if !n.owns(undo) {
		n.record(undo, func() error {
			if err := write(old); err != nil && !errors.Is(err, os.ErrNotExist) { // the interface is gone
				return err
			}
			return nil
		})
	}
	return nil
}

// WriteSysctl is SetSysctl for who puts back by itself what was there, also after a crash: Close does not.
func (n *Net) WriteSysctl(key, value string) error {
	path, err := sysctlPath(key)
	if err != nil {
		return err
	}
	if err := n.begin(); err != nil {
		return err
	}
	defer n.mu.Unlock()
	return n.writeSysctl(path, key, value)
}

func (n *Net) writeSysctl(path, key, value string) error {
	if err := n.Do(func() error { return os.WriteFile(path, []byte(value), 0o644) }); err != nil {
		return fmt.Errorf("osnet: set sysctl %s=%s: %w", key, value, hint(err))
	}
	return nil
}

// CheckRouter checks that the kernel forwards between lan and tun (empty: not looked at) and that its reverse path filter
// lets through what a router of visitors writes into its TUN and what a visitor sends while its host route still leads
// into the TUN. Every finding comes with the command that cures it. Changes nothing.
func (n *Net) CheckRouter(lan, tun string) error {
	var errs []error
	v, err := n.Sysctl("net.ipv4.ip_forward")
	switch {
	case err != nil:
		errs = append(errs, err)
	case v != "1":
		errs = append(errs, errors.New("osnet: this host does not forward IPv4: run: sysctl -w net.ipv4.ip_forward=1"))
	}
	all, err := n.conf("all", "rp_filter")
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	if all == 1 {
		errs = append(errs, errors.New("osnet: net.ipv4.conf.all.rp_filter=1 makes the kernel drop packets to visitors, whatever the interface says: run: sysctl -w net.ipv4.conf.all.rp_filter=2"))
	}
	for _, dev := range []string{lan, tun} {
		if dev == "" {
			continue
		}
		if err := checkName(dev); err != nil {
			errs = append(errs, fmt.Errorf("osnet: %w", err))
			continue
		}
		filter, err := n.conf(dev, "rp_filter")
		if errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("osnet: no interface %q in this network namespace: check the name with ip link", dev))
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if all != 1 && max(all, filter) == 1 {
			errs = append(errs, fmt.Errorf("osnet: strict reverse path filtering on %s makes the kernel drop packets of visitors: run: sysctl -w net/ipv4/conf/%s/rp_filter=2", dev, dev))
		}
		if v == "1" {
			if f, err := n.conf(dev, "forwarding"); err == nil && f == 0 {
				errs = append(errs, fmt.Errorf("osnet: forwarding is off on %s: run: sysctl -w net/ipv4/conf/%s/forwarding=1", dev, dev))
			}
		}
	}
	return errors.Join(errs...)
}

// CheckRouter6 checks that the kernel forwards IPv6, also what comes in by the interfaces of devs; see CheckRouter.
func (n *Net) CheckRouter6(devs ...string) error {
	var errs []error
	for _, dev := range append([]string{"all"}, devs...) {
		v, err := n.Sysctl("net/ipv6/conf/" + dev + "/forwarding")
		switch {
		case errors.Is(err, os.ErrNotExist):
			errs = append(errs, fmt.Errorf("osnet: no IPv6 on interface %q of this network namespace: check the name with ip link, and the kernel's parameter ipv6.disable", dev))
		case err != nil:
			errs = append(errs, err)
		case v == "0":
			errs = append(errs, fmt.Errorf("osnet: this host does not forward IPv6 (%s): run: sysctl -w net/ipv6/conf/%s/forwarding=1", dev, dev))
		}
	}
	return errors.Join(errs...)
}

func (n *Net) conf(dev, name string) (int, error) {
	key := "net/ipv4/conf/" + dev + "/" + name
	s, err := n.Sysctl(key)
	if err != nil {
		return 0, err
	}
	v, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("osnet: sysctl %s: expected a number, came %q", key, s)
	}
	return v, nil
}
