package flow

import (
	"errors"
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// modelPacket is a packet in the queue of the model.
type modelPacket struct {
	n    uint64
	size int
	at   time.Time
}

// model is what a Delivery should be, without rings and pools.
type model struct {
	limits           Limits
	mode             Mode
	queue            []modelPacket
	tunneled, linked uint64
	dropped          map[Reason]uint64
	forced           uint64
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
	if m.mode != Hold && len(m.queue) == 0 {
		if m.mode == Tunnel {
			m.tunneled++
			return ToTunnel
		}
		m.linked++
		return ToLink
	}
	if len(m.queue) >= m.limits.Packets {
		m.dropped[ReasonPackets]++
		return Dropped
	}
	if m.limits.Bytes > 0 && m.bytes()+size > m.limits.Bytes {
		m.dropped[ReasonBytes]++
		return Dropped
	}
	m.queue = append(m.queue, modelPacket{n, size, now})
	return Held
}

func (m *model) next(now time.Time) (uint64, Dest, bool) {
	m.expire(now)
	if len(m.queue) == 0 || m.mode == Hold {
		return 0, Held, false
	}
	n := m.queue[0].n
	m.queue = m.queue[1:]
	if m.mode == Tunnel {
		m.tunneled++
		return n, ToTunnel, true
	}
	m.linked++
	return n, ToLink, true
}

// apply returns whether the event is accepted. It knows the table from the
// published text, not from the code.
func (m *model) apply(now time.Time, table map[[2]string]string, e Event) bool {
	if e == Release {
		if len(m.queue) > 0 {
			m.dropped[ReasonReleased] += uint64(len(m.queue))
		}
		m.queue, m.mode = nil, Released
		return true
	}
	m.expire(now)
	to := table[[2]string{m.mode.String(), e.String()}]
	if to == "-" || e == Flip && len(m.queue) > 0 {
		return false
	}
	for next := range numModes {
		if next.String() == to {
			m.mode = next
		}
	}
	return true
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
		d := NewDelivery(limits)
		m := &model{limits: limits, dropped: make(map[Reason]uint64)}
		now := epoch
		var sent, refused, lastOut uint64
		out := func(b []byte) {
			n, intact := number(b)
			if !intact {
				t.Fatalf("packet %d came out damaged", n)
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
					got, want := d.Packet(now, pkt), m.packet(now, sent, size)
					if got != want {
						t.Fatalf("packet %d in %v: want %v, got %v", sent, m.mode, want, got)
					}
					if got == ToTunnel || got == ToLink {
						out(pkt)
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
					pkt, to, ok := d.Next(now)
					n, wantTo, wantOK := m.next(now)
					if ok != wantOK || to != wantTo {
						t.Fatalf("next in %v: want %v, %v, got %v, %v", m.mode, wantTo, wantOK, to, ok)
					}
					if !ok {
						break
					}
					if got, _ := number(pkt); got != n {
						t.Fatalf("next: want packet %d, got %d", n, got)
					}
					out(pkt)
					clear(pkt)
					d.Recycle(pkt)
				}
			case 9:
				if rapid.Bool().Draw(t, "forced") {
					err := d.ForcedFlip(now)
					if (err == nil) != (m.mode == Drain) {
						t.Fatalf("forced flip in %v: %v", m.mode, err)
					}
					if err == nil {
						m.mode = Direct
						m.forced++
					} else {
						refused++
					}
				} else {
					d.OnDeadline(now)
					m.expire(now)
				}
			}
			s := d.Stats()
			if s.In != sent || s.In != s.Tunneled+s.Linked+s.Queued+total(s.Dropped) {
				t.Fatalf("%d packets came, the account is %+v", sent, s)
			}
			if d.Mode() != m.mode || d.Len() != len(m.queue) || s.Queued != uint64(len(m.queue)) ||
				s.Tunneled != m.tunneled || s.Linked != m.linked || !maps.Equal(s.Dropped, m.dropped) ||
				s.ForcedFlips != m.forced || s.Refused != refused {
				t.Fatalf("want %+v, got mode %v, %d queued, %+v", m, d.Mode(), d.Len(), s)
			}
			if s.HighWater > limits.Packets || s.Held < uint64(s.HighWater) || s.HeldFor < 0 || s.HeldFor > now.Sub(epoch) {
				t.Fatalf("limits %+v, got %+v", limits, s)
			}
			if at, ok := d.Deadline(); ok != (limits.MaxAge > 0 && len(m.queue) > 0) || ok && !at.Equal(m.queue[0].at.Add(limits.MaxAge)) {
				t.Fatalf("deadline %v, %v with queue %+v", at, ok, m.queue)
			}
		}
	})
}
