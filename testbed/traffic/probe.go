package traffic

import (
	"errors"
	"sync/atomic"
	"time"
)

// ProbeRate is the rate of a probe in each direction, packets a second, and SlowProbeRate that of one on an emulated
// processor, which the fast one would keep busy.
const (
	ProbeRate     = 5000
	SlowProbeRate = 100
)

// ProbePayload is the length of its datagrams, octets of UDP payload.
const ProbePayload = 64

// A Probe is a fast flow in each direction that finds the first datagram to
// get through after a link has come up. It stops with that one.
type Probe struct {
	down, up *Flow
	linkUp   atomic.Int64 // ns of the wall clock; 0: not yet
	stopped  atomic.Bool
}

// OpenProbe opens a probe between two endpoints: down is from a to b. It
// uses the ports from port on, and flow identifiers id and id+1; rate is in
// packets a second.
func OpenProbe(a, b Endpoint, port uint16, id uint32, rate float64) (*Probe, error) {
	p := &Probe{}
	spec := Spec{Name: "probe down", ID: id, From: a, To: b, Port: port, Rate: PerSecond(rate), OnArrival: p.arrived}
	spec.Rate.Payload = ProbePayload
	down, err := Open(spec)
	if err != nil {
		return nil, err
	}
	spec.Name, spec.ID, spec.From, spec.To = "probe up", id+1, b, a
	up, err := Open(spec)
	if err != nil {
		return nil, errors.Join(err, down.Close())
	}
	p.down, p.up = down, up
	return p, nil
}

// Start begins to send in both directions.
func (p *Probe) Start() {
	if p.stopped.Load() {
		return
	}
	p.down.Start()
	p.up.Start()
}

// LinkUp tells when the link came up. The probe stops with the first
// datagram that arrived, or arrives, after that.
func (p *Probe) LinkUp(at time.Time) { p.linkUp.Store(at.UnixNano()) }

// arrived runs on the receivers' goroutines. A datagram that came in after
// the link but before LinkUp was called is found by First; at this rate the
// next one that stops the probe is not far.
func (p *Probe) arrived(a Arrival) {
	if up := p.linkUp.Load(); up != 0 && a.At >= up {
		p.Stop()
	}
}

// Stop has the probe stop sending, without waiting.
func (p *Probe) Stop() {
	p.stopped.Store(true)
	if p.down != nil && p.up != nil {
		p.down.StopSending()
		p.up.StopSending()
	}
}

// Done reports whether the probe has had its arrival, or was stopped.
func (p *Probe) Done() bool { return p.stopped.Load() }

// First is the time from link up to the first arrival at either end, and
// the end: "down" or "up". It is false when there was none.
func (p *Probe) First() (d time.Duration, direction string, ok bool) {
	up := p.linkUp.Load()
	if up == 0 {
		return 0, "", false
	}
	first := int64(0)
	for _, x := range []struct {
		f    *Flow
		name string
	}{{p.down, "down"}, {p.up, "up"}} {
		for _, a := range x.f.Arrivals() {
			if a.At >= up && (first == 0 || a.At < first) {
				first, direction = a.At, x.name
			}
		}
	}
	if first == 0 {
		return 0, "", false
	}
	return time.Duration(first - up), direction, true
}

// Sent is how many datagrams the probe has sent down and up.
func (p *Probe) Sent() (down, up int64) { return p.down.Sent(), p.up.Sent() }

// Seen is how many datagrams have arrived down and up.
func (p *Probe) Seen() (down, up int64) { return p.down.Seen(), p.up.Seen() }

// Close ends the probe.
func (p *Probe) Close() error {
	p.Stop()
	return errors.Join(p.down.Close(), p.up.Close())
}
