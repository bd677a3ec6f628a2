package par

import (
	"errors"
	"io"
	"time"

	"openmpa/tunnel/flow"
)

const (
	// previousWithin is how long what is held waits for what the previous router forwards.
	previousWithin = 3 * time.Second
	// copiesFor is how long a copy is kept: longer than it takes a node to notice that its
	// link was cut.
	copiesFor = 2 * time.Second
)

// classes are those of the configuration, with what is held for one visitor.
func (c Config) classes() (*flow.Classes, error) {
	list := []flow.Class{{Name: "all"}}
	if len(c.Classes) > 0 {
		list = append(list[:0], c.Classes...)
	}
	for i := range list {
		age := list[i].Limits.MaxAge
		list[i].Limits, list[i].Copies = c.Buffer.Each, c.Buffer.Each
		if age > 0 {
			list[i].Limits.MaxAge = age
		}
		list[i].Copies.MaxAge = copiesFor
	}
	return flow.NewClasses(list...)
}

// newGroup makes a visitor's delivery, in mode released, which holds what there is room for.
func (r *Router) newGroup(room *room) *flow.Group {
	var epoch [2]byte // the numbering differs from that of a router before this one
	if _, err := io.ReadFull(r.cfg.Rand, epoch[:]); err != nil {
		r.cfg.Log.Error("no random numbering", "err", err)
	}
	return flow.NewGroup(r.classes, flow.Options{Wait: previousWithin, Epoch: uint16(epoch[0])<<8 | uint16(epoch[1]), Account: room.account})
}

// deliverAnew begins another delivery; the router keeps what the one before has
// counted. The caller holds mu.
func (v *visitor) deliverAnew() {
	v.group.Release(time.Now(), flow.ReasonReleased)
	stats := v.total()
	v.r.mu.Lock()
	for why, n := range stats.Dropped {
		v.r.gone[why] += n
	}
	v.r.again += stats.Bicast + stats.Recovered
	v.r.mu.Unlock()
	v.group = v.r.newGroup(v.room)
	clear(v.resumed)
}

// apply moves the delivery's mode; the caller holds mu. While it is not known where the
// tunnel leads, what would go through it is held.
func (v *visitor) apply(e flow.Event) bool {
	v.queuedGone()
	err := v.group.Apply(time.Now(), e)
	if err == nil && v.group.Has(flow.Tunnel) && v.tunnel != nil && !v.tunnel.Peer().IsValid() {
		v.unreached = true
		err = v.group.Apply(time.Now(), flow.Disable)
	}
	if err != nil {
		v.r.cfg.Log.Warn("delivery", "sid", v.sid, "err", err)
		return false
	}
	return true
}

// confirm takes what the node says it has; the caller holds mu.
func (v *visitor) confirm(list []flow.Receipt) {
	for _, r := range list {
		if c := int(r.Class); c < v.group.Len() {
			v.group.Class(c).Confirm(r.Report)
		}
	}
}

// down delivers one packet for the care-of address. The caller keeps pkt.
func (v *visitor) down(now time.Time, pkt []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lulls.Came(now)
	take := v.group.Take
	if v.previous.IsValid() && cameFrom(pkt, v.previous) {
		take = v.group.Previous
	}
	class, out := take(now, pkt)
	v.room.came(now, class, len(pkt))
	v.send(class, out, pkt)
}

// send sends a packet where the delivery says; the caller holds mu.
func (v *visitor) send(class int, out flow.Out, pkt []byte) {
	v.unsent.tell(v.group)
	var err error
	switch out.Dest {
	case flow.ToTunnel:
		err = v.sendTunnel(class, out, pkt)
	case flow.ToBoth:
		err = v.sendBoth(class, out, pkt)
	case flow.ToLink:
		v.r.pace.sent(time.Now(), len(pkt))
		_, err = v.r.dev.Write(pkt)
	default: // held or dropped
		return
	}
	if err != nil {
		v.group.Class(class).FailedOut(out)
		v.r.cfg.Log.Debug("not sent", "sid", v.sid, "to", out.Dest, "err", err)
	}
}

func shim(class int, out flow.Out) flow.Shim {
	return flow.Shim{Class: uint8(class), Epoch: out.Epoch, Number: out.Number}
}

func (v *visitor) sendTunnel(class int, out flow.Out, pkt []byte) error {
	if out.Numbered {
		return v.tunnel.QueueNumbered(shim(class, out), pkt)
	}
	return v.tunnel.QueueAs(shim(class, out), pkt)
}

// sendBoth sends a packet to where the node is, and to where it will be. It fails if
// neither went.
func (v *visitor) sendBoth(class int, out flow.Out, pkt []byte) error {
	s := shim(class, out)
	here, there := v.tunnel.SendNumbered(s, pkt), v.tunnel.SendNumberedTo(v.outer, s, pkt)
	if here != nil && there != nil {
		return errors.Join(here, there)
	}
	return nil
}

// next sends one packet of the queue, or what a mark in it stands for.
func (v *visitor) next() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	class, out, ok := v.group.Fetch(time.Now())
	if !ok {
		return false
	}
	if out.Pkt == nil {
		v.forwarded(out.Mark)
		return true
	}
	v.send(class, out, out.Pkt)
	v.chase.pacer.Sent(time.Now(), len(out.Pkt))
	v.group.Class(class).Recycle(out.Pkt)
	return true
}

// forwarded tells the node that what was held when it said Resume has gone. The caller
// holds mu.
func (v *visitor) forwarded(mark uint64) {
	m := v.resumed[mark]
	delete(v.resumed, mark)
	if v.tunnel == nil {
		return
	}
	if err := v.tunnel.SendMarker(m); err != nil {
		v.r.cfg.Log.Warn("marker not sent", "sid", v.sid, "err", err)
	}
}

// pausedFor is how long no packet came for the visitor; 0 while some wait.
func (v *visitor) pausedFor(now time.Time) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	if n, _ := v.group.Queued(); n > 0 {
		return 0
	}
	return v.group.SilentFor(now)
}

// total are the counters of all classes; the caller holds mu.
func (v *visitor) total() flow.Stats {
	v.unsent.tell(v.group)
	return sum(v.group.Stats())
}

// sum adds up the counters of classes. HighWater and HeldFor are the greatest of them.
func sum(each map[string]flow.Stats) flow.Stats {
	all := flow.Stats{Dropped: map[flow.Reason]uint64{}}
	for _, s := range each {
		all.In += s.In
		all.Tunneled += s.Tunneled
		all.Linked += s.Linked
		all.Bicast += s.Bicast
		all.Queued += s.Queued
		all.QueuedBytes += s.QueuedBytes
		all.Held += s.Held
		all.HighWater = max(all.HighWater, s.HighWater)
		all.HeldFor = max(all.HeldFor, s.HeldFor)
		all.ForcedFlips += s.ForcedFlips
		all.Refused += s.Refused
		all.Copied += s.Copied
		all.Confirmed += s.Confirmed
		all.Forgotten += s.Forgotten
		all.Recovered += s.Recovered
		all.WaitedOut += s.WaitedOut
		for why, n := range s.Dropped {
			all.Dropped[why] += n
		}
	}
	return all
}

func count(m map[flow.Reason]uint64) (n uint64) {
	for _, c := range m {
		n += c
	}
	return n
}
