package mn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"openmpa/internal/event"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
	"openmpa/tunnel"
	"openmpa/tunnel/esp"
)

// proposal is the node's side of a security association that it asks a router for.
type proposal struct {
	s     *session
	spi   uint32 // of the direction to the node
	nonce []byte
	under *keys.SessionKeys // that the session had when it asked
}

// errRolled: both ends may have made keys of different ones.
var errRolled = errors.New("the session was authenticated again while keys were agreed on")

// propose draws what a request is to name. It is released in the end.
func (s *session) propose() (p *proposal, err error) {
	n := s.n
	p = &proposal{s: s, nonce: make([]byte, 32)}
	if _, err := io.ReadFull(n.cfg.Rand, p.nonce); err != nil {
		return nil, err
	}
	if p.under, err = s.keysNow(); err != nil {
		return nil, err
	}
	if p.spi, err = n.endpoint.AllocateSPI(n.cfg.Rand); err != nil {
		return nil, err
	}
	return p, nil
}

// release gives the SPI back, unless a tunnel has taken it.
func (p *proposal) release() { p.s.n.endpoint.ReleaseSPI(p.spi) }

// pair makes the node's halves with what the router has answered.
func (p *proposal) pair(spi uint32, nonce []byte, suite uint8) (pair esp.Pair, err error) {
	t := esp.Transform(suite)
	if !slices.Contains(p.s.n.cfg.Suites, t) {
		return pair, fmt.Errorf("%s has taken %v, which was not offered", p.s.net.PAA, t)
	}
	var k *keys.ESPKeys
	err = p.s.client.Do(func(time.Time, *pana.PaC) {
		if p.s.keys == p.under {
			k = keys.DeriveESP(p.under.MNAR.Bytes(), p.nonce, nonce, spi, p.spi, t.MaterialLen())
		}
	})
	switch {
	case err != nil:
		return pair, err
	case k == nil:
		return pair, errRolled
	}
	defer k.Clear()
	return t.NewPair(p.spi, k.ToNode, spi, k.ToRouter)
}

// keysNow are the session's keys at this moment, to be told from others.
func (s *session) keysNow() (k *keys.SessionKeys, err error) {
	err = s.client.Do(func(time.Time, *pana.PaC) { k = s.keys })
	return k, err
}

// The pauses between attempts to replace a security association, which double.
const (
	freshFirst = time.Second
	freshMost  = 15 * time.Second
)

// freshener replaces the security association of one tunnel, make before break,
// whenever a limit of the node's is near, the router says that one of its own is, or
// the session has other keys than those it was made of.
type freshener struct {
	c     *candidate
	s     *session // that made the tunnel
	t     *tunnel.Tunnel
	under *keys.SessionKeys // of s, which the current association was made of
}

// keepFresh does so with t, of a proposal, until t is closed or its session ends.
func (c *candidate) keepFresh(t *tunnel.Tunnel, p *proposal) {
	c.limit.Store(false) // of a tunnel before
	f := &freshener{c: c, s: p.s, t: t, under: p.under}
	c.n.wg.Go(f.run)
}

// due has the freshener look; it does not wait.
func (c *candidate) due() {
	c.limit.Store(true)
	poke(c.stale)
}

func poke(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default: // it looks anyway
	}
}

func (f *freshener) run() {
	ctx := f.c.n.ctx
	for {
		for pause := freshFirst; f.wanted(); pause = min(2*pause, freshMost) {
			err := f.replace(ctx)
			if err == nil {
				break
			}
			if !errors.Is(err, tunnel.ErrClosed) && ctx.Err() == nil {
				f.c.n.cfg.Log.Info("security association not replaced yet", "paa", f.c.net.PAA, "err", err, "again_in", pause)
			}
			if f.over(time.After(pause), nil) {
				return
			}
		}
		if f.over(nil, f.c.stale) {
			return
		}
	}
}

// over waits for the end of the pause, or to be told to look; true: there is nothing to
// keep any more.
func (f *freshener) over(pause <-chan time.Time, told <-chan struct{}) bool {
	asked := f.s.stale
	if told == nil {
		asked = nil
	}
	select {
	case <-f.c.n.ctx.Done():
		return true
	case <-f.t.Done():
		return true
	case <-f.s.closed: // and the router's end of the tunnel with it
		return true
	case <-pause:
	case <-told:
	case <-asked:
	}
	return false
}

// wanted says whether there is a reason for a successor.
func (f *freshener) wanted() bool {
	now, err := f.s.keysNow()
	return err == nil && (f.c.limit.Load() || f.s.asked.Load() == f.t.PeerSPI() || now != f.under)
}

// replace asks the router once.
func (f *freshener) replace(ctx context.Context) error {
	n := f.c.n
	switch {
	case f.t.Rekeying():
		return errors.New("what the last one has replaced lingers")
	case n.away.Load():
		return errNoLink
	}
	p, err := f.s.propose()
	if err != nil {
		return err
	}
	defer p.release()
	id, err := event.NewHandoverID(n.cfg.Rand) // tells this question from others
	if err != nil {
		return err
	}
	old := f.t.PeerSPI()
	m, err := f.s.ask(ctx, &notify.RekeyRequest{
		Header: notify.Header{Handover: id}, Old: old, SPI: p.spi, Nonce: p.nonce, Suites: esp.Offer(n.cfg.Suites),
	}, notify.KindRekeyReply, n.cfg.Timers.Tunnel)
	if err != nil {
		return err
	}
	r := m.(*notify.RekeyReply)
	switch {
	case r.Reason != "":
		return errors.New(r.Reason)
	case r.Old != old:
		return fmt.Errorf("%s has answered for %#08x, asked was for %#08x", f.c.net.PAA, r.Old, old)
	}
	pair, err := p.pair(r.SPI, r.Nonce, r.Suite)
	if err != nil {
		return err
	}
	f.c.limit.Store(false)
	if err := f.t.Offer(pair); err != nil {
		return err
	}
	if err := f.t.Confirm(); err != nil && !errors.Is(err, tunnel.ErrClosed) {
		n.cfg.Log.Debug("the first packet by a new security association was not sent", "err", err)
	}
	f.under = p.under
	n.cfg.Log.Info("security association replaced", "paa", f.c.net.PAA, "spi", f.t.SPI(), "suite", esp.Transform(r.Suite))
	return nil
}
