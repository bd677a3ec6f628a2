package mn

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"time"
)

// binder is the registration machine of a version of Mobile IP, without I/O.
type binder interface {
	// register asks for a binding to a care-of address, and to others beside it; ordered says that
	// markers are to end the old path. deregister asks for none, from an address.
	register(now time.Time, careOf netip.Addr, ordered bool, also ...netip.Addr)
	deregister(now time.Time, from netip.Addr)
	// handle takes a message; an error means that it was discarded, and why.
	handle(now time.Time, m received) error
	// wanted are peers to which packets may go without the home agent, for want: that
	// asks them.
	wanted() <-chan netip.Addr
	want(now time.Time, peer netip.Addr)
	// next returns the next of the events below, and false when there is none.
	next() (event any, ok bool)
	Deadline() (at time.Time, ok bool)
	OnDeadline(now time.Time)
}

// received is a message for a binder.
type received struct {
	data   []byte
	tunnel bool // it came through the tunnel from the home agent
}

// The events of a binder.
type (
	// signalling is to be sent. path identifies the change of path that it asks for with
	// markers; 0: without. tunnel: by the home agent, as what applications send.
	signalling struct {
		from   netip.Addr
		data   []byte
		path   uint64
		tunnel bool
	}
	// registered says that the home agent has confirmed a binding. more: settled follows.
	registered struct {
		careOf  netip.Addr
		id      uint64 // of the change of path
		markers bool   // the old path is ended by them
		alone   bool   // to no other care-of address, also where that was asked for
		tries   int
		rtt     time.Duration
		more    bool
	}
	// settled says that nobody else is being told of it any more.
	settled      struct{}
	deregistered struct{}
	// failed says that a registration came to nothing; of a renewal the binding is left for now,
	// and of one beside it for good.
	failed struct {
		err     error
		renewal bool
		beside  bool
	}
	// expired says that the lifetime of the binding is over.
	expired struct{ careOf netip.Addr }
)

type bindRequest struct {
	path    *path // nil: deregister
	from    *path
	ordered bool    // the old path still carries packets: both ends close it with a marker
	also    []*path // to which copies are to come, too
	done    chan bindResult
}

// others are the care-of addresses of also.
func (r *bindRequest) others() []netip.Addr {
	out := make([]netip.Addr, len(r.also))
	for i, p := range r.also {
		out[i] = p.coa
	}
	return out
}

type bindResult struct {
	registered registered
	err        error
}

// The pause before a binding that was lost is asked for again, which doubles.
const (
	rebindFirst = time.Second
	rebindMost  = 30 * time.Second
)

// receive gives a message, which it copies, to the registration machine. Messages that
// come faster than it takes them are dropped: all are repeated by their senders.
func (h *home) receive(b []byte, tunnel bool) {
	select {
	case h.replies <- received{data: bytes.Clone(b), tunnel: tunnel}:
	default:
		h.n.cfg.Log.Debug("binding message dropped: too many at a time")
	}
}

// run owns the registration client.
func (h *home) run(client binder) {
	var pending bindRequest
	var bound registered // pending was confirmed, and waits for settled
	// lost: what the home agent has may not be the bound path: it is asked again
	// until it is.
	lost, pause := false, rebindFirst
	again := time.NewTimer(time.Hour)
	again.Stop()
	defer again.Stop()
	lose := func() {
		h.confirmed(netip.Addr{})
		if lost = true; pending.done == nil {
			again.Reset(pause)
			pause = min(2*pause, rebindMost)
		}
	}
	answer := func(r registered, err error) {
		if pending.done != nil {
			pending.done <- bindResult{r, err}
		}
		pending, bound = bindRequest{}, registered{}
		h.mu.Lock()
		h.before = nil
		h.mu.Unlock()
	}
	var beside []*path        // of the request before, which may have been answered
	current := func() *path { // where registrations go from
		if pending.from != nil {
			return pending.from
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.bound
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		for o, ok := client.next(); ok; o, ok = client.next() {
			switch o := o.(type) {
			case signalling:
				p := current()
				if o.tunnel {
					h.fromTUN(o.from, o.data)
					continue
				}
				if p == nil || p.coa != o.from {
					i := slices.IndexFunc(beside, func(q *path) bool { return q.coa == o.from })
					if i < 0 {
						continue
					}
					p = beside[i]
				}
				switch {
				case pending.path == nil || o.path == 0:
				case len(pending.also) > 0:
					h.expectCopies(o.path, len(pending.also)+1)
				default:
					h.expect(pending.path, o.path)
				}
				if err := p.wire.(homeWire).signal(o.data); err != nil {
					h.n.cfg.Log.Warn("registration not sent", "from", o.from, "err", err)
				}
			case registered:
				h.confirmed(o.careOf)
				if pending.path != nil && pending.path.coa == o.careOf {
					if len(pending.also) > 0 && o.alone {
						h.refuseCopies(pending.path)
					}
					h.move(pending.path, o)
					if bound = o; !o.more {
						answer(o, nil)
					}
				}
				if p := current(); p != nil && p.coa == o.careOf {
					lost, pause = false, rebindFirst
					again.Stop()
				}
			case settled:
				if bound.careOf.IsValid() && pending.path != nil {
					answer(bound, nil)
				}
			case deregistered:
				answer(registered{}, nil)
			case expired:
				h.n.cfg.Log.Error("binding has expired: the home agent did not answer renewals", "home_agent", h.agent, "care_of", o.careOf)
				lose()
			case failed:
				switch {
				case o.renewal:
					h.n.cfg.Log.Warn("binding not renewed", "err", o.err)
				case o.beside:
					h.n.cfg.Log.Warn("not bound to a further care-of address", "err", o.err)
				default:
					h.settle()
					answer(registered{}, o.err)
					lose()
				}
			}
		}
		if d, ok := client.Deadline(); ok {
			timer.Reset(time.Until(d))
		} else {
			timer.Stop()
		}
		select {
		case r := <-h.requests:
			answer(registered{}, errors.New("another binding was asked for"))
			pending, beside = r, r.also
			h.confirmed(netip.Addr{})
			if r.path != nil {
				client.register(time.Now(), r.path.coa, r.ordered, r.others()...)
			} else {
				client.deregister(time.Now(), r.from.coa)
			}
		case <-h.hurried:
			if pending.path != nil {
				client.register(time.Now(), pending.path.coa, pending.ordered, pending.others()...)
			}
		case <-again.C:
			if !lost || pending.done != nil {
				continue
			}
			if p := current(); p != nil {
				client.register(time.Now(), p.coa, false)
			} else {
				lose() // nowhere to ask from yet
			}
		case m := <-h.replies:
			if err := client.handle(time.Now(), m); err != nil {
				h.n.cfg.Log.Warn("registration reply dropped", "err", err)
			}
		case a := <-client.wanted():
			client.want(time.Now(), a)
		case <-timer.C:
			client.OnDeadline(time.Now())
		case <-h.ctx.Done():
			answer(registered{}, h.ctx.Err())
			h.copies.merges.close()
			return
		}
	}
}
