package apctl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
)

// Info says which access point it is.
type Info struct {
	Name  string      `json:"name"` // the point of attachment's, as in the configuration
	BSSID wpactrl.MAC `json:"bssid"`
	AKM   keys.AKM    `json:"akm"` // number of the suite under 00-0f-ac
}

const maxName = 64 // octets of a point's name

func (i Info) check() error {
	switch {
	case i.Name == "" || len(i.Name) > maxName:
		return fmt.Errorf("apctl: access point %.80q: expected a name of 1 to %d characters", i.Name, maxName)
	case i.BSSID.IsZero() || i.BSSID.IsGroup():
		return fmt.Errorf("apctl: access point %s: BSSID %v: expected the address of one access point", i.Name, i.BSSID)
	case wpactrl.KeyMgmt(i.AKM) == 0:
		return fmt.Errorf("apctl: access point %s: suite %v: expected %v or %v", i.Name, i.AKM, keys.AKM8021X, keys.AKM8021XSHA256)
	}
	return nil
}

// Limits of a key's life at an access point. What is longer is renewed by re-authentication.
const (
	MinLifetime = time.Second // hostapd counts in seconds, and takes less for twelve hours
	MaxLifetime = 7 * 24 * time.Hour
)

// Key is what one station and one access point share.
type Key struct {
	Station  wpactrl.MAC
	PMK      *keys.Secret  // 32 octets; stays the caller's
	Lifetime time.Duration // from now, at most that of the MSK (RFC 5807 section 3.4); whole seconds count
}

func (k Key) check() error {
	switch {
	case k.Station.IsZero() || k.Station.IsGroup():
		return fmt.Errorf("apctl: station %v: expected the address of one station", k.Station)
	case k.PMK.Len() != keys.PMKLen:
		return fmt.Errorf("apctl: station %v: expected a PMK of %d octets, got %d", k.Station, keys.PMKLen, k.PMK.Len())
	case k.Lifetime < MinLifetime || k.Lifetime > MaxLifetime:
		return fmt.Errorf("apctl: station %v: lifetime %v: expected %v to %v", k.Station, k.Lifetime, MinLifetime, MaxLifetime)
	}
	return nil
}

// Errors of access points.
var (
	// ErrAway: the access point cannot be reached. An Install is remembered and done when it can.
	ErrAway = errors.New("the access point cannot be reached")
	// ErrMismatch: the access point is not the one of the configuration, or has not its suite.
	ErrMismatch = errors.New("the access point is not as configured")
	// ErrRefused: the access point does not take the key.
	ErrRefused = errors.New("the access point refuses")
	// ErrFull: there are as many stations as an access point can hold.
	ErrFull = errors.New("too many stations")
	// ErrClosed: the access point's controller was closed.
	ErrClosed = errors.New("closed")
)

// Seen is a station that has come to an access point, or gone from it.
type Seen struct {
	Station wpactrl.MAC
	Gone    bool
	At      time.Time
}

// Point is one access point. Its methods may be called by several goroutines.
type Point interface {
	Info() Info
	// Install gives the access point a station's key in place of any before. After ErrAway, and errors that leave it open
	// whether it came through, it is tried again by itself; after ErrMismatch, ErrRefused and ErrFull it is not.
	Install(ctx context.Context, k Key) error
	// Remove takes the station's key and association. It is done by itself later if it fails now.
	Remove(ctx context.Context, station wpactrl.MAC) error
	// Left tells the access point, without waiting, that the station was seen at another one at since, which it would notice
	// late; it does nothing if the station has come back after that. The key stays.
	Left(station wpactrl.MAC, since time.Time)
	// Watch has f called when a station that has a key here has come, or gone. f must not wait.
	Watch(f func(Seen))
	Status() Status
	Close() error
}

// Status is what is known of an access point, for people.
type Status struct {
	Info
	Where    string `json:"where"`              // control socket, or the agent's address
	Up       bool   `json:"up"`                 // reached, and as configured
	Why      string `json:"why,omitempty"`      // when not up
	Keys     int    `json:"keys"`               // that it should have
	Pending  bool   `json:"pending,omitempty"`  // it has not what it should have yet
	Restored int    `json:"restored,omitempty"` // times that keys were put in again
}
