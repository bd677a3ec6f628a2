package link

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
)

const (
	maxHeld    = 256             // keys remembered
	forgetting = 2 * time.Second // for taking all keys at the end
)

// held is a key that was given to wpa_supplicant, for one that is started anew.
type held struct {
	point   string
	place   Place
	network int // wpa_supplicant's id
	key     Key // with a PMK of our own
	until   time.Time
}

// InstallKey implements Keyer. wpa_supplicant is given the key again when it was started anew, until the key ends or is removed.
func (s *Supplicant) InstallKey(ctx context.Context, poa string, k Key) error {
	if seconds := k.Lifetime / time.Second; seconds < 1 || seconds > 1<<31-1 {
		return fmt.Errorf("link: key of %s: lifetime %v: expected a second or more", poa, k.Lifetime)
	}
	p, err := s.place(poa)
	if err != nil {
		return err
	}
	if k.PMK.Len() != keys.PMKLen || wpactrl.KeyMgmt(k.AKM) == 0 {
		return fmt.Errorf("link: key of %s: %d octets for suite %v: expected %d for 802.1X", poa, k.PMK.Len(), k.AKM, keys.PMKLen)
	}
	h := &held{point: poa, place: p, network: anyNetwork, key: k, until: time.Now().Add(k.Lifetime)}
	h.key.PMK = k.PMK.Clone()
	if err := s.hold(p.BSSID, h); err != nil {
		return err
	}
	st, err := s.status(ctx)
	if err != nil {
		return err
	}
	network, err := s.block(ctx, p, st, anyNetwork)
	if err != nil {
		return err
	}
	s.mu.Lock()
	h.network = network
	s.mu.Unlock()
	if err := s.setKey(ctx, network, p.BSSID, st.Address, k); err != nil {
		return fmt.Errorf("link: key of %s: %w", poa, err)
	}
	return nil
}

// hold remembers a key in place of the one before; nil forgets it.
func (s *Supplicant) hold(bssid wpactrl.MAC, h *held) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(s.held, func(at wpactrl.MAC, old *held) bool {
		gone := at == bssid || !now.Before(old.until)
		if gone {
			old.key.PMK.Clear()
		}
		return gone
	})
	if h == nil {
		return nil
	}
	if len(s.held) == maxHeld {
		h.key.PMK.Clear()
		return fmt.Errorf("link: key of %s: there are %d keys already", h.point, maxHeld)
	}
	s.held[bssid] = h
	return nil
}

// holds says whether there is a key of ours for an access point.
func (s *Supplicant) holds(bssid wpactrl.MAC) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.held[bssid]
	return h != nil && time.Now().Before(h.until)
}

// RemoveKey implements Keyer. wpa_supplicant has no command for it that leaves the present attachment alone: PMKSA_FLUSH takes
// all keys and deauthenticates, and a key that is given a short life has it authenticate in full with whom it is attached to
// at the end. So:
//
//	of another network   any change of the network's variables takes all its keys: id_str there and back; then ours but this again
//	of the present one   a key nobody has takes its place and ends when it would have
func (s *Supplicant) RemoveKey(ctx context.Context, poa string) error {
	p, err := s.place(poa)
	if err != nil {
		return err
	}
	network := anyNetwork
	s.mu.Lock()
	if h := s.held[p.BSSID]; h != nil {
		network = h.network
	}
	s.mu.Unlock()
	_ = s.hold(p.BSSID, nil) // forgetting cannot fail
	return s.remove(ctx, poa, p, network)
}

func (s *Supplicant) remove(ctx context.Context, poa string, p Place, network int) error {
	left, err := s.lifetime(ctx, p.BSSID)
	if err != nil || left < 0 {
		return err
	}
	if err := s.take(ctx); err != nil { // else a move there may be under way
		return fmt.Errorf("link: key of %s: %w", poa, err)
	}
	defer func() { s.turn <- struct{}{} }()
	st, err := s.status(ctx)
	if err != nil {
		return err
	}
	if network, err = s.block(ctx, p, st, network); err != nil {
		return err
	}
	if network != st.Network && st.Network >= 0 {
		if err := s.flush(ctx, network); err != nil {
			return err
		}
		s.give(ctx, network)
		if left, err = s.lifetime(ctx, p.BSSID); err != nil || left < 0 {
			return err
		}
	}
	b := make([]byte, keys.PMKLen)
	_, _ = rand.Read(b) // never fails
	nobodys := keys.NewSecret(b)
	defer nobodys.Clear()
	err = s.setKey(ctx, network, p.BSSID, st.Address, Key{PMK: nobodys, AKM: keys.AKM8021X, Lifetime: max(left, time.Second)})
	if err != nil {
		return fmt.Errorf("link: key of %s: %w", poa, err)
	}
	return nil
}

// flush takes all keys of a network that is not the present one.
func (s *Supplicant) flush(ctx context.Context, network int) error {
	before, err := s.client.Command(ctx, fmt.Sprintf("GET_NETWORK %d id_str", network))
	if errors.Is(err, wpactrl.ErrFail) {
		before, err = "NULL", nil // which it has not
	}
	if err == nil {
		err = s.client.Do(ctx, fmt.Sprintf("SET_NETWORK %d id_str \"openmpa takes its keys\"", network))
	}
	if err == nil {
		err = s.client.Do(context.WithoutCancel(ctx), fmt.Sprintf("SET_NETWORK %d id_str %s", network, before))
	}
	if err != nil {
		return fmt.Errorf("link: keys of network %d: %w", network, err)
	}
	return nil
}

// lifetime is how long wpa_supplicant's key of an access point has to live; below 0: it has none.
func (s *Supplicant) lifetime(ctx context.Context, bssid wpactrl.MAC) (time.Duration, error) {
	list, err := s.pmksa(ctx)
	for _, e := range list {
		if e.Addr == bssid {
			return e.Expires, nil
		}
	}
	return -1, err
}

func (s *Supplicant) pmksa(ctx context.Context) ([]wpactrl.PMKSA, error) {
	answer, err := s.client.Command(ctx, "PMKSA")
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	list, err := wpactrl.ParsePMKSA(answer)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	return list, nil
}

// RemoveKeys implements Keyer.
func (s *Supplicant) RemoveKeys(ctx context.Context) error {
	s.mu.Lock()
	var points []string
	for _, h := range s.held {
		points = append(points, h.point)
	}
	s.mu.Unlock()
	var errs []error
	for _, poa := range points {
		errs = append(errs, s.RemoveKey(ctx, poa))
	}
	return errors.Join(errs...)
}

// block finds the id of the network a point's key is of, st is the present state. A point that has no name of the configuration
// is of the network that was the present one when its key came.
func (s *Supplicant) block(ctx context.Context, p Place, st wpactrl.Status, was int) (int, error) {
	if was != anyNetwork {
		return was, nil
	}
	network, _, err := s.network(ctx, p, st)
	return network, err
}

// setKey gives wpa_supplicant a key. At the end of a key it authenticates in full, at the point where it then is: the time for
// that cannot be behind the end.
func (s *Supplicant) setKey(ctx context.Context, network int, bssid, own wpactrl.MAC, k Key) error {
	id, err := keys.PMKID(k.AKM, k.PMK, bssid, own)
	if err != nil {
		return err
	}
	seconds := int(k.Lifetime / time.Second)
	return s.client.Do(ctx, fmt.Sprintf("PMKSA_ADD %d %v %x ? %d %d %d 0", network, bssid, id, seconds, seconds, wpactrl.KeyMgmt(k.AKM)), k.PMK)
}

// anyNetwork is what give takes for all of them.
const anyNetwork = -1

// give gives wpa_supplicant the keys of a network again. It returns how many it took.
func (s *Supplicant) give(ctx context.Context, network int) (given int) {
	s.mu.Lock()
	all := make(map[string]held)
	for _, h := range s.held {
		if left := time.Until(h.until); left >= time.Second && (network == anyNetwork || network == h.network) {
			one := *h
			one.key.PMK, one.key.Lifetime = h.key.PMK.Clone(), left
			all[h.point] = one
		}
	}
	s.mu.Unlock()
	st, err := s.status(ctx)
	for _, poa := range slices.Sorted(maps.Keys(all)) {
		h, block, failed := all[poa], anyNetwork, err
		if failed == nil {
			block, failed = s.block(ctx, h.place, st, h.network)
		}
		if failed == nil {
			failed = s.setKey(ctx, block, h.place.BSSID, st.Address, h.key)
		}
		h.key.PMK.Clear()
		if failed != nil {
			s.log.Warn("wpa_supplicant does not take a key again: the next move there authenticates in full", "point", poa, "err", failed)
			continue
		}
		given++
	}
	return given
}

// sweep takes what a run before us may have left: the keys of all points of the configuration but the present one. It is not
// said anywhere whose a key is. One that wpa_supplicant had made itself costs it one full authentication there; ours would be
// tried at an access point that has given it up, which costs seconds. The present one's is replaced by the next session's.
func (s *Supplicant) sweep(ctx context.Context) {
	list, err := s.pmksa(ctx)
	var st wpactrl.Status
	if err == nil && len(list) > 0 {
		st, err = s.status(ctx)
	}
	for _, e := range list {
		name, ours := s.names[e.Addr]
		if err != nil || !ours || e.Addr == st.BSSID || s.holds(e.Addr) {
			continue
		}
		err = s.remove(ctx, name, s.cfg.Points[name], anyNetwork)
	}
	if err != nil {
		s.log.Warn("whether a run before left keys in wpa_supplicant is not known", "err", err)
	}
}
