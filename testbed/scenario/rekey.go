package scenario

import (
	"context"
	"fmt"
	"time"

	"openmpa/internal/control"
	"openmpa/testbed/bed"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

const (
	// inTunnel is how long packets go through a tunnel before the move by it.
	inTunnel = 22 * time.Second
	// rekeyAfter has a tunnel have other keys as soon as the last ones are forgotten,
	// which takes some 5 s.
	rekeyAfter = time.Second
	// leastRekeyings are the times it has to have them then.
	leastRekeyings = 3
	// smallMTU is that of a core in which neither ESP nor IP-in-IP around a packet of
	// full size fits.
	smallMTU = 1400
)

func adjustRekey(o *Options, given func(string) bool) {
	if !given("rate") {
		o.Rate, _ = traffic.ParseRate("100M")
	}
	if !given("repeat") {
		o.Repeat = 2
	}
}

// rekeyed has tunnels live long before their moves, and have other keys all the time;
// then the same where the core takes smaller packets than the links.
func rekeyed(ctx context.Context, r *run) error {
	r.opt.Probe = false
	for _, mtu := range []int{0, smallMTU} {
		r.caseName = "core as the links"
		if mtu > 0 {
			r.caseName = fmt.Sprintf("core of %d octets", mtu)
		}
		opt := r.opt.bed(r.p)
		opt.Rekey, opt.CoreMTU = rekeyAfter, mtu
		if err := r.withBed(ctx, opt, func(b *bed.Bed) error { return r.inTunnels(ctx, b) }); err != nil {
			return err
		}
	}
	return nil
}

// inTunnels prepares moves to and fro, has packets go by each tunnel for a time, and
// moves.
func (r *run) inTunnels(ctx context.Context, b *bed.Bed) error {
	for i := range r.opt.Repeat {
		from, to := r.at, topo.Other(r.at)
		name := fmt.Sprintf("%s %d (%s to %s)", r.caseName, i+1, from, to)
		r.p.Line("%s: %d of %d, from %s to %s, %v in the tunnel", r.caseName, i+1, r.opt.Repeat, from, to, inTunnel)
		if err := r.awaitClean(ctx, b, to); err != nil {
			return err
		}
		rekeyed := 0
		m, err := r.attemptBy(ctx, b, from, to, func(ctx context.Context) (result control.HandoverResult, err error) {
			if _, err := prepare(ctx, b, to); err != nil {
				return result, err
			}
			if err := bed.Sleep(ctx, inTunnel); err != nil {
				return result, err
			}
			if rekeyed, err = rekeyings(ctx, b); err != nil {
				return result, err
			}
			return ordered(b, to)(ctx)
		})
		if err != nil {
			return fmt.Errorf("scenario: %s: %w", name, err)
		}
		m.Case = r.caseName
		r.res.Handovers = append(r.res.Handovers, m.Handover)
		r.judgeClean(name, m)
		if r.p.Line("%s: rekeyed %d times", name, rekeyed); rekeyed < leastRekeyings {
			r.problem("%s: the tunnel had other keys %d times in %v, expected %d at least", name, rekeyed, inTunnel, leastRekeyings)
		}
		r.at = to
		if err := r.oneLease(ctx, b, r.at); err != nil {
			return err
		}
	}
	return nil
}

// rekeyings are the times that the tunnel of what is prepared has had other keys.
func rekeyings(ctx context.Context, b *bed.Bed) (int, error) {
	var status struct {
		Prepared struct {
			Rekeyed int `json:"rekeyed"`
		} `json:"prepared"`
	}
	err := b.Client(topo.MN).Status(ctx, &status)
	return status.Prepared.Rekeyed, err
}
