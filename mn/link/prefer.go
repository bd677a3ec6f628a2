package link

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"openmpa/internal/wpactrl"
)

// preference is the network whose priority we have raised.
type preference struct {
	network int // anyNetwork: none
	before  int // its priority
}

// prefer has wpa_supplicant stay with a network. Among networks of one priority it takes the first of its configuration at any
// scan of its own, and leaves the present one for it, be it half a second after a move. The priority is one of the few
// variables whose change takes no keys (tried with 2.10: this, bssid and bssid_hint).
func (s *Supplicant) prefer(ctx context.Context, network int) error {
	s.preferring.Lock()
	defer s.preferring.Unlock()
	if s.preferred.network == network {
		return nil
	}
	list, err := s.networks(ctx)
	if err != nil || len(list) < 2 {
		return err
	}
	own, most := 0, 0
	for i, n := range list {
		p, err := s.priority(ctx, n.ID)
		if err != nil {
			return err
		}
		if n.ID == s.preferred.network {
			p = s.preferred.before
		}
		if n.ID == network {
			own = p
		} else if i == 0 || p > most {
			most = p
		}
	}
	if own <= most {
		if err := s.setPriority(ctx, network, most+1); err != nil {
			return err
		}
	}
	last := s.preferred
	s.preferred = preference{network, own}
	if last.network == anyNetwork {
		return nil
	}
	return s.setPriority(ctx, last.network, last.before)
}

// preferNone puts the priorities back.
func (s *Supplicant) preferNone(ctx context.Context) error {
	s.preferring.Lock()
	defer s.preferring.Unlock()
	last := s.preferred
	if s.preferred.network = anyNetwork; last.network == anyNetwork {
		return nil
	}
	return s.setPriority(ctx, last.network, last.before)
}

// preferNobody forgets: a wpa_supplicant that was started anew has the priorities of its configuration.
func (s *Supplicant) preferNobody() {
	s.preferring.Lock()
	defer s.preferring.Unlock()
	s.preferred.network = anyNetwork
}

func (s *Supplicant) priority(ctx context.Context, network int) (int, error) {
	answer, err := s.client.Command(ctx, fmt.Sprintf("GET_NETWORK %d priority", network))
	if errors.Is(err, wpactrl.ErrFail) { // not set
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("link: %w", err)
	}
	p, err := strconv.Atoi(answer)
	if err != nil {
		return 0, fmt.Errorf("link: %w to GET_NETWORK: %q is no priority", wpactrl.ErrAnswer, wpactrl.Printable(answer))
	}
	return p, nil
}

func (s *Supplicant) setPriority(ctx context.Context, network, p int) error {
	if err := s.client.Do(ctx, fmt.Sprintf("SET_NETWORK %d priority %d", network, p)); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	return nil
}
