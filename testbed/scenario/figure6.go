package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"openmpa/testbed/bed"
	"openmpa/testbed/report"
	"openmpa/testbed/traffic"
)

// figure6Interval is the distance of packets in RFC 6252, Figures 6 and 7.
const figure6Interval = 16 * time.Millisecond

func adjustFigure6(o *Options, given func(string) bool) {
	if !given("rate") {
		o.Rate = traffic.PerSecond(float64(time.Second) / float64(figure6Interval))
	}
	if !given("repeat") {
		o.Repeat = 10
	}
	if !given("seconds") {
		o.Lead = 500 * time.Millisecond
	}
}

// adjustFigure6Six is adjustFigure6 for Figure 6 as it is in the RFC, of Mobile IPv6.
func adjustFigure6Six(o *Options, given func(string) bool) {
	adjustFigure6(o, given)
	o.IP = 6
	if o.DHCP == bed.DHCPKea {
		o.Addresses = bed.AddressesDHCP
	}
}

// figureCase is one column of the figures.
type figureCase struct {
	name                 string
	bufferOff, noPrepare bool
	route                bool // route optimisation
}

// figure6 are the cases of Mobile IPv4, and figure6Six those of Mobile IPv6, where route optimisation comes in.
func figure6(ctx context.Context, r *run) error {
	return r.figures(ctx, []figureCase{
		{name: report.CaseUnbuffered, bufferOff: true},
		{name: report.CaseBuffered},
		{name: report.CaseUnprepared, noPrepare: true},
	})
}

func figure6Six(ctx context.Context, r *run) error {
	return r.figures(ctx, []figureCase{
		{name: report.CaseUnbuffered, bufferOff: true},
		{name: report.CaseBuffered},
		{name: report.CaseUnbufferedRoute, bufferOff: true, route: true},
		{name: report.CaseBufferedRoute, route: true},
		{name: report.CaseUnprepared, noPrepare: true},
	})
}

// figures measures each case in a lab of its own: first without the probe, so
// that what the router says of its buffer is about the measured packets alone,
// then as often with it, for the time from link up to the first packet.
func (r *run) figures(ctx context.Context, cases []figureCase) error {
	given := r.opt
	for _, c := range cases {
		r.opt, r.caseName = given, c.name
		r.opt.BufferOff = c.bufferOff
		opt := r.opt.bed(r.p)
		opt.NoPrepare, opt.Route, opt.AtHome = c.noPrepare, c.route, r.opt.IP == 6
		judge := func(name string, m measured) {
			if c.noPrepare {
				r.judgeBroken(name, m)
			} else {
				r.judgeClean(name, m)
			}
			r.expectRoute(name, m, c.route)
		}
		err := r.withBed(ctx, opt, func(b *bed.Bed) error {
			if c.route {
				if err := r.awaitRoute(ctx, b); err != nil {
					return err
				}
			}
			r.opt.Probe = false
			if err := r.repeat(ctx, b, judge); err != nil || !given.Probe {
				return err
			}
			r.opt.Probe = true
			first := len(r.res.Handovers)
			err := r.repeat(ctx, b, judge)
			for i := first; i < len(r.res.Handovers); i++ {
				r.res.Handovers[i].Buffer = nil // the probe's packets are in it
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// expectRoute holds packets to the way they are to take: with route optimisation none comes to the home agent.
func (r *run) expectRoute(name string, m measured, route bool) {
	switch {
	case m.ViaHome == nil:
	case route && *m.ViaHome > 0:
		r.problem("%s: %d packets came to the home agent although the route is optimised", name, *m.ViaHome)
	case !route && *m.ViaHome == 0:
		r.problem("%s: no packet came to the home agent, on whose way they are without route optimisation", name)
	}
}

// cameHome is how many datagrams came to the home agent until now, 0 where nobody counts them.
func cameHome(b *bed.Bed) (int, error) {
	if b.AtHome == nil {
		return 0, nil
	}
	return b.AtHome.Came()
}

// routeLimit is how long return routability may take after the first packet: its messages are answered at once, and one that
// is lost is said again after a second.
const routeLimit = 15 * time.Second

// awaitRoute sends packets until they no longer come to the home agent: route optimisation begins with the first of them.
func (r *run) awaitRoute(ctx context.Context, b *bed.Bed) (err error) {
	flows, err := r.openFlows(b)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flows.close()) }()
	flows.start()
	last, since, began := 0, time.Now(), time.Now()
	for time.Since(began) < routeLimit {
		if err := bed.Sleep(ctx, figure6Interval); err != nil {
			return err
		}
		n, err := b.AtHome.Came()
		if err != nil {
			return err
		}
		if n != last {
			last, since = n, time.Now()
		}
		if n > 0 && time.Since(since) > 10*figure6Interval {
			return nil
		}
	}
	return fmt.Errorf("scenario: the route is not optimised %v after the first packet: %d packets came to the home agent", routeLimit, last)
}
