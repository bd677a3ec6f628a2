package peers

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"openmpa/testbed/dhcpd"
)

// loaderOf is the dynamic loader a program asks for.
func loaderOf(path string) (string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return "", fmt.Errorf("peers: %s: %w", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, min(p.Filesz, 4096))
		if _, err := p.ReadAt(name, 0); err != nil {
			return "", fmt.Errorf("peers: %s: %w", path, err)
		}
		return strings.TrimRight(string(name), "\x00"), nil
	}
	return "", fmt.Errorf("peers: %s names no dynamic loader", path)
}

// Answers asks for an offer in the pool's network as its relay would, until
// one comes or ctx ends. listen opens a UDP socket at the relay's address.
func (Kea) Answers(ctx context.Context, p dhcpd.Pool, listen func(*net.UDPAddr) (*net.UDPConn, error)) error {
	m, err := dhcpv4.NewDiscovery(net.HardwareAddr{0x02, 0, 0, 0, 0, 1}, dhcpv4.WithGatewayIP(p.Router.AsSlice()))
	if err != nil {
		return fmt.Errorf("peers: ask for an offer: %w", err)
	}
	return exchange(ctx, p, dhcpv4.ServerPort, listen, m.ToBytes(), func(b []byte) bool {
		r, err := dhcpv4.FromBytes(b)
		return err == nil && r.TransactionID == m.TransactionID && r.MessageType() == dhcpv4.MessageTypeOffer
	})
}

// exchange asks a pool's server from its relay's address until an answer comes or ctx ends.
func exchange(ctx context.Context, p dhcpd.Pool, port int, listen func(*net.UDPAddr) (*net.UDPConn, error), request []byte, answers func([]byte) bool) error {
	conn, err := listen(&net.UDPAddr{IP: p.Router.AsSlice(), Port: port})
	if err != nil {
		return fmt.Errorf("peers: ask the DHCP server: %w", err)
	}
	defer conn.Close()
	buf := make([]byte, 1500)
	for ctx.Err() == nil {
		_, err := conn.WriteToUDP(request, &net.UDPAddr{IP: p.Server.AsSlice(), Port: port})
		if err != nil && !errors.Is(err, syscall.ECONNREFUSED) { // that is an earlier one's
			return fmt.Errorf("peers: ask the DHCP server: %w", err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			return fmt.Errorf("peers: ask the DHCP server: %w", err)
		}
		n, err := conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ECONNREFUSED) {
			continue
		}
		if err != nil {
			return fmt.Errorf("peers: ask the DHCP server: %w", err)
		}
		if answers(buf[:n]) {
			return nil
		}
	}
	return fmt.Errorf("peers: no answer of the DHCP server in network %s: %w", p.Network, ctx.Err())
}
