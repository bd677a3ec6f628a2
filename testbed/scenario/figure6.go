package scenario

import (
	"context"
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

// figure6 measures each case in a lab of its own: first without the probe, so
// that what the router says of its buffer is about the measured packets alone,
// then as often with it, for the time from link up to the first packet.
func figure6(ctx context.Context, r *run) error {
	given := r.opt
	for _, c := range []struct {
		name      string
		bufferOff bool
		noPrepare bool
		judge     func(name string, m measured)
	}{
		{report.CaseUnbuffered, true, false, r.judgeClean},
		{report.CaseBuffered, false, false, r.judgeClean},
		{report.CaseUnprepared, false, true, r.judgeBroken},
	} {
		r.opt, r.caseName = given, c.name
		r.opt.BufferOff = c.bufferOff
		opt := r.opt.bed(r.p)
		opt.NoPrepare = c.noPrepare
		err := r.withBed(ctx, opt, func(b *bed.Bed) error {
			r.opt.Probe = false
			if err := r.repeat(ctx, b, c.judge); err != nil || !given.Probe {
				return err
			}
			r.opt.Probe = true
			first := len(r.res.Handovers)
			err := r.repeat(ctx, b, c.judge)
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
