package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"openmpa/internal/wpactrl"
)

// Mover is an Adapter that can ask before a departure what it would else have to ask behind it.
type Mover interface {
	Adapter
	// Ready asks all that a move to a point needs to know. The link stays. No other move can begin until Done.
	Ready(ctx context.Context, poa string) (Move, error)
}

// Move is a move that can begin at once.
type Move interface {
	// Go does as Adapter's Attach. It is called once at most.
	Go(ctx context.Context) error
	// Done does what could wait until packets flow again. It is called whether Go was or not, and behind it.
	Done()
}

// Ready readies a move of any adapter.
func Ready(ctx context.Context, a Adapter, poa string) (Move, error) {
	if m, ok := a.(Mover); ok {
		return m.Ready(ctx, poa)
	}
	return order{a, poa}, nil
}

// order is a move of an adapter that has nothing to ask.
type order struct {
	a   Adapter
	poa string
}

func (o order) Go(ctx context.Context) error { return o.a.Attach(ctx, o.poa) }
func (order) Done()                          {}

// Attach implements Adapter. It returns when the 4-way handshake is done.
func (s *Supplicant) Attach(ctx context.Context, poa string) error {
	m, err := s.Ready(ctx, poa)
	if err != nil {
		return err
	}
	defer m.Done()
	return m.Go(ctx)
}

// supplicantMove is a Move of a Supplicant, which has the turn. Between Go and the end of the handshake there is one command,
// ROAM or SELECT_NETWORK, if what was found out before still holds.
type supplicantMove struct {
	s     *Supplicant
	point string
	place Place
	sub   *wpactrl.Subscription
	began time.Time
	last  *landing // that was heard of before it began

	// Found out by ask.
	st      wpactrl.Status
	network int               // to which it goes
	list    []wpactrl.Network // nil: not asked

	pinned  bool // the network's bssid was set
	staying sync.WaitGroup
	later   []string // commands that put back what was changed
	prefer  int      // network that is then to be preferred, before the rest of them; anyNetwork: none
	rest    []string
}

// Ready implements Mover.
func (s *Supplicant) Ready(ctx context.Context, poa string) (Move, error) {
	p, err := s.place(poa)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	m := &supplicantMove{s: s, point: poa, place: p, prefer: anyNetwork}
	if err := s.take(ctx); err != nil {
		return nil, m.failed("another attachment is under way", err)
	}
	m.began, m.last = time.Now(), s.landed.Load()
	if m.sub, err = s.client.Subscribe(moved...); err != nil {
		s.turn <- struct{}{}
		return nil, m.failed("wpa_supplicant", err)
	}
	if err = m.ask(ctx); err == nil {
		if _, err = next(ctx, m.sub); err != nil { // which says that events come
			err = m.failed("wpa_supplicant", err)
		}
	}
	if err != nil {
		m.Done()
		return nil, err
	}
	return m, nil
}

// ask finds out where we are, and how to get to the point.
func (m *supplicantMove) ask(ctx context.Context) (err error) {
	if m.st, err = m.s.status(ctx); err != nil || m.there() {
		return err
	}
	if m.network, m.list, err = m.s.network(ctx, m.place, m.st); err != nil || m.near() {
		return err
	}
	return m.pin(ctx)
}

// there says that we are at the point.
func (m *supplicantMove) there() bool {
	return m.st.State == wpactrl.StateCompleted && m.st.BSSID == m.place.BSSID
}

// near says that the point is in the ESS where we are.
func (m *supplicantMove) near() bool {
	return m.st.State == wpactrl.StateCompleted && m.st.Network == m.network
}

// pin has the network that is to be selected mean one access point. SELECT_NETWORK leaves the link and then scans all channels,
// unless the last scan is younger than 5 s and has the access point. Look sees to that; who did not call it has the point's
// channel looked at here, if it is known. (To restrict the network by scan_freq would take its keys: any change but that of
// bssid does.)
func (m *supplicantMove) pin(ctx context.Context) (err error) {
	if !m.s.sightedLately(m.place) {
		if err := m.s.look(ctx, []Place{m.place}, stale); err != nil && !errors.Is(err, ErrChannel) {
			return err
		}
	}
	if m.pinned {
		return nil
	}
	if m.list == nil {
		if m.list, err = m.s.networks(ctx); err != nil {
			return err
		}
	}
	i := slices.IndexFunc(m.list, func(n wpactrl.Network) bool { return n.ID == m.network })
	if i < 0 {
		return m.failed(fmt.Sprintf("wpa_supplicant has no network %d", m.network), nil)
	}
	before := "any"
	if !m.list[i].BSSID.IsZero() {
		before = m.list[i].BSSID.String()
	}
	m.pinned = true // even if the answer gets lost
	m.later = append(m.later, fmt.Sprintf("SET_NETWORK %d bssid %s", m.network, before))
	return m.s.client.Do(ctx, fmt.Sprintf("SET_NETWORK %d bssid %v", m.network, m.place.BSSID))
}

// Go implements Move.
func (m *supplicantMove) Go(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.s.cfg.Timeout)
	defer cancel()
	if m.stale() {
		if err := m.ask(ctx); err != nil {
			return err
		}
	}
	var err error
	switch {
	case m.there():
		return nil
	case m.near():
		err = m.roam(ctx)
	default:
		err = m.selectNetwork(ctx)
	}
	var e *AttachError
	if errors.As(err, &e) {
		e.Point, e.BSSID = m.point, m.place.BSSID
		return e
	}
	if err != nil {
		return m.failed("wpa_supplicant", err)
	}
	m.staying.Go(m.stay)
	return nil
}

// stay keeps the radio on the channel of the link until Done. A wpa_supplicant that was slow scans by what it meant to do
// while there was no link, and the access point keeps few packets (Linux: 64) for a station that is away, when all that the
// router has held comes at once.
func (m *supplicantMove) stay() {
	for e := range m.sub.C {
		if e.Name == wpactrl.EventDisconnected { // it has to find a link
			return
		}
		if e.Name != wpactrl.EventScanStarted {
			continue
		}
		if err := m.s.client.Do(m.s.ctx, "ABORT_SCAN"); err != nil {
			m.s.log.Info("a scan right after the move goes on", "point", m.point, "err", err)
		}
	}
}

func (m *supplicantMove) failed(text string, err error) error {
	return &AttachError{Point: m.point, BSSID: m.place.BSSID, Text: text, Err: err}
}

// moved are the events that a move hears: of its end, of what others do to the link before it, and of a scan after it.
var moved = []string{
	wpactrl.EventConnected, wpactrl.EventDisconnected, wpactrl.EventAssocReject, wpactrl.EventAuthReject,
	wpactrl.EventTempDisabled, wpactrl.EventNotFound, wpactrl.EventScanStarted,
}

// stale says that the link may have changed since it was asked for, as the events tell.
func (m *supplicantMove) stale() (changed bool) {
	for {
		select {
		case e, ok := <-m.sub.C:
			if !ok {
				return true // the next command will say why
			}
			changed = changed || e.Kind != wpactrl.Message || e.Missed > 0 ||
				slices.Contains([]string{wpactrl.EventConnected, wpactrl.EventDisconnected}, e.Name)
		default:
			return changed
		}
	}
}

// roam moves within the present ESS.
func (m *supplicantMove) roam(ctx context.Context) error {
	bssid := m.place.BSSID
	err := m.s.client.Do(ctx, "ROAM "+bssid.String())
	if errors.Is(err, wpactrl.ErrFail) { // it has not seen the access point, or no more
		var freqs []int
		if freq, _ := m.s.channel(m.place, nil); freq != 0 {
			freqs = []int{freq}
		}
		if err := m.s.Scan(ctx, freqs...); err != nil {
			return &AttachError{Text: "not seen before, and cannot be looked for", Err: err}
		}
		if err = m.s.client.Do(ctx, "ROAM "+bssid.String()); errors.Is(err, wpactrl.ErrFail) {
			return &AttachError{Text: "no access point with this BSSID is in sight", Err: err}
		}
	}
	if err != nil {
		return err
	}
	return m.s.arrive(ctx, m.sub, bssid)
}

// selectNetwork moves to another ESS, and back to the network of before if that fails. SELECT_NETWORK disables all other
// networks: what was enabled before is enabled again, so that wpa_supplicant finds a network by itself when this one is lost.
func (m *supplicantMove) selectNetwork(ctx context.Context) error {
	err := m.s.client.Do(ctx, fmt.Sprintf("SELECT_NETWORK %d", m.network))
	if err == nil {
		err = m.s.arrive(ctx, m.sub, m.place.BSSID)
	}
	m.prefer = m.network
	if err != nil && m.st.Network >= 0 && m.st.Network != m.network {
		m.prefer = m.st.Network
		m.later = append(m.later, fmt.Sprintf("SELECT_NETWORK %d", m.prefer))
	}
	for _, n := range m.list {
		if n.ID != m.prefer && !slices.Contains(n.Flags, "DISABLED") {
			m.rest = append(m.rest, fmt.Sprintf("ENABLE_NETWORK %d no-connect", n.ID))
		}
	}
	return err
}

// Done implements Move.
func (m *supplicantMove) Done() {
	s := m.s
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Timeout)
	defer cancel()
	m.sub.Close()
	m.staying.Wait()
	var errs []error
	for _, c := range m.later {
		errs = append(errs, s.client.Do(ctx, c))
	}
	if m.prefer != anyNetwork {
		errs = append(errs, s.prefer(ctx, m.prefer)) // before the others may be used
	}
	for _, c := range m.rest {
		errs = append(errs, s.client.Do(ctx, c))
	}
	s.turn <- struct{}{}
	// Of what is heard in the time of this move something may have happened before: it is overtaken if this one has chosen.
	if l := s.landed.Load(); l != m.last && l.network != m.prefer && (m.prefer == anyNetwork || l.at.After(m.began)) {
		errs = append(errs, s.prefer(ctx, l.network))
	}
	if err := errors.Join(errs...); err != nil {
		s.log.Warn("networks of wpa_supplicant are not as they were before the move", "point", m.point, "err", err)
	}
}
