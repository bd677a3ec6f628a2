package bed

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Drops are the kernel's counters of what it has dropped so far, by where: sockets that were full, and devices.
func (b *Bed) Drops() (map[string]uint64, error) {
	drops := make(map[string]uint64)
	for node, s := range b.Top.Spaces() {
		err := s.Do(func() error {
			text, err := os.ReadFile("/proc/thread-self/net/snmp")
			if err != nil {
				return err
			}
			full, err := fullSockets(string(text))
			drops[node+": full UDP sockets"] = full
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

// DropsSince says what has risen, a part each.
func DropsSince(before, after map[string]uint64) (risen []string) {
	for _, where := range slices.Sorted(maps.Keys(after)) {
		if n := after[where] - before[where]; after[where] > before[where] {
			risen = append(risen, fmt.Sprintf("%s %d", where, n))
		}
	}
	return risen
}
