package ha

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"openmpa/internal/ha/path"
	"openmpa/internal/inet"
	"openmpa/mn/mobility/mip4"
	"openmpa/paa/keys"
	"openmpa/tunnel/flow"
)

var (
	epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	agent = netip.MustParseAddr("10.0.3.1")
	home  = netip.MustParseAddr("10.9.0.2")
	home2 = netip.MustParseAddr("10.9.0.3")
	peer  = netip.MustParseAddr("10.0.4.1")
	careB = netip.MustParseAddr("10.1.0.100")
	careA = netip.MustParseAddr("10.2.0.100")
	careC = netip.MustParseAddr("10.3.0.100")
	sa    = mip4.Security{SPI: 256, Key: keys.NewSecret([]byte("0123456789abcdef")), Algorithm: mip4.HMACSHA256}
	sa2   = mip4.Security{SPI: 257, Key: keys.NewSecret([]byte("fedcba9876543210"))}
)

// fakeWorld writes down what the core does, in order.
type fakeWorld struct {
	mu     sync.Mutex
	log    []string
	refuse error // of Bound
	lost   error // of To
	wakes  int
	kept   map[netip.Addr]Kept
	full   error // of Keep
}

func (w *fakeWorld) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

func (w *fakeWorld) To(careOf netip.Addr, inner []byte) error {
	if w.lost != nil {
		return w.lost
	}
	if m, ok := mip4.ParseMarkerPacket(inner, sa); ok {
		w.note("to %v marker %x down=%v", careOf, m.ID, m.Down)
	} else {
		w.note("to %v %s", careOf, inner[20:])
	}
	return nil
}

func (w *fakeWorld) From(inner []byte) error { w.note("from %s", inner[20:]); return nil }

func (w *fakeWorld) Bound(home netip.Addr) error {
	if w.refuse != nil {
		return w.refuse
	}
	w.note("bound %v", home)
	return nil
}

func (w *fakeWorld) Unbound(home netip.Addr) { w.note("unbound %v", home) }
func (w *fakeWorld) Keep(home netip.Addr, k Kept) error {
	if w.full != nil {
		return w.full
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.kept == nil {
		w.kept = make(map[netip.Addr]Kept)
	}
	w.kept[home] = k
	return nil
}

func (w *fakeWorld) Wake() { w.mu.Lock(); w.wakes++; w.mu.Unlock() }

// rig is a core, its world, and a mobile node's hand at the requests.
type rig struct {
	*testing.T
	c   *Core
	w   *fakeWorld
	now time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	w := &fakeWorld{}
	c, err := NewCore(CoreConfig{
		Address: agent, Limits: path.Limits{Hold: flow.Limits{Packets: 100}},
		Nodes: []Node{{HomeAddress: home, Security: sa}, {HomeAddress: home2, Security: sa2}},
	}, w)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{T: t, c: c, w: w, now: epoch}
}

// request is a good one from home to careOf at the present time.
func (r *rig) request(careOf netip.Addr) mip4.Request {
	r.now = r.now.Add(time.Millisecond)
	return mip4.Request{
		Flags: mip4.FlagD | mip4.FlagT, Lifetime: 600,
		HomeAddress: home, HomeAgent: agent, CareOf: careOf, ID: inet.NTP(r.now),
	}
}

func markers(q mip4.Request, path uint64) mip4.Request {
	q.Extensions = []mip4.Extension{mip4.PathMarkers{Path: path}.Extension()}
	return q
}

func (r *rig) octets(q mip4.Request, sa mip4.Security) []byte {
	r.Helper()
	b, err := q.AppendSigned(nil, sa)
	if err != nil {
		r.Fatal(err)
	}
	return b
}

// ask delivers a request and parses the reply.
func (r *rig) ask(q mip4.Request) (mip4.Reply, Answer) {
	r.Helper()
	return r.askOctets(r.octets(q, sa))
}

func (r *rig) askOctets(b []byte) (mip4.Reply, Answer) {
	r.Helper()
	a, err := r.c.HandleRequest(r.now, netip.AddrPortFrom(careB, 40000), b)
	if err != nil {
		r.Fatalf("dropped: %v", err)
	}
	p, err := mip4.ParseReply(a.Data)
	if err != nil {
		r.Fatal(err)
	}
	if err := p.Verify(sa); err != nil {
		r.Fatal(err)
	}
	return p, a
}

// bind registers and expects it to be accepted.
func (r *rig) bind(q mip4.Request) mip4.Reply {
	r.Helper()
	p, a := r.ask(q)
	if !p.Code.Accepted() {
		r.Fatalf("denied: %v, %s", p.Code, a.Notice.Reason)
	}
	return p
}

// packet is an IPv4 packet with text in it.
func packet(src, dst netip.Addr, text string) []byte {
	b := make([]byte, 20, 20+len(text))
	b[0], b[8], b[9] = 0x45, 64, 253
	s, d := src.As4(), dst.As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	b = append(b, text...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

// headed is a packet with the headroom of Down.
func headed(pkt []byte) []byte { return append(make([]byte, Headroom), pkt...) }

func (r *rig) up(careOf netip.Addr, text string) { r.c.Up(r.now, careOf, packet(home, peer, text)) }

func (r *rig) upMarker(careOf netip.Addr, id uint64) (Notice, bool) {
	r.Helper()
	pkt, err := mip4.AppendMarkerPacket(nil, mip4.Marker{HomeAddress: home, HomeAgent: agent, ID: id}, sa)
	if err != nil {
		r.Fatal(err)
	}
	return r.c.Up(r.now, careOf, pkt)
}

// repeated lets time pass until a marker that was sent has been sent again and again.
func (r *rig) repeated() {
	r.Helper()
	for range 2 {
		r.now, _ = r.c.Deadline()
		r.c.OnDeadline(r.now)
	}
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	for _, line := range r.w.log {
		if !strings.Contains(line, "marker") {
			r.Errorf("while markers are repeated: %s", line)
		}
	}
	r.w.log = nil
}

func (r *rig) down(text string) { r.c.Down(headed(packet(peer, home, text))) }

// did checks what the world saw since the last time.
func (r *rig) did(want ...string) {
	r.Helper()
	r.w.mu.Lock()
	got := r.w.log
	r.w.log = nil
	r.w.mu.Unlock()
	if !slices.Equal(got, want) {
		r.Errorf("the world saw\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func (r *rig) counted(name string, want uint64) {
	r.Helper()
	if got := r.c.Counters()[name]; got != want {
		r.Errorf("%s is %d, want %d", name, got, want)
	}
}

// balance checks that every packet has been delivered, dropped or is held.
func (r *rig) balance() {
	r.Helper()
	n := r.c.Counters()
	var down, up, held uint64
	for name, v := range n {
		switch {
		case name == "down_sent" || strings.HasPrefix(name, "down_dropped"):
			down += v
		case name != "up_in" && strings.HasPrefix(name, "up_"):
			up += v
		}
	}
	for _, b := range r.c.Bindings() {
		held += b.Gate.Waiting
		for _, v := range b.Gate.Dropped {
			held += v
		}
	}
	if n["down_in"] != down || n["up_in"] != up+held {
		r.Errorf("down %d of %d, up %d+%d of %d accounted for", down, n["down_in"], up, held, n["up_in"])
	}
}
