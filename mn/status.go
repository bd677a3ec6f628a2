package mn

import (
	"openmpa/internal/neighbourhood"
	"openmpa/mn/decision"
	"openmpa/tunnel/flow"
)

// Status of a node, as the control socket gives it.
type Status struct {
	State      string            `json:"state"`
	Problem    string            `json:"problem,omitempty"` // why it is not attached, or has no session
	Network    string            `json:"network,omitempty"` // serving
	Interface  string            `json:"interface,omitempty"`
	Address    string            `json:"address,omitempty"` // care-of
	Router     string            `json:"router,omitempty"`
	Session    uint32            `json:"session,omitempty"`      // with the router, as it names it
	Home       string            `json:"home_address,omitempty"` // of Mobile IP
	HomeAgent  string            `json:"home_agent,omitempty"`
	Hook       string            `json:"hook,omitempty"`  // the executable that binds
	Bound      string            `json:"bound,omitempty"` // the care-of address of the uplink
	LeaseUntil string            `json:"lease_until,omitempty"`
	Routes     map[string]string `json:"routes,omitempty"`   // correspondents that send without the home agent, and to which care-of address
	Prepared   *PreparedStatus   `json:"prepared,omitempty"` // waits for its move
	Decision   *DecisionStatus   `json:"decision,omitempty"`
	Standing   []StandingStatus  `json:"standing,omitempty"` // what there is of other networks, the deepest first
	Counts     Preparations      `json:"preparations"`
	Standby    bool              `json:"standby"`         // a tunnel with the serving router stands by
	Guard      *GuardStatus      `json:"guard,omitempty"` // copies against a cut
	Uplink     *flow.Stats       `json:"uplink,omitempty"`
	Downlink   *flow.GateStats   `json:"downlink,omitempty"`
	Merged     []MergeStatus     `json:"merged,omitempty"` // downlink that came with numbers
	Dropped    map[string]uint64 `json:"dropped"`          // by reason, besides those of uplink and downlink

	Around neighbourhood.Counts `json:"around"` // of what is known of networks: see Surroundings
}

// Status returns what the node is doing at the moment.
func (n *Node) Status() Status {
	s := Status{Dropped: map[string]uint64{"stray": n.stray.Load()}}
	p := n.servingPort()
	n.mu.Lock()
	s.State, s.Problem, s.Prepared = n.state, n.why, n.complete().status()
	if c := p.carrier.look(); s.Problem == "" && c.known && !c.Up {
		s.Problem = errNoLink.Error()
	}
	dealt := []*candidate{n.serving}
	for _, st := range n.sorted() {
		s.Standing = append(s.Standing, st.standing())
		if st.depth >= decision.Tunnel {
			dealt = append(dealt, st.c)
		}
	}
	for _, c := range dealt {
		s.Merged = append(s.Merged, c.merged()...)
		if c != nil && c.path != nil {
			s.Dropped[comesAgain] += c.path.merges.doubled()
		}
	}
	s.Guard = n.guard.status()
	if c := n.serving; c != nil {
		s.Interface, s.Standby = c.port.name, c.tunnel.Load() != nil
		s.Network, s.Address, s.Router = c.net.Name, c.address.prefix().String(), c.address.router().String()
		if session := c.session.Load(); session != nil {
			s.Session = session.sid.Load()
		} else if why := c.trouble.Load(); why != nil && s.Problem == "" {
			s.Problem = "no session with the router: " + (*why).Error()
		}
		s.LeaseUntil = c.address.lease.Load().expires().UTC().Format("2006-01-02T15:04:05Z")
	}
	n.mu.Unlock()
	for why, count := range n.endpoint.Dropped() {
		s.Dropped["tunnel: "+string(why)] = count
	}
	n.home.status(&s)
	s.Decision, s.Around = n.decider.report(), n.discovery.Counts()
	s.Counts = n.Preparations()
	return s
}
