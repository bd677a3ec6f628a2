package bed

import (
	"strings"
	"testing"
)

func TestFullSockets(t *testing.T) {
	n, err := fullSockets("Tcp: RtoMin\nTcp: 200\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 9 8 7 6 5\nUdpLite: RcvbufErrors\nUdpLite: 3\n")
	if err != nil || n != 5 {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := fullSockets("Udp: InDatagrams\nUdp: 9\n"); err == nil {
		t.Error("what is not there is read")
	}
}

func TestUnresolved(t *testing.T) {
	n, err := unresolved("entries allocs unresolved_discards table_fulls\n00000002 0000000a 00000010 00000000\n00000002 00000000 00000001 00000000\n")
	if err != nil || n != 17 {
		t.Errorf("%d, %v", n, err)
	}
	for _, bad := range []string{"", "entries allocs\n0 0\n", "unresolved_discards\nxyz\n", "allocs unresolved_discards\n1\n"} {
		if _, err := unresolved(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

func TestDropsSince(t *testing.T) {
	got := strings.Join(DropsSince(map[string]uint64{"a": 1, "b": 2}, map[string]uint64{"c": 4, "b": 5, "a": 1}), ", ")
	if got != "b 3, c 4" {
		t.Errorf("%q", got)
	}
}
