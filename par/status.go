package par

import (
	"openmpa/internal/event"
	"openmpa/internal/wpactrl"
	"openmpa/par/apctl"
	"openmpa/tunnel/flow"
)

// Status of a router, as the control socket gives it.
type Status struct {
	Access   string          `json:"access"`
	Address  string          `json:"address"`
	Device   string          `json:"device"`
	Visitors []VisitorStatus `json:"visitors"`
	Stray    uint64          `json:"stray_packets"` // came through the TUN for nobody
	// Dropped are packets by reason: of tunnels, and of visitors that are gone.
	Dropped map[string]uint64 `json:"dropped"`
	// Unclaimed are leases that no session holds.
	Unclaimed []UnclaimedLease `json:"unclaimed,omitempty"`
	// Points are the access points that are given nodes' keys.
	Points []apctl.Status `json:"access_points,omitempty"`
}

// UnclaimedLease is a lease in a Status that will be claimed or given back.
type UnclaimedLease struct {
	Address string `json:"address"`
	MAC     string `json:"mac"`
	Stage   string `json:"stage"` // how far the node had come: leased, prepared or arrived
}

// VisitorStatus is one mobile node in a Status.
type VisitorStatus struct {
	SID      uint32                 `json:"sid"`
	Address  string                 `json:"address,omitempty"`
	MAC      string                 `json:"mac,omitempty"`
	Station  *wpactrl.MAC           `json:"station,omitempty"` // that has this session's keys at the access points
	Mode     string                 `json:"mode"`
	Outer    string                 `json:"outer,omitempty"` // where the tunnel leads
	Handover *event.HandoverID      `json:"handover,omitempty"`
	Packets  uint64                 `json:"packets"`
	Tunneled uint64                 `json:"tunneled"`
	Linked   uint64                 `json:"linked"`
	Queued   uint64                 `json:"queued"`
	Dropped  map[flow.Reason]uint64 `json:"dropped,omitempty"`
	Forced   uint64                 `json:"forced_flips"`
}

// Status returns what the router holds at the moment.
func (r *Router) Status() Status {
	s := Status{Access: r.cfg.Access, Address: r.cfg.Address.String(), Device: r.dev.Name(), Stray: r.stray.Load(), Dropped: map[string]uint64{}, Visitors: []VisitorStatus{}}
	for why, n := range r.endpoint.Dropped() {
		s.Dropped["tunnel: "+string(why)] = n
	}
	r.mu.Lock()
	for why, n := range r.gone {
		s.Dropped["visitors before: "+string(why)] = n
	}
	r.mu.Unlock()
	for _, v := range r.visitors() {
		s.Visitors = append(s.Visitors, v.status())
	}
	s.Unclaimed = r.leases.unclaimed()
	if r.cfg.Points != nil {
		s.Points = r.cfg.Points.Status()
	}
	return s
}

func (v *visitor) status() VisitorStatus {
	v.mu.Lock()
	defer v.mu.Unlock()
	d := v.total()
	s := VisitorStatus{
		SID: v.sid, Mode: v.group.Mode().String(), Packets: d.In, Tunneled: d.Tunneled, Linked: d.Linked, Queued: d.Queued,
		Dropped: d.Dropped, Forced: d.ForcedFlips,
	}
	if v.lease != nil {
		s.Address, s.MAC = v.lease.Addr.String(), v.mac.String()
	}
	s.Station = v.r.links.station(v)
	if v.tunnel != nil {
		s.Outer = v.tunnel.Peer().String()
	}
	if !v.handover.IsZero() {
		id := v.handover
		s.Handover = &id
	}
	return s
}
