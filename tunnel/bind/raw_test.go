package bind

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"openmpa/tunnel/ipip"
)

// TestRaw: a whole packet leaves with its own header, from its own address only.
func TestRaw(t *testing.T) {
	enter(t)
	s, err := OpenRaw(addrA, Options{Device: "lo"})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: addrB.AsSlice(), Port: 7})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	packet := func(src netip.Addr, payload string) []byte {
		udp := append([]byte{0, 9, 0, 7, 0, byte(8 + len(payload)), 0, 0}, payload...)
		b, err := ipip.AppendHeader(nil, ipip.Header{Src: src, Dst: addrB, TOS: 0x20, Protocol: 17}, len(udp))
		if err != nil {
			t.Fatal(err)
		}
		return append(b, udp...)
	}
	if err := s.Send(packet(addrC, "forged")); err == nil {
		t.Error("a packet from another address was sent")
	}
	if err := s.Send([]byte("no packet")); err == nil {
		t.Error("what is no packet was sent")
	}
	if err := s.Send(append(packet(addrA, "whole"), "behind"...)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, from, err := conn.ReadFromUDPAddrPort(buf)
	if want := netip.AddrPortFrom(addrA, 9); err != nil || string(buf[:n]) != "whole" || from != want {
		t.Errorf("%q from %v, %v", buf[:n], from, err)
	}
	if st := s.Stats(); st.Sent != 1 || st.SendErrors != 2 {
		t.Errorf("%+v", st)
	}
	if err := s.Send(packet(addrA, strings.Repeat("x", 200))); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(packet(addrA, "late")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := OpenRaw(netip.MustParseAddr("fe80::1%lo"), Options{}); err == nil {
		t.Error("an address with a zone was taken")
	}
}
