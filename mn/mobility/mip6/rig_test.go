package mip6

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// random is a source of randomness that makes tests repeatable.
type random struct{ *rand.Rand }

func (r random) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return len(b), nil
}

func newRandom(seed uint64) random { return random{rand.New(rand.NewPCG(seed, 1))} }

type noRandom struct{}

func (noRandom) Read([]byte) (int, error) { return 0, errors.New("none") }

func prefixes() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("2001:db8:1::/64")} }

func newTestAgent(t testing.TB, change func(*AgentConfig)) *Agent {
	t.Helper()
	cfg := AgentConfig{Address: agent, Prefixes: prefixes(), Nodes: []Node{{Home: home, Security: testSecurity()}}}
	if change != nil {
		change(&cfg)
	}
	a, err := NewAgent(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newTestClient(t testing.TB, change func(*ClientConfig)) *Client {
	t.Helper()
	cfg := ClientConfig{Home: home, HomeAgent: agent, Security: testSecurity(), Rand: newRandom(1)}
	if change != nil {
		change(&cfg)
	}
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newTestRoute(t testing.TB, change func(*RouteConfig)) *Route {
	t.Helper()
	cfg := RouteConfig{Home: home, Correspondent: cn, Rand: newRandom(2)}
	if change != nil {
		change(&cfg)
	}
	r, err := NewRoute(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newTestCorrespondent(t testing.TB, change func(*CorrespondentConfig)) *Correspondent {
	t.Helper()
	cfg := CorrespondentConfig{Address: cn, Rand: newRandom(3)}
	if change != nil {
		change(&cfg)
	}
	c, err := NewCorrespondent(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// drain takes all outputs.
func drain(m interface{ Poll() (Output, bool) }) (out []Output) {
	for {
		o, ok := m.Poll()
		if !ok {
			return out
		}
		out = append(out, o)
	}
}

// pick takes all outputs and returns the only one of a type.
func pick[T Output](t testing.TB, m interface{ Poll() (Output, bool) }) T {
	t.Helper()
	var found []T
	out := drain(m)
	for _, o := range out {
		if o, ok := o.(T); ok {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		t.Fatalf("expected one %T, got %d in %+v", *new(T), len(found), out)
	}
	return found[0]
}

// opened parses a packet with its message.
func opened[M Message](t testing.TB, pkt []byte) (Packet, M) {
	t.Helper()
	p, err := ParsePacket(pkt)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Parse(p.Payload, p.Source(), p.Destination())
	if err != nil {
		t.Fatal(err)
	}
	got, ok := m.(M)
	if !ok {
		t.Fatalf("expected a %T, a %T came", *new(M), m)
	}
	return p, got
}

// packet makes a packet of a message: with a Home Address option of home when careOf is
// given.
func packet(t testing.TB, m Message, src, dst, careOf netip.Addr, sign *Signer) []byte {
	t.Helper()
	b, err := build(m, src, dst, careOf, netip.Addr{}, sign)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ticks lets a machine's deadlines pass, until end.
type ticker interface {
	Deadline() (time.Time, bool)
	OnDeadline(time.Time)
}

func tick(t testing.TB, m ticker, end time.Time) {
	t.Helper()
	for range 10000 {
		at, ok := m.Deadline()
		if !ok || at.After(end) {
			m.OnDeadline(end)
			return
		}
		m.OnDeadline(at)
	}
	t.Fatal("the deadline does not move")
}

// corrupt changes the last octet of a message, which ends its packet, and repairs the
// checksum.
func corrupt(t testing.TB, pkt []byte) []byte {
	t.Helper()
	b := append([]byte{}, pkt...)
	b[len(b)-1] ^= 1
	p, err := ParsePacket(b)
	if err != nil {
		t.Fatal(err)
	}
	at := len(b) - len(p.Payload) + 4
	sum := binary.BigEndian.Uint16(b[at:])
	// One's complement arithmetic (RFC 1624): what the last word gained the sum loses.
	if b[len(b)-1]&1 != 0 {
		if sum--; sum == 0xffff {
			sum--
		}
	} else if sum++; sum == 0 {
		sum++
	}
	binary.BigEndian.PutUint16(b[at:], sum)
	return b
}
