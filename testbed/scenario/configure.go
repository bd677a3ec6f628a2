package scenario

import (
	"context"
	"fmt"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
	"openmpa/par"
	"openmpa/testbed/bed"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
)

// Configuring is a lab whose node moves to be configured: without traffic.
type Configuring struct {
	b     *bed.Bed
	r     *run
	ahead bool
}

// Configured is how long it took, in ms: Whole from the node's request until it had the
// address, DHCP and DAD of that at the router.
type Configured struct{ Whole, DHCP, DAD float64 }

// Configure runs fn in a lab; ahead are the addresses that routers verify before the node asks, as in their configuration;
// empty: none. It returns what was not as it should be when the lab was taken apart.
func Configure(ctx context.Context, opt Options, ahead string, p *Progress, fn func(*Configuring) error) (problems []string, err error) {
	r := &run{p: p, res: &report.Result{Scenario: "configure"}, opt: opt}
	o := opt.bed(p)
	o.Ahead = ahead
	err = r.withBed(ctx, o, func(b *bed.Bed) error { return fn(&Configuring{b: b, r: r, ahead: ahead != ""}) })
	return r.res.Problems, err
}

// Ready waits until the node's next network knows nothing of it, and has an address ready, if it is to have one.
func (c *Configuring) Ready(ctx context.Context) error {
	to := topo.Other(c.r.at)
	if err := c.r.awaitClean(ctx, c.b, to); err != nil {
		return err
	}
	if !c.ahead {
		return nil
	}
	var err error
	good := func() bool {
		var s par.Status
		err = c.b.Client(to).Status(ctx, &s)
		of := s.Ahead
		if c.r.opt.IP == 6 {
			of = s.Ahead6
		}
		return err != nil || of != nil && of.Ready > 0
	}
	if waited := await(ctx, verifyLimit, good); waited != nil {
		return fmt.Errorf("scenario: router %s has no address ready: %w", to, waited)
	}
	return err
}

// verifyLimit is more than RFC 5227's timers and a lost message take.
const verifyLimit = 30 * time.Second

// Move takes the node to the other network.
func (c *Configuring) Move(ctx context.Context) (m Configured, err error) {
	ctx, cancel := context.WithTimeout(ctx, handoverLimit)
	defer cancel()
	to := topo.Other(c.r.at)
	result, err := ordered(c.b, to)(ctx)
	if err != nil {
		return m, err
	}
	if result.Outcome != event.Completed {
		return m, fmt.Errorf("scenario: handover to %s: %s: %s", to, result.Outcome, result.Reason)
	}
	c.r.at = to
	var node, router control.HandoverDetail
	if node, err = c.b.Client(topo.MN).Handover(ctx, result.ID); err != nil {
		return m, err
	}
	if router, err = c.b.Client(to).Handover(ctx, result.ID); err != nil {
		return m, err
	}
	of, at := phases(node.Records), phases(router.Records)
	return Configured{Whole: of["tconf_ms"], DHCP: at["dhcp_ms"], DAD: at["dad_ms"]}, nil
}
