package neighbourhood

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
)

// Check says what makes n no statement of a network: a bound that is passed, or a value that cannot be.
func (n *Network) Check() error {
	switch {
	case !word(n.Name):
		return fmt.Errorf("name %.80q: expected 1 to %d printable ASCII characters without space", n.Name, MaxText)
	case n.Operator != "" && !word(n.Operator):
		return fmt.Errorf("operator %.80q: expected at most %d printable ASCII characters without space", n.Operator, MaxText)
	case len(n.Agents) > MaxAgents:
		return fmt.Errorf("%d agents, expected at most %d", len(n.Agents), MaxAgents)
	case len(n.Prefixes) > MaxPrefixes:
		return fmt.Errorf("%d prefixes, expected at most %d", len(n.Prefixes), MaxPrefixes)
	case len(n.Points) > MaxPoints:
		return fmt.Errorf("%d points, expected at most %d", len(n.Points), MaxPoints)
	case n.Cost != nil && !within(float64(*n.Cost), -maxCost, maxCost):
		return fmt.Errorf("cost %v dB, expected from %d to %d", *n.Cost, -maxCost, maxCost)
	case n.Hops > MaxHops:
		return fmt.Errorf("passed on by %d routers, expected at most %d", n.Hops, MaxHops)
	case n.Lifetime < 0:
		return fmt.Errorf("lifetime %v, expected none below 0", n.Lifetime)
	}
	for i := range n.Agents {
		if err := n.Agents[i].check(); err != nil {
			return err
		}
	}
	for _, p := range n.Prefixes {
		if !p.IsValid() || p.Bits() == 0 || p != p.Masked() || p.Addr().Is4In6() || !usable(p.Addr()) {
			return fmt.Errorf("prefix %v: expected one of unicast addresses, without bits behind its length", p)
		}
	}
	for i := range n.Points {
		p := &n.Points[i]
		if err := p.check(); err != nil {
			return fmt.Errorf("point %.80q: %w", p.Name, err)
		}
		if slices.ContainsFunc(n.Points[:i], func(o Point) bool { return o.Name == p.Name }) {
			return fmt.Errorf("point %q given twice", p.Name)
		}
	}
	return nil
}

const (
	maxCost  = 200     // dB
	maxReach = 100_000 // metres
	maxPlan  = 1e7     // metres
	maxFreq  = 100_000 // MHz
	maxSSID  = 32      // octets (IEEE 802.11-2020 section 9.4.2.2)
)

func (a *Agent) check() error {
	switch {
	case a.Role < PAA || a.Role > AR:
		return fmt.Errorf("agent with role %d, expected paa, ca or ar", a.Role)
	case a.Addr != netip.AddrPort{} && (!usable(a.Addr.Addr()) || a.Addr.Addr().Is4In6() || a.Addr.Addr().Zone() != ""):
		return fmt.Errorf("%v at %v: expected a unicast address", a.Role, a.Addr)
	case a.Identity != "" && !word(a.Identity):
		return fmt.Errorf("identity %.80q of the %v: expected at most %d printable ASCII characters without space", a.Identity, a.Role, MaxText)
	}
	return nil
}

func (p *Point) check() error {
	switch {
	case !word(p.Name):
		return fmt.Errorf("expected as its name 1 to %d printable ASCII characters without space", MaxText)
	case len(p.SSID) > maxSSID:
		return fmt.Errorf("SSID of %d octets, expected at most %d", len(p.SSID), maxSSID)
	case p.Freq < 0 || p.Freq > maxFreq:
		return fmt.Errorf("%d MHz, expected 0 to %d", p.Freq, maxFreq)
	case p.Security != Unstated && !word(string(p.Security)):
		return fmt.Errorf("security %.80q, expected such as %s", p.Security, WPAEAP)
	case !within(float64(p.Reach), 0, maxReach):
		return fmt.Errorf("reach %v m, expected 0 to %d", p.Reach, maxReach)
	case p.Load != nil && !within(float64(*p.Load), 0, 1):
		return fmt.Errorf("load %v, expected 0 to 1", *p.Load)
	case p.Location != nil:
		return p.Location.check()
	}
	return nil
}

func (l *Location) check() error {
	x, y := 180.0, 90.0
	if l.Plan != "" {
		x, y = maxPlan, maxPlan
		if !word(l.Plan) {
			return fmt.Errorf("plan %.80q: expected at most %d printable ASCII characters without space", l.Plan, MaxText)
		}
	}
	if !within(l.X, -x, x) || !within(l.Y, -y, y) || !within(l.Alt, -maxPlan, maxPlan) {
		return fmt.Errorf("place %v, %v, %v: expected numbers from %v to %v, %v to %v", l.X, l.Y, l.Alt, -x, x, -y, y)
	}
	return nil
}

// within says that v is a number from lo to hi.
func within(v, lo, hi float64) bool { return !math.IsNaN(v) && v >= lo && v <= hi }

// word says that s has 1 to MaxText printable characters of ASCII, none of them a space.
func word(s string) bool {
	if s == "" || len(s) > MaxText {
		return false
	}
	for i := range len(s) {
		if s[i] <= 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// clone shares no memory with n.
func (n *Network) clone() Network {
	c := *n
	c.Agents, c.Prefixes, c.Points, c.Cost = slices.Clone(n.Agents), slices.Clone(n.Prefixes), slices.Clone(n.Points), copied(n.Cost)
	for i := range c.Points {
		p := &c.Points[i]
		p.Location, p.Load = copied(p.Location), copied(p.Load)
	}
	return c
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}
