package link

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"openmpa/internal/state"
	"openmpa/internal/wpactrl"
)

// foundKey is where the networks are kept as the wpa_supplicant of an interface had them, before its name.
const foundKey = "link/found/"

// found is wpa_supplicant's networks as they were before we changed any, for a run after one that was killed. It is written when we
// meet wpa_supplicant, never in a move, and lasts until Close.
type found struct {
	Socket   string         `json:"socket"` // which wpa_supplicant, see incarnation
	Networks []foundNetwork `json:"networks"`
}

type foundNetwork struct {
	ID       int         `json:"id"`
	SSID     string      `json:"ssid"`
	BSSID    wpactrl.MAC `json:"bssid"` // zero: any
	Disabled bool        `json:"disabled"`
	Priority int         `json:"priority"`
}

// incarnation tells one run of a daemon from the next, which makes its socket anew.
func incarnation(socket string) (string, error) {
	st, err := os.Stat(socket)
	if err != nil {
		return "", err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return "", errors.New("not a file of this system")
	}
	return fmt.Sprintf("%d:%d:%d", sys.Dev, sys.Ino, st.ModTime().UnixNano()), nil
}

// meet undoes what a run before us has left in the networks of this wpa_supplicant, and writes down how they are.
func (s *Supplicant) meet(ctx context.Context) error {
	if s.cfg.State == nil {
		return nil
	}
	socket, err := incarnation(s.cfg.Socket)
	if err != nil {
		return fmt.Errorf("link: %w", err)
	}
	list, err := s.networks(ctx)
	if err != nil {
		return err
	}
	switch was, _, err := state.GetJSON[found](s.cfg.State, foundKey+s.cfg.Interface); {
	case errors.Is(err, state.ErrNotFound):
	case err != nil:
		return fmt.Errorf("link: %w", err)
	case was.Socket == socket:
		return s.restore(ctx, was, list)
	}
	now := found{Socket: socket}
	for _, n := range list {
		p, err := s.priority(ctx, n.ID)
		if err != nil {
			return err
		}
		now.Networks = append(now.Networks, foundNetwork{
			ID: n.ID, SSID: n.SSID, BSSID: n.BSSID, Disabled: slices.Contains(n.Flags, "DISABLED"), Priority: p,
		})
	}
	if _, err := state.PutJSON(s.cfg.State, foundKey+s.cfg.Interface, now, time.Time{}); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	return nil
}

// restore makes of the networks in list what they were.
func (s *Supplicant) restore(ctx context.Context, was found, list []wpactrl.Network) (err error) {
	for _, f := range was.Networks {
		i := slices.IndexFunc(list, func(n wpactrl.Network) bool { return n.ID == f.ID && n.SSID == f.SSID })
		if i < 0 {
			continue // somebody else has changed them
		}
		if list[i].BSSID != f.BSSID {
			bssid := "any"
			if !f.BSSID.IsZero() {
				bssid = f.BSSID.String()
			}
			err = errors.Join(err, s.client.Do(ctx, fmt.Sprintf("SET_NETWORK %d bssid %s", f.ID, bssid)))
		}
		p, e := s.priority(ctx, f.ID)
		if e == nil && p != f.Priority {
			e = s.setPriority(ctx, f.ID, f.Priority)
		}
		err = errors.Join(err, e)
	}
	for _, f := range was.Networks { // with the priorities right, and only then
		i := slices.IndexFunc(list, func(n wpactrl.Network) bool { return n.ID == f.ID && n.SSID == f.SSID })
		if i >= 0 && !f.Disabled && slices.Contains(list[i].Flags, "DISABLED") {
			err = errors.Join(err, s.client.Do(ctx, fmt.Sprintf("ENABLE_NETWORK %d no-connect", f.ID)))
		}
	}
	if err != nil {
		return fmt.Errorf("link: %w", err)
	}
	return nil
}

// part forgets how the networks were, which they are again.
func (s *Supplicant) part() error {
	if s.cfg.State == nil {
		return nil
	}
	return s.cfg.State.Delete(foundKey + s.cfg.Interface)
}
