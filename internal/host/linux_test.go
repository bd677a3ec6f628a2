package host

import (
	"net/netip"
	"testing"

	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
	"openmpa/tunnel/bind"
	"openmpa/tunnel/tun"
)

func TestMain(m *testing.M) { osnettest.Main(m) }

// TestNothingOnError: what could not be opened is nil, not an interface that holds
// a nil pointer, so that "if it is there, close it" works.
func TestNothingOnError(t *testing.T) {
	osnettest.Enter(t)
	h, err := LinuxIPv6(nil, osnet.OwnerMobileNode)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	none := netip.MustParseAddr("198.51.100.1") // nobody's here
	udp, err := h.ListenUDP(netip.AddrPortFrom(none, 716))
	check(t, "ListenUDP", udp == nil, err)
	conn, err := h.DialUDP("", netip.AddrPortFrom(none, 0), netip.AddrPortFrom(none, 9))
	check(t, "DialUDP", conn == nil, err)
	esp, err := h.OpenESP(netip.AddrPortFrom(none, 4500), bind.Options{})
	check(t, "OpenESP", esp == nil, err)
	ipip, err := h.OpenIPIP(none, bind.Options{})
	check(t, "OpenIPIP", ipip == nil, err)
	dev, err := h.OpenTUN(tun.Config{Name: "a/b"})
	check(t, "OpenTUN", dev == nil, err)
	arp, err := h.OpenARP("nothing0")
	check(t, "OpenARP", arp == nil, err)
	nd, err := h.OpenND("nothing0")
	check(t, "OpenND", nd == nil, err)
	proto, err := h.OpenProto6(netip.MustParseAddr("2001:db8::1"), 135, bind.Options{})
	check(t, "OpenProto6", proto == nil, err)
	big, err := h.OpenTooBig6(netip.MustParseAddr("2001:db8::1"), bind.Options{})
	check(t, "OpenTooBig6", big == nil, err)
	tap, err := h.OpenUDPTap("nothing0", 68)
	check(t, "OpenUDPTap", tap == nil, err)
}

func check(t *testing.T, what string, isNil bool, err error) {
	t.Helper()
	if err == nil || !isNil {
		t.Errorf("%s: nil %v, error %v; expected nil and an error", what, isNil, err)
	}
}
