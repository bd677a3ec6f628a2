package dhcp6

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"openmpa/internal/acd/nd"
	"openmpa/internal/host"
)

// RelayConfig says where a Relay stands.
type RelayConfig struct {
	Sockets     host.Sockets
	Link        netip.Addr // our address on the link the visitors will be on: names the link to the server (link-address)
	Server      netip.Addr // DHCP server
	InterfaceID string     // option 18, at most 255 octets; empty: none
	Log         *slog.Logger
}

const relayQueue = 8 // answers of one transaction kept while its client is busy

var errXIDInUse = errors.New("transaction identifier in use")

// Relay is the socket on link-address:547 that all visitors of a router share. Safe for use by any number of Clients.
type Relay struct {
	cfg     RelayConfig
	conn    host.UDP
	done    chan struct{}
	dropped atomic.Uint64

	mu     sync.Mutex
	closed bool
	byXID  map[dhcpv6.TransactionID]*relayed
}

// OpenRelay binds link-address:547. Needs root or CAP_NET_BIND_SERVICE, and no other DHCPv6 server or relay on that address.
func OpenRelay(cfg RelayConfig) (*Relay, error) {
	if !nd.Unicast(cfg.Link) || cfg.Link.IsLinkLocalUnicast() || !nd.Unicast(cfg.Server) {
		return nil, fmt.Errorf("dhcp6: relay from %s to %s: expected two IPv6 unicast addresses, the first not link-local", cfg.Link, cfg.Server)
	}
	if len(cfg.InterfaceID) > 255 {
		return nil, fmt.Errorf("dhcp6: relay: interface identifier of %d octets: expected at most 255", len(cfg.InterfaceID))
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	conn, err := cfg.Sockets.ListenUDP(netip.AddrPortFrom(cfg.Link, serverPort))
	if err != nil {
		return nil, fmt.Errorf("dhcp6: relay: %w", hint(err, cfg.Link))
	}
	r := &Relay{cfg: cfg, conn: conn, done: make(chan struct{}), byXID: make(map[dhcpv6.TransactionID]*relayed)}
	go r.run()
	return r, nil
}

// hint says what to do about a socket that cannot be bound to a.
func hint(err error, a netip.Addr) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: another DHCPv6 server, relay or client runs here: stop it or bind it to another address", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: give %s to the interface first, and wait until duplicate address detection is over", err, a)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: run as root or with CAP_NET_BIND_SERVICE", err)
	}
	return err
}

// Dropped counts datagrams that were not from the server, not for this relay, or answered no transaction.
func (r *Relay) Dropped() uint64 { return r.dropped.Load() }

// Close ends the relay; exchanges under way fail.
func (r *Relay) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.mu.Unlock()
	err := r.conn.Close()
	<-r.done
	if err != nil {
		return fmt.Errorf("dhcp6: close relay: %w", err)
	}
	return nil
}

func (r *Relay) run() {
	defer close(r.done)
	receive(r.conn, func(b []byte, from netip.AddrPort) {
		if from.Addr().Unmap() != r.cfg.Server || from.Port() != serverPort || !r.deliver(b) {
			r.dropped.Add(1)
		}
	})
}

// receive hands every datagram to fn until the socket is closed.
func receive(conn host.UDP, fn func(b []byte, from netip.AddrPort)) {
	buf := make([]byte, maxMessageSize+1)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err == nil && n <= maxMessageSize:
			fn(buf[:n], from)
		} // else too long, or an ICMP error of an earlier datagram: the exchange will time out
	}
}

// deliver hands the message inside a Relay-reply to its transaction. What that says is checked there.
func (r *Relay) deliver(b []byte) bool {
	m, peer, ok := unwrap(b, r.cfg.Link)
	if !ok {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.byXID[m.TransactionID]
	if t == nil || t.peer != peer {
		return false
	}
	select {
	case t.in <- m:
		return true
	default:
		return false
	}
}

// unwrap reads a Relay-reply for the relay at link (RFC 8415 section 19.2) and returns what is inside, and for whom.
func unwrap(b []byte, link netip.Addr) (m *dhcpv6.Message, peer netip.Addr, ok bool) {
	outer, err := dhcpv6.RelayMessageFromBytes(b)
	if err != nil || outer.MessageType != dhcpv6.MessageTypeRelayReply {
		return nil, peer, false
	}
	if a, ok := netip.AddrFromSlice(outer.LinkAddr); !ok || a != link {
		return nil, peer, false
	}
	if peer, ok = netip.AddrFromSlice(outer.PeerAddr); !ok {
		return nil, peer, false
	}
	m, ok = outer.Options.RelayMessage().(*dhcpv6.Message)
	return m, peer, ok
}

// relayed is one transaction over the relay.
type relayed struct {
	r    *Relay
	xid  dhcpv6.TransactionID
	peer netip.Addr       // the visitor's link-local address
	mac  net.HardwareAddr // the visitor's
	in   chan *dhcpv6.Message
}

func (r *Relay) open(xid dhcpv6.TransactionID, peer netip.Addr, mac net.HardwareAddr) (transport, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, fmt.Errorf("dhcp6: relay: %w", net.ErrClosed)
	}
	if r.byXID[xid] != nil {
		return nil, errXIDInUse
	}
	t := &relayed{r: r, xid: xid, peer: peer, mac: mac, in: make(chan *dhcpv6.Message, relayQueue)}
	r.byXID[xid] = t
	return t, nil
}

// renumber gives the transaction another identifier; false: it is in use.
func (t *relayed) renumber(xid dhcpv6.TransactionID) bool {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	if t.r.byXID[xid] != nil {
		return false
	}
	delete(t.r.byXID, t.xid)
	t.xid = xid
	t.r.byXID[xid] = t
	return true
}

func (t *relayed) send(m *dhcpv6.Message) error {
	outer, err := dhcpv6.EncapsulateRelay(m, dhcpv6.MessageTypeRelayForward, net.IP(t.r.cfg.Link.AsSlice()), net.IP(t.peer.AsSlice()))
	if err != nil {
		return fmt.Errorf("dhcp6: relay: %w", err)
	}
	if t.r.cfg.InterfaceID != "" {
		outer.AddOption(dhcpv6.OptInterfaceID([]byte(t.r.cfg.InterfaceID)))
	}
	outer.AddOption(dhcpv6.OptClientLinkLayerAddress(iana.HWTypeEthernet, t.mac)) // RFC 6939
	_, err = t.r.conn.WriteToUDPAddrPort(outer.ToBytes(), netip.AddrPortFrom(t.r.cfg.Server, serverPort))
	if err != nil && !errors.Is(err, syscall.ECONNREFUSED) { // that is an earlier message's; the server may be starting
		return fmt.Errorf("dhcp6: send to server %s: %w", t.r.cfg.Server, err)
	}
	return nil
}

func (t *relayed) receive(ctx context.Context) (*dhcpv6.Message, error) {
	return next(ctx, t.in, t.r.done)
}

func next(ctx context.Context, in <-chan *dhcpv6.Message, done <-chan struct{}) (*dhcpv6.Message, error) {
	select {
	case m := <-in:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-done:
		return nil, net.ErrClosed
	}
}

func (t *relayed) asked() string {
	return fmt.Sprintf("server %s (relay %s)", t.r.cfg.Server, t.r.cfg.Link)
}

func (t *relayed) check() string {
	return fmt.Sprintf("check that the server runs, has free addresses on the link of relay %s, and a route back to it", t.r.cfg.Link)
}

func (t *relayed) Close() error {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	delete(t.r.byXID, t.xid)
	return nil
}
