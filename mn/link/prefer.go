package link

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"openmpa/internal/wpactrl"
)

// preference is the network that wpa_supplicant is to stay with, and what we have done for that.
type preference struct {
	network int  // anyNetwork: none
	raised  bool // its priority was too low:
	before  int  // this
	to      int  // and is this, unless somebody else has set it since: then it is theirs
}

// prefer has wpa_supplicant stay with a network. Among networks of one priority it takes the first of its configuration at any
// scan of its own, and leaves the present one for it, be it half a second after a move. The priority is one of the few
// variables whose change takes no keys (tried with 2.10: this, bssid and bssid_hint).
func (s *Supplicant) prefer(ctx context.Context, network int) error {
	s.preferring.Lock()
	defer s.preferring.Unlock()
	last := s.preferred
	if last.network == network {
		return nil
	}
	list, err := s.networks(ctx)
	if err != nil || len(list) < 2 {
		return err
	}
	own, most, first := 0, 0, true
	for _, n := range list {
		p, err := s.priority(ctx, n.ID)
		if err != nil {
			return err
		}
		if n.ID == last.network {
			if last.raised = last.raised && p == last.to; last.raised {
				p = last.before
			}
		}
		if n.ID == network {
			own = p
		} else if first || p > most {
			most, first = p, false
		}
	}
	next := preference{network: network}
	if own <= most {
		next = preference{network: network, raised: true, before: own, to: most + 1}
		if err := s.setPriority(ctx, network, next.to); err != nil {
			return err
		}
	}
	s.preferred = next
	if !last.raised {
		return nil
	}
	return s.setPriority(ctx, last.network, last.before)
}

// preferNone puts the priority back.
func (s *Supplicant) preferNone(ctx context.Context) error {
	s.preferring.Lock()
	defer s.preferring.Unlock()
	last := s.preferred
	if s.preferred = (preference{network: anyNetwork}); !last.raised {
		return nil
	}
	p, err := s.priority(ctx, last.network)
	if err != nil || p != last.to {
		return err
	}
	return s.setPriority(ctx, last.network, last.before)
}

// preferNobody forgets: a wpa_supplicant that was started anew has the priorities of its configuration.
func (s *Supplicant) preferNobody() {
	s.preferring.Lock()
	defer s.preferring.Unlock()
	s.preferred = preference{network: anyNetwork}
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
