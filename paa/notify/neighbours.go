package notify

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/neighbourhood"
)

// Revision tells one answer about the neighbourhood from another: the first octets of its SHA-256. Zero: none.
type Revision [8]byte

const (
	// NeighboursPart is how many octets of an answer one NeighboursReply has: with the lifetimes in the first one it fits a
	// datagram of 1280 octets.
	NeighboursPart = 896
	// MaxNeighbours bounds an answer: octets of what AppendNetworks writes.
	MaxNeighbours = 64 * NeighboursPart

	maxParts = MaxNeighbours / NeighboursPart
)

type (
	// NeighboursRequest asks what the router knows about networks around (RFC 6252 section 7.1), a part for each request.
	NeighboursRequest struct {
		Header
		Have Revision // of the answer that the MN has, or is getting together; zero: none
		Part uint16   // from 0 on; the answer to 0 is short if nothing has changed since Have
	}
	// NeighboursReply answers a NeighboursRequest.
	NeighboursReply struct {
		Header
		Reason   string // why there is no answer; empty on success
		Revision Revision
		Part     uint16
		// Parts is how many there are; 0: what the MN has is as it was, and there is no Data.
		Parts uint16
		// Lives says how long each network of the answer holds from now, in whole seconds, 0 to 65535, in their order; with
		// part 0, and where nothing has changed.
		Lives []time.Duration
		Data  []byte // part of what AppendNetworks wrote, NeighboursPart octets but for the last one
	}
	// NeighboursChanged tells the MN that there is another answer by now than one that it has asked for.
	NeighboursChanged struct {
		Header
		Revision Revision
	}
)

// Kind implements Message.
func (NeighboursRequest) Kind() Kind { return KindNeighboursRequest }

// Kind implements Message.
func (NeighboursReply) Kind() Kind { return KindNeighboursReply }

// Kind implements Message.
func (NeighboursChanged) Kind() Kind { return KindNeighboursChanged }

func (m NeighboursRequest) appendFields(b []byte) ([]byte, error) {
	if m.Part >= maxParts {
		return nil, fmt.Errorf("part %d, expected less than %d", m.Part, maxParts)
	}
	return put(put(b, fRevision, m.Have[:]), fPart, u16(m.Part)), nil
}

func (m *NeighboursRequest) parseFields(f fields) (err error) {
	if m.Have, err = f.revision(); err != nil {
		return err
	}
	v, err := f.u16s(fPart, 1)
	if err != nil {
		return err
	}
	if m.Part = v[0]; m.Part >= maxParts {
		return fmt.Errorf("field %d: part %d, expected less than %d", fPart, m.Part, maxParts)
	}
	return nil
}

func (m NeighboursReply) appendFields(b []byte) ([]byte, error) {
	if m.Reason != "" {
		return putReason(b, m.Reason), nil
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	if m.Lives != nil {
		b = putLives(b, fLives, m.Lives)
	}
	if m.Parts > 0 {
		b = put(b, fNetworks, m.Data)
	}
	return put(put(b, fRevision, m.Revision[:]), fPart, u16(m.Part), u16(m.Parts)), nil
}

func (m *NeighboursReply) parseFields(f fields) (err error) {
	var refused bool
	if m.Reason, refused, err = f.reason(); refused || err != nil {
		return err
	}
	if m.Revision, err = f.revision(); err != nil {
		return err
	}
	v, err := f.u16s(fPart, 2)
	if err != nil {
		return err
	}
	m.Part, m.Parts = v[0], v[1]
	if _, given := f[fLives]; given {
		if m.Lives, err = f.lives(fLives); err != nil {
			return err
		}
	}
	if m.Parts > 0 {
		if m.Data, err = f.sized(fNetworks, 0, NeighboursPart); err != nil {
			return err
		}
	}
	return m.check()
}

func (m *NeighboursReply) check() error {
	last := m.Part+1 == m.Parts
	switch {
	case m.Revision == Revision{}:
		return errors.New("no revision")
	case m.Parts > maxParts || m.Parts > 0 && m.Part >= m.Parts || m.Parts == 0 && m.Part > 0:
		return fmt.Errorf("part %d of %d, expected of at most %d", m.Part, m.Parts, maxParts)
	case (m.Lives != nil) != (m.Part == 0):
		return fmt.Errorf("lifetimes of %d networks with part %d, expected them with part 0", len(m.Lives), m.Part)
	case len(m.Lives) > neighbourhood.MaxNetworks:
		return fmt.Errorf("lifetimes of %d networks, expected at most %d", len(m.Lives), neighbourhood.MaxNetworks)
	case m.Parts > 0 && (len(m.Data) > NeighboursPart || !last && len(m.Data) != NeighboursPart):
		return fmt.Errorf("%d octets in part %d of %d, expected %d, or less in the last", len(m.Data), m.Part, m.Parts, NeighboursPart)
	case m.Parts == 0 && len(m.Data) > 0:
		return fmt.Errorf("%d octets where nothing has changed", len(m.Data))
	}
	return nil
}

func (m NeighboursChanged) appendFields(b []byte) ([]byte, error) {
	return put(b, fRevision, m.Revision[:]), nil
}

func (m *NeighboursChanged) parseFields(f fields) (err error) {
	m.Revision, err = f.revision()
	return err
}

func (f fields) revision() (r Revision, err error) {
	v, err := f.sized(fRevision, len(r), len(r))
	if err != nil {
		return r, err
	}
	return Revision(v), nil
}

func (f fields) u16s(t uint8, n int) ([]uint16, error) {
	v, err := f.sized(t, 2*n, 2*n)
	if err != nil {
		return nil, err
	}
	out := make([]uint16, n)
	for i := range out {
		out[i] = binary.BigEndian.Uint16(v[2*i:])
	}
	return out, nil
}

// Neighbours is an answer of a router: what it knows of the networks around, as it is given out part by part.
type Neighbours struct {
	revision Revision
	data     []byte
	networks int
}

// NewNeighbours is an answer with as many networks of the list as fit, the first ones. What it returns beside is how many do.
func NewNeighbours(list []neighbourhood.Network) (Neighbours, int, error) {
	var a Neighbours
	for i := range list {
		if a.networks == neighbourhood.MaxNetworks {
			break
		}
		data, err := AppendNetworks(a.data, list[i:i+1])
		if err != nil {
			return Neighbours{}, 0, err
		}
		if len(data) > MaxNeighbours {
			break
		}
		a.data, a.networks = data, a.networks+1
	}
	a.revision = revisionOf(a.data)
	return a, a.networks, nil
}

func revisionOf(data []byte) Revision {
	sum := sha256.Sum256(data)
	return Revision(sum[:])
}

// Revision tells this answer from others.
func (a *Neighbours) Revision() Revision { return a.revision }

// Reply answers m. lives are how long the networks of this answer hold from now on, in their order.
func (a *Neighbours) Reply(m *NeighboursRequest, lives []time.Duration) *NeighboursReply {
	r := &NeighboursReply{Header: m.Header, Revision: a.revision}
	if len(lives) != a.networks {
		panic(fmt.Sprintf("notify: lifetimes of %d networks, expected %d", len(lives), a.networks))
	}
	if lives == nil {
		lives = []time.Duration{}
	}
	if m.Part == 0 && m.Have == a.revision {
		r.Lives = lives
		return r
	}
	if m.Have == a.revision { // of an answer that has changed meanwhile the first part is next
		r.Part = m.Part
	}
	r.Parts = max(1, uint16((len(a.data)+NeighboursPart-1)/NeighboursPart))
	if r.Part >= r.Parts {
		r.Part = 0
	}
	if r.Part == 0 {
		r.Lives = lives
	}
	from := int(r.Part) * NeighboursPart
	r.Data = a.data[from:min(len(a.data), from+NeighboursPart)]
	return r
}

// Gathering puts the parts of a router's answer together, at the MN, and keeps what the last whole one said. The zero Gathering
// has nothing yet. It does no I/O and knows no clock: Lives are counted from when Add has returned true.
type Gathering struct {
	have     Revision // of list
	list     []neighbourhood.Network
	coming   Revision // of data
	parts    uint16
	data     []byte
	lives    []time.Duration
	restarts int
}

// maxRestarts is how often an answer may change while it is fetched.
const maxRestarts = 4

// Next is the request to send now: for the first part, or for the one that is missing.
func (g *Gathering) Next(id event.HandoverID) *NeighboursRequest {
	m := &NeighboursRequest{Header: Header{Handover: id}, Have: g.have}
	if g.parts > 0 {
		m.Have, m.Part = g.coming, uint16(len(g.data)/NeighboursPart)
	}
	return m
}

// Add takes the answer to what Next gave. It returns true when the answer is whole, or nothing has changed: then Networks has it.
// After an error the next request is one for the first part.
func (g *Gathering) Add(m *NeighboursReply) (whole bool, err error) {
	defer func() {
		if whole || err != nil {
			g.coming, g.parts, g.data, g.restarts = Revision{}, 0, nil, 0
		}
	}()
	if m.Reason != "" {
		return false, fmt.Errorf("the router tells nothing about the networks around: %s", m.Reason)
	}
	if err := m.check(); err != nil {
		return false, fmt.Errorf("notify: neighbours reply: %w: %w", ErrMalformed, err)
	}
	if m.Parts == 0 {
		if m.Revision != g.have || g.parts > 0 {
			return false, errors.New("notify: neighbours reply: as it was, the router says, and it has not said yet how")
		}
		return true, g.live(m.Lives)
	}
	if m.Part == 0 {
		if g.parts > 0 {
			if g.restarts++; g.restarts > maxRestarts {
				return false, fmt.Errorf("notify: the router's answer has changed %d times while it was fetched", g.restarts)
			}
		}
		g.coming, g.parts, g.data, g.lives = m.Revision, m.Parts, nil, m.Lives
	}
	if m.Revision != g.coming || m.Parts != g.parts || int(m.Part)*NeighboursPart != len(g.data) {
		return false, fmt.Errorf("notify: neighbours reply: part %d of %d of %x, expected the one behind %d octets of %x, of %d parts", m.Part, m.Parts, m.Revision, len(g.data), g.coming, g.parts)
	}
	g.data = append(g.data, m.Data...)
	if m.Part+1 < m.Parts {
		return false, nil
	}
	if got := revisionOf(g.data); got != g.coming {
		return false, fmt.Errorf("notify: neighbours reply: %w: parts of %x, expected of %x", ErrMalformed, got, g.coming)
	}
	list, err := ParseNetworks(g.data)
	if err != nil {
		return false, err
	}
	was, had := g.list, g.have
	g.list, g.have = list, g.coming
	if err := g.live(g.lives); err != nil {
		g.list, g.have = was, had
		return false, err
	}
	return true, nil
}

func (g *Gathering) live(lives []time.Duration) error {
	if len(lives) != len(g.list) {
		return fmt.Errorf("notify: neighbours reply: %w: lifetimes of %d networks, expected %d", ErrMalformed, len(lives), len(g.list))
	}
	for i := range g.list {
		g.list[i].Lifetime = lives[i]
	}
	return nil
}

// Networks are those of the last whole answer that are not over, each with its Lifetime. What they point to is not to be changed.
func (g *Gathering) Networks() []neighbourhood.Network {
	return slices.DeleteFunc(slices.Clone(g.list), func(n neighbourhood.Network) bool { return n.Lifetime == 0 })
}

// Revision is that of the last whole answer, zero if there was none.
func (g *Gathering) Revision() Revision { return g.have }
