package scenario

import (
	"context"

	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/linkctl"
	"openmpa/testbed/topo"
)

// The cases of scenario wireguard.
const (
	caseVPN           = "prepared"
	caseVPNBack       = "switched back"
	caseVPNUnprepared = "nothing prepared"
)

// wireguard moves a node whose traffic goes through a WireGuard tunnel. Nothing of
// ours is at the server: what it is sent from decides where it sends to.
func wireguard(ctx context.Context, r *run) error {
	opt := r.opt.bed(r.p)
	opt.VPN = true
	given := r.opt
	err := r.withBed(ctx, opt, func(b *bed.Bed) error {
		r.caseName = caseVPN
		if err := r.repeat(ctx, b, r.judgeClean); err != nil {
			return err
		}
		r.caseName = caseVPNBack
		r.opt.Probe, r.opt.Repeat = false, 1 // a probe would fill every buffer while there is no link
		to, _ := topo.NetworkByName(topo.Other(r.at))
		for _, p := range to.Points {
			b.Link.Fail(p, linkctl.Dead)
		}
		return r.repeat(ctx, b, func(name string, m measured) {
			r.expectOutcome(name, m, event.SwitchedBack)
			r.expectQuiet(name, m, m.end)
		})
	})
	r.opt = given
	if err != nil {
		return err
	}
	opt.NoPrepare = true
	r.caseName = caseVPNUnprepared
	return r.withBed(ctx, opt, func(b *bed.Bed) error { return r.repeat(ctx, b, r.judgeBroken) })
}
