package dhcp6

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"openmpa/internal/host"
)

// allServers is the group of the link's servers and relays (RFC 8415 section 7.1).
var allServers = netip.MustParseAddr("ff02::1:2")

// link is one exchange on our own link.
type link struct {
	conn  host.UDP
	local netip.Addr
	in    chan *dhcpv6.Message
	done  chan struct{}
}

// openLink binds the client port of a link-local address with its zone.
func openLink(s host.Sockets, local netip.Addr) (transport, error) {
	conn, err := s.ListenUDP(netip.AddrPortFrom(local, clientPort))
	if err != nil {
		return nil, fmt.Errorf("dhcp6: link: %w", hint(err, local))
	}
	l := &link{conn: conn, local: local, in: make(chan *dhcpv6.Message, relayQueue), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		receive(conn, func(b []byte, from netip.AddrPort) {
			m, err := dhcpv6.MessageFromBytes(b)
			if err != nil || from.Port() != serverPort {
				return
			}
			select {
			case l.in <- m:
			default: // it will be sent again
			}
		})
	}()
	return l, nil
}

func (l *link) send(m *dhcpv6.Message) error {
	to := netip.AddrPortFrom(allServers.WithZone(l.local.Zone()), serverPort)
	if _, err := l.conn.WriteToUDPAddrPort(m.ToBytes(), to); err != nil {
		return fmt.Errorf("dhcp6: send to the servers of %s: %w", l.local.Zone(), err)
	}
	return nil
}

func (l *link) receive(ctx context.Context) (*dhcpv6.Message, error) { return next(ctx, l.in, l.done) }

func (l *link) asked() string { return "the servers of " + l.local.Zone() }

func (l *link) check() string {
	return "check that a DHCPv6 server or relay is on the link and has free addresses"
}

func (l *link) Close() error {
	err := l.conn.Close()
	<-l.done
	if err != nil {
		return fmt.Errorf("dhcp6: close: %w", err)
	}
	return nil
}
