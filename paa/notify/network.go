package notify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"openmpa/internal/neighbourhood"
)

// Types of the fields of a network, and of its agents and points.
const (
	nName     = 1
	nOperator = 2
	nPrefixes = 3 // of each: 4 or 6, its length, and 4 or 16 octets
	nCost     = 4 // dB, IEEE 754
	nHops     = 5
	nAgents   = 6 // list
	nPoints   = 7 // list

	aRole     = 1
	aAddr     = 2 // address, then port
	aIdentity = 3
	aKey      = 4

	pName     = 1
	pSSID     = 2
	pFreq     = 3 // MHz
	pSecurity = 4
	pPlan     = 5
	pPlace    = 6 // x, y, altitude, IEEE 754
	pReach    = 7 // m, IEEE 754
	pLoad     = 8 // IEEE 754
)

// AppendNetworks appends what ParseNetworks reads: each network behind its length in two octets, as fields like those of a
// message. Agents and points are lists of the same form. Lifetimes do not travel in it.
func AppendNetworks(b []byte, list []neighbourhood.Network) ([]byte, error) {
	for i := range list {
		n, err := appendNetwork(nil, &list[i])
		if err == nil && len(n) > math.MaxUint16 {
			err = fmt.Errorf("%d octets", len(n))
		}
		if err != nil {
			return nil, fmt.Errorf("notify: network %.80q: %w", list[i].Name, err)
		}
		b = behindLength(b, n)
	}
	return b, nil
}

// ParseNetworks reads what AppendNetworks wrote, no more than neighbourhood.MaxNetworks. The result shares no memory with b, and
// each network in it has passed its Check.
func ParseNetworks(b []byte) ([]neighbourhood.Network, error) {
	var list []neighbourhood.Network
	err := each(b, neighbourhood.MaxNetworks, func(f fields) error {
		n, err := parseNetwork(f)
		if err == nil {
			err = n.Check()
		}
		list = append(list, n)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("notify: network %d: %w: %w", max(1, len(list)), ErrMalformed, err)
	}
	return list, nil
}

func behindLength(b, item []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(item))), item...)
}

// each reads a list whose items stand behind their lengths.
func each(b []byte, most int, do func(fields) error) error {
	for n := 0; len(b) > 0; n++ {
		if n == most {
			return fmt.Errorf("more than %d in a list", most)
		}
		if len(b) < 2 {
			return errors.New("length cut short")
		}
		size := int(binary.BigEndian.Uint16(b))
		if b = b[2:]; len(b) < size {
			return fmt.Errorf("%d octets, only %d left", size, len(b))
		}
		f, err := parseFields(b[:size])
		if err == nil {
			err = do(f)
		}
		if err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

func appendNetwork(b []byte, n *neighbourhood.Network) ([]byte, error) {
	if err := n.Check(); err != nil {
		return nil, err
	}
	b = put(b, nName, []byte(n.Name))
	b = putText(b, nOperator, n.Operator)
	if len(n.Prefixes) > 0 {
		var v []byte
		for _, p := range n.Prefixes {
			v = append(append(v, family(p.Addr()), byte(p.Bits())), p.Addr().AsSlice()...)
		}
		b = put(b, nPrefixes, v)
	}
	if n.Cost != nil {
		b = put(b, nCost, f32(*n.Cost))
	}
	if n.Hops > 0 {
		b = put(b, nHops, []byte{n.Hops})
	}
	var agents, points []byte
	for i := range n.Agents {
		agents = behindLength(agents, appendAgent(nil, &n.Agents[i]))
	}
	for i := range n.Points {
		points = behindLength(points, appendPoint(nil, &n.Points[i]))
	}
	if len(agents) > 0 {
		b = put(b, nAgents, agents)
	}
	if len(points) > 0 {
		b = put(b, nPoints, points)
	}
	return b, nil
}

func appendAgent(b []byte, a *neighbourhood.Agent) []byte {
	b = put(b, aRole, []byte{byte(a.Role)})
	if a.Addr.IsValid() {
		b = putAddrPort(b, aAddr, a.Addr)
	}
	b = putText(b, aIdentity, a.Identity)
	if !a.Key.IsZero() {
		b = put(b, aKey, a.Key[:])
	}
	return b
}

func appendPoint(b []byte, p *neighbourhood.Point) []byte {
	b = putText(put(b, pName, []byte(p.Name)), pSSID, p.SSID)
	if p.Freq != 0 {
		b = put(b, pFreq, u32(uint32(p.Freq)))
	}
	b = putText(b, pSecurity, string(p.Security))
	if l := p.Location; l != nil {
		b = put(putText(b, pPlan, l.Plan), pPlace, f64(l.X), f64(l.Y), f64(l.Alt))
	}
	if p.Reach != 0 {
		b = put(b, pReach, f32(p.Reach))
	}
	if p.Load != nil {
		b = put(b, pLoad, f32(*p.Load))
	}
	return b
}

func parseNetwork(f fields) (n neighbourhood.Network, err error) {
	n.Name, n.Operator = f.text(nName), f.text(nOperator)
	if n.Prefixes, err = f.prefixes(nPrefixes); err != nil {
		return n, err
	}
	if n.Cost, err = f.float(nCost); err != nil {
		return n, err
	}
	if _, given := f[nHops]; given {
		v, err := f.sized(nHops, 1, 1)
		if err != nil {
			return n, err
		}
		n.Hops = v[0]
	}
	if err := each(f[nAgents], neighbourhood.MaxAgents, func(f fields) error {
		a, err := parseAgent(f)
		n.Agents = append(n.Agents, a)
		return err
	}); err != nil {
		return n, fmt.Errorf("agent %d: %w", len(n.Agents), err)
	}
	if err := each(f[nPoints], neighbourhood.MaxPoints, func(f fields) error {
		p, err := parsePoint(f)
		n.Points = append(n.Points, p)
		return err
	}); err != nil {
		return n, fmt.Errorf("point %d: %w", len(n.Points), err)
	}
	return n, nil
}

func parseAgent(f fields) (a neighbourhood.Agent, err error) {
	role, err := f.sized(aRole, 1, 1)
	if err != nil {
		return a, err
	}
	a.Role, a.Identity = neighbourhood.Role(role[0]), f.text(aIdentity)
	if v, given := f[aAddr]; given {
		if len(v) != 6 && len(v) != 18 {
			return a, fmt.Errorf("field %d of %d octets, expected an address and a port", aAddr, len(v))
		}
		addr, _ := netip.AddrFromSlice(v[:len(v)-2])
		a.Addr = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(v[len(v)-2:])) // port 0: the protocol's own
	}
	if _, given := f[aKey]; given {
		key, err := f.sized(aKey, len(a.Key), len(a.Key))
		if err != nil {
			return a, err
		}
		a.Key = neighbourhood.Fingerprint(key)
	}
	return a, nil
}

func parsePoint(f fields) (p neighbourhood.Point, err error) {
	p.Name, p.SSID, p.Security = f.text(pName), f.text(pSSID), neighbourhood.Security(f.text(pSecurity))
	if _, given := f[pFreq]; given {
		v, err := f.u32s(pFreq, 1)
		if err != nil {
			return p, err
		}
		p.Freq = int(min(v[0], math.MaxInt32))
	}
	if _, given := f[pPlace]; given {
		v, err := f.sized(pPlace, 24, 24)
		if err != nil {
			return p, err
		}
		at := func(i int) float64 { return math.Float64frombits(binary.BigEndian.Uint64(v[8*i:])) }
		p.Location = &neighbourhood.Location{Plan: f.text(pPlan), X: at(0), Y: at(1), Alt: at(2)}
	}
	reach, err := f.float(pReach)
	if err != nil {
		return p, err
	}
	if reach != nil {
		p.Reach = *reach
	}
	p.Load, err = f.float(pLoad)
	return p, err
}

// text is field t; whether it may be so is for Check to say.
func (f fields) text(t uint8) string { return string(f[t]) }

func putText(b []byte, t uint8, s string) []byte {
	if s == "" {
		return b
	}
	return put(b, t, []byte(s))
}

func (f fields) float(t uint8) (*float32, error) {
	if _, given := f[t]; !given {
		return nil, nil
	}
	v, err := f.u32s(t, 1)
	if err != nil {
		return nil, err
	}
	x := math.Float32frombits(v[0])
	return &x, nil
}

func f32(v float32) []byte { return u32(math.Float32bits(v)) }
func f64(v float64) []byte { return binary.BigEndian.AppendUint64(nil, math.Float64bits(v)) }

func family(a netip.Addr) byte {
	if a.Is4() {
		return 4
	}
	return 6
}

// prefixes reads a list of them.
func (f fields) prefixes(t uint8) (list []netip.Prefix, err error) {
	for v := f[t]; len(v) > 0; {
		size := 18
		if v[0] == 4 {
			size = 6
		}
		switch {
		case v[0] != 4 && v[0] != 6:
			return nil, fmt.Errorf("field %d: family %d, expected 4 or 6", t, v[0])
		case len(v) < size:
			return nil, fmt.Errorf("field %d: %d octets for a prefix, expected %d", t, len(v), size)
		case len(list) == neighbourhood.MaxPrefixes:
			return nil, fmt.Errorf("field %d: more than %d prefixes", t, neighbourhood.MaxPrefixes)
		}
		a, _ := netip.AddrFromSlice(v[2:size])
		list, v = append(list, netip.PrefixFrom(a, int(v[1]))), v[size:]
	}
	return list, nil
}

// lifetimes are in whole seconds, 0: the network's has ended.
func putLives(b []byte, t uint8, lives []time.Duration) []byte {
	var v []byte
	for _, d := range lives {
		v = binary.BigEndian.AppendUint16(v, uint16(min(seconds(d), math.MaxUint16)))
	}
	return put(b, t, v)
}

func (f fields) lives(t uint8) ([]time.Duration, error) {
	v, err := f.sized(t, 0, 2*neighbourhood.MaxNetworks)
	if err != nil {
		return nil, err
	}
	if len(v)%2 != 0 {
		return nil, fmt.Errorf("field %d of %d octets, expected pairs", t, len(v))
	}
	lives := make([]time.Duration, 0, len(v)/2)
	for ; len(v) > 0; v = v[2:] {
		lives = append(lives, time.Duration(binary.BigEndian.Uint16(v))*time.Second)
	}
	return lives, nil
}
