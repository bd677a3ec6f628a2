package tunnel

import (
	"errors"
	"fmt"
	"time"

	"openmpa/tunnel/esp"
)

// Of RekeyLimits, where nothing else is said.
const (
	defaultLinger   = 5 * time.Second  // no packet is on its way for longer
	defaultPatience = 30 * time.Second // no request is answered later
)

// associations are the halves in use, as the data path needs them.
type associations struct {
	out *esp.Outbound
	in  []*esp.Inbound // the current one first
	// watch: what arrives by which of them matters to the rotation.
	watch bool
}

// accepting finds the half that has this SPI.
func (a *associations) accepting(spi uint32) *esp.Inbound {
	for _, in := range a.in {
		if in.SPI() == spi {
			return in
		}
	}
	return nil
}

// publish shows the data path what the rotation says, and returns the SPIs that are
// accepted no more; the caller holds mu.
func (t *Tunnel) publish() (gone []uint32) {
	next := &associations{out: t.rotation.Current().Out, in: t.rotation.Inbounds()}
	next.watch = len(next.in) > 1
	if before := t.sas.Swap(next); before != nil {
		for _, in := range before.in {
			if next.accepting(in.SPI()) == nil {
				gone = append(gone, in.SPI())
			}
		}
	}
	return gone
}

// bound has the rotation look when a half has done its part.
func (t *Tunnel) bound(p esp.Pair) {
	if t.cfg.RekeyDue == nil {
		return
	}
	l := t.cfg.Rekey
	margin := uint64(l.Margin)
	if margin == 0 {
		margin = esp.DefaultMargin
	}
	soft := esp.Lifetime{SoftPackets: esp.MaxSequence - margin, SoftOctets: l.Octets}
	if l.Packets > 0 {
		soft.SoftPackets = min(soft.SoftPackets, l.Packets)
	}
	p.Out.SetLifetime(soft, t.look)
	p.In.SetLifetime(soft, t.look)
}

// look has the rotation's timer run now.
func (t *Tunnel) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed.Load() {
		t.after(0)
	}
}

// schedule sets the rotation's timer; the caller holds mu.
func (t *Tunnel) schedule() {
	if at, ok := t.rotation.Deadline(); ok && !t.told && !t.closed.Load() {
		t.after(max(time.Until(at), 0))
	}
}

func (t *Tunnel) after(wait time.Duration) {
	if t.rotate == nil {
		t.rotate = time.AfterFunc(wait, t.onRotate)
		return
	}
	t.rotate.Reset(wait)
}

// onRotate drops what has lingered, tells the peer again what seals, and says when a
// successor is wanted.
func (t *Tunnel) onRotate() {
	if !t.enter() {
		return
	}
	defer t.e.wg.Done()
	now := time.Now()
	t.mu.Lock()
	say := t.rotation.OnDeadline(now)
	gone := t.publish()
	due := t.cfg.RekeyDue != nil && !t.told && t.rotation.Due(now)
	t.told = t.told || due
	t.schedule()
	t.mu.Unlock()
	t.e.forget(t, gone)
	if say {
		_ = t.Refresh() // counted
	}
	if due {
		t.cfg.RekeyDue()
	}
}

// Offer has a successor of the security association stand ready: packets are accepted
// by it from here on, and sealed by it after Confirm, or when the peer's first arrives.
// Its SPI is one of AllocateSPI. Errors match esp.ErrRekeying, ErrSPIInUse or ErrClosed.
func (t *Tunnel) Offer(next esp.Pair) error {
	if next.In == nil || next.Out == nil {
		return errors.New("tunnel: both halves of the successor are needed")
	}
	spi := next.In.SPI()
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed.Load() || t.e.closed {
		return ErrClosed
	}
	if t.e.bySPI[spi] != nil {
		return fmt.Errorf("%w: %#08x", ErrSPIInUse, spi)
	}
	if err := t.rotation.Offer(time.Now(), next); err != nil {
		return fmt.Errorf("tunnel: %w", err)
	}
	t.bound(next)
	t.e.bySPI[spi] = t
	t.told = false
	t.publish()
	t.schedule()
	return nil
}

// Confirm seals by the successor from here on: the peer's answer says that it accepts
// by it. A dummy packet goes first, so that the peer does the same, and again every second
// until that is seen. The lifetime of the tunnel begins anew.
func (t *Tunnel) Confirm() error {
	t.mu.Lock()
	if t.closed.Load() {
		t.mu.Unlock()
		return ErrClosed
	}
	if err := t.rotation.Confirm(time.Now()); err != nil {
		t.mu.Unlock()
		return fmt.Errorf("tunnel: %w", err)
	}
	t.changed()
	t.mu.Unlock()
	return t.Refresh()
}

// Rekeying says that Offer has to wait: a successor stands ready, or what the last one
// has replaced lingers.
func (t *Tunnel) Rekeying() bool { return t.sas.Load().watch }

// Abandon gives the successor up: it was not agreed on. Its SPI is free again.
func (t *Tunnel) Abandon() {
	t.mu.Lock()
	t.rotation.Abandon()
	gone := t.publish()
	t.schedule()
	t.mu.Unlock()
	t.e.forget(t, gone)
}

// changed follows a change of the current pair; the caller holds mu.
func (t *Tunnel) changed() {
	t.publish()
	t.counters.rekeys.Add(1)
	if t.lifetime != nil {
		t.lifetime.Reset(t.cfg.Lifetime)
	}
	t.schedule()
}

// arrived tells the rotation by which half a packet was accepted, and says whether
// that is the current one. Who finds that the peer has changed says that it has, too.
func (t *Tunnel) arrived(in *esp.Inbound) (current bool) {
	t.mu.Lock()
	changed := !t.closed.Load() && t.rotation.Arrived(time.Now(), in.SPI())
	if changed {
		t.changed()
	} else {
		t.schedule()
	}
	current = t.rotation.Current().In == in
	t.mu.Unlock()
	if changed {
		_ = t.Refresh() // counted
	}
	return current
}

// forget removes SPIs that a tunnel accepts no more.
func (e *Endpoint) forget(t *Tunnel, spis []uint32) {
	if len(spis) == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, spi := range spis {
		if e.bySPI[spi] == t {
			delete(e.bySPI, spi)
		}
	}
}
