package par

import (
	"time"

	"openmpa/internal/event"
	"openmpa/internal/wpactrl"
	"openmpa/par/apctl"
	"openmpa/par/neigh"
	"openmpa/tunnel/flow"
)

// Status of a router, as the control socket gives it.
type Status struct {
	Access   string          `json:"access"`
	Address  string          `json:"address"`
	Device   string          `json:"device"`
	Visitors []VisitorStatus `json:"visitors"`
	Stray    uint64          `json:"stray_packets"` // came through the TUN for nobody
	// Foreign is IP-in-IP that came for no tunnel: the kernel gives us that of others on this machine, too.
	Foreign uint64 `json:"foreign_ipip,omitempty"`
	// ARP is about the addresses of nodes that are away.
	ARP neigh.Stats `json:"arp"`
	// IPv6 is absent where it is not served.
	IPv6 *IPv6Status `json:"ipv6,omitempty"`
	// Buffer is what all visitors together hold, of what the router may hold.
	Buffer BufferStatus `json:"buffer"`
	// Dropped are packets by reason: of tunnels, and of visitors that are gone.
	Dropped map[string]uint64 `json:"dropped"`
	// Lingering are tunnels that nodes need no more, for packets that are still under way;
	// Late is how many packets have come by such ones.
	Lingering int    `json:"lingering_tunnels"`
	Late      uint64 `json:"late_packets"`
	// Again are packets given out a second time, of visitors that are gone, too: to both
	// places, or as the node had not got them.
	Again uint64 `json:"again"`
	// Unclaimed are leases that no session holds.
	Unclaimed []UnclaimedLease `json:"unclaimed,omitempty"`
	// Ahead are the addresses that are ready before anybody asks, of IPv4, and Ahead6 of IPv6.
	Ahead  *AheadStatus `json:"ahead,omitempty"`
	Ahead6 *AheadStatus `json:"ahead_ipv6,omitempty"`
	// Points are the access points that are given nodes' keys.
	Points []apctl.Status `json:"access_points,omitempty"`
}

// IPv6Status is what the router does for IPv6 on its access link.
type IPv6Status struct {
	Address string `json:"address"`
	Router  string `json:"router"` // as nodes know it
	// Advertiser is who sends the router advertisement that nodes are told of; nobody as yet if it is empty.
	Advertiser string      `json:"advertiser,omitempty"`
	Managed    bool        `json:"managed"` // addresses are of DHCPv6, by that advertisement
	Prefixes   []string    `json:"prefixes,omitempty"`
	ND         neigh.Stats `json:"nd"` // about the addresses of nodes that are away
}

func (s *stack) status(adverts *adverts) *IPv6Status {
	is := &IPv6Status{Address: s.address.String(), Router: s.router.String(), ND: s.proxy.Stats()}
	if ra, ok, _ := adverts.best(time.Now(), s); ok {
		is.Advertiser, is.Managed = ra.From.String(), ra.Managed
		for _, p := range ra.Prefixes {
			is.Prefixes = append(is.Prefixes, p.Prefix.String())
		}
	}
	return is
}

// UnclaimedLease is a lease in a Status that will be claimed or given back.
type UnclaimedLease struct {
	Address string `json:"address"`
	MAC     string `json:"mac"`
	Stage   string `json:"stage"` // how far the node had come: leased, prepared or arrived
}

// BufferStatus is the router's memory for packets in a Status.
type BufferStatus struct {
	flow.BankStats
	MostPackets int `json:"most_packets"`
	MostBytes   int `json:"most_bytes"`
	Moves       int `json:"moves_remembered"` // whose gap is known
}

// RoomStatus is a visitor's part of it: for one that is away, what was set aside.
type RoomStatus struct {
	Packets   int     `json:"packets"`           // held now
	Bytes     int     `json:"bytes"`             // octets of those
	HighWater int     `json:"high_water"`        // most packets held at a time
	HeldMS    float64 `json:"held_ms"`           // in sum
	Sized     int     `json:"sized_packets"`     // expected to be needed in this absence, or in the last one
	SizedFor  int     `json:"sized_bytes"`       // octets of those
	GapMS     float64 `json:"gap_expected_ms"`   // by which, and by the rates, it was sized
	Arriving  float64 `json:"arriving_bps"`      // what comes for the visitor through user space
	Overdue   bool    `json:"overdue,omitempty"` // it is away for longer than was expected
}

// VisitorStatus is one mobile node in a Status.
type VisitorStatus struct {
	SID      uint32                 `json:"sid"`
	Address  string                 `json:"address,omitempty"`
	MAC      string                 `json:"mac,omitempty"`
	Station  *wpactrl.MAC           `json:"station,omitempty"` // that has this session's keys at the access points
	Mode     string                 `json:"mode"`
	Peer     string                 `json:"peer"`            // where it speaks PANA from
	Outer    string                 `json:"outer,omitempty"` // where the tunnel leads
	Held     bool                   `json:"held,omitempty"`  // it has left, and may return to what it has here
	Handover *event.HandoverID      `json:"handover,omitempty"`
	Packets  uint64                 `json:"packets"`
	Tunneled uint64                 `json:"tunneled"`
	Linked   uint64                 `json:"linked"`
	Queued   uint64                 `json:"queued"`
	Buffer   RoomStatus             `json:"buffer"`
	Dropped  map[flow.Reason]uint64 `json:"dropped,omitempty"`
	Forced   uint64                 `json:"forced_flips"`
	// Bicast went to both places; Recovered was delivered again, since the node had not
	// got it, and no copy is left of Forgotten.
	Bicast    uint64 `json:"bicast,omitempty"`
	Recovered uint64 `json:"recovered,omitempty"`
	Forgotten uint64 `json:"forgotten,omitempty"`
	// Classes of traffic, each with its own mode.
	Classes map[string]ClassStatus `json:"classes"`
}

// ClassStatus is one class of one visitor's traffic.
type ClassStatus struct {
	Mode string `json:"mode"`
	flow.Stats
}

// Status returns what the router holds at the moment.
func (r *Router) Status() Status {
	s := Status{Access: r.cfg.Access, Address: r.cfg.Address.String(), Device: r.dev.Name(), Stray: r.stray.Load(), Dropped: map[string]uint64{}, Visitors: []VisitorStatus{}}
	s.Lingering, s.Late = r.endpoint.Lingering(), r.endpoint.Late()
	s.ARP = r.four.proxy.Stats()
	for _, stack := range r.stacks() {
		if stack.plain != nil {
			s.Foreign += stack.plain.Foreign()
		}
	}
	if r.six != nil {
		s.IPv6 = r.six.status(r.adverts)
	}
	for why, n := range r.endpoint.Dropped() {
		s.Dropped["tunnel: "+string(why)] = n
	}
	r.mu.Lock()
	for why, n := range r.gone {
		s.Dropped["visitors before: "+string(why)] = n
	}
	s.Again = r.again
	r.mu.Unlock()
	for _, v := range r.visitors() {
		x := v.status()
		s.Visitors, s.Again = append(s.Visitors, x), s.Again+x.Bicast+x.Recovered
	}
	s.Buffer = r.buffers.status()
	s.Unclaimed = r.leases.unclaimed()
	s.Ahead = r.four.pool.status(time.Now())
	if r.six != nil {
		s.Ahead6 = r.six.pool.status(time.Now())
	}
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
		SID: v.sid, Mode: v.group.Mode().String(), Peer: v.peer.String(), Held: v.held, Packets: d.In, Tunneled: d.Tunneled, Linked: d.Linked, Queued: d.Queued,
		Dropped: d.Dropped, Forced: d.ForcedFlips, Buffer: v.room.status(time.Now()), Bicast: d.Bicast, Recovered: d.Recovered, Forgotten: d.Forgotten,
		Classes: map[string]ClassStatus{},
	}
	for i := range v.group.Len() {
		class := v.group.Class(i)
		s.Classes[v.r.classes.Name(i)] = ClassStatus{Mode: class.Mode().String(), Stats: class.Stats()}
	}
	s.Buffer.Packets, s.Buffer.Bytes, s.Buffer.HighWater, s.Buffer.HeldMS = int(d.Queued), d.QueuedBytes, d.HighWater, float64(d.HeldFor)/1e6
	if v.lease != nil {
		s.Address, s.MAC = v.lease.Addr.String(), v.mac.String()
	} else if v.inner.IsValid() {
		s.Address, s.MAC = v.inner.String(), v.mac.String()
	}
	s.Station = v.r.links.station(v)
	if v.tunnel != nil && v.tunnel.Peer().IsValid() {
		s.Outer = v.tunnel.Peer().String()
	}
	if !v.handover.IsZero() {
		id := v.handover
		s.Handover = &id
	}
	return s
}
