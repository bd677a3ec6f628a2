package bed

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Drops are the kernel's counters of what it has dropped so far, by where: sockets that were full, and devices.
func (b *Bed) Drops() (map[string]uint64, error) {
	drops := make(map[string]uint64)
	// The kernel has one count of these for all namespaces, and shows it in the first one: in a container it is not there.
	text, err := os.ReadFile("/proc/self/net/stat/arp_cache")
	if err == nil {
		drops["this machine: waiting for ARP"], err = unresolved(string(text))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("bed: counters of neighbours: %w", err)
	}
	for node, s := range b.Top.Spaces() {
		err := s.Do(func() error {
			text, err := os.ReadFile("/proc/thread-self/net/snmp")
			if err != nil {
				return err
			}
			drops[node+": full UDP sockets"], err = fullSockets(string(text))
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("bed: counters of %s: %w", node, err)
		}
		links, err := s.Netlink().LinkList()
		if err != nil {
			return nil, fmt.Errorf("bed: devices of %s: %w", node, err)
		}
		for _, l := range links {
			if st := l.Attrs().Statistics; st != nil {
				drops[node+": to "+l.Attrs().Name] = st.TxDropped
				drops[node+": from "+l.Attrs().Name] = st.RxDropped
			}
		}
	}
	return drops, nil
}

// fullSockets reads the datagrams for which a socket had no room.
func fullSockets(snmp string) (uint64, error) {
	var names []string
	for line := range strings.Lines(snmp) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] != "Udp:":
		case names == nil:
			names = fields
		default:
			if i := slices.Index(names, "RcvbufErrors"); i > 0 && i < len(fields) {
				return strconv.ParseUint(fields[i], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("no RcvbufErrors among %q", names)
}

// unresolved reads the packets that waited for an answer to ARP where there was no room, of all processors.
func unresolved(stat string) (n uint64, err error) {
	lines := strings.Split(strings.TrimSpace(stat), "\n")
	i := slices.Index(strings.Fields(lines[0]), "unresolved_discards")
	if i < 0 {
		return 0, fmt.Errorf("no unresolved_discards in %q", lines[0])
	}
	for _, line := range lines[1:] {
		fields := strings.Fields(line)
		if i >= len(fields) {
			return 0, fmt.Errorf("no unresolved_discards in %q", line)
		}
		v, err := strconv.ParseUint(fields[i], 16, 64)
		if err != nil {
			return 0, err
		}
		n += v
	}
	return n, nil
}

// DropsSince says what has risen, a part each.
func DropsSince(before, after map[string]uint64) (risen []string) {
	for _, where := range slices.Sorted(maps.Keys(after)) {
		if n := after[where] - before[where]; after[where] > before[where] {
			risen = append(risen, fmt.Sprintf("%s %d", where, n))
		}
	}
	return risen
}
