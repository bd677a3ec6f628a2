package mn

import (
	"context"
	"errors"
	"sync"
	"time"

	"openmpa/internal/event"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
	"openmpa/tunnel"
)

// passage is the tunnel of one router used from the network of another: the node has
// left it, or never came, and its packets still go there.
//
//	MN, at another place                       router
//	 | Resume, with what the node has ----------> | follows the outer address
//	 | <--- what was held, and not confirmed ---- |
//	 | <------------------------------ Forwarded  |
//	 | <--- what comes, until the binding moves - |
//
// The uplink goes the same way. Resume is repeated until Forwarded comes.
// Where it goes to is known by the packets themselves.
type passage struct {
	c         *candidate // whose tunnel it is; its field passing
	id        event.HandoverID
	span      *event.Span
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	forwarded chan struct{} // closed when what was held has come
	said      uint32        // how often Resume was sent; of the goroutine
}

// resumeMost is the longest pause between two of them: an access network may let
// nobody through who has not authenticated, and then the next one is wanted soon.
const resumeMost = 320 * time.Millisecond

// goOn has c's packets come to where at is, by socket, which is of at. It waits for
// nothing.
func (c *candidate) goOn(id event.HandoverID, at *candidate, socket *tunnel.Socket) error {
	n, t := c.n, c.tunnel.Load()
	if t == nil {
		return errors.Join(errNoTunnel, socket.Close())
	}
	before := t.Socket()
	if err := t.Rebind(socket, t.Peer()); err != nil {
		return errors.Join(err, socket.Close())
	}
	c.endPassage() // of a place before, if there was one
	c.path.merges.expect(true)
	if !c.path.inside() { // else nothing comes natively
		c.path.turn.leave(id)
	}
	speak := !c.arriving // else what is outstanding would say that the node is there
	span := n.cfg.Recorder.Begin(id, event.PhaseForward, "by", c.net.Name, "to", at.address.addr().String())
	c.pass(id, span, func() {
		_ = before.Close()
		if speak {
			c.speakFrom(at)
			if s := c.session.Load(); s != nil {
				s.knock() // RFC 5191 section 5.6
			}
		}
	})
	if err := c.path.resume(); err != nil {
		n.cfg.Log.Error("uplink", "coa", c.path.coa, "err", err)
	}
	return nil
}

// pass begins the passage through c's tunnel, which leads to where the node is; first is done
// ahead of the repetition.
func (c *candidate) pass(id event.HandoverID, span *event.Span, first ...func()) *passage {
	ctx, cancel := context.WithCancel(c.n.ctx)
	p := &passage{c: c, id: id, span: span, cancel: cancel, forwarded: make(chan struct{})}
	c.passing = p
	p.say()
	p.wg.Go(func() {
		for _, do := range first {
			do()
		}
		p.run(ctx)
	})
	return p
}

// speakFrom has PANA with c's router go from the address of at.
func (c *candidate) speakFrom(at *candidate) {
	s := c.session.Load()
	if s == nil {
		return
	}
	conn, err := c.n.udp(at.address.addr(), c.net.PAA.Addr())
	if err != nil {
		c.n.cfg.Log.Warn("the session stays where it was", "paa", c.net.PAA, "err", err)
		return
	}
	s.client.Rebind(conn)
}

func (p *passage) say() {
	p.said++
	m := tunnel.Marker{Kind: tunnel.Resume, Handover: p.id, Seq: p.said, Receipts: p.c.path.merges.receipts()}
	if err := p.c.path.mark(m); err != nil {
		p.c.n.cfg.Log.Debug("marker not sent", "paa", p.c.net.PAA, "err", err)
	}
}

// run repeats it.
func (p *passage) run(ctx context.Context) {
	again := max(20*time.Millisecond, 3*p.c.rtt())
	for timer := time.NewTimer(again); ; {
		select {
		case m := <-p.c.markers:
			if m.Kind != tunnel.Forwarded || m.Handover != p.id {
				continue
			}
			timer.Stop()
			close(p.forwarded)
			p.span.End(nil, "markers", p.said)
			return
		case <-timer.C:
			p.say()
			again = min(2*again, max(resumeMost, again))
			timer.Reset(again)
		case <-ctx.Done():
			timer.Stop()
			p.span.EndOutcome(event.Failed, "its router did not say that it has sent everything", "markers", p.said)
			return
		}
	}
}

// alive waits for Forwarded, no longer than within after the last packet that came, nor
// than ctx, and says whether it came. A nil passage is not.
func (p *passage) alive(ctx context.Context, within time.Duration) bool {
	if p == nil {
		return false
	}
	for had, tries := p.c.packets(), 0; tries < aliveTries; tries++ {
		timer := time.NewTimer(within)
		select {
		case <-p.forwarded:
			timer.Stop()
			return true
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
		now := p.c.packets()
		if now == had {
			return false
		}
		had = now
	}
	return false
}

// stop ends the repetition. A nil passage has none.
func (p *passage) stop() {
	if p != nil {
		p.cancel()
		p.wg.Wait()
	}
}

// endPassage ends the use of c's tunnel from another place, if there was one.
func (c *candidate) endPassage() {
	c.passing.stop()
	c.passing = nil
}

// came says whether Forwarded has come.
func (p *passage) came() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.forwarded:
		return true
	default:
		return false
	}
}

// empty ends the use of c's tunnel, when what still comes by it has come.
func (c *candidate) empty(id event.HandoverID) {
	c.passing.stop()
	if c.passing.came() {
		c.n.home.emptied()
		c.markEnd(id, firstEnd, c.path.mark)
	}
}

// forwards waits for what c's router held, if it was asked to send it on, and says
// whether it came. c may be nil.
func (c *candidate) forwards(ctx context.Context) bool {
	return c != nil && c.passing.alive(ctx, max(c.n.cfg.Timers.Depart, 5*c.rtt()))
}

// rtt is the round-trip time to c's router, as far as it is known.
func (c *candidate) rtt() time.Duration {
	if s := c.session.Load(); s != nil {
		return s.rtt()
	}
	return 0
}

// carryOn has packets of from come to where at is, which has just got its address and
// is known to nobody yet. from may be nil, or without a tunnel.
func (n *Node) carryOn(id event.HandoverID, from, at *candidate) {
	if from == nil {
		return
	}
	from.endPassage()
	if from.tunnel.Load() == nil || from.address.addr() == at.address.addr() { // the latter comes as it is
		return
	}
	socket, err := at.outer(from.peer())
	if err == nil {
		err = from.goOn(id, at, socket)
	}
	if err != nil {
		n.cfg.Log.Warn("nothing comes by the tunnel of before", "paa", from.net.PAA, "err", err)
	}
}

// comeBack has c's router deliver natively: the node is on its link again, where it has
// all that was. What the router has kept comes first. The caller lets the uplink go on.
func (n *Node) comeBack(id event.HandoverID, c *candidate) {
	n.dead.Store(nil) // if its link is so still, that is to be found anew
	c.passing.stop()
	c.path.turn.land(event.HandoverID{}) // unmarked: what has not come is sent again
	receipts := c.path.merges.land(n.guardedBy(c) || c.passing != nil)
	s, t := c.session.Load(), c.tunnel.Load()
	if s == nil || t == nil {
		return
	}
	if c.passing != nil { // its tunnel and its session are of another place
		c.speakFrom(c)
		socket, err := c.outer(c.peer())
		if err == nil {
			before := t.Socket()
			if err = t.Rebind(socket, t.Peer()); err == nil {
				_ = before.Close()
			} else {
				err = errors.Join(err, socket.Close())
			}
		}
		if err != nil {
			n.cfg.Log.Warn("no tunnel stands by", "paa", c.net.PAA, "err", err)
		}
		c.passing = nil
	}
	var err error
	if c.told, err = s.send(&notify.Arrival{Header: notify.Header{Handover: id}, Receipts: receipts}, pana.NotifyOptions{Urgent: true}); err != nil {
		n.cfg.Log.Warn("the router was not told that the node is back", "paa", c.net.PAA, "err", err)
	}
	s.flush()
	n.unguarded(c)
}

// knowsBack waits until c's router has what comeBack has told it, which goes by another way than the marker of a departure
// and would undo that behind it.
func (c *candidate) knowsBack() {
	if c.told == nil || c.session.Load() == nil {
		return
	}
	if err := c.acknowledged(c.told, notify.KindArrival); err != nil {
		c.n.cfg.Log.Warn("the router may not know that the node was back", "paa", c.net.PAA, "err", err)
	}
	c.told = nil
}
