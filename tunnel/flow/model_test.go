package flow

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// modelPacket is a packet in the queue of the model.
type modelPacket struct {
	n    uint64
	size int
	at   time.Time

	number uint32 // in the common numbering; 0: none yet
}

// model is what a Delivery should be, without rings and pools.
type model struct {
	limits           Limits
	mode             Mode
	queue            []modelPacket
	tunneled, linked uint64
	both             uint64
	dropped          map[Reason]uint64
	forced           uint64

	copies   Limits
	ring     []modelPacket
	numbered bool
	epochs   uint16
	last     uint32
	given    uint32 // the number of the last packet that went out
	rewound  bool   // something was taken back, and comes out again
	forgot   uint64
	taken    uint64
}

// sent is what becomes of the model when a packet goes out.
func (m *model) sent(now time.Time, p modelPacket) Dest {
	switch m.mode {
	case Drain, Direct:
		m.linked++
		return ToLink
	case Bicast:
		m.both++
	default:
		m.tunneled++
	}
	if m.numbered && p.number == 0 {
		m.last++
		p.number = m.last
	}
	m.given = p.number
	if m.mode == Bicast {
		return ToBoth
	}
	if m.mode == Copy {
		p.at = now
		m.ring = append(m.ring, p)
		for len(m.ring) > 1 && m.ringFull(now) || len(m.ring) == 1 && (m.copies.Packets == 0 || m.copies.Bytes > 0 && m.ring[0].size > m.copies.Bytes) {
			m.ring = m.ring[1:]
			m.forgot++
		}
	}
	return ToTunnel
}

func (m *model) ringFull(now time.Time) bool {
	sum := 0
	for _, p := range m.ring {
		sum += p.size
	}
	return len(m.ring) > m.copies.Packets || m.copies.Bytes > 0 && sum > m.copies.Bytes ||
		m.copies.MaxAge > 0 && now.Sub(m.ring[0].at) >= m.copies.MaxAge
}

func (m *model) expire(now time.Time) {
	for m.limits.MaxAge > 0 && len(m.queue) > 0 && now.Sub(m.queue[0].at) >= m.limits.MaxAge {
		m.queue = m.queue[1:]
		m.dropped[ReasonAge]++
	}
}

func (m *model) bytes() (sum int) {
	for _, p := range m.queue {
		sum += p.size
	}
	return sum
}

func (m *model) packet(now time.Time, n uint64, size int) Dest {
	m.expire(now)
	if m.mode == Released {
		m.dropped[ReasonReleased]++
		return Dropped
	}
	if m.mode != Hold && m.mode != Await && len(m.queue) == 0 {
		return m.sent(now, modelPacket{n: n, size: size, at: now})
	}
	if len(m.queue) >= m.limits.Packets {
		m.dropped[ReasonPackets]++
		return Dropped
	}
	if m.limits.Bytes > 0 && m.bytes()+size > m.limits.Bytes {
		m.dropped[ReasonBytes]++
		return Dropped
	}
	m.queue = append(m.queue, modelPacket{n: n, size: size, at: now})
	return Held
}

func (m *model) next(now time.Time) (uint64, Dest, bool) {
	m.expire(now)
	if len(m.queue) == 0 || m.mode == Hold || m.mode == Await {
		return 0, Held, false
	}
	p := m.queue[0]
	m.queue = m.queue[1:]
	return p.n, m.sent(now, p), true
}

// apply returns whether the event is accepted. It knows the table from the
// published text, not from the code.
func (m *model) apply(now time.Time, table map[[2]string]string, e Event) bool {
	if e == Release {
		if len(m.queue) > 0 {
			m.dropped[ReasonReleased] += uint64(len(m.queue))
		}
		m.forgot += uint64(len(m.ring))
		m.queue, m.ring, m.mode, m.numbered = nil, nil, Released, false
		return true
	}
	m.expire(now)
	to := table[[2]string{m.mode.String(), e.String()}]
	if to == "-" || e == Flip && len(m.queue) > 0 {
		return false
	}
	from := m.mode
	for next := range numModes {
		if next.String() == to {
			m.mode = next
		}
	}
	switch {
	case m.mode == Copy || m.mode == Hold:
	case from == Copy && (e == Unguard || e == Both):
		m.forgot += uint64(len(m.ring))
		m.ring = nil
	default:
		m.rewound = m.rewound || len(m.ring) > 0
		m.tunneled -= uint64(len(m.ring))
		m.taken += uint64(len(m.ring))
		m.queue = append(m.ring, m.queue...)
		m.ring = nil
	}
	switch m.mode {
	case Copy, Bicast:
		if !m.numbered {
			m.numbered, m.last = true, 0
			m.epochs++
		}
	case Drain, Direct:
		m.numbered = false
		for i := range m.queue {
			m.queue[i].number = 0
		}
	}
	return true
}

// sameNumber checks the number of a packet that went out of both.
func sameNumber(t *rapid.T, m *model, got Out) {
	want := m.numbered && got.Dest != ToLink
	if got.Numbered != want || want && (got.Number != m.given || got.Epoch != m.epochs) {
		t.Fatalf("want number %d of epoch %d (%v), got %+v", m.given, m.epochs, want, got)
	}
}

// Any sequence of events and packets: the delivery does what the model does,
// everything is accounted for, and what comes out is in the order it went in.
func TestDeliveryProperties(t *testing.T) {
	table := parsePublished(t)
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{
			Packets: rapid.IntRange(0, 40).Draw(t, "packets"),
			Bytes:   rapid.SampledFrom([]int{0, 100, 3000, 100000}).Draw(t, "bytes"),
			MaxAge:  rapid.SampledFrom([]time.Duration{0, 50 * time.Millisecond, time.Second}).Draw(t, "age"),
		}
		copies := Limits{
			Packets: rapid.IntRange(0, 12).Draw(t, "copies"),
			Bytes:   rapid.SampledFrom([]int{0, 3000, 20000}).Draw(t, "copied bytes"),
			MaxAge:  rapid.SampledFrom([]time.Duration{0, 40 * time.Millisecond}).Draw(t, "detection"),
		}
		bank := NewBank(1000, 1<<20)
		account, err := bank.Open(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		d := New(Options{Limits: limits, Copies: copies, Account: account})
		m := &model{limits: limits, copies: copies, dropped: make(map[Reason]uint64)}
		now := epoch
		var sent, refused, lastOut uint64
		out := func(b []byte) {
			n, intact := number(b)
			if !intact {
				t.Fatalf("packet %d came out damaged", n)
			}
			if m.rewound { // what was taken back comes out again, in order
				m.rewound, lastOut = false, 0
			}
			if n <= lastOut {
				t.Fatalf("packet %d came out after %d", n, lastOut)
			}
			lastOut = n
		}
		steps := rapid.IntRange(1, 150).Draw(t, "steps")
		for range steps {
			now = now.Add(rapid.SampledFrom([]time.Duration{0, time.Millisecond, 30 * time.Millisecond, 600 * time.Millisecond}).Draw(t, "pause"))
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0, 1, 2, 3: // a run of packets
				for range rapid.IntRange(1, 20).Draw(t, "run") {
					sent++
					size := rapid.SampledFrom([]int{8, 60, 1400, 2048, 2049, 9000}).Draw(t, "size")
					pkt := numbered(sent, size)
					got, want := d.Take(now, pkt), m.packet(now, sent, size)
					if got.Dest != want {
						t.Fatalf("packet %d in %v: want %v, got %v", sent, m.mode, want, got)
					}
					if got.Dest != Held && got.Dest != Dropped {
						out(pkt)
						sameNumber(t, m, got)
					}
					clear(pkt) // the reader uses its buffer again
				}
			case 4, 5, 6:
				e := Event(rapid.IntRange(0, int(numEvents)-1).Draw(t, "event"))
				err, ok := d.Apply(now, e), m.apply(now, table, e)
				if (err == nil) != ok {
					t.Fatalf("%v in %v: want accepted %v, got %v", e, m.mode, ok, err)
				}
				var refusal *RefusedError
				if err != nil {
					refused++
					if !errors.As(err, &refusal) || refusal.Mode != m.mode || refusal.Event != e || refusal.Reason == "" {
						t.Fatalf("%v in %v: got %#v", e, m.mode, err)
					}
				}
			case 7, 8:
				for range rapid.IntRange(1, 8).Draw(t, "drain") {
					got, ok := d.Fetch(now)
					n, wantTo, wantOK := m.next(now)
					if ok != wantOK || got.Dest != wantTo {
						t.Fatalf("next in %v: want %v, %v, got %v, %v", m.mode, wantTo, wantOK, got, ok)
					}
					pkt := got.Pkt
					if !ok {
						break
					}
					if got, _ := number(pkt); got != n {
						t.Fatalf("next: want packet %d, got %d", n, got)
					}
					out(pkt)
					sameNumber(t, m, got)
					clear(pkt)
					d.Recycle(pkt)
				}
			case 9:
				switch rapid.IntRange(0, 3).Draw(t, "rare") {
				case 0:
					err := d.ForcedFlip(now)
					if (err == nil) != (m.mode == Drain) {
						t.Fatalf("forced flip in %v: %v", m.mode, err)
					}
					if err == nil {
						m.mode, m.numbered = Direct, false
						m.forced++
					} else {
						refused++
					}
				case 1:
					d.OnDeadline(now)
					m.expire(now)
				case 3:
					before := now.Add(-rapid.SampledFrom([]time.Duration{0, 20 * time.Millisecond, time.Second}).Draw(t, "forget"))
					d.Forget(before)
					for m.mode == Copy && len(m.ring) > 0 && m.ring[0].at.Before(before) {
						m.ring = m.ring[1:]
						m.forgot++
					}
				case 2: // the receiver says what it has
					top := m.last
					r := Report{Epoch: m.epochs, Top: top, Words: 1, Mask: [ReportWords]uint64{rapid.Uint64().Draw(t, "has") | 1}}
					d.Confirm(r)
					if m.numbered {
						m.ring = slices.DeleteFunc(m.ring, func(p modelPacket) bool { return r.Has(p.number) })
					}
				}
			}
			s := d.Stats()
			if s.In != sent || s.In != s.Tunneled+s.Linked+s.Bicast+s.Queued+total(s.Dropped) {
				t.Fatalf("%d packets came, the account is %+v", sent, s)
			}
			if d.Mode() != m.mode || d.Len() != len(m.queue) || s.Queued != uint64(len(m.queue)) ||
				s.Tunneled != m.tunneled || s.Bicast != m.both || s.Linked != m.linked || !maps.Equal(s.Dropped, m.dropped) ||
				s.ForcedFlips != m.forced || s.Refused != refused {
				t.Fatalf("want %+v, got mode %v, %d queued, %+v", m, d.Mode(), d.Len(), s)
			}
			if lent := bank.Stats(); lent.Packets != len(m.queue)+len(m.ring) || lent.Refused != 0 {
				t.Fatalf("%d packets are queued and %d copied: the bank has lent %+v", len(m.queue), len(m.ring), lent)
			}
			if s.Forgotten != m.forgot || s.Recovered != m.taken || s.Copied != s.Confirmed+s.Forgotten+s.Recovered+uint64(len(m.ring)) {
				t.Fatalf("copies: want %d forgotten, %d taken back, %d kept, got %+v", m.forgot, m.taken, len(m.ring), s)
			}
			if s.HighWater > limits.Packets+copies.Packets && s.HighWater > limits.Packets+int(m.taken) || s.Held+s.Recovered < uint64(s.HighWater) || s.HeldFor < 0 || s.HeldFor > now.Sub(epoch) {
				t.Fatalf("limits %+v, got %+v", limits, s)
			}
			if at, ok := d.Deadline(); ok != (limits.MaxAge > 0 && len(m.queue) > 0) || ok && !at.Equal(m.queue[0].at.Add(limits.MaxAge)) {
				t.Fatalf("deadline %v, %v with queue %+v", at, ok, m.queue)
			}
		}
	})
}
