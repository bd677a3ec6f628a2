package mn

import (
	"cmp"
	"errors"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/state"
	"openmpa/mn/mobility/hook"
)

// Reasons of calls, as docs/hook.md explains them.
const (
	reasonAttach   = "attach"
	reasonHandover = "handover"
	reasonReturn   = "return"
	reasonArrived  = "arrived"
	reasonSession  = "session"
	reasonLifetime = "lifetime"
	reasonRetry    = "retry"
	reasonShutdown = "shutdown"
	reasonCrash    = "crash"
)

const keyHook = "mn/hook" // of the last call to bind, until it was unbound

// run makes the calls, one at a time: what is asked for, and what keeps the binding.
func (h *hooked) run() {
	b := &bookkeeping{h: h}
	b.leftover()
	again, pause := time.NewTimer(time.Hour), rebindFirst
	again.Stop()
	defer again.Stop()
	reason, lost := "", false // lost: the peer may have another address than what is bound
	keep := func(a hook.Answer, err error) {
		switch {
		case err != nil:
			reason = reasonRetry
			again.Reset(pause)
			pause = min(2*pause, rebindMost)
			return
		case a.Lifetime > 0:
			reason = reasonLifetime
			again.Reset(a.Lifetime / 2)
		default:
			again.Stop()
		}
		pause = rebindFirst
	}
	for {
		select {
		case r := <-h.requests:
			again.Stop() // whoever asks decides what is next
			a, err := b.call(r)
			if r.op == hook.Bind && err == nil {
				lost = false
				keep(a, nil)
			}
			r.done <- err
			continue
		case reason = <-h.soon:
			lost = lost || reason == reasonRetry
		case <-again.C:
		case <-h.ctx.Done():
			return
		}
		h.mu.Lock()
		p := h.bound
		h.mu.Unlock()
		if p == nil {
			continue
		}
		r := hookRequest{ctx: h.ctx, op: hook.Refresh, path: p, reason: reason}
		if lost {
			r.op = hook.Bind
		}
		a, err := b.call(r)
		switch {
		case err != nil && h.ctx.Err() == nil:
			h.n.cfg.Log.Warn("binding not kept, trying again", "err", err)
		case err == nil && lost:
			lost = false
			h.confirmed(p.coa)
		}
		keep(a, err)
	}
}

// bookkeeping is what the goroutine that makes the calls knows.
type bookkeeping struct {
	h    *hooked
	last *hook.Call // to bind, until it was unbound
}

// leftover unbinds what a node before us did not.
func (b *bookkeeping) leftover() {
	last, _, err := state.GetJSON[hook.Call](b.h.n.cfg.State, keyHook)
	if errors.Is(err, state.ErrNotFound) {
		return
	}
	if err == nil {
		b.last = &last
		_, err = b.call(hookRequest{ctx: b.h.ctx, op: hook.Unbind, reason: reasonCrash})
	}
	if err != nil && b.h.ctx.Err() == nil {
		b.h.n.cfg.Log.Error("what was bound before a crash", "err", err)
	}
}

// call makes one call. What is to be bound is on record before, and until it is
// unbound.
func (b *bookkeeping) call(r hookRequest) (a hook.Answer, err error) {
	n := b.h.n
	defer func() {
		if b.h.problem.Store(nil); err != nil {
			b.h.problem.Store(&err)
		}
	}()
	if r.op == hook.Unbind && b.last == nil {
		return hook.Answer{}, nil
	}
	c := b.describe(r)
	if r.op == hook.Bind {
		if _, err := state.PutJSON(n.cfg.State, keyHook, c, time.Time{}); err != nil {
			n.cfg.Log.Error("not kept: a crash would leave the binding", "care_of", c.CareOf, "err", err)
		}
		b.last = &c
	}
	a, err = b.h.runner.Run(r.ctx, c)
	if err == nil && r.op == hook.Unbind {
		b.last = nil
		if err := n.cfg.State.Delete(keyHook); err != nil {
			n.cfg.Log.Error("record not deleted", "care_of", c.CareOf, "err", err)
		}
	}
	return a, err
}

// describe says in the executable's terms what r asks for.
func (b *bookkeeping) describe(r hookRequest) hook.Call {
	n, p := b.h.n, r.path
	if p == nil {
		c := *b.last
		c.Op, c.Reason, c.Handover, c.Lifetime = r.op, r.reason, "", 0
		return c
	}
	c := hook.Call{
		Op: r.op, CareOf: p.coa, Device: n.dev.Name(), Physical: p.dev, Gateway: p.at.router(), MTU: cmp.Or(n.narrowed(), n.cfg.MTU), Table: tableBound,
		Lifetime: max(0, int64(time.Until(p.at.lease.Load().expires())/time.Second)), Reason: r.reason,
	}
	if p.native() {
		c.Device = c.Physical
	}
	if b.last != nil && b.last.CareOf != c.CareOf {
		c.Previous = b.last.CareOf
	}
	if mac := p.at.routerMAC.Load(); mac != nil {
		c.GatewayMAC = mac.String()
	}
	if r.id != (event.HandoverID{}) {
		c.Handover = r.id.String()
	}
	return c
}
