package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"openmpa/aaa/radius"
)

// The times of orders are those of RFC 5080 section 2.2.1, but shorter: a router is near.
const (
	orderFirst = time.Second
	orderTries = 4
)

// radiusOrder is an order as RADIUS has it (RFC 5176).
func radiusOrder(o Order) (*radius.Order, error) {
	out := &radius.Order{Code: radius.CoARequest, Session: o.Grant.Session, UserName: o.Grant.Identity}
	switch o.Kind {
	case OrderEnd:
		out.Code = radius.DisconnectRequest
	case OrderAgain:
		out.Again = true
	case OrderExtend:
		if o.Life < time.Second {
			return nil, fmt.Errorf("server: a session cannot be extended by %v: expected a second at least", o.Life)
		}
		out.Life = o.Life
	default:
		return nil, fmt.Errorf("server: no order: %v", o.Kind)
	}
	if out.Session == "" {
		return nil, errors.New("server: the router has never said what it calls the session")
	}
	return out, nil
}

// Order implements Front. The router is asked where Client.Orders says; it is asked again
// until it answers or ctx ends.
func (f *RADIUS) Order(ctx context.Context, client string, o Order) error {
	addr, err := netip.ParseAddr(strings.TrimPrefix(client, radiusFront+":"))
	if err != nil {
		return fmt.Errorf("server: %s is no client of RADIUS", client)
	}
	c := f.clientOf(addr)
	if c == nil || !c.Orders.IsValid() {
		return fmt.Errorf("server: %s takes no orders; write where it does at its entry of clients", addr)
	}
	to := c.Orders
	if to.Addr().IsUnspecified() {
		to = netip.AddrPortFrom(addr, to.Port())
	}
	order, err := radiusOrder(o)
	if err != nil {
		return err
	}
	wire, err := order.Encode(f.number(), time.Now(), c.Secret)
	if err != nil {
		return err
	}
	conn, err := f.cfg.Dial(ctx, to)
	if err != nil {
		return fmt.Errorf("server: order for %s: %w", to, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return f.exchange(ctx, conn, wire, c, to)
}

// exchange repeats an order until there is an answer to it.
func (f *RADIUS) exchange(ctx context.Context, conn net.Conn, wire []byte, c *Client, to netip.AddrPort) error {
	buf := make([]byte, radius.MaxPacket+1)
	wait, last := orderFirst, error(nil)
	for range orderTries {
		if _, err := conn.Write(wire); err != nil {
			last = err // a route may come back
		}
		end := time.Now().Add(wait)
		for {
			if err := conn.SetReadDeadline(end); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("server: order for %s: %w", to, err)
			}
			n, err := conn.Read(buf)
			if errors.Is(err, net.ErrClosed) || err != nil && !time.Now().Before(end) {
				break
			}
			if err != nil { // the host says that nobody is there, which may change
				last = err
				select {
				case <-time.After(time.Until(end)):
				case <-ctx.Done():
				}
				break
			}
			done, err := radius.ParseOrderAnswer(buf[:n], wire, c.Secret)
			if err == nil {
				return done
			}
			last = err
		}
		wait *= 2
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("server: order for %s: %w", to, err)
	}
	if last != nil {
		return fmt.Errorf("server: order for %s: no answer that counts: %w", to, last)
	}
	return fmt.Errorf("server: order for %s: no answer in %d tries; does the router take orders there, and from this server?", to, orderTries)
}

// number is the identifier of an order: one after the other.
func (f *RADIUS) number() uint8 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders++
	return f.orders
}

// errStreamEnded says that a router's connection ended before its answer.
var errStreamEnded = errors.New("server: the connection ended before the answer")

// Order implements Front: it goes over one of the router's connections (RFC 6614 section
// 2.5), over another if that ends.
func (f *RadSec) Order(ctx context.Context, client string, o Order) error {
	name := strings.TrimPrefix(client, radsecFront+":")
	order, err := radiusOrder(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, orderFirst<<orderTries)
	defer cancel()
	tried := map[*stream]bool{}
	for {
		s := f.streamOf(name, tried)
		if s == nil {
			return fmt.Errorf("server: %s has no connection that takes an order", name)
		}
		tried[s] = true
		if done, err := f.send(ctx, s, order); err == nil || !errors.Is(err, errStreamEnded) {
			return errors.Join(done, err)
		}
	}
}

func (f *RadSec) streamOf(name string, but map[*stream]bool) *stream {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := len(f.streams) - 1; i >= 0; i-- { // the youngest is the likeliest to live
		if s := f.streams[i]; s.name == name && !but[s] {
			return s
		}
	}
	return nil
}

// sent is an order that waits for its answer.
type sent struct {
	wire []byte
	done chan error // of one place
}

// send gives an order to a router and waits for what comes of it.
func (f *RadSec) send(ctx context.Context, s *stream, order *radius.Order) (done, err error) {
	secret := radius.RadSecSecret()
	f.mu.Lock()
	id, free := uint8(0), false
	for i := range 256 {
		if id = s.next + uint8(i); s.sent[id] == nil {
			free = true
			break
		}
	}
	if !free {
		f.mu.Unlock()
		return nil, fmt.Errorf("server: %s owes answers to 256 orders", s.name)
	}
	s.next = id + 1
	wire, err := order.Encode(id, time.Now(), secret)
	if err != nil {
		f.mu.Unlock()
		return nil, err
	}
	out := &sent{wire: wire, done: make(chan error, 1)}
	s.sent[id] = out
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		s.sent[id] = nil
		f.mu.Unlock()
	}()
	if _, err := s.conn.WriteToUDPAddrPort(wire, s.from); err != nil {
		return nil, errStreamEnded
	}
	select {
	case done := <-out.done:
		return done, nil
	case <-s.gone:
		return nil, errStreamEnded
	case <-ctx.Done():
		return nil, fmt.Errorf("server: order for %s: no answer: %w", s.name, ctx.Err())
	}
}

// answered hands on the answer to an order. The error is why it ends the connection.
func (f *RadSec) answered(s *stream, b []byte) error {
	f.mu.Lock()
	out := s.sent[b[1]]
	f.mu.Unlock()
	if out == nil {
		return nil // it came too late
	}
	done, err := radius.ParseOrderAnswer(b, out.wire, radius.RadSecSecret())
	if err != nil {
		return err
	}
	select {
	case out.done <- done:
	default:
	}
	return nil
}
