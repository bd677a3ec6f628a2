package dhcp4

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"openmpa/internal/host"
)

// RelayConfig says where a Relay stands.
type RelayConfig struct {
	Sockets   host.Sockets
	Giaddr    netip.Addr // our address on the link the visitors will be on: names the subnet to the server
	Server    netip.Addr // DHCP server
	CircuitID string     // option 82 sub-option 1, at most 253 octets; empty: no option 82
	Log       *slog.Logger
}

const relayQueue = 8 // answers of one transaction kept while its client is busy

var errXIDInUse = errors.New("transaction identifier in use")

// Relay is the socket on giaddr:67 that all visitors of a router share. Safe for use by any number of Clients.
type Relay struct {
	cfg     RelayConfig
	conn    host.UDP
	done    chan struct{}
	dropped atomic.Uint64

	mu     sync.Mutex
	closed bool
	byXID  map[dhcpv4.TransactionID]*relayed
}

// OpenRelay binds giaddr:67. Needs root or CAP_NET_BIND_SERVICE, and no other DHCP server or relay on that address.
func OpenRelay(cfg RelayConfig) (*Relay, error) {
	if !unicast(cfg.Giaddr) || !unicast(cfg.Server) {
		return nil, fmt.Errorf("dhcp4: relay from %s to %s: expected two IPv4 unicast addresses", cfg.Giaddr, cfg.Server)
	}
	if len(cfg.CircuitID) > 253 {
		return nil, fmt.Errorf("dhcp4: relay: circuit identifier of %d octets: expected at most 253", len(cfg.CircuitID))
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	conn, err := cfg.Sockets.ListenUDP(netip.AddrPortFrom(cfg.Giaddr, serverPort))
	if err != nil {
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			err = fmt.Errorf("%w: another DHCP server or relay runs here: stop it or bind it to another address", err)
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			err = fmt.Errorf("%w: give %s to the access interface first", err, cfg.Giaddr)
		case errors.Is(err, syscall.EACCES):
			err = fmt.Errorf("%w: run as root or with CAP_NET_BIND_SERVICE", err)
		}
		return nil, fmt.Errorf("dhcp4: relay: %w", err)
	}
	r := &Relay{cfg: cfg, conn: conn, done: make(chan struct{}), byXID: make(map[dhcpv4.TransactionID]*relayed)}
	go r.run()
	return r, nil
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
		return fmt.Errorf("dhcp4: close relay: %w", err)
	}
	return nil
}

func (r *Relay) run() {
	defer close(r.done)
	buf := make([]byte, maxMessageSize+1)
	for {
		n, from, err := r.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // an ICMP error of an earlier datagram; the exchange will time out
		}
		if !r.deliver(buf[:n], from) {
			r.dropped.Add(1)
		}
	}
}

// deliver hands b to its transaction. Everything else about it is checked there.
func (r *Relay) deliver(b []byte, from netip.AddrPort) bool {
	if from.Addr().Unmap() != r.cfg.Server || from.Port() != serverPort || len(b) < 240 ||
		b[0] != byte(dhcpv4.OpcodeBootReply) || netip.AddrFrom4([4]byte(b[24:28])) != r.cfg.Giaddr {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.byXID[dhcpv4.TransactionID(b[4:8])]
	if t == nil {
		return false
	}
	select {
	case t.in <- slices.Clone(b):
		return true
	default:
		return false
	}
}

// relayed is one transaction over the relay.
type relayed struct {
	r   *Relay
	xid dhcpv4.TransactionID
	in  chan []byte
}

func (r *Relay) open(xid dhcpv4.TransactionID) (transport, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, fmt.Errorf("dhcp4: relay: %w", net.ErrClosed)
	}
	if r.byXID[xid] != nil {
		return nil, errXIDInUse
	}
	t := &relayed{r: r, xid: xid, in: make(chan []byte, relayQueue)}
	r.byXID[xid] = t
	return t, nil
}

func (t *relayed) send(m []byte) error {
	_, err := t.r.conn.WriteToUDPAddrPort(m, netip.AddrPortFrom(t.r.cfg.Server, serverPort))
	if err != nil && !errors.Is(err, syscall.ECONNREFUSED) { // that is an earlier message's; the server may be starting
		return fmt.Errorf("dhcp4: send to server %s: %w", t.r.cfg.Server, err)
	}
	return nil
}

func (t *relayed) receive(ctx context.Context) ([]byte, error) {
	select {
	case b := <-t.in:
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.r.done:
		return nil, net.ErrClosed
	}
}

func (t *relayed) failure() error { return fmt.Errorf("dhcp4: relay: %w", net.ErrClosed) }

func (t *relayed) asked() string {
	return fmt.Sprintf("server %s (relay %s)", t.r.cfg.Server, t.r.cfg.Giaddr)
}

func (t *relayed) check() string {
	return fmt.Sprintf("check that the server runs, has free addresses in a subnet for relay %s, and a route back to it", t.r.cfg.Giaddr)
}

func (t *relayed) Close() error {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	delete(t.r.byXID, t.xid)
	return nil
}
