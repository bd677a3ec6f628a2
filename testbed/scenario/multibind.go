package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"openmpa/testbed/bed"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

// multiCareOf is how many care-of addresses a node has meanwhile: of the network it leaves, of the next one, and of another.
const multiCareOf = 3

// multiRate is the default traffic: copies are made while the node is bound to several addresses, which is not for long.
const multiRate = "2M"

func adjustMultiBind(o *Options, given func(string) bool) {
	if !given("ip") && !given("mmp") {
		o.IP = 6
	}
	if o.IP == 6 && o.DHCP == bed.DHCPKea {
		o.Addresses = bed.AddressesDHCP
	}
	if !given("rate") {
		o.Rate, _ = traffic.ParseRate(multiRate)
	}
	if !given("repeat") {
		o.Repeat = 4
	}
	if !given("l2-gap") {
		o.Gap = 50 * time.Millisecond
	}
}

// multiBind moves a node that is bound to several care-of addresses meanwhile (RFC 5648, RFC 5944 section 3.6.1.2): its home agent sends each packet to all of
// them, with a number, and the node takes each once.
func multiBind(ctx context.Context, r *run) error {
	opt := r.opt.bed(r.p)
	opt.Several, opt.Further = true, 1
	return r.withBed(ctx, opt, func(b *bed.Bed) error {
		r.opt.Probe = false
		for i := range r.opt.Repeat {
			from, to := r.at, topo.Other(r.at)
			name := fmt.Sprintf("%s %d (%s to %s)", r.res.Scenario, i+1, from, to)
			r.p.Line("%s: %d of %d, from %s to %s", r.res.Scenario, i+1, r.opt.Repeat, from, to)
			if err := errors.Join(r.awaitClean(ctx, b, to), r.awaitClean(ctx, b, topo.Third.Name)); err != nil {
				return err
			}
			w, err := watchBindings(ctx, b)
			if err != nil {
				return err
			}
			m, err := r.attempt(ctx, b, from, to)
			w.stop()
			if err != nil {
				return err
			}
			m.Copies = w.cost()
			r.res.Handovers = append(r.res.Handovers, m.Handover)
			r.judgeClean(name, m)
			r.judgeCopies(name, w, m)
			r.at = to
			if err := r.oneLease(ctx, b, r.at); err != nil {
				return err
			}
		}
		return nil
	})
}

// bindings watches what the home agent has of the node, and how many copies it has sent.
type bindings struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	seen   []bindingAt // owner: the watcher until it has ended
	err    error       // likewise
}

// bindingAt is the home agent's word at a time.
type bindingAt struct {
	at           time.Time
	careOf       int // addresses
	sent, copies uint64
}

// bindingLook is the time between two looks.
const bindingLook = 2 * time.Millisecond

func watchBindings(ctx context.Context, b *bed.Bed) (*bindings, error) {
	w := &bindings{}
	if err := w.look(ctx, b); err != nil {
		return nil, err
	}
	ctx, w.cancel = context.WithCancel(ctx)
	w.done.Go(func() {
		for bed.Sleep(ctx, bindingLook) == nil {
			if err := w.look(ctx, b); err != nil && ctx.Err() == nil {
				w.err = err
				return
			}
		}
	})
	return w, nil
}

func (w *bindings) look(ctx context.Context, b *bed.Bed) error {
	type family struct {
		Bindings []struct {
			Bound bool         `json:"bound"`
			Also  []netip.Addr `json:"also"`
		} `json:"bindings"`
		Counters struct {
			Sent   uint64 `json:"down_sent"`
			Copies uint64 `json:"down_copies"`
		} `json:"counters"`
	}
	var status struct {
		family
		IPv6 family `json:"ipv6"`
	}
	if err := b.Client(topo.HA).Status(ctx, &status); err != nil {
		return fmt.Errorf("scenario: status of the home agent: %w", err)
	}
	of := status.family
	if b.IP() == 6 {
		of = status.IPv6
	}
	x := bindingAt{at: time.Now(), sent: of.Counters.Sent, copies: of.Counters.Copies}
	for _, y := range of.Bindings {
		if y.Bound {
			x.careOf = 1 + len(y.Also)
		}
	}
	w.seen = append(w.seen, x)
	return nil
}

func (w *bindings) stop() {
	w.cancel()
	w.done.Wait()
}

// cost is what the copies were.
func (w *bindings) cost() *report.Copies {
	first, last := w.seen[0], w.seen[len(w.seen)-1]
	c := &report.Copies{Packets: int(last.copies - first.copies), Of: int(last.sent - first.sent)} //nolint:gosec // of one handover
	var begun, ended time.Time
	for _, x := range w.seen {
		c.CareOf = max(c.CareOf, x.careOf)
		if x.careOf > 1 {
			if ended = x.at; begun.IsZero() {
				begun = x.at
			}
		}
	}
	c.BoundMS = report.MS(ended.Sub(begun))
	return c
}

// judgeCopies checks that there were several bindings, that packets went to all, and that one is left and no copy was made after it.
func (r *run) judgeCopies(name string, w *bindings, m measured) {
	last := w.seen[len(w.seen)-1]
	// Copies when there was one binding again: a status has its counters from before its bindings, so they are the next one's.
	after := last.copies
	for i := len(w.seen) - 1; i > 0 && w.seen[i-1].careOf <= 1; i-- {
		after = w.seen[i].copies
	}
	switch {
	case w.err != nil:
		r.problem("%s: %v", name, w.err)
	case m.Copies.CareOf != multiCareOf:
		r.problem("%s: the node was bound to %d care-of addresses at most, expected %d", name, m.Copies.CareOf, multiCareOf)
	case last.careOf != 1:
		r.problem("%s: the node is bound to %d care-of addresses after it, expected one", name, last.careOf)
	case m.Copies.Packets == 0:
		r.problem("%s: the home agent has sent no copy in %.1f ms in which the node was bound to %d care-of addresses", name, m.Copies.BoundMS, m.Copies.CareOf)
	case last.copies != after:
		r.problem("%s: %d copies were sent after there was one binding again", name, last.copies-after)
	}
}
