package dhcpd

import (
	"net"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/server6"
	"golang.org/x/net/ipv6"
)

// listener6 is the socket of a link: for what relays send to the server's address, and for the link's multicasts.
type listener6 struct {
	*net.UDPConn
	handle func(conn *net.UDPConn, peer *net.UDPAddr, datagram []byte)
}

func listen6(ifname string, handle func(*net.UDPConn, *net.UDPAddr, []byte)) (*listener6, error) {
	conn, err := server6.NewIPv6UDPConn(ifname, &net.UDPAddr{IP: net.IPv6unspecified, Port: dhcpv6.DefaultServerPort})
	if err != nil {
		return nil, err
	}
	link, err := net.InterfaceByName(ifname)
	if err == nil {
		err = ipv6.NewPacketConn(conn).JoinGroup(link, &net.UDPAddr{IP: dhcpv6.AllDHCPRelayAgentsAndServers})
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &listener6{UDPConn: conn, handle: handle}, nil
}

// Serve hands over what comes until the socket is closed.
func (l *listener6) Serve() error {
	buf := make([]byte, 1<<16)
	for {
		n, peer, err := l.ReadFromUDP(buf)
		if err != nil {
			return err
		}
		l.handle(l.UDPConn, peer, buf[:n])
	}
}

// answer6 answers a datagram that came to UDP port 547 on ifname: relays are answered on that port, clients on theirs (RFC 8415,
// section 7.2).
func (s *Server) answer6(conn *net.UDPConn, ifname string, peer *net.UDPAddr, datagram []byte) {
	d, err := dhcpv6.FromBytes(datagram)
	s.mu.Lock()
	if err != nil {
		s.table.counts["malformed"]++
	}
	if err != nil || s.mute {
		s.mu.Unlock()
		return
	}
	r := s.table.Handle6(time.Now(), ifname, d)
	s.mu.Unlock()
	if r == nil {
		return
	}
	peer.Port = dhcpv6.DefaultClientPort
	if r.IsRelay() {
		peer.Port = dhcpv6.DefaultServerPort
	}
	// One that cannot be sent is as good as lost on the way: the client asks again.
	_, _ = conn.WriteToUDP(r.ToBytes(), peer)
}
