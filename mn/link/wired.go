package link

import (
	"context"
	"errors"
	"fmt"

	"openmpa/internal/host"
	"openmpa/internal/osnet"
)

// Wired is the point of a cable where none is configured.
const Wired = "wired"

// Ethernet is the adapter for an interface that has one point of attachment and cannot be moved by us: a cable. Whoever moves
// it, Watch tells.
type Ethernet struct {
	point string
	dev   string
	net   host.Tables
}

var _ Adapter = (*Ethernet)(nil)

// NewEthernet makes an adapter. point "" is Wired.
func NewEthernet(point, dev string, net host.Tables) (*Ethernet, error) {
	if point == "" {
		point = Wired
	}
	if err := CheckPoint(point); err != nil {
		return nil, err
	}
	if dev == "" || net == nil {
		return nil, errors.New("link: no interface given")
	}
	return &Ethernet{point: point, dev: dev, net: net}, nil
}

// Current implements Adapter: the point while there is a carrier.
func (e *Ethernet) Current(context.Context) (string, error) {
	l, err := e.net.LinkByName(e.dev)
	if err != nil {
		return "", fmt.Errorf("link: %w", err)
	}
	if !l.Carrier {
		return "", nil
	}
	return e.point, nil
}

// Attach implements Adapter: there is one point.
func (e *Ethernet) Attach(ctx context.Context, poa string) error {
	if poa != e.point {
		return fmt.Errorf("link: attach to %.80q: %s is a cable, attached to %s: somebody has to plug it elsewhere", poa, e.dev, e.point)
	}
	now, err := e.Current(ctx)
	if err == nil && now == "" {
		err = fmt.Errorf("link: attach to %s: %s has no carrier: plug it in, and set it up", poa, e.dev)
	}
	return err
}

// Watch implements Adapter.
func (e *Ethernet) Watch(ctx context.Context) (<-chan osnet.LinkState, error) {
	ch, err := e.net.WatchLink(ctx, e.dev)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	return ch, nil
}
