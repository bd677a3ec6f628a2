package mn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/event"
	"openmpa/paa/notify"
)

// ip is what an interface does on its link in the way of one family of IP.
type ip interface {
	// lease gets an address on the link the node is on. It may return one after the end
	// of ctx.
	lease(ctx context.Context, id event.HandoverID, network string) (lease, error)
	// decline gives up an address that is in use by somebody else.
	decline(ctx context.Context, network string, l lease) error
	// renew extends a lease from the address itself, by any server rather than its own if
	// that is late. After an error for which lost is true the address must not be used.
	renew(ctx context.Context, l lease, late bool) (renewed lease, lost bool, err error)
	// release gives a lease back from the address from, which may be of another link.
	release(ctx context.Context, l lease, from netip.Addr) error
	// entrust leaves a lease of its link to a router, which is to give it back, where the
	// node cannot do that from anywhere else; nil: it can.
	entrust(h notify.Header, l lease) *notify.Entrust
	// request is what asks a router for an address.
	request(h notify.Header) *notify.ConfigRequest
	// configured is what a router has answered: an address; or, without one and without an
	// error, another question, in r.
	configured(network string, m *notify.ConfigReply, r *notify.ConfigRequest) (*lease, error)

	// probe makes sure that a is nobody else's on the link: an [acd.ConflictError] says
	// that it is.
	probe(ctx context.Context, a netip.Addr) error
	// defend looks out for others that use a, until ctx ends or a is to be given up: an
	// [acd.ConflictError].
	defend(ctx context.Context, a *address) error
	// announce tells the link that a is here.
	announce(a netip.Addr) error
	// find asks who is a on the link; none is an error.
	find(ctx context.Context, a netip.Addr) (net.HardwareAddr, error)
	// ask has a's router give a sign of life.
	ask(a *address) error
	close() error
}

// six says that care-of addresses are of IPv6.
func (n *Node) six() bool { return n.cfg.Family == 6 }

// openIP opens the part of the port that depends on the family.
func (p *port) openIP() (err error) {
	switch p.n.cfg.Family {
	case 0, 4:
		p.ip, err = openIP4(p)
	case 6:
		p.ip, err = openIP6(p)
	default:
		err = fmt.Errorf("family %d of care-of addresses: expected 4 or 6", p.n.cfg.Family)
	}
	return err
}

// silentError says that nobody has an address on a link.
type silentError struct {
	addr netip.Addr
	dev  string
}

func (e *silentError) Error() string { return fmt.Sprintf("%s does not answer at %s", e.addr, e.dev) }

// answered is who has a, by what a probe for it has ended with.
func (p *port) answered(a netip.Addr, probed error) (net.HardwareAddr, error) {
	there := (*acd.ConflictError)(nil)
	switch {
	case errors.As(probed, &there):
		return there.By, nil
	case probed == nil:
		probed = &silentError{a, p.name}
	}
	return nil, probed
}

// leaseWithin is how much longer than its caller a lease under way goes on: what a
// server has granted and nobody has heard of could not be given back.
const leaseWithin = 2 * time.Second

// longer is a context that ends leaseWithin after ctx; done is to be called.
func longer(ctx context.Context) (_ context.Context, done func()) {
	l, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(leaseWithin):
			cancel(context.Cause(ctx))
		case <-l.Done():
		}
	})
	return l, func() {
		cancel(nil)
		stop()
	}
}
