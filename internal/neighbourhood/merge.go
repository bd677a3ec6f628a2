package neighbourhood

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
)

// MaxContradictions is how many are kept for people to read.
const MaxContradictions = 64

// merged is what all sources together say.
type merged struct {
	networks       []Known
	contradictions []Contradiction
	disbelieved    int // contradictions, those that are not kept too
	crowded        int
}

// voice is one source's word about one network.
type voice struct {
	by    Source
	place int // among what the source says
	*said
}

// louder orders voices by how much they are believed: by the kind of source; who knows a network at first hand, or nearer to
// that; and the rest so that the order in which they came plays no part.
func (v voice) louder(o voice) int {
	return cmp.Or(cmp.Compare(v.by.Kind, o.by.Kind), cmp.Compare(v.Hops, o.Hops), cmp.Compare(v.place, o.place), cmp.Compare(v.by.Name, o.by.Name))
}

// merge puts together what sources say. Voices are heard in the order of louder: what one states is believed unless a louder one
// stated something else. So nobody unsays what a more trusted one said, but may add to it.
func merge(sources map[Source]*statement) *merged {
	var voices []voice
	for by, s := range sources {
		for i := range s.networks {
			voices = append(voices, voice{by, i, &s.networks[i]})
		}
	}
	slices.SortFunc(voices, voice.louder)
	m := &merger{index: map[string]int{}, points: map[string]holder{}}
	for _, v := range voices {
		m.hear(v)
	}
	m.out.networks = make([]Known, len(m.networks))
	for i, n := range m.networks {
		m.out.networks[i] = n.Known
	}
	slices.SortFunc(m.out.networks, func(a, b Known) int { return cmp.Compare(a.Name, b.Name) })
	return &m.out
}

type merger struct {
	out      merged
	networks []*growing
	index    map[string]int // of networks, by name
	points   map[string]holder
	total    int // points
}

// holder says whose a point is, and who said so.
type holder struct {
	network string
	by      Source
	at      int // among the network's points
}

// growing is a network and who stated what of it.
type growing struct {
	Known
	operatorBy, costBy Source
	agentsBy           map[Role]Source
	prefixBy           Source
}

func (m *merger) hear(v voice) {
	at, known := m.index[v.Name]
	if !known {
		if len(m.networks) == MaxNetworks {
			m.out.crowded++
			return
		}
		at = len(m.networks)
		m.index[v.Name] = at
		m.networks = append(m.networks, &growing{Known: Known{Network: Network{Name: v.Name}}, agentsBy: map[Role]Source{}})
	}
	n := m.networks[at]
	switch {
	case v.Operator == "" || v.Operator == n.Operator:
	case n.Operator == "":
		n.Operator, n.operatorBy = v.Operator, v.by
	default: // it speaks of somebody else's network
		m.disbelieve(v, "operator", n.Operator, n.operatorBy, v.Operator)
		return
	}
	if len(n.From) == 0 {
		n.Hops, n.Until = v.Hops, v.until
	}
	n.From = append(n.From, v.by)
	if v.Cost != nil {
		if n.Cost == nil {
			n.Cost, n.costBy = v.Cost, v.by
		} else if *n.Cost != *v.Cost {
			m.disbelieve(v, "cost", fmt.Sprint(*n.Cost), n.costBy, fmt.Sprint(*v.Cost))
		}
	}
	m.hearAgents(n, v)
	m.hearPrefixes(n, v)
	m.hearPoints(n, v)
}

// hearAgents takes agents by their role: who is the first to name one names all of that role. Others may add what was left open: an
// address, one of the other family, an identity, a key.
func (m *merger) hearAgents(n *growing, v voice) {
	fresh := map[Role]bool{}
	for _, a := range v.Agents {
		if _, stated := n.agentsBy[a.Role]; !stated {
			fresh[a.Role] = true
			n.agentsBy[a.Role] = v.by
		}
		switch i := a.fits(n.Agents); {
		case !fresh[a.Role] && i < 0:
			i = slices.IndexFunc(n.Agents, func(o Agent) bool { return o.Role == a.Role })
			kept := ""
			if i >= 0 {
				kept = n.Agents[i].words()
			}
			m.disbelieve(v, a.Role.String(), kept, n.agentsBy[a.Role], a.words())
		case !fresh[a.Role] && i < len(n.Agents):
			o := &n.Agents[i]
			fill(&o.Addr, a.Addr, netip.AddrPort{}, func() {})
			fill(&o.Identity, a.Identity, "", func() {})
			fill(&o.Key, a.Key, Fingerprint{}, func() {})
		case len(n.Agents) < MaxAgents:
			n.Agents = append(n.Agents, a)
		default:
			m.out.crowded++
		}
	}
}

// fits is the agent of the list that a may be another word for; the length of the list if a is another one, at an address of a
// family that those of its role have none of; -1: it contradicts.
func (a Agent) fits(list []Agent) int {
	another := a.Addr.IsValid()
	like := false
	for i, o := range list {
		if o.Role != a.Role {
			continue
		}
		another = another && !(o.Addr.IsValid() && o.Addr.Addr().Is4() == a.Addr.Addr().Is4())
		if o.Identity != "" && a.Identity != "" && o.Identity != a.Identity || !o.Key.IsZero() && !a.Key.IsZero() && o.Key != a.Key {
			continue
		}
		like = true
		if !o.Addr.IsValid() || !a.Addr.IsValid() || o.Addr.Addr() == a.Addr.Addr() && (o.Addr.Port() == a.Addr.Port() || o.Addr.Port() == 0 || a.Addr.Port() == 0) {
			return i
		}
	}
	if like && another {
		return len(list)
	}
	return -1
}

func (a Agent) words() string {
	s := a.Identity
	if a.Addr.IsValid() {
		if s != "" {
			s += " at "
		}
		s += a.Addr.String()
	}
	if !a.Key.IsZero() {
		s += " with the key " + a.Key.String()[:16]
	}
	return s
}

// hearPrefixes takes the prefixes of who is the first to name some, but for those that are another network's: by the word of
// somebody more trusted, or nearer, or of another one of the same standing.
func (m *merger) hearPrefixes(n *growing, v voice) {
	if len(v.Prefixes) == 0 {
		return
	}
	if len(n.Prefixes) > 0 {
		for _, p := range v.Prefixes {
			if !slices.Contains(n.Prefixes, p) {
				m.disbelieve(v, "prefix", n.Prefixes[0].String(), n.prefixBy, p.String())
			}
		}
		return
	}
	for _, p := range v.Prefixes {
		if o, at := m.taken(n, p, v.by); o != nil {
			m.disbelieve(v, "prefix", at.String()+" of "+o.Name, o.prefixBy, p.String())
			continue
		}
		n.Prefixes, n.prefixBy = append(n.Prefixes, p), v.by
	}
}

// taken is the network that has addresses of p, if another than by says so: one source may say that two networks share a link.
func (m *merger) taken(n *growing, p netip.Prefix, by Source) (*growing, netip.Prefix) {
	for _, o := range m.networks {
		if o == n || o.prefixBy == by {
			continue
		}
		for _, at := range o.Prefixes {
			if at.Overlaps(p) {
				return o, at
			}
		}
	}
	return nil, netip.Prefix{}
}

// hearPoints adds points, and to points that are known what nobody has said of them.
func (m *merger) hearPoints(n *growing, v voice) {
	for i := range v.Points {
		p := &v.Points[i]
		h, known := m.points[p.Name]
		switch {
		case known && h.network != n.Name:
			m.disbelieve(v, "point", p.Name+" of "+h.network, h.by, p.Name+" of "+n.Name)
		case known:
			m.add(v, n, h, p)
		case len(n.Points) == MaxPoints || m.total == MaxAllPoints:
			m.out.crowded++
		default:
			m.points[p.Name] = holder{n.Name, v.by, len(n.Points)}
			m.total++
			n.Points = append(n.Points, *p)
		}
	}
}

// add has a point say what it did not say before.
func (m *merger) add(v voice, n *growing, h holder, p *Point) {
	k := &n.Points[h.at]
	wrong := func(field, kept, dropped string) {
		m.disbelieve(v, "point "+k.Name+" "+field, kept, h.by, dropped)
	}
	fill(&k.SSID, p.SSID, "", func() { wrong("ssid", strconv.Quote(k.SSID), strconv.Quote(p.SSID)) })
	fill(&k.Freq, p.Freq, 0, func() { wrong("freq", fmt.Sprint(k.Freq), fmt.Sprint(p.Freq)) })
	fill(&k.Security, p.Security, Unstated, func() { wrong("security", string(k.Security), string(p.Security)) })
	fill(&k.Reach, p.Reach, 0, func() {}) // an estimate: nobody is wrong
	switch {
	case p.Location == nil:
	case k.Location == nil:
		k.Location = p.Location
	case *k.Location != *p.Location:
		wrong("location", fmt.Sprint(*k.Location), fmt.Sprint(*p.Location))
	}
	if k.Load == nil {
		k.Load = p.Load
	}
}

// fill sets what is not stated yet, and calls wrong where something else is.
func fill[T comparable](k *T, v, unstated T, wrong func()) {
	switch {
	case v == unstated || v == *k:
	case *k == unstated:
		*k = v
	default:
		wrong()
	}
}

func (m *merger) disbelieve(v voice, field, kept string, by Source, dropped string) {
	if m.out.disbelieved++; len(m.out.contradictions) < MaxContradictions {
		m.out.contradictions = append(m.out.contradictions, Contradiction{Network: v.Name, Field: field, Kept: kept, KeptBy: by, Dropped: dropped, By: v.by})
	}
}
