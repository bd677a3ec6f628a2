package link

import (
	"context"
	"time"

	"openmpa/internal/wpactrl"
)

// How long an association may be without a handshake: one with a key takes some 20 ms, and an access point repeats its first
// message after 100 ms; to ask for one that is merely slow would begin it anew. So it is several times what handshakes have
// taken here at most, and between these.
const (
	rekeyLeast  = 300 * time.Millisecond
	rekeyMost   = 2 * time.Second
	rekeyFirst  = time.Second // as long as none was seen
	rekeyFactor = 6
)

// patience is how many times that is waited for our own attachments, and for a handshake that has begun.
const patience = 4

// tended are the events that tend hears.
var tended = []string{wpactrl.EventAssociated, wpactrl.EventConnected, wpactrl.EventEAPStarted, wpactrl.EventDisconnected}

// handshake watches over what follows an association, whoever made it: us, wpa_supplicant, the firmware. Drivers have roamed
// without the keys being set up, which nobody noticed for seconds. Its owner is one goroutine.
//
//	Associated --- a while ---> key held: ROAM to the same one, once; else REAUTHENTICATE, once
//	           --- a while ---> the next of the two; then nothing more: wpa_supplicant gives up by itself
//	CTRL-EVENT-EAP-STARTED, CTRL-EVENT-CONNECTED or DISCONNECTED end it
type handshake struct {
	with  wpactrl.MAC
	tries []string // commands left
	asked bool     // one was used
	waits int      // times to wait yet before the first
	since time.Time
	usual time.Duration // the longest that nobody had to ask for; 0: none was seen
	timer *time.Timer
}

// within is how long to wait for the next; fixed is the configuration's, 0 for none.
func (h *handshake) within(fixed time.Duration) time.Duration {
	switch {
	case fixed > 0:
		return fixed
	case h.usual == 0:
		return rekeyFirst
	}
	return min(max(rekeyFactor*h.usual, rekeyLeast), rekeyMost)
}

// tend looks after wpa_supplicant until the adapter is closed.
func (s *Supplicant) tend(ctx context.Context, sub *wpactrl.Subscription) {
	h := &handshake{timer: time.NewTimer(0)}
	defer h.timer.Stop()
	known := false
	for {
		select {
		case e, ok := <-sub.C:
			if !ok {
				return
			}
			if e.Kind == wpactrl.Back || e.Missed > 0 {
				h.stop()
			}
			switch {
			case e.Kind == wpactrl.Back && known:
				s.preferNobody()
				s.met(ctx)
				if given := s.give(ctx, anyNetwork); given > 0 {
					s.log.Info("wpa_supplicant was started anew: it has its keys again", "points", given)
				}
			case e.Kind == wpactrl.Back:
				known = true
				s.met(ctx)
				s.sweep(ctx)
			case e.Kind == wpactrl.Gone:
				h.stop()
				s.log.Warn("wpa_supplicant is not there: moves and keys wait for it", "why", e.Rest)
			default:
				s.hears(ctx, h, e)
			}
		case <-h.timer.C:
			s.hurry(ctx, h)
		}
	}
}

// met is meet for whom it does not matter.
func (s *Supplicant) met(ctx context.Context) {
	if err := s.meet(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("what a crash leaves in the networks of wpa_supplicant will not be undone", "err", err)
	}
}

func (h *handshake) stop() {
	h.timer.Stop()
	h.tries, h.with, h.asked = nil, wpactrl.MAC{}, false
}

// hears takes an event.
func (s *Supplicant) hears(ctx context.Context, h *handshake, e wpactrl.Event) {
	switch peer := e.Peer(); e.Name {
	case wpactrl.EventAssociated:
		if peer != h.with { // else it is what a try has led to
			h.since = e.At
			h.with, h.tries = peer, []string{"REAUTHENTICATE"}
			h.waits = patience - 1
			if s.holds(peer) {
				h.tries = []string{"ROAM " + peer.String(), "REAUTHENTICATE"}
			} else { // with a key the handshake is over too soon for that, and would wait for it
				s.follows(ctx)
			}
		}
		if len(h.tries) > 0 {
			h.timer.Reset(h.within(s.cfg.Rekey))
		}
	case wpactrl.EventConnected:
		if peer == h.with && !h.asked {
			h.usual = max(h.usual, e.At.Sub(h.since))
		}
		h.stop()
		if network, ok := e.Int("id"); ok {
			s.landed.Store(&landing{network: network, at: e.At})
			if s.moving() && !s.looking.Load() {
				return // Done will, when packets flow again
			}
			if err := s.prefer(ctx, network); err != nil {
				s.log.Warn("wpa_supplicant may leave the network by itself", "err", err)
			}
		}
	case wpactrl.EventEAPStarted:
		h.stop()
	case wpactrl.EventDisconnected:
		if peer == h.with && len(h.tries) == 0 {
			h.stop()
		}
	}
}

// landing is where the last handshake that was heard of has led to.
type landing struct {
	network int // anyNetwork: there was none
	at      time.Time
}

// follows prefers the network to which somebody else moves the link, before it is connected there: by any scan then
// wpa_supplicant would go back to the one that we have had it prefer.
func (s *Supplicant) follows(ctx context.Context) {
	s.preferring.Lock()
	ours := s.preferred.raised
	s.preferring.Unlock()
	if !ours || s.moving() && !s.looking.Load() {
		return
	}
	st, err := s.status(ctx)
	if err == nil && st.Network >= 0 {
		err = s.prefer(ctx, st.Network)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Warn("wpa_supplicant may go back to the network it has left", "err", err)
	}
}

// moving says that an attachment of ours is under way, or a look.
func (s *Supplicant) moving() bool { return len(s.turn) == 0 }

// hurry does what is left to do about a handshake that does not come.
func (s *Supplicant) hurry(ctx context.Context, h *handshake) {
	if len(h.tries) == 0 {
		return
	}
	own := s.moving()
	st, err := s.status(ctx)
	if err != nil || st.State == wpactrl.StateCompleted || st.BSSID != h.with { // events to come will tell
		return
	}
	if begun := st.State != wpactrl.StateAssociated; h.waits > 0 && (own || begun) {
		h.waits--
		h.timer.Reset(h.within(s.cfg.Rekey))
		return
	}
	h.asked = true
	command := h.tries[0]
	h.tries = h.tries[1:]
	if own { // to associate anew would end it
		command, h.tries = "REAUTHENTICATE", nil
	}
	s.log.Warn("associated, but no handshake follows", "point", s.name(h.with), "after", time.Since(h.since).Round(time.Millisecond), "so", command)
	if err := s.client.Do(ctx, command); err != nil {
		s.log.Warn("no handshake", "point", s.name(h.with), "err", err)
	}
	if len(h.tries) > 0 {
		h.timer.Reset(h.within(s.cfg.Rekey))
	}
}
