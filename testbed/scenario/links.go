package scenario

import (
	"fmt"

	"openmpa/testbed/bed"
	"openmpa/testbed/impair"
	"openmpa/testbed/traffic"
)

// lostOnLinks are the datagrams of the measured flow that bad links lost.
type lostOnLinks struct {
	down, up int
	// refused are packets from the node that its device did not take, as its link had gone: nobody hears those.
	refused int
}

func lostSoFar(b *bed.Bed) lostOnLinks {
	return lostOnLinks{down: int(b.Links.Gone(impair.KindDown)), up: int(b.Links.Gone(impair.KindUp))} //nolint:gosec // small
}

func (l lostOnLinks) since(before lostOnLinks) lostOnLinks {
	return lostOnLinks{down: l.down - before.down, up: l.up - before.up, refused: l.refused - before.refused}
}

// tolerance says what of a promise does not hold because links were asked to
// break it, or routers to hold nothing.
type tolerance struct {
	copies, disorder bool
	// dropped is what the router dropped; packets of others are among them.
	dropped int
	others  bool
	// onAir is what was lost between two radios, and refused what the device of a link that had gone did not take.
	onAir, refused int
}

func (o Options) tolerance() (t tolerance) {
	for _, l := range o.Links {
		for _, p := range []impair.Params{l.In, l.Out} {
			t.copies = t.copies || p.Duplicate > 0
			t.disorder = t.disorder || p.Reorder > 0
		}
	}
	return t
}

// flaws says what of a flow is not as promised: what a link lost, or the router
// dropped, is lost, and nothing else. Where a link makes copies, one that is lost
// need not be missed.
func (t tolerance) flaws(s traffic.Stats, onLinks, forcedFlips int) []string {
	var list []string
	if gone := onLinks + t.dropped + t.onAir + t.refused; s.Lost > gone || s.Lost < gone && !t.copies && !t.others {
		text := fmt.Sprintf("%d lost", s.Lost)
		if onLinks > 0 {
			text += fmt.Sprintf(", and the links lost %d of its packets", onLinks)
		}
		if t.dropped > 0 {
			text += fmt.Sprintf(", and the router dropped %d", t.dropped)
		}
		if t.onAir != 0 {
			text += fmt.Sprintf(", and %d on the air", t.onAir)
		}
		if t.refused != 0 {
			text += fmt.Sprintf(", and %d by a device without a link", t.refused)
		}
		list = append(list, text)
	}
	if s.Duplicated > 0 && !t.copies {
		list = append(list, fmt.Sprintf("%d duplicated", s.Duplicated))
	}
	if s.Reordered > 0 && !t.disorder && forcedFlips == 0 {
		list = append(list, fmt.Sprintf("%d reordered without a forced flip", s.Reordered))
	}
	return list
}

// PromiseWith is the promise when the scenario is run with options.
func (s Scenario) PromiseWith(o Options) string {
	if s.onBadLinks == "" {
		return s.Promise
	}
	text := s.Promise
	if o.Wifi {
		text = s.byWifi
	}
	if len(o.Links) > 0 {
		text = s.onBadLinks
	}
	if o.BufferOff {
		text += "; lost, besides, is what the router counts as dropped, which was to hold nothing"
	}
	if o.LoseMarkers {
		text += "; and all that although each marker was lost once in each handover"
	}
	switch t := o.tolerance(); {
	case t.copies && t.disorder:
		text += "; duplicates and order are as the links make them"
	case t.copies:
		text += "; duplicates are as the links make them"
	case t.disorder:
		text += "; the order is as the links make it"
	}
	return text
}

// addLinks notes what the links of a lab did.
func (r *run) addLinks(b *bed.Bed) {
	for name, l := range b.Links.Report() {
		if n := l.In.TooSlow + l.Out.TooSlow; n > 0 {
			r.problem("link %s: the lab itself was too slow for %d frames", name, n)
		}
		// A scenario may build several labs.
		key := name
		for i := 2; ; i++ {
			if _, taken := r.res.Links[key]; !taken {
				break
			}
			key = fmt.Sprintf("%s (%d)", name, i)
		}
		r.res.AddLink(key, l)
	}
}
