package decision

import (
	"fmt"
	"time"
)

// NetworkID and PointID number what an engine knows, from 1 on; 0 is none. What keeps its number and its name from one Know to
// the next keeps what the engine has learned of it; a number that goes to another name begins anew.
type (
	NetworkID uint16
	PointID   uint16
)

// Bounds of what an engine knows, and of one sample.
const (
	MaxNetworks = 64
	MaxPoints   = 1024
	MaxSeen     = 64
)

// Depth is how far a network is prepared (RFC 6252 appendix C.4).
type Depth uint8

// The depths, each with those before it.
const (
	None         Depth = iota
	Authenticate       // a session with its PAA
	Configure          // an address there
	Tunnel             // the proactive handover tunnel
	Bind               // the binding is at that address: of one network at a time
)

// String names the depth.
func (d Depth) String() string {
	switch d {
	case None:
		return "none"
	case Authenticate:
		return "authenticate"
	case Configure:
		return "configure"
	case Tunnel:
		return "tunnel"
	case Bind:
		return "bind"
	}
	return fmt.Sprintf("Depth(%d)", uint8(d))
}

// Times are what the steps of a preparation are expected to take, the mean of what was measured.
type Times struct {
	RTT       time.Duration // to the network's router, from where the node is
	Rounds    float32       // of the authentication: n of RFC 6252 appendix C.6
	Auth      time.Duration // of it besides the rounds: Tpsk
	Configure time.Duration // Tconf, detection of duplicates included
	Tunnel    time.Duration
	Bind      time.Duration
	Switch    time.Duration // the link is gone for
}

// To is how long a preparation takes from one depth to another: n·RTT + Tpsk (+ Tconf and so on).
func (t Times) To(from, to Depth) time.Duration {
	var sum time.Duration
	for d := from + 1; d <= to; d++ {
		switch d {
		case Authenticate:
			sum += time.Duration(float64(t.Rounds)*float64(t.RTT)) + t.Auth
		case Configure:
			sum += t.Configure
		case Tunnel:
			sum += t.Tunnel
		case Bind:
			sum += t.Bind
		}
	}
	return sum
}

// Place is a position in metres, east and north of wherever the map's origin is; without Known it is none.
type Place struct {
	X, Y  float32
	Known bool
}

// Network is one that the node could be in, the present one included.
type Network struct {
	ID    NetworkID
	Name  string
	Cost  float32 // of being there: its signal is worth so many dB less
	Most  Depth   // as far as it can be prepared: None where nobody knows its PAA
	Times Times
}

// onMap says whether it is known where the point is, and how far it reaches.
func (p *Point) onMap() bool { return p.Place.Known && p.Reach != 0 }

// Point is a point of attachment.
type Point struct {
	ID      PointID
	Network NetworkID
	Name    string
	Load    float32 // 0 to 1; less than 0: not known
	Place   Place
	Reach   float32 // metres; 0: not known
	Follows float32 // 0 to 1, of the moves away from the present point those that went here; less than 0: there were none
}
