package acd

import (
	"encoding/hex"
	"net/netip"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	addr  = netip.MustParseAddr("10.2.0.100")
	other = netip.MustParseAddr("10.2.0.101")
	ours  = MAC{2, 0, 0, 0, 0, 1}
	ours2 = MAC{2, 0, 0, 0, 0, 2}
	them  = MAC{2, 0, 0, 0, 0, 9}
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatalf("fixture %q: %v", s, err)
	}
	return b
}
