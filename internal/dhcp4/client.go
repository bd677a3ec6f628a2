package dhcp4

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"openmpa/internal/host"
)

const maxNAKs = 2 // how often Acquire begins again after a NAK

// Timing says how often and how long to ask (RFC 2131 section 4.1). The zero value of a field takes the default.
type Timing struct {
	First time.Duration // wait after the first message; default 1 s (the RFC's 4 s are for slow links)
	Max   time.Duration // longest wait; default 64 s. Each wait is twice the one before, randomised by a quarter
	Tries int           // messages of one kind; default 5, which is 31 s
}

// Client leases an address under one client identifier. Either Sockets and Iface (on our own link) or Relay must be set. A
// Client is used by one goroutine at a time; any number of Clients may share a Relay.
type Client struct {
	Sockets  host.Sockets     // for leases on our own link
	Iface    string           // our link
	MAC      net.HardwareAddr // chaddr: the client's Ethernet address
	ClientID []byte           // option 61, type octet first, 2 to 255 octets; nil: type 1 and MAC
	Relay    *Relay           // lease for a client elsewhere
	Subnet   netip.Prefix     // what the address must be in; zero: whatever the server says
	Timing   Timing
	Rand     io.Reader // default crypto/rand
	// Offered is told of the lease that is about to be requested, before the server
	// may have granted it; an error ends Acquire. nil: nobody is.
	Offered func(Lease) error
}

func (c *Client) identity() (*identity, error) {
	if len(c.MAC) != 6 {
		return nil, fmt.Errorf("dhcp4: client's hardware address %q: expected an Ethernet address", c.MAC)
	}
	if c.Subnet.IsValid() && !c.Subnet.Addr().Is4() {
		return nil, fmt.Errorf("dhcp4: subnet %s: expected IPv4", c.Subnet)
	}
	id := &identity{mac: c.MAC, clientID: c.ClientID, subnet: c.Subnet}
	if id.clientID == nil {
		id.clientID = append([]byte{1}, c.MAC...)
	}
	if len(id.clientID) < 2 || len(id.clientID) > 255 {
		return nil, fmt.Errorf("dhcp4: client identifier of %d octets: expected 2 to 255", len(id.clientID))
	}
	switch {
	case c.Relay != nil:
		id.giaddr, id.circuit = c.Relay.cfg.Giaddr, c.Relay.cfg.CircuitID
	case c.Sockets == nil || c.Iface == "":
		return nil, errors.New("dhcp4: neither a relay nor sockets and an interface given")
	}
	return id, nil
}

func (c *Client) random() io.Reader {
	if c.Rand != nil {
		return c.Rand
	}
	return rand.Reader
}

func (c *Client) newXID(id *identity) error {
	if _, err := io.ReadFull(c.random(), id.xid[:]); err != nil {
		return fmt.Errorf("dhcp4: transaction identifier: %w", err)
	}
	return nil
}

// transport carries messages of one exchange.
type transport interface {
	send(m []byte) error
	// receive returns the next datagram from a server; the slice is good until the next call.
	receive(ctx context.Context) ([]byte, error)
	asked() string  // for errors
	check() string  // what to look at when nothing comes
	failure() error // why receive ended when it was not its context
	io.Closer
}

// begin gives id a fresh transaction and opens the way to the server: the relay, or the link.
func (c *Client) begin(id *identity) (transport, error) {
	if err := c.newXID(id); err != nil {
		return nil, err
	}
	if c.Relay != nil {
		for range 8 {
			t, err := c.Relay.open(id.xid)
			if !errors.Is(err, errXIDInUse) {
				return t, err
			}
			if err := c.newXID(id); err != nil {
				return nil, err
			}
		}
		return nil, fmt.Errorf("dhcp4: %w: is the source of randomness broken?", errXIDInUse)
	}
	return openLink(c.Sockets, c.Iface)
}

// Acquire leases an address. Errors: *NoAnswerError, *NAKError (after beginning again), ctx's, or the socket's.
func (c *Client) Acquire(ctx context.Context) (Lease, error) {
	id, err := c.identity()
	if err != nil {
		return Lease{}, err
	}
	var nak *NAKError
	for range maxNAKs {
		var l Lease
		if l, err = c.acquire(ctx, id); !errors.As(err, &nak) {
			return l, err
		}
	}
	return Lease{}, err
}

func (c *Client) acquire(ctx context.Context, id *identity) (Lease, error) {
	t, err := c.begin(id)
	if err != nil {
		return Lease{}, err
	}
	defer t.Close()
	offer, err := c.discover(ctx, t, id)
	if err != nil {
		return Lease{}, err
	}
	if c.Offered != nil {
		if err := c.Offered(offer); err != nil {
			return Lease{}, err
		}
	}
	return c.exchange(ctx, t, "ack", id.request(offer), func(b []byte, begun time.Time) (Lease, bool, error) {
		return id.ack(b, begun, offer.Addr.Addr(), offer.ServerID)
	})
}

// discover asks for an offer, which holds nothing at the server beyond some seconds.
func (c *Client) discover(ctx context.Context, t transport, id *identity) (Lease, error) {
	return c.exchange(ctx, t, "offer", id.discover(), func(b []byte, begun time.Time) (Lease, bool, error) {
		m, ok, err := id.parse(b)
		if err != nil || !ok || m.MessageType() != dhcpv4.MessageTypeOffer {
			return Lease{}, false, err
		}
		l, err := id.lease(m, begun)
		return l, err == nil, err
	})
}

// ack reads an ACK for addr; a NAK is a *NAKError. Both must be by server, unless that is zero.
func (id *identity) ack(b []byte, begun time.Time, addr, server netip.Addr) (Lease, bool, error) {
	m, ok, err := id.parse(b)
	if err != nil || !ok {
		return Lease{}, false, err
	}
	typ := m.MessageType()
	if typ != dhcpv4.MessageTypeAck && typ != dhcpv4.MessageTypeNak {
		return Lease{}, false, nil
	}
	by, _ := optionAddr(m, dhcpv4.OptionServerIdentifier)
	if !unicast(by) || server.IsValid() && by != server {
		return Lease{}, false, malformed("%s by server %s to a request made to %s", typ, by, server)
	}
	if typ == dhcpv4.MessageTypeNak {
		return Lease{}, false, &NAKError{Server: by, Addr: addr, Message: serverText(m)}
	}
	l, err := id.lease(m, begun)
	if err == nil && l.Addr.Addr() != addr {
		err = malformed("ack for address %s, asked for %s", l.Addr.Addr(), addr)
	}
	return l, err == nil, err
}

// exchange sends m, again with growing waits, until accept takes an answer. A *NAKError of accept ends it, other errors
// are remembered. begun is when the first m was sent: a lease counts from there, whichever of them the answer is to.
func (c *Client) exchange(ctx context.Context, t transport, waiting string, m *dhcpv4.DHCPv4,
	accept func(b []byte, begun time.Time) (Lease, bool, error),
) (Lease, error) {
	wait, longest, tries := c.Timing.First, c.Timing.Max, c.Timing.Tries
	if wait <= 0 {
		wait = time.Second
	}
	if longest <= 0 {
		longest = 64 * time.Second
	}
	if tries <= 0 {
		tries = 5
	}
	begun := time.Now()
	fail := &NoAnswerError{Waiting: waiting, Asked: t.asked(), Check: t.check()}
	var nak *NAKError
	for fail.Tries = 1; ; fail.Tries++ {
		m.NumSeconds = uint16(min(time.Since(begun)/time.Second, 0xffff))
		if err := t.send(m.ToBytes()); err != nil {
			return Lease{}, err
		}
		spread, err := c.spread(wait)
		if err != nil {
			return Lease{}, err
		}
		step, cancel := context.WithTimeout(ctx, spread)
		for {
			b, err := t.receive(step)
			if err != nil {
				break
			}
			l, ok, err := accept(b, begun)
			if ok {
				cancel()
				return l, nil
			}
			if errors.As(err, &nak) {
				cancel()
				return Lease{}, nak
			}
			if err != nil {
				fail.Refused = err
			}
		}
		ended := step.Err() != nil
		cancel()
		if ctx.Err() != nil {
			fail.Cause = context.Cause(ctx)
		} else if !ended {
			fail.Cause = t.failure()
		}
		if fail.Cause != nil || fail.Tries == tries {
			fail.Waited = time.Since(begun)
			return Lease{}, fail
		}
		wait = min(2*wait, longest)
	}
}

// spread returns d randomised by a quarter either way.
func (c *Client) spread(d time.Duration) (time.Duration, error) {
	var b [4]byte
	if _, err := io.ReadFull(c.random(), b[:]); err != nil {
		return 0, fmt.Errorf("dhcp4: random wait: %w", err)
	}
	return d*3/4 + time.Duration(float64(d/2)*float64(binary.BigEndian.Uint32(b[:]))/float64(1<<32)), nil
}

// Renew asks for more time. Over a relay it goes through the relay; else it is unicast to the server from the leased address,
// which must be on the interface (RENEWING).
func (c *Client) Renew(ctx context.Context, l Lease) (Lease, error) {
	return c.extend(ctx, l, l.ServerID, func() (transport, error) {
		return openUnicast(c.Sockets, c.Iface, netip.AddrPortFrom(l.Addr.Addr(), clientPort), l.ServerID)
	})
}

// Rebind asks any server of the link for more time (REBINDING), for when the server that gave the lease is silent. Over a
// relay it is Renew.
func (c *Client) Rebind(ctx context.Context, l Lease) (Lease, error) {
	return c.extend(ctx, l, netip.Addr{}, func() (transport, error) { return openLink(c.Sockets, c.Iface) })
}

func (c *Client) extend(ctx context.Context, l Lease, server netip.Addr, open func() (transport, error)) (Lease, error) {
	id, err := c.forLease(l)
	if err != nil {
		return Lease{}, err
	}
	var t transport
	if c.Relay != nil {
		t, err = c.begin(id)
	} else if err = c.newXID(id); err == nil {
		t, err = open()
	}
	if err != nil {
		return Lease{}, err
	}
	defer t.Close()
	return c.exchange(ctx, t, "ack", id.extend(l), func(b []byte, begun time.Time) (Lease, bool, error) {
		return id.ack(b, begun, l.Addr.Addr(), server)
	})
}

// forLease is identity for a lease held: under its client identifier, inside its subnet.
func (c *Client) forLease(l Lease) (*identity, error) {
	if !l.Addr.IsValid() || !unicast(l.Addr.Addr()) || !unicast(l.ServerID) {
		return nil, fmt.Errorf("dhcp4: lease of %s by server %s: expected a lease that Acquire returned", l.Addr, l.ServerID)
	}
	id, err := c.identity()
	if err != nil {
		return nil, err
	}
	if len(l.ClientID) > 0 {
		id.clientID = slices.Clone(l.ClientID)
	}
	if !id.subnet.IsValid() {
		id.subnet = l.Addr.Masked()
	}
	return id, nil
}

// Decline tells the server that somebody else uses the address. There is no answer, so it is sent once.
func (c *Client) Decline(ctx context.Context, l Lease) error {
	id, err := c.forLease(l)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("dhcp4: decline %s: %w", l.Addr.Addr(), err)
	}
	t, err := c.begin(id)
	if err != nil {
		return err
	}
	defer t.Close()
	return t.send(id.decline(l).ToBytes())
}

// Release gives the address back. There is no answer, so it is sent once: through the relay if there is one, else unicast
// from the address from (zero: the leased one), which must be on the interface. When the server's host says that no server runs
// there it is sent again, until it does not say so or ctx ends.
func (c *Client) Release(ctx context.Context, l Lease, from netip.Addr) error {
	id, err := c.forLease(l)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("dhcp4: release %s: %w", l.Addr.Addr(), err)
	}
	if c.Relay != nil {
		t, err := c.begin(id)
		if err != nil {
			return err
		}
		defer t.Close()
		return t.send(id.release(l).ToBytes())
	}
	if err := c.newXID(id); err != nil {
		return err
	}
	if !from.IsValid() {
		from = l.Addr.Addr()
	}
	// Nothing is sent to the client port: another lease may be renewed from there meanwhile.
	t, err := openUnicast(c.Sockets, c.Iface, netip.AddrPortFrom(from, 0), l.ServerID)
	if err != nil {
		return err
	}
	defer t.Close()
	return t.insist(ctx, id.release(l).ToBytes())
}

// GiveBack is Release over the relay to a server that has just been heard: since a RELEASE has no answer, an offer is asked for
// first, and not taken up. After an error the lease may still stand. What the server does not know is as good as given back.
func (c *Client) GiveBack(ctx context.Context, l Lease) error {
	id, err := c.forLease(l)
	if err != nil {
		return err
	}
	t, err := c.begin(id)
	if err != nil {
		return err
	}
	defer t.Close()
	if _, err := c.discover(ctx, t, id); err != nil {
		return err
	}
	return t.send(id.release(l).ToBytes())
}
