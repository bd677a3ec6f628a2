package radius

import (
	"context"
	"net/netip"

	"layeh.com/radius/rfc3576"
	_ "layeh.com/radius/rfc5176" // adds names of RFC 5176
)

// Cause is Error-Cause (RFC 5176 section 3.5).
type Cause uint32

// String implements fmt.Stringer.
func (c Cause) String() string { return rfc3576.ErrorCause(c).String() }

// Order is what a server wants of sessions.
type Order struct{}

type replays struct{}

func newReplays() *replays { return nil }

func (c *Client) takeOrders(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (c *Client) ordered(*socket, netip.AddrPort, []byte) error { return nil }
