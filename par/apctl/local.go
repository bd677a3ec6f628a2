package apctl

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
)

// LocalConfig is an access point whose hostapd runs on this machine.
type LocalConfig struct {
	Info
	Socket  string        // hostapd's control socket: ctrl_interface/interface
	Dir     string        // for our own sockets: see wpactrl.Config
	Timeout time.Duration // for one command; default 2 s
	Ping    time.Duration // between looks whether hostapd is there; default 250 ms
	Log     *slog.Logger  // default: none
}

// localPing is short, so that a hostapd that was restarted has its keys before its stations are back.
const localPing = 250 * time.Millisecond

// Local is an access point whose hostapd runs on this machine.
type Local struct {
	keeper
	client *wpactrl.Client
	roster roster
}

var _ Point = (*Local)(nil)

// OpenLocal starts to look after an access point, and waits until hostapd is found or found to be missing, which is no error.
// What hostapd has cached is flushed: it may be of a run of ours that was killed.
func OpenLocal(ctx context.Context, cfg LocalConfig) (*Local, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Ping == 0 {
		cfg.Ping = localPing
	}
	client, err := wpactrl.Open(wpactrl.Config{Socket: cfg.Socket, Dir: cfg.Dir, Timeout: cfg.Timeout, Ping: cfg.Ping, Log: cfg.Log})
	if err != nil {
		return nil, fmt.Errorf("apctl: %s: %w", cfg.Name, err)
	}
	sub, err := client.Subscribe(wpactrl.EventStaConnected, wpactrl.EventHandshakeDone, wpactrl.EventStaDisconnected)
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("apctl: %s: %w", cfg.Name, err)
	}
	l := &Local{client: client}
	l.roster.reset(time.Now())
	l.init(cfg.Info, cfg.Socket, hostapd{client, cfg.Info, &l.roster}, cfg.Log)
	known := make(chan struct{})
	l.wg.Go(l.loop)
	l.wg.Go(func() { l.listen(sub, known) })
	select {
	case <-known:
		return l, nil
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("apctl: %s: %w", cfg.Name, ctx.Err()), l.Close())
	}
}

// listen follows hostapd's coming and going. It closes known when it has seen the first of it.
func (l *Local) listen(sub *wpactrl.Subscription, known chan struct{}) {
	defer sub.Close()
	var again <-chan time.Time // to verify once more: a configuration can be reloaded
	for {
		verify := false
		select {
		case <-l.ctx.Done():
			return
		case <-again:
			verify = true
		case e, ok := <-sub.C:
			if !ok {
				return
			}
			switch {
			case e.Kind == wpactrl.Gone:
				again = nil
				l.lost(fmt.Errorf("%w: %s", ErrAway, e.Rest))
			case e.Kind == wpactrl.Back || e.Missed > 0: // what was missed may have been a restart
				l.roster.reset(e.At)
				verify = true
			default:
				l.station(e)
				continue
			}
		}
		if verify {
			again = nil
			if err := l.verify(); err != nil {
				l.lost(err)
				again = time.After(retryAfter)
			} else {
				l.reached()
			}
		}
		if known != nil {
			close(known)
			known = nil
		}
	}
}

// station takes note of where stations are.
func (l *Local) station(e wpactrl.Event) {
	station := e.Peer()
	switch {
	case station.IsZero():
	case e.Name == wpactrl.EventStaConnected, e.Name == wpactrl.EventHandshakeDone:
		l.roster.came(station, e.At)
		l.saw(Seen{Station: station, At: e.At})
	case e.Name == wpactrl.EventStaDisconnected:
		l.roster.went(station)
		l.saw(Seen{Station: station, Gone: true, At: e.At})
	}
}

// verify compares hostapd's configuration with ours.
func (l *Local) verify() error {
	answer, err := l.client.Command(l.ctx, "GET_CONFIG")
	if err != nil {
		return away(err)
	}
	f := wpactrl.Lines(answer)
	if got := f.MAC("bssid"); got != l.info.BSSID {
		return fmt.Errorf("%w: hostapd on %s has BSSID %v, the configuration says %v", ErrMismatch, l.where, got, l.info.BSSID)
	}
	if got := strings.Fields(f["key_mgmt"]); !slices.Contains(got, l.info.AKM.String()) {
		return fmt.Errorf("%w: hostapd on %s has key_mgmt %q, the configuration says %v: add it to wpa_key_mgmt", ErrMismatch,
			l.where, strings.Join(got, " "), l.info.AKM)
	}
	return nil
}

// Close implements Point.
func (l *Local) Close() error {
	done, err := l.close()
	if done {
		return nil
	}
	return errors.Join(err, l.client.Close())
}

// hostapd is access by control socket.
type hostapd struct {
	client *wpactrl.Client
	info   Info
	roster *roster
}

func (h hostapd) add(ctx context.Context, k Key) error {
	id, err := keys.PMKID(h.info.AKM, k.PMK, h.info.BSSID, k.Station)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return h.set(ctx, k.Station, id[:], k.PMK, k.Lifetime)
}

// set puts a PMKSA where the station's is.
func (h hostapd) set(ctx context.Context, station wpactrl.MAC, id []byte, pmk *keys.Secret, life time.Duration) error {
	seconds := int(max(life, MinLifetime) / time.Second) // 0 would be twelve hours
	return away(h.client.Do(ctx, fmt.Sprintf("PMKSA_ADD %v %s ? %d %d", station, hex.EncodeToString(id), seconds, wpactrl.KeyMgmt(h.info.AKM)), pmk))
}

// remove puts a key there that nobody has, since hostapd cannot remove one, for the shortest life it knows.
func (h hostapd) remove(ctx context.Context, station wpactrl.MAC) error {
	return errors.Join(h.replace(ctx, station), h.ended(ctx, station))
}

func (h hostapd) replace(ctx context.Context, station wpactrl.MAC) error {
	b := make([]byte, keys.PMKIDLen+keys.PMKLen)
	_, _ = rand.Read(b) // never fails
	pmk := keys.NewSecret(b[keys.PMKIDLen:])
	defer pmk.Clear()
	return h.set(ctx, station, b[:keys.PMKIDLen], pmk, MinLifetime)
}

// ended deauthenticates a station that is there by a key of ours. One that has done 802.1X since owes us nothing.
func (h hostapd) ended(ctx context.Context, station wpactrl.MAC) error {
	answer, err := h.client.Command(ctx, "STA "+station.String())
	if errors.Is(err, wpactrl.ErrFail) {
		return nil // it is not there
	}
	if err != nil {
		return away(err)
	}
	if s, err := wpactrl.ParseStation(answer); err == nil && s.EAP != 0 {
		return nil
	}
	return away(h.client.Do(ctx, "DEAUTHENTICATE "+station.String()))
}

// left drops a station that was seen elsewhere since. Such news can be old: where this machine or the other one is busy, it comes
// when the station has long been here again. So it must not have been heard here since, either.
func (h hostapd) left(ctx context.Context, station wpactrl.MAC, since time.Time) error {
	if h.roster.mayBeAfter(station, since) {
		return nil // it has come back
	}
	if answer, err := h.client.Command(ctx, "STA "+station.String()); err == nil {
		if s, err := wpactrl.ParseStation(answer); err == nil && s.Inactive >= 0 && s.Inactive < time.Since(since) {
			return nil
		}
	}
	return away(h.client.Do(ctx, "DEAUTHENTICATE "+station.String()+" tx=0")) // it would go to a station that is elsewhere
}

func (h hostapd) flush(ctx context.Context) error {
	return away(h.client.Do(ctx, "PMKSA_FLUSH"))
}

// away says in this package's terms what went wrong at a control socket.
func away(err error) error {
	switch {
	case errors.Is(err, wpactrl.ErrGone):
		return fmt.Errorf("%w: %w", ErrAway, err)
	case errors.Is(err, wpactrl.ErrFail), errors.Is(err, wpactrl.ErrUnknownCommand):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}
