package esp

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"openmpa/paa/keys"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// halves makes both ends of the n-th association between two peers.
func halves(t rapid.TB, n int) (one, two Pair) {
	half := func(spi uint32, key byte) (*Outbound, *Inbound) {
		k := make([]byte, 20)
		binary.BigEndian.PutUint32(k, uint32(n))
		k[5] = key
		out, err := NewOutbound(spi, keys.NewSecret(append([]byte(nil), k...)))
		if err != nil {
			t.Fatal(err)
		}
		in, err := NewInbound(spi, keys.NewSecret(k), 0)
		if err != nil {
			t.Fatal(err)
		}
		return out, in
	}
	there, here := half(uint32(0x1000+n), 1)
	back, home := half(uint32(0x2000+n), 2)
	return Pair{In: home, Out: there}, Pair{In: here, Out: back}
}

func TestDue(t *testing.T) {
	for name, c := range map[string]struct {
		limits RekeyLimits
		use    func(p Pair)
		after  time.Duration
	}{
		"age":      {RekeyLimits{Age: time.Minute}, func(Pair) {}, time.Minute},
		"packets":  {RekeyLimits{Packets: 1}, func(p Pair) { seal(t, p.Out, "x") }, 0},
		"octets":   {RekeyLimits{Octets: 3}, func(p Pair) { seal(t, p.Out, "xxx") }, 0},
		"sequence": {RekeyLimits{Margin: 1000}, func(p Pair) { p.Out.seq.Store(MaxSequence - 1000) }, 0},
		"default":  {RekeyLimits{}, func(p Pair) { p.Out.seq.Store(MaxSequence - DefaultMargin) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := halves(t, 1)
			r := NewRotation(epoch, p, c.limits)
			if r.Due(epoch) {
				t.Fatal("due at once")
			}
			c.use(p)
			now := epoch.Add(c.after)
			if !r.Due(now) {
				t.Fatal("not due")
			}
			if at, ok := r.Deadline(); ok != (c.after > 0) || ok && !at.Equal(now) {
				t.Errorf("deadline %v %v", at, ok)
			}
			next, _ := halves(t, 2)
			if err := r.Offer(now, next); err != nil {
				t.Fatal(err)
			}
			if r.Due(now) {
				t.Error("due although a successor stands ready")
			}
			if err := r.Confirm(now); err != nil || r.Due(now) || r.Current() != next {
				t.Errorf("after the change: %v", err)
			}
			c.use(next)
			now = now.Add(c.after)
			if r.Due(now) {
				t.Error("due while the old one lingers")
			}
			r.Arrived(now, next.In.SPI())
			if r.OnDeadline(now); !r.Due(now) {
				t.Error("not due again")
			}
		})
	}
}

func TestRotationOutOfTurn(t *testing.T) {
	p, _ := halves(t, 1)
	r := NewRotation(epoch, p, RekeyLimits{Linger: time.Second, Patience: 5 * time.Second})
	next, _ := halves(t, 2)
	third, _ := halves(t, 3)
	if err := r.Confirm(epoch); !errors.Is(err, ErrRekeying) {
		t.Errorf("confirm without a successor: %v", err)
	}
	if err := r.Offer(epoch, p); !errors.Is(err, ErrRekeying) {
		t.Errorf("its own SPI: %v", err)
	}
	if err := r.Offer(epoch, Pair{In: next.In}); err == nil {
		t.Error("half a pair")
	}
	if err := r.Offer(epoch, next); err != nil {
		t.Fatal(err)
	}
	if err := r.Offer(epoch, third); !errors.Is(err, ErrRekeying) {
		t.Errorf("two successors: %v", err)
	}
	if r.Arrived(epoch, p.In.SPI()) {
		t.Error("the current pair is no successor")
	}
	at, ok := r.Deadline()
	if !ok || !at.Equal(epoch.Add(5*time.Second)) {
		t.Fatalf("deadline %v %v", at, ok)
	}
	r.OnDeadline(at)
	if n := len(r.Inbounds()); n != 1 || r.Abandon() {
		t.Errorf("a successor nobody used is there on: %d pairs accept", n)
	}
	if err := r.Offer(at, next); err != nil || !r.Arrived(at, next.In.SPI()) {
		t.Fatalf("%v", err)
	}
	if len(r.Inbounds()) != 2 {
		t.Error("what was sealed before is not accepted")
	}
	at, ok = r.Deadline()
	r.OnDeadline(at)
	if !ok || len(r.Inbounds()) != 1 || r.Inbounds()[0] != next.In {
		t.Error("the old half stays")
	}
}

// peer is an end of the tunnel in TestRekeyingLosesNothing.
type peer struct {
	r    *Rotation
	wire [][]byte // what is on its way to it
	got  int
}

func (p *peer) open(t *rapid.T, now time.Time) {
	if len(p.wire) == 0 {
		return
	}
	pkt := p.wire[0]
	p.wire = p.wire[1:]
	for _, in := range p.r.Inbounds() {
		if in.SPI() != binary.BigEndian.Uint32(pkt) {
			continue
		}
		if _, _, err := in.Open(pkt); err != nil {
			t.Fatal(err)
		}
		p.r.Arrived(now, in.SPI())
		p.got++
		return
	}
	t.Fatalf("nobody accepts SPI %#x", binary.BigEndian.Uint32(pkt))
}

// However requests, answers and packets of both directions are mixed on their way,
// every packet is accepted; an answer that is lost costs nothing either.
func TestRekeyingLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const linger = 100 * time.Millisecond
		limits := RekeyLimits{Linger: linger, Patience: time.Second}
		one, two := halves(t, 0)
		a, b := &peer{r: NewRotation(epoch, one, limits)}, &peer{r: NewRotation(epoch, two, limits)}
		var sentA, sentB, n int
		var forA, forB *Pair // halves whose request or answer is on its way
		now, asked := epoch, epoch
		fromA := func() {
			pkt, err := a.r.Current().Out.Seal(nil, []byte("from a"), NextHeaderIPv4)
			if err != nil {
				t.Fatal(err)
			}
			b.wire = append(b.wire, pkt)
			sentA++
		}
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0, 1:
				fromA()
			case 2, 3:
				pkt, err := b.r.Current().Out.Seal(nil, []byte("from b"), NextHeaderIPv4)
				if err != nil {
					t.Fatal(err)
				}
				a.wire = append(a.wire, pkt)
				sentB++
			case 4:
				a.open(t, now)
			case 5:
				b.open(t, now)
			case 6: // request
				if forA == nil && forB == nil {
					n++
					x, y := halves(t, n)
					forA, forB, asked = &x, &y, now
				}
			case 7: // the request arrives
				if forB != nil && b.r.Offer(now, *forB) == nil {
					forB = nil
				}
			case 8: // the answer arrives, or is lost
				if forA != nil && forB == nil {
					if rapid.IntRange(0, 3).Draw(t, "lost") == 0 || now.Sub(asked) >= limits.Patience {
						// a asks again later, b finds out by itself
					} else if a.r.Offer(now, *forA) != nil {
						break // until nothing lingers
					} else if err := a.r.Confirm(now); err != nil {
						t.Fatal(err)
					} else {
						fromA() // before b gives the successor up
					}
					forA = nil
				}
			case 9: // time passes, for which nothing is on its way
				for len(a.wire)+len(b.wire) > 0 {
					a.open(t, now)
					b.open(t, now)
				}
				now = now.Add(linger)
				a.r.OnDeadline(now)
				b.r.OnDeadline(now)
			}
			if b.r.Due(now) || a.r.Due(now) {
				t.Fatal("due without a bound")
			}
		}
		for len(a.wire)+len(b.wire) > 0 {
			a.open(t, now)
			b.open(t, now)
		}
		if a.got != sentB || b.got != sentA {
			t.Fatalf("%d of %d and %d of %d arrived", a.got, sentB, b.got, sentA)
		}
	})
}
