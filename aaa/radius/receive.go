package radius

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"openmpa/paa/keys"
)

// takeOrders reads orders from the socket that is for them until ctx ends.
func (c *Client) takeOrders(ctx context.Context) error {
	listen := c.cfg.ListenOrders
	if listen == nil {
		listen = func() (Conn, error) { return net.ListenUDP("udp", net.UDPAddrFromAddrPort(c.cfg.Orders)) }
	}
	conn, err := listen()
	if err != nil {
		return fmt.Errorf("radius: orders: %w; is the address on this machine, and the port free?", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	buf := make([]byte, MaxPacket+1)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("radius: orders: %w", err)
		case err != nil:
			c.cfg.Log.Warn("orders: reading failed", "err", err)
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		out, err := c.takeOrder(buf[:n], from, c.secretsOf(from.Addr()), true)
		switch {
		case err != nil:
			c.cfg.Log.Warn("order dropped", "from", from, "err", err)
		case out != nil:
			if _, err := conn.WriteToUDPAddrPort(out, from); err != nil {
				c.cfg.Log.Warn("order: answer not sent", "to", from, "err", err)
			}
		}
	}
}

// ordered answers an order that came on a connection: who sends it is known, and it cannot
// be one of before.
func (c *Client) ordered(s *socket, from netip.AddrPort, b []byte) error {
	out, err := c.takeOrder(b, from, []*keys.Secret{s.server.Secret}, false)
	if err != nil {
		return err
	}
	_, err = s.conn.WriteToUDPAddrPort(out, from)
	return err
}

// secretsOf are those of the servers at an address.
func (c *Client) secretsOf(a netip.Addr) (out []*keys.Secret) {
	for _, s := range c.servers {
		if s.Addr.Addr() == a {
			out = append(out, s.Secret)
		}
	}
	return out
}

var (
	errStranger = errors.New("radius: it comes from none of the servers")
	errStale    = fmt.Errorf("radius: Event-Timestamp missing, or off by more than %v; are the clocks right?", orderWindow)
)

// takeOrder has an order carried out, and returns the answer. The error is why it is
// dropped. Over UDP it must be of now, and is never carried out twice.
func (c *Client) takeOrder(b []byte, from netip.AddrPort, secrets []*keys.Secret, udp bool) ([]byte, error) {
	if len(secrets) == 0 {
		c.count.wrongAddress.Add(1)
		return nil, errStranger
	}
	var r *received
	var err error
	var secret *keys.Secret
	for _, secret = range secrets {
		if r, err = parseOrder(b, secret, router{c.cfg.NASIdentifier, c.cfg.Orders.Addr()}, udp); err == nil {
			break
		}
	}
	if err != nil {
		c.countBad(err)
		return nil, err
	}
	r.Server = from
	now := time.Now()
	if off := now.Sub(r.time); udp && (r.time.IsZero() || off.Abs() > orderWindow) {
		c.count.staleOrders.Add(1)
		return nil, errStale
	}
	key := replayKey{from.Addr(), r.id, r.authenticator}
	c.mu.Lock()
	before, room := c.orders.find(now, key)
	handler := c.handler
	c.mu.Unlock()
	if before != nil && udp {
		c.count.repeatedOrders.Add(1)
		return before, nil
	}
	cause := r.cause
	switch {
	case cause != CauseNone:
	case handler == nil:
		cause = CauseUnsupportedExtension
	case udp && !room:
		cause = CauseResources
	default:
		c.count.orders.Add(1)
		cause = handler(r.Order)
	}
	c.cfg.Log.Info("order", "code", r.Code, "from", from, "session", r.Session, "user", r.UserName, "cause", cause)
	out, err := r.answer(cause, secret)
	if err != nil {
		return nil, err
	}
	if udp && room {
		c.mu.Lock()
		c.orders.add(now, key, out)
		c.mu.Unlock()
	}
	return out, nil
}
