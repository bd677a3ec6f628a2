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
	point string
	key   Key // with a PMK of our own
	until time.Time
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
	h := &held{point: poa, key: k, until: time.Now().Add(k.Lifetime)}
	h.key.PMK = k.PMK.Clone()
	if err := s.hold(p.BSSID, h); err != nil {
		return err
	}
	return s.setKey(ctx, poa, k)
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

// RemoveKey implements Keyer: a key nobody has takes its place and ends when it would have. The present attachment stays, and
// nothing is sent. PMKSA_FLUSH would take all keys, and leave the present access point; a key that ends soon has
// wpa_supplicant authenticate in full with whom it is attached to then.
func (s *Supplicant) RemoveKey(ctx context.Context, poa string) error {
	p, err := s.place(poa)
	if err != nil {
		return err
	}
	_ = s.hold(p.BSSID, nil) // forgetting cannot fail
	list, err := s.pmksa(ctx)
	for _, e := range list {
		if e.Addr == p.BSSID {
			return s.spoil(ctx, poa, e.Expires)
		}
	}
	return err
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

func (s *Supplicant) spoil(ctx context.Context, poa string, left time.Duration) error {
	b := make([]byte, keys.PMKLen)
	_, _ = rand.Read(b) // never fails
	nobodys := keys.NewSecret(b)
	defer nobodys.Clear()
	return s.setKey(ctx, poa, Key{PMK: nobodys, AKM: keys.AKM8021X, Lifetime: max(left, time.Second)})
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

// setKey gives wpa_supplicant a key. At the end of a key it authenticates in full, at the point where it then is: the time for
// that cannot be behind the end.
func (s *Supplicant) setKey(ctx context.Context, poa string, k Key) error {
	p, err := s.place(poa)
	if err != nil {
		return err
	}
	st, err := s.status(ctx)
	if err != nil {
		return err
	}
	network, _, err := s.network(ctx, p, st)
	if err != nil {
		return err
	}
	id, err := keys.PMKID(k.AKM, k.PMK, p.BSSID, st.Address)
	if err != nil {
		return fmt.Errorf("link: key of %s: %w", poa, err)
	}
	seconds := int(k.Lifetime / time.Second)
	err = s.client.Do(ctx, fmt.Sprintf("PMKSA_ADD %d %v %x ? %d %d %d 0", network, p.BSSID, id, seconds, seconds,
		wpactrl.KeyMgmt(k.AKM)), k.PMK)
	if err != nil {
		return fmt.Errorf("link: key of %s: %w", poa, err)
	}
	return nil
}

// again gives all keys to a wpa_supplicant that was started anew.
func (s *Supplicant) again(ctx context.Context) {
	s.mu.Lock()
	all := make(map[string]Key)
	for _, h := range s.held {
		if left := time.Until(h.until); left >= time.Second {
			k := h.key
			k.PMK, k.Lifetime = k.PMK.Clone(), left
			all[h.point] = k
		}
	}
	s.mu.Unlock()
	var errs []error
	for _, poa := range slices.Sorted(maps.Keys(all)) {
		k := all[poa]
		errs = append(errs, s.setKey(ctx, poa, k))
		k.PMK.Clear()
	}
	if err := errors.Join(errs...); err != nil {
		s.log.Warn("wpa_supplicant was started anew and does not take all keys again: the next moves authenticate in full", "err", err)
	} else if len(all) > 0 {
		s.log.Info("wpa_supplicant was started anew: it has its keys again", "points", len(all))
	}
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
		err = s.spoil(ctx, name, e.Expires)
	}
	if err != nil {
		s.log.Warn("whether a run before left keys in wpa_supplicant is not known", "err", err)
	}
}
