package flow

import (
	"encoding/binary"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// turnsModel is a sender that changes between two ways as it is asked to, the link to the
// node, the node's two sockets, and the node, which asks.
type turnsModel struct {
	*rapid.T
	now   time.Time
	turns *Turns
	last  uint64 // number of the last packet delivered
	ends  uint64

	// the sender
	sent  uint64
	way   Way
	lands End         // at a pause: it sends natively, behind this
	asked []turnsItem // on its way to it

	link    []turnsItem // on its way to the node
	own     []turnsItem // on its way from the node to itself
	sockets [2][]turnsItem
	replied bool
}

// turnsItem is a packet (number), the end of a run, a request, or the reply to one (number and
// end zero).
type turnsItem struct {
	way    Way
	number uint64
	end    End
}

func (m *turnsModel) deliver(pkt []byte) {
	n, intact := number(pkt)
	if !intact || n != m.last+1 {
		m.Fatalf("packet %d (intact %v) behind %d", n, intact, m.last)
	}
	m.last = n
}

// hear is the sender's next request: it sends through the tunnel at once, but not natively.
func (m *turnsModel) hear() {
	if len(m.asked) == 0 {
		return
	}
	r := m.asked[0]
	m.asked = m.asked[1:]
	if m.lands = (End{}); r.way == Tunneled {
		m.way = Tunneled
	} else {
		m.lands = r.end
	}
	m.link = append(m.link, turnsItem{})
}

func (m *turnsModel) pause() {
	if m.lands != (End{}) {
		m.link = append(m.link, turnsItem{way: Tunneled, end: m.lands})
		m.way, m.lands = Natively, End{}
	}
}

// arrive is what comes off the link next.
func (m *turnsModel) arrive() {
	if len(m.link) == 0 {
		return
	}
	i := m.link[0]
	m.link = m.link[1:]
	if i == (turnsItem{}) {
		m.replied = true
		return
	}
	m.sockets[i.way] = append(m.sockets[i.way], i)
}

// read is what is read next from a socket.
func (m *turnsModel) read(way Way) {
	if len(m.sockets[way]) == 0 {
		return
	}
	i := m.sockets[way][0]
	m.sockets[way] = m.sockets[way][1:]
	if i.number == 0 {
		m.turns.Ended(m.now, way, i.end)
	} else {
		pkt := numbered(i.number, 20)
		deliver, seal := m.turns.Take(m.now, way, pkt)
		if deliver {
			m.deliver(pkt)
		}
		clear(pkt)
		if seal {
			m.seal()
		}
	}
	for pkt, ok := m.turns.Next(); ok; pkt, ok = m.turns.Next() {
		m.deliver(pkt)
		clear(pkt)
		m.turns.Recycle(pkt)
	}
}

// seal is a packet of the node to itself.
func (m *turnsModel) seal() {
	if end, mark := m.turns.Seal(); mark {
		m.own = append(m.own, turnsItem{end: end})
	}
}

func (m *turnsModel) loop() { m.sockets[Natively], m.own = append(m.sockets[Natively], m.own...), nil }

func (m *turnsModel) step() {
	switch rapid.IntRange(0, 9).Draw(m.T, "what") {
	case 0, 1:
		m.sent++
		m.link = append(m.link, turnsItem{way: m.way, number: m.sent})
	case 2:
		m.hear()
	case 3:
		m.pause()
	case 4:
		m.loop()
	case 5, 6:
		m.arrive()
	case 7:
		m.read(Tunneled)
	default:
		m.read(Natively)
	}
}

func (m *turnsModel) steps() {
	for range rapid.IntRange(0, 20).Draw(m.T, "steps") {
		m.step()
	}
}

// until has things happen until done, and what that takes after a while.
func (m *turnsModel) until(done func() bool) {
	for n := 0; !done(); n++ {
		if n < 40 {
			m.step()
			continue
		}
		m.hear()
		m.arrive()
		m.loop()
		m.read(Natively)
	}
}

// request asks the sender for the other way, as mn does.
func (m *turnsModel) request(way Way) {
	m.ends++
	var end End
	binary.BigEndian.PutUint64(end[:], m.ends)
	if way == Natively {
		m.seal()
		m.until(func() bool { return !m.turns.Unread(m.now) })
	}
	m.turns.Begin(m.now, way, end, time.Millisecond)
	m.asked = append(m.asked, turnsItem{way: way, end: end})
	m.until(func() bool { return m.replied })
	m.replied = false
}

// However far the two readers are apart, and however soon the sender is asked for the other way
// again, before it has taken the one asked for even, everything is delivered once and in order.
func TestTurnsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// As many changes as a gate follows, if none of them is over.
		m := &turnsModel{T: t, now: epoch, turns: NewTurns(Limits{Packets: 1 << 20})}
		for range rapid.IntRange(1, maxStages/2).Draw(t, "changes") {
			m.steps()
			m.request(Tunneled)
			m.steps()
			m.request(Natively)
		}
		m.steps()
		for m.last != m.sent {
			if len(m.asked)+len(m.link)+len(m.own)+len(m.sockets[0])+len(m.sockets[1]) == 0 {
				t.Fatalf("%d delivered of %d", m.last, m.sent)
			}
			m.pause()
			m.arrive()
			m.loop()
			m.read(Natively)
			m.read(Tunneled)
		}
		if s := m.turns.Stats(); s.ByLimit+s.ByDeadline > 0 || s.Queued > 0 {
			t.Errorf("%+v", s)
		}
		if n := len(m.turns.phases); n > maxStages+3 {
			t.Errorf("%d phases are kept", n)
		}
	})
}

// Whatever comes by either way, with ends lost, repeated or unknown, small limits and any number of
// changes: the order of each way is kept, everything is delivered once or counted, nothing
// waits for ever, and what is kept is bounded.
func TestTurnsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		turns := NewTurns(Limits{Packets: rapid.SampledFrom([]int{0, 1, 5, 1000}).Draw(t, "packets")})
		now := epoch
		var sent, last [2]uint64
		var in, delivered uint64
		out := func(pkt []byte) {
			v, intact := number(pkt)
			way, n := v>>32, v&0xffffffff
			if !intact || n <= last[way] {
				t.Fatalf("%v: packet %d (intact %v) behind %d", Way(way), n, intact, last[way])
			}
			last[way] = n
			delivered++
		}
		next := func() {
			for pkt, ok := turns.Next(); ok; pkt, ok = turns.Next() {
				out(pkt)
				turns.Recycle(pkt)
			}
		}
		way := rapid.SampledFrom([]Way{Natively, Tunneled})
		end := rapid.Custom(func(t *rapid.T) End { return End{rapid.Byte().Draw(t, "end") & 7} })
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(rapid.SampledFrom([]time.Duration{0, time.Millisecond, 20 * time.Millisecond}).Draw(t, "pause"))
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				wait := rapid.SampledFrom([]time.Duration{0, 5 * time.Millisecond, 100 * time.Millisecond}).Draw(t, "wait")
				turns.Begin(now, way.Draw(t, "way"), end.Draw(t, "end"), wait)
			case 1:
				turns.Ended(now, way.Draw(t, "way"), end.Draw(t, "end"))
			case 2:
				turns.Seal()
			case 3:
				turns.Unread(now)
			case 4:
				turns.OnDeadline(now)
			case 5:
				turns.Give(now)
			default:
				w := way.Draw(t, "way")
				sent[w]++
				in++
				pkt := packetOn(uint64(w), sent[w], 20)
				if deliver, _ := turns.Take(now, w, pkt); deliver {
					out(pkt)
				}
				clear(pkt)
			}
			next()
			if n := len(turns.phases); n > maxStages+3 {
				t.Fatalf("%d phases are kept", n)
			}
		}
		for at, ok := turns.Deadline(); ok; at, ok = turns.Deadline() {
			turns.OnDeadline(at)
			next()
		}
		s := turns.Stats()
		if dropped := total(s.Dropped); s.Queued > 0 || in != s.In || in != delivered+dropped {
			t.Errorf("%d came, %d delivered, %d dropped: %+v", in, delivered, dropped, s)
		}
		turns.Open(now)
		if turns.Closed() {
			t.Error("opened, but closed")
		}
	})
}
