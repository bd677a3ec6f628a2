package bench

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"openmpa/par"
	"openmpa/tunnel/flow"
)

// The simulated router has the machines of a real one (tunnel/flow) and a clock of its
// own: packets come as they came in the lab, nothing is lost on the way, and an arrived
// node's queue goes out as fast as its access link takes it.
const (
	simMoves = 40
	simLead  = 2 * time.Second // between moves
	simLink  = 150e6 / 8       // octets a second
)

// A sizing is a way to bound what is held: by itself, or fixed.
type sizing struct {
	name    string
	packets int // 0: by itself
}

var sizings = []sizing{{"self-sizing", 0}, {"fixed 16", 16}, {"fixed 128", 128}, {"fixed 1024", 1024}, {"fixed 8192", 8192}}

// simRouter is what visitors of a simulated router share.
type simRouter struct {
	how     sizing
	cfg     par.Buffer
	classes *flow.Classes
	bank    *flow.Bank
	gaps    *flow.Gaps
}

func newSimRouter(how sizing) (*simRouter, error) {
	cfg := par.DefaultBuffer()
	classes, err := flow.NewClasses(flow.Class{Name: "all", Limits: cfg.Each})
	if err != nil {
		return nil, err
	}
	return &simRouter{how: how, cfg: cfg, classes: classes, bank: flow.NewBank(cfg.All.Packets, cfg.All.Bytes), gaps: flow.NewGaps(100, time.Hour)}, nil
}

// simNode is one visitor of it.
type simNode struct {
	r       *simRouter
	move    flow.Move
	d       *flow.Delivery
	account *flow.Account
	sizer   *flow.Sizer
	pacer   flow.Pacer
	stream  *stream
	now     time.Time // of what happened last

	holds  uint64          // packets that came in holds
	most   int             // octets held at a time
	room   []float64       // made in each hold, as a multiple of what came
	delays []time.Duration // of what was held and delivered
}

func (r *simRouter) node(name string, s *stream) (n *simNode, err error) {
	n = &simNode{r: r, move: flow.Move{Node: name}, stream: s, pacer: flow.NewPacer(simLink, 16<<10)}
	limits := flow.Limits{Packets: r.how.packets, MaxAge: r.cfg.Each.MaxAge}
	if r.how.packets == 0 {
		limits = r.cfg.Each
		if n.account, err = r.bank.Open(r.cfg.Guaranteed.Packets, r.cfg.Guaranteed.Bytes); err != nil {
			return nil, err
		}
	}
	n.sizer = flow.NewSizer(flow.Sizing{Least: r.cfg.Guaranteed, Most: r.cfg.Each, Gap: r.cfg.Gap, Spare: r.cfg.Spare}, r.classes)
	n.d = flow.New(flow.Options{Limits: limits, Account: n.account})
	return n, nil
}

// A stream is packets as they come, again and again what was recorded.
type stream struct {
	size int
	next time.Time
	gaps []time.Duration // between packets
	at   int
	pkt  []byte
}

// record makes a stream of what was sent in the lab, all of it.
func record(sent []int64, size int) (*stream, error) {
	s := &stream{size: size, pkt: make([]byte, size)}
	for i := 1; i < len(sent); i++ {
		s.gaps = append(s.gaps, max(time.Duration(sent[i]-sent[i-1]), time.Microsecond))
	}
	if len(s.gaps) < 10 {
		return nil, fmt.Errorf("bench: only %d packets were recorded", len(sent))
	}
	return s, nil
}

// again is the same stream, not yet begun.
func (s *stream) again(now time.Time) *stream {
	return &stream{size: s.size, next: now, gaps: s.gaps, pkt: make([]byte, s.size)}
}

// take gives the packet that comes at next, which has the time in its first octets.
func (s *stream) take() (at time.Time, pkt []byte) {
	at = s.next
	binary.BigEndian.PutUint64(s.pkt, uint64(at.UnixNano()))
	s.next = at.Add(s.gaps[s.at])
	s.at = (s.at + 1) % len(s.gaps)
	return at, s.pkt
}

// until has packets come until end, and what is queued go out if the node is there.
func (n *simNode) until(end time.Time) {
	for {
		out, draining := time.Time{}, n.d.Mode() == flow.Drain && n.d.Len() > 0
		if draining {
			out = n.pacer.At(n.now)
		}
		switch {
		case draining && !out.After(n.stream.next) && out.Before(end):
			n.send(out)
		case n.stream.next.Before(end):
			n.come()
		default:
			n.now = end
			return
		}
	}
}

func (n *simNode) come() {
	now, pkt := n.stream.take()
	n.now = now
	if n.sizer.Came(now, 0, len(pkt)) {
		n.claim()
	}
	if n.d.Mode() == flow.Hold {
		n.holds++
	}
	if n.d.Packet(now, pkt) == flow.ToLink {
		n.pacer.Sent(now, len(pkt))
	}
	n.most = max(n.most, n.d.Len()*len(pkt))
}

func (n *simNode) send(now time.Time) {
	n.now = now
	pkt, _, ok := n.d.Next(now)
	if !ok {
		return
	}
	n.delays = append(n.delays, now.Sub(time.Unix(0, int64(binary.BigEndian.Uint64(pkt)))))
	n.pacer.Sent(now, len(pkt))
	n.d.Recycle(pkt)
}

func (n *simNode) claim() {
	if n.account != nil {
		n.account.Claim(n.sizer.Size().Packets, n.sizer.Size().Bytes)
	}
}

// leave begins a hold.
func (n *simNode) leave(now time.Time) error {
	n.sizer.Away(now, n.r.gaps.Of(now, n.move))
	n.claim()
	return n.d.Apply(now, flow.Disable)
}

// moves has the node move again and again, each time without a link for what gap says.
func (n *simNode) moves(now time.Time, count int, gap func() time.Duration) error {
	for range count {
		if err := n.d.Apply(now, flow.Create); err != nil {
			return err
		}
		now = now.Add(simLead)
		n.until(now)
		if err := n.leave(now); err != nil {
			return err
		}
		took := gap()
		now = now.Add(took)
		before := n.holds
		n.until(now)
		n.room = append(n.room, float64(n.made())/float64(max(n.holds-before, 1)))
		if err := n.d.Apply(now, flow.Arrival); err != nil {
			return err
		}
		n.r.gaps.Add(now, n.move, took)
		n.sizer.Back()
		for n.d.Len() > 0 { // it is never as fast as the link
			now = now.Add(10 * time.Millisecond)
			n.until(now)
		}
		if err := n.d.Apply(now, flow.Flip); err != nil {
			return err
		}
	}
	return nil
}

// made is for how many packets there is room now.
func (n *simNode) made() int {
	if n.account == nil {
		return n.r.how.packets
	}
	return n.sizer.Size().Packets
}

// crowd has nodes leave that never come, a second later one that is away for gap, and
// returns that one, and the most octets that all together had held.
func crowd(r *simRouter, fast, slow *stream, never int, gap time.Duration) (newcomer *simNode, most int, err error) {
	now := time.Unix(0, 0)
	var all []*simNode
	for i := range never + 1 {
		s := fast
		if i == never {
			s = slow
		}
		n, err := r.node(fmt.Sprintf("node %d", i), s.again(now))
		if err != nil {
			return nil, 0, err
		}
		all = append(all, n)
		if err := n.d.Apply(now, flow.Create); err != nil {
			return nil, 0, err
		}
	}
	newcomer = all[never]
	const step = time.Millisecond
	leaves := map[time.Time][]*simNode{now.Add(simLead): all[:never], now.Add(2 * simLead): {newcomer}}
	for end := now.Add(2*simLead + gap); now.Before(end); now = now.Add(step) {
		for _, n := range leaves[now] {
			if err := n.leave(now); err != nil {
				return nil, 0, err
			}
		}
		held := 0
		for _, n := range all {
			n.until(now.Add(step))
			held += n.d.Len() * n.stream.size
		}
		most = max(most, held)
	}
	return newcomer, most, nil
}

// dropped are packets that were not delivered, in percent of those that came in holds.
func (n *simNode) dropped() float64 {
	sum := uint64(0)
	for _, count := range n.d.Stats().Dropped {
		sum += count
	}
	return 100 * float64(sum) / float64(max(n.holds, 1))
}

// late99 is the 99th percentile of the delay that the hold has added, in ms.
func (n *simNode) late99() float64 {
	if len(n.delays) == 0 {
		return 0
	}
	slices.Sort(n.delays)
	return float64(n.delays[len(n.delays)*99/100]) / 1e6
}
