package radio

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"openmpa/internal/wpactrl"
)

// A Roamer moves a station by hand, and times it by wpa_supplicant's events. It
// is not safe for concurrent use.
type Roamer struct {
	client *wpactrl.Client
	sub    *wpactrl.Subscription
}

// A Timing is what a roam, or an authentication, took.
type Timing struct {
	Begin time.Time // when the command was sent
	// Leave is when wpa_supplicant first said that it goes elsewhere; zero: it
	// did not say.
	Leave time.Time
	Total time.Duration // from Begin until the 4-way handshake, or what stands for it, was done
	// EAP is the part of Total from the start of the first EAP exchange to the
	// success of the last; 0: there was none.
	EAP time.Duration
	// EAPs counts the exchanges that began.
	EAPs int
}

// eapStarted and eapSuccess are wpa_supplicant's events of an EAP exchange, of
// pre-authentication, too.
const (
	eapStarted = "CTRL-EVENT-EAP-STARTED"
	eapSuccess = "CTRL-EVENT-EAP-SUCCESS"
	eapFailure = "CTRL-EVENT-EAP-FAILURE"
)

// NewRoamer talks to the wpa_supplicant behind a control socket; its own
// sockets are made below dir.
func NewRoamer(ctx context.Context, socket, dir string) (*Roamer, error) {
	c, err := wpactrl.Open(wpactrl.Config{Socket: socket, Dir: dir, Timeout: askLimit})
	if err != nil {
		return nil, err
	}
	r := &Roamer{client: c}
	if r.sub, err = c.Subscribe(); err == nil {
		_, err = r.next(ctx) // from here on events come
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("radio: %w", err), c.Close())
	}
	return r, nil
}

// Close ends it; the station stays as it is.
func (r *Roamer) Close() error { return r.client.Close() }

// Do sends commands that are answered by OK.
func (r *Roamer) Do(ctx context.Context, commands ...string) error {
	for _, c := range commands {
		if err := r.client.Do(ctx, c); err != nil {
			return fmt.Errorf("radio: %w", err)
		}
	}
	return nil
}

// Status is where the station is.
func (r *Roamer) Status(ctx context.Context) (wpactrl.Status, error) {
	answer, err := r.client.Command(ctx, "STATUS")
	if err != nil {
		return wpactrl.Status{}, fmt.Errorf("radio: %w", err)
	}
	return wpactrl.ParseStatus(answer)
}

// Join leaves where the station is, forgets all keys and joins an ESS, by the
// number of its block, at one access point.
func (r *Roamer) Join(ctx context.Context, network int, bssid wpactrl.MAC) (Timing, error) {
	err := r.Do(ctx, "DISCONNECT", "PMKSA_FLUSH", fmt.Sprintf("SET_NETWORK %d bssid %v", network, bssid))
	if err != nil {
		return Timing{}, err
	}
	t, err := r.timed(ctx, fmt.Sprintf("SELECT_NETWORK %d", network), connectedTo(bssid))
	return t, errors.Join(err, r.Do(context.WithoutCancel(ctx), fmt.Sprintf("SET_NETWORK %d bssid any", network)))
}

// Scan looks for access points on some channels, so that a roam need not. The
// station stays where it is, as it does not after every scan.
func (r *Roamer) Scan(ctx context.Context, freqs ...int) error {
	words := make([]string, len(freqs))
	for i, f := range freqs {
		words[i] = strconv.Itoa(f)
	}
	_, err := r.timed(ctx, "SCAN TYPE=ONLY freq="+strings.Join(words, ","), func(e wpactrl.Event) (bool, error) {
		if e.Name == wpactrl.EventScanFailed {
			return false, errors.New("the driver fails")
		}
		return e.Name == wpactrl.EventScanResults, nil
	})
	return err
}

// Roam moves to another access point of the ESS; with ds a fast transition goes
// over the distribution system.
func (r *Roamer) Roam(ctx context.Context, bssid wpactrl.MAC, ds bool) (Timing, error) {
	command := "ROAM "
	if ds {
		command = "FT_DS "
	}
	return r.timed(ctx, command+bssid.String(), connectedTo(bssid))
}

// PreAuthenticate authenticates at another access point of the ESS, through the
// present one. wpa_supplicant does so by itself behind a scan: a Timing
// without EAP says that it was done before.
func (r *Roamer) PreAuthenticate(ctx context.Context, bssid wpactrl.MAC) (Timing, error) {
	done := "pre-authentication with " + bssid.String()
	return r.timed(ctx, "PREAUTH "+bssid.String(), func(e wpactrl.Event) (bool, error) {
		line := e.Name + " " + e.Rest
		if !strings.Contains(line, done) {
			return false, nil
		}
		if !strings.Contains(line, "success") {
			return false, errors.New(wpactrl.Printable(line))
		}
		return true, nil
	})
}

// Leaves says whether an event is the first word of a move: of the old access
// point, or to the new one. With fast transition over the DS there is none before
// the association.
func Leaves(e wpactrl.Event) bool {
	switch e.Name {
	case wpactrl.EventDisconnected:
		return true
	case "SME:":
		return strings.HasPrefix(e.Rest, "Trying to authenticate")
	}
	return e.Name == "Trying" && strings.HasPrefix(e.Rest, "to associate")
}

// Away is the time from Leave to the end, less EAP.
func (t Timing) Away() time.Duration { return t.Total - t.Leave.Sub(t.Begin) - t.EAP }

// connectedTo waits for the end of the handshake with an access point.
func connectedTo(bssid wpactrl.MAC) func(wpactrl.Event) (bool, error) {
	ends := []string{wpactrl.EventAssocReject, wpactrl.EventAuthReject, wpactrl.EventTempDisabled, wpactrl.EventNotFound, eapFailure}
	return func(e wpactrl.Event) (bool, error) {
		switch {
		case slices.Contains(ends, e.Name):
			return false, fmt.Errorf("%s %s", e.Name, wpactrl.Printable(e.Rest))
		case e.Name == wpactrl.EventConnected && e.Peer() != bssid:
			return false, fmt.Errorf("connected to %v instead", e.Peer())
		}
		return e.Name == wpactrl.EventConnected, nil
	}
}

// timed sends a command and reads events until one is the end.
func (r *Roamer) timed(ctx context.Context, command string, end func(wpactrl.Event) (bool, error)) (t Timing, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("radio: %s: %w", command, err)
		}
	}()
	for stale := true; stale; { // what was before has nothing to say here
		select {
		case _, stale = <-r.sub.C:
		default:
			stale = false
		}
	}
	t.Begin = time.Now()
	if err := r.client.Do(ctx, command); err != nil {
		return t, err
	}
	var began time.Time
	for {
		e, err := r.next(ctx)
		if err != nil {
			return t, err
		}
		if t.Leave.IsZero() && Leaves(e) {
			t.Leave = e.At
		}
		switch e.Name {
		case eapStarted:
			if t.EAPs++; t.EAPs == 1 {
				began = e.At
			}
		case eapSuccess:
			if t.EAPs > 0 {
				t.EAP = e.At.Sub(began)
			}
		}
		last, err := end(e)
		if err != nil {
			return t, err
		}
		if last {
			t.Total = e.At.Sub(t.Begin)
			return t, nil
		}
	}
}

func (r *Roamer) next(ctx context.Context) (wpactrl.Event, error) {
	select {
	case e, ok := <-r.sub.C:
		switch {
		case !ok:
			return e, wpactrl.ErrClosed
		case e.Kind == wpactrl.Gone:
			return e, fmt.Errorf("wpa_supplicant is gone: %s", e.Rest)
		}
		return e, nil
	case <-ctx.Done():
		return wpactrl.Event{}, ctx.Err()
	}
}
