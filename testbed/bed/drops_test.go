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

func TestDropsSince(t *testing.T) {
	got := strings.Join(DropsSince(map[string]uint64{"a": 1, "b": 2}, map[string]uint64{"c": 4, "b": 5, "a": 1}), ", ")
	if got != "b 3, c 4" {
		t.Errorf("%q", got)
	}
}
