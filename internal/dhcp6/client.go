package dhcp6

import (
	"bytes"
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

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"openmpa/internal/acd"
	"openmpa/internal/acd/nd"
	"openmpa/internal/host"
)

// Timing says how often and how long to ask (RFC 8415 section 15). The zero value of a field takes the default.
type Timing struct {
	First time.Duration // wait after the first message; default 1 s (IRT)
	Max   time.Duration // longest wait; default 30 s (MRT). Each wait is twice the one before, randomised by a tenth
	Tries int           // messages of one kind; default 5, which is 31 s
}

// Client leases an address under one DUID and IAID. Either Sockets and Local (on our own link) or Relay must be set. A Client is
// used by one goroutine at a time; any number of Clients may share a Relay.
type Client struct {
	Sockets  host.Sockets     // for leases on our own link
	Local    netip.Addr       // our link-local address there, with the interface as its zone
	Relay    *Relay           // lease for a client elsewhere
	MAC      net.HardwareAddr // the client's Ethernet address
	Peer     netip.Addr       // over a relay: the client's link-local address; zero: the one made from MAC
	ClientID []byte           // DUID, 3 to 130 octets; nil: type 3, made from MAC
	IAID     [4]byte          // which of the client's interfaces; zero: the last octets of MAC
	Subnet   netip.Prefix     // what the address must be in; zero: whatever the server says
	Rapid    bool             // offer rapid commit: two messages instead of four where the server does it
	Timing   Timing
	Rand     io.Reader // default crypto/rand
	// Offered is told of the lease that is about to be requested, before the server may have granted it; an error ends Acquire.
	// With rapid commit the server grants at once, and nobody is told. nil: nobody is.
	Offered func(Lease) error
}

func (c *Client) identity() (*identity, error) {
	mac, err := acd.MACFrom(c.MAC)
	if err != nil {
		return nil, fmt.Errorf("dhcp6: client: %w", err)
	}
	if c.Subnet.IsValid() && (!c.Subnet.Addr().Is6() || c.Subnet.Addr().Is4In6()) {
		return nil, fmt.Errorf("dhcp6: subnet %s: expected IPv6", c.Subnet)
	}
	id := &identity{clientID: c.ClientID, iaid: c.IAID, subnet: c.Subnet}
	if id.clientID == nil {
		id.clientID = (&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: c.MAC}).ToBytes()
	}
	if id.iaid == ([4]byte{}) {
		id.iaid = [4]byte(mac[2:])
	}
	switch {
	case len(id.clientID) < minDUID || len(id.clientID) > maxDUID:
		return nil, fmt.Errorf("dhcp6: client identifier of %d octets: expected %d to %d", len(id.clientID), minDUID, maxDUID)
	case c.Relay != nil:
		if c.Peer.IsValid() && !c.Peer.IsLinkLocalUnicast() {
			return nil, fmt.Errorf("dhcp6: client %s: expected its link-local address", c.Peer)
		}
	case c.Sockets == nil || !c.Local.IsLinkLocalUnicast() || c.Local.Zone() == "":
		return nil, fmt.Errorf("dhcp6: neither a relay nor sockets and a link-local address with its interface given, but %q", c.Local)
	}
	return id, nil
}

func (c *Client) random(b []byte) error {
	from := c.Rand
	if from == nil {
		from = rand.Reader
	}
	if _, err := io.ReadFull(from, b); err != nil {
		return fmt.Errorf("dhcp6: read random: %w", err)
	}
	return nil
}

// transport carries messages of one exchange.
type transport interface {
	send(m *dhcpv6.Message) error
	// receive returns the next message of a server, or why there is none: ctx's error or net.ErrClosed.
	receive(ctx context.Context) (*dhcpv6.Message, error)
	asked() string // for errors
	check() string // what to look at when nothing comes
	io.Closer
}

// begin gives id a fresh transaction and opens the way to the server: the relay, or the link.
func (c *Client) begin(id *identity) (transport, error) {
	for range 8 {
		if err := c.random(id.xid[:]); err != nil {
			return nil, err
		}
		if c.Relay == nil {
			return openLink(c.Sockets, c.Local)
		}
		peer := c.Peer
		if !peer.IsValid() {
			peer = nd.LinkLocal(acd.MAC(c.MAC))
		}
		t, err := c.Relay.open(id.xid, peer.WithZone(""), c.MAC)
		if !errors.Is(err, errXIDInUse) {
			return t, err
		}
	}
	return nil, fmt.Errorf("dhcp6: %w: is the source of randomness broken?", errXIDInUse)
}

// Acquire leases an address. Errors: *NoAnswerError, *StatusError, ctx's, or the socket's.
func (c *Client) Acquire(ctx context.Context) (Lease, error) {
	id, err := c.identity()
	if err != nil {
		return Lease{}, err
	}
	t, err := c.begin(id)
	if err != nil {
		return Lease{}, err
	}
	defer t.Close()
	solicit := id.message(dhcpv6.MessageTypeSolicit, nil, netip.Addr{})
	if c.Rapid {
		solicit.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})
	}
	committed := false
	offer, err := c.exchange(ctx, t, "advertise", solicit, func(m *dhcpv6.Message, begun time.Time) (Lease, bool, error) {
		server, ok, err := id.parse(m)
		rapid := m.GetOneOption(dhcpv6.OptionRapidCommit) != nil
		if err != nil || !ok || m.MessageType == dhcpv6.MessageTypeReply && !(c.Rapid && rapid) {
			return Lease{}, false, err
		}
		l, err := id.lease(m, server, begun)
		if err == nil && l.Valid == 0 {
			err = malformed("address %s with valid lifetime 0", l.Addr)
		}
		committed = m.MessageType == dhcpv6.MessageTypeReply
		return l, err == nil, err
	})
	if err != nil || committed {
		return offer, err
	}
	if c.Offered != nil {
		if err := c.Offered(offer); err != nil {
			return Lease{}, err
		}
	}
	if err := c.renumber(t, id); err != nil {
		return Lease{}, err
	}
	return c.exchange(ctx, t, "reply", id.message(dhcpv6.MessageTypeRequest, offer.ServerID, offer.Addr), id.granted(offer.Addr, offer.ServerID))
}

// renumber gives the exchange's next message a transaction identifier of its own.
func (c *Client) renumber(t transport, id *identity) error {
	r, ok := t.(*relayed)
	if !ok {
		return c.random(id.xid[:])
	}
	for range 8 {
		var xid dhcpv6.TransactionID
		if err := c.random(xid[:]); err != nil {
			return err
		}
		if r.renumber(xid) {
			id.xid = xid
			return nil
		}
	}
	return fmt.Errorf("dhcp6: %w: is the source of randomness broken?", errXIDInUse)
}

// granted accepts a Reply that leases addr, by server unless that is nil.
func (id *identity) granted(addr netip.Addr, server []byte) accept {
	return func(m *dhcpv6.Message, begun time.Time) (Lease, bool, error) {
		by, ok, err := id.parse(m)
		if err != nil || !ok || m.MessageType != dhcpv6.MessageTypeReply {
			return Lease{}, false, err
		}
		if server != nil && !bytes.Equal(by, server) {
			return Lease{}, false, malformed("reply by server %x to a message to %x", by, server)
		}
		l, err := id.lease(m, by, begun)
		var status *StatusError
		switch {
		case errors.As(err, &status):
			return Lease{}, false, final{err}
		case err == nil && l.Addr != addr:
			err = malformed("reply for address %s, asked for %s", l.Addr, addr)
		case err == nil && l.Valid == 0:
			return Lease{}, false, final{ErrWithdrawn}
		}
		return l, err == nil, err
	}
}

// accept judges an answer: a lease and true, or why it is refused, or neither if it is not meant. begun is when the message was
// first sent: a lease counts from there, whichever of them the answer is to.
type accept func(m *dhcpv6.Message, begun time.Time) (Lease, bool, error)

// final is a refusal after which asking again is no use.
type final struct{ error }

// exchange sends m, again with growing waits, until is takes an answer.
func (c *Client) exchange(ctx context.Context, t transport, waiting string, m *dhcpv6.Message, is accept) (Lease, error) {
	wait, longest, tries := c.Timing.First, c.Timing.Max, c.Timing.Tries
	if wait <= 0 {
		wait = time.Second
	}
	if longest <= 0 {
		longest = 30 * time.Second
	}
	if tries <= 0 {
		tries = 5
	}
	begun := time.Now()
	fail := &NoAnswerError{Waiting: waiting, Asked: t.asked(), Check: t.check()}
	for fail.Tries = 1; ; fail.Tries++ {
		m.UpdateOption(dhcpv6.OptElapsedTime(min(time.Since(begun), 655*time.Second)))
		if err := t.send(m); err != nil {
			return Lease{}, err
		}
		l, ok, err := c.await(ctx, t, wait, begun, is, fail)
		if ok || err != nil {
			return l, err
		}
		if fail.Cause != nil || fail.Tries == tries {
			fail.Waited = time.Since(begun)
			return Lease{}, fail
		}
		wait = min(2*wait, longest)
	}
}

// await takes answers for about as long as wait. What was refused, and why the wait ended early, it notes in fail.
func (c *Client) await(ctx context.Context, t transport, wait time.Duration, begun time.Time, is accept, fail *NoAnswerError) (Lease, bool, error) {
	var b [4]byte
	if err := c.random(b[:]); err != nil {
		return Lease{}, false, err
	}
	// A tenth either way (section 15).
	wait = wait*9/10 + time.Duration(float64(wait/5)*float64(binary.BigEndian.Uint32(b[:]))/float64(1<<32))
	step, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		m, err := t.receive(step)
		switch {
		case ctx.Err() != nil:
			fail.Cause = context.Cause(ctx)
			return Lease{}, false, nil
		case err != nil:
			if step.Err() == nil {
				fail.Cause = err
			}
			return Lease{}, false, nil
		}
		l, ok, err := is(m, begun)
		var end final
		switch {
		case ok:
			return l, true, nil
		case errors.As(err, &end):
			return Lease{}, false, end.error
		case err != nil:
			fail.Refused = err
		}
	}
}

// Renew asks the server that gave the lease for more time. A *StatusError with code 3 says that it knows no such lease.
func (c *Client) Renew(ctx context.Context, l Lease) (Lease, error) {
	return c.tell(ctx, l, dhcpv6.MessageTypeRenew, l.ServerID)
}

// Rebind asks any server for more time, for when the server that gave the lease is silent.
func (c *Client) Rebind(ctx context.Context, l Lease) (Lease, error) {
	return c.tell(ctx, l, dhcpv6.MessageTypeRebind, nil)
}

// Release gives the address back; nil: a server has said so, or never knew it.
func (c *Client) Release(ctx context.Context, l Lease) error {
	_, err := c.tell(ctx, l, dhcpv6.MessageTypeRelease, l.ServerID)
	return err
}

// Decline tells the server that somebody else uses the address; nil: it has said so.
func (c *Client) Decline(ctx context.Context, l Lease) error {
	_, err := c.tell(ctx, l, dhcpv6.MessageTypeDecline, l.ServerID)
	return err
}

// tell sends a message about a lease held, under its identifiers and inside its subnet, and waits for the answer.
func (c *Client) tell(ctx context.Context, l Lease, typ dhcpv6.MessageType, server []byte) (Lease, error) {
	if !nd.Unicast(l.Addr) || len(l.ServerID) < minDUID || len(l.ServerID) > maxDUID {
		return Lease{}, fmt.Errorf("dhcp6: lease of %s by server %x: expected a lease that Acquire returned", l.Addr, l.ServerID)
	}
	id, err := c.identity()
	if err != nil {
		return Lease{}, err
	}
	if len(l.ClientID) > 0 {
		id.clientID, id.iaid = slices.Clone(l.ClientID), l.IAID
	}
	t, err := c.begin(id)
	if err != nil {
		return Lease{}, err
	}
	defer t.Close()
	is := id.granted(l.Addr, server)
	if typ == dhcpv6.MessageTypeRelease || typ == dhcpv6.MessageTypeDecline {
		is = id.heard(server) // section 18.2.10.2: whatever its status
	}
	return c.exchange(ctx, t, "reply", id.message(typ, server, l.Addr), is)
}

// heard accepts any Reply by server.
func (id *identity) heard(server []byte) accept {
	return func(m *dhcpv6.Message, _ time.Time) (Lease, bool, error) {
		by, ok, err := id.parse(m)
		if err == nil && ok && !bytes.Equal(by, server) {
			err = malformed("reply by server %x to a message to %x", by, server)
		}
		return Lease{}, err == nil && ok && m.MessageType == dhcpv6.MessageTypeReply, err
	}
}
