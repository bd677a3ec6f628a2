package ha

import (
	"fmt"
	"net/netip"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/ha/path"
	"openmpa/mn/mobility/mip4"
)

// Notice says what happened, for the timeline.
type Notice struct {
	What     string
	Home     netip.Addr
	CareOf   netip.Addr
	Also     []netip.Addr // further care-of addresses
	Previous netip.Addr   // care-of address before, if it changed
	Path     uint64       // path identification, 0: without markers
	Lifetime time.Duration
	Code     mip4.Code
	Reason   string // of a denial
	Released int    // packets that had waited
}

// The values of Notice.What.
const (
	NoticeBound        = "bound"         // first binding
	NoticeMoved        = "moved"         // another care-of address
	NoticeBeside       = "beside"        // one more care-of address, where the node is not yet
	NoticeRenewed      = "renewed"       // the same care-of address
	NoticeRestored     = "restored"      // kept over the end of the home agent before
	NoticeUnbound      = "unbound"       // deregistered
	NoticeExpired      = "expired"       // lifetime over
	NoticeDenied       = "denied"        // a request was denied
	NoticeMarker       = "marker"        // the mobile node's marker came
	NoticeMarkerMissed = "marker-missed" // it did not, in time
)

// Marked says that a marker came.
func Marked(home netip.Addr, o path.Opened) Notice {
	return Notice{What: NoticeMarker, Home: home, CareOf: o.CareOf, Path: o.ID, Released: o.Released}
}

// Missed says that none did, in time.
func Missed(home netip.Addr, o path.Opened) Notice {
	n := Marked(home, o)
	n.What = NoticeMarkerMissed
	return n
}

// Record puts a notice into the timeline.
func (n Notice) Record(r *event.Recorder) {
	attrs := []any{"home_address", n.Home.String()}
	if n.CareOf.IsValid() {
		attrs = append(attrs, "care_of", n.CareOf.String())
	}
	if len(n.Also) > 0 {
		attrs = append(attrs, "also", fmt.Sprint(n.Also))
	}
	if n.Previous.IsValid() {
		attrs = append(attrs, "previous_care_of", n.Previous.String())
	}
	if n.Path != 0 {
		attrs = append(attrs, "path", fmt.Sprintf("%016x", n.Path))
	}
	if n.Lifetime > 0 {
		attrs = append(attrs, "lifetime_s", lifetimeSeconds(n.Lifetime))
	}
	switch n.What {
	case NoticeDenied:
		attrs = append(attrs, "code", int(n.Code), "meaning", n.Code.String(), "reason", n.Reason)
	case NoticeMarker, NoticeMarkerMissed:
		attrs = append(attrs, "released", n.Released)
	}
	r.Point(event.HandoverID{}, event.PhaseBind, n.What, attrs...)
}

func lifetimeSeconds(d time.Duration) int64 {
	if d == mip4.Infinite {
		return mip4.LifetimeInfinite
	}
	return int64(d / time.Second)
}
