package link

import (
	"context"
	"errors"
	"fmt"
	"time"

	"openmpa/internal/osnet"
	"openmpa/internal/wpactrl"
)

const (
	watchQueue  = 32                    // reports a slow reader may leave lying
	eventWithin = 20 * time.Millisecond // for wpa_supplicant's word, when the kernel's is read first
)

// Watch implements Adapter. Up means that data may flow: operational in the kernel, and keys set. A roam whose down was too
// short to be seen is reported as up once more, with Missed.
func (s *Supplicant) Watch(ctx context.Context) (<-chan osnet.LinkState, error) {
	if s.cfg.Net == nil || s.cfg.Interface == "" {
		return nil, errors.New("link: watch: no interface given")
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	end := func() { stop(); cancel() }
	kernel, err := s.cfg.Net.WatchLink(ctx, s.cfg.Interface)
	if err != nil {
		end()
		return nil, fmt.Errorf("link: %w", err)
	}
	sub, err := s.client.Subscribe(wpactrl.EventConnected, wpactrl.EventAssociated, wpactrl.EventDisconnected)
	if err != nil {
		end()
		return nil, fmt.Errorf("link: %w", err)
	}
	w := &wifiWatch{out: make(chan osnet.LinkState, watchQueue)}
	s.wg.Go(func() {
		defer close(w.out)
		defer sub.Close()
		defer end()
		late := time.NewTimer(0)
		defer late.Stop()
		for {
			select {
			case k, ok := <-kernel:
				if !ok {
					return
				}
				// wpa_supplicant tells of the keys before it has the kernel say up. To ask it then would cost time: it
				// may have other things to do.
				ask := k.Up && (!w.known || k.Missed)
				w.kernelSays(k, ask, s.completed(ctx, ask))
				if w.keyless() {
					late.Reset(eventWithin)
				}
			case <-late.C:
				if w.keyless() {
					w.asked(time.Now(), s.completed(ctx, true))
				}
			case e, ok := <-sub.C:
				if !ok {
					return
				}
				ask := e.Kind == wpactrl.Back || e.Missed > 0
				w.supplicantSays(e, ask, s.completed(ctx, ask))
			}
		}
	})
	return w.out, nil
}

// completed asks wpa_supplicant with whom keys are set, if ask is true: the zero BSSID if with nobody, or it cannot be asked.
func (s *Supplicant) completed(ctx context.Context, ask bool) wpactrl.MAC {
	if !ask {
		return wpactrl.MAC{}
	}
	st, err := s.status(ctx)
	if err != nil || st.State != wpactrl.StateCompleted {
		return wpactrl.MAC{}
	}
	return st.BSSID
}

// wifiWatch joins what the kernel and wpa_supplicant say. Its owner is one goroutine.
type wifiWatch struct {
	out chan osnet.LinkState

	kernel osnet.LinkState // the last report
	keyed  time.Time       // when the keys were set
	with   wpactrl.MAC     // and with whom; zero: they are not set
	known  bool            // something was reported:
	up     bool
	gone   bool
}

// keyless says that the kernel says up, and wpa_supplicant nothing of keys.
func (w *wifiWatch) keyless() bool { return w.kernel.Up && w.with.IsZero() }

// kernelSays takes the kernel's report; with is who wpa_supplicant has keys with, if it was asked.
func (w *wifiWatch) kernelSays(k osnet.LinkState, asked bool, with wpactrl.MAC) {
	w.kernel = k
	if asked || !k.Up && !w.keyed.After(k.At) { // else the keys are of after the roam whose down this is
		w.with = with
		w.keyed = k.At
	}
	w.report(k.At, k.Missed)
}

// asked takes who wpa_supplicant has keys with.
func (w *wifiWatch) asked(at time.Time, with wpactrl.MAC) {
	w.with, w.keyed = with, at
	w.report(at, false)
}

// supplicantSays takes an event; with is who wpa_supplicant has keys with, if it was asked.
func (w *wifiWatch) supplicantSays(e wpactrl.Event, asked bool, with wpactrl.MAC) {
	switch {
	case asked:
	case e.Kind == wpactrl.Message && e.Name == wpactrl.EventConnected:
		with = e.Peer()
	case e.Kind == wpactrl.Message && e.Name == wpactrl.EventAssociated: // a roam, whoever made it: the keys of before are gone
		if e.Peer() == w.with && e.At.Before(w.keyed) {
			return // and there are those of after
		}
	case e.Kind == wpactrl.Message && e.Name == wpactrl.EventDisconnected:
		if peer := e.Peer(); peer != w.with && !peer.IsZero() {
			return // the old one, behind the new one's keys
		}
	default: // Gone: what wpa_supplicant had set up stands until the kernel says otherwise
		return
	}
	missed := !with.IsZero() && !w.with.IsZero() && with != w.with // there was a roam between
	w.with, w.keyed = with, e.At
	w.report(e.At, missed)
}

// report tells a transition, or that there were some.
func (w *wifiWatch) report(at time.Time, missed bool) {
	up := w.kernel.Up && !w.with.IsZero()
	if w.known && up == w.up && w.kernel.Gone == w.gone && !(missed && up) {
		return
	}
	w.known, w.up, w.gone = true, up, w.kernel.Gone
	state := osnet.LinkState{Up: up, At: at, Gone: w.kernel.Gone, Missed: missed}
	for {
		select {
		case w.out <- state:
			return
		default:
		}
		select {
		case <-w.out:
			state.Missed = true
		default:
		}
	}
}
