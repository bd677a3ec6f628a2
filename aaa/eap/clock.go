package eap

import (
	"crypto/x509"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// ErrClock is the reason of a CertificateError when it is not the certificate that is
// out of date but, plainly, the clock it is compared with. errors.Is says ErrExpired or
// ErrNotYetValid of it, too.
var ErrClock = errors.New("the clock of this machine is wrong")

const (
	// slack is what a clock may be wrong by, and is nobody's reason.
	slack = 24 * time.Hour

	// lateness is how long after the end of every certificate at hand a clock is not
	// believed any more.
	lateness = 2 * 365 * 24 * time.Hour
)

// written is when this was: no clock that is right says earlier.
var written = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// made is when the program was: of its source if it says so, else written.
var made = sync.OnceValue(func() time.Time {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return written
	}
	for _, s := range info.Settings {
		if s.Key != "vcs.time" {
			continue
		}
		if at, err := time.Parse(time.RFC3339, s.Value); err == nil && at.After(written) {
			return at
		}
	}
	return written
})

const setClock = "set it, by timedatectl set-ntp true or otherwise"

// blameClock looks for a clock that is plainly wrong behind a certificate that is
// refused for its dates. certs are all that should be valid at the same time.
func (e *CertificateError) blameClock(now time.Time, certs []*x509.Certificate) {
	if e.Reason != ErrExpired && e.Reason != ErrNotYetValid || len(certs) == 0 {
		return
	}
	first, last := certs[0], certs[0] // the first to become valid, the last to end
	for _, c := range certs[1:] {
		if c.NotBefore.Before(first.NotBefore) {
			first = c
		}
		if c.NotAfter.After(last.NotAfter) {
			last = c
		}
	}
	why := ""
	switch {
	case now.Before(made().Add(-slack)):
		why = "before this program was made, " + stamp(made())
	case now.Before(first.NotBefore.Add(-slack)):
		why = "before any certificate at hand is valid; the first is from " + stamp(first.NotBefore)
	case now.After(last.NotAfter.Add(lateness)):
		why = "long after every certificate at hand has ended; the last was valid until " + stamp(last.NotAfter)
	default:
		e.Detail += "; the clock here says " + stamp(now)
		return
	}
	e.Err = errors.Join(e.Reason, e.Err)
	e.Reason, e.Detail = ErrClock, fmt.Sprintf("it says %s, which is %s; %s", stamp(now), why, setClock)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }

// outOfDate says what is wrong with the dates of our own certificate, empty if nothing.
func outOfDate(c *x509.Certificate, now time.Time) string {
	switch {
	case c == nil:
		return ""
	case now.After(c.NotAfter):
		return fmt.Sprintf("our client certificate was valid until %s, and the clock here says %s; get a new one", stamp(c.NotAfter), stamp(now))
	case now.Before(c.NotBefore):
		return fmt.Sprintf("our client certificate is valid from %s, and the clock here says %s; is the clock right?", stamp(c.NotBefore), stamp(now))
	}
	return ""
}
