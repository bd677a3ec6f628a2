package vhandover

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"openmpa/mn"
	"openmpa/par"
	"openmpa/testbed/simnet"
	"openmpa/tunnel/esp"
	"openmpa/tunnel/flow"
)

// Fault is what goes wrong during one handover.
type Fault string

// The faults.
const (
	None       Fault = "none"
	DeadTarget Fault = "dead target"      // the link at the target does not come up
	Flapping   Fault = "flapping link"    // it comes up, and goes again
	SilentAAA  Fault = "AAA silent"       // for the whole handover
	SilentDHCP Fault = "DHCP silent"      // likewise
	SilentHA   Fault = "home agent cut"   // nothing reaches it or comes from it, for a while
	Conflict   Fault = "address conflict" // a stranger has the addresses that are leased next
	CrashNext  Fault = "next router crashes"
	CrashOld   Fault = "old router crashes"
	CrashHA    Fault = "home agent crashes"
	CrashNode  Fault = "node crashes"
	CrashAAA   Fault = "AAA crashes"
	Cancelled  Fault = "asked to stop"
	LinkLost   Fault = "link lost"              // where the node is, and back after a while
	Carried    Fault = "carried away"           // the link goes to the other network, nobody asked for it
	Late       Fault = "moved later"            // prepared, and moved when it suits
	Unused     Fault = "prepared for nothing"   // and given back
	Arrives    Fault = "carried where prepared" // the link goes to the other network, which is prepared
	DeadLink   Fault = "dead link"              // prepared, and the link carries nothing any more while its carrier is there
	Strays     Fault = "comes up elsewhere"     // the link does, at the third network
	Roams      Fault = "carried within"         // the link goes to the other point of the network
	Twice      Fault = "asked for twice"        // and the second is refused
	Unknown    Fault = "to nowhere known"       // a network that is not in the configuration
)

// faults and how often each is drawn.
var faults = []struct {
	fault  Fault
	weight int
}{
	{None, 50},
	{DeadTarget, 8},
	{Flapping, 3},
	{SilentAAA, 4},
	{SilentDHCP, 4},
	{SilentHA, 4},
	{Conflict, 5},
	{CrashNext, 5},
	{CrashOld, 5},
	{CrashHA, 4},
	{CrashNode, 4},
	{CrashAAA, 2},
	{Cancelled, 2},
	{LinkLost, 4},
	{Carried, 4},
	{Late, 8},
	{Unused, 5},
	{Arrives, 8},
	{DeadLink, 5},
	{Strays, 5},
	{Roams, 5},
	{Twice, 1},
	{Unknown, 1},
}

// harmless are the faults in which no packet has to be lost.
var harmless = map[Fault]bool{
	None: true, SilentAAA: true, SilentDHCP: true, Conflict: true, CrashAAA: true, DeadTarget: true, Cancelled: true,
	Twice: true, Unknown: true, Late: true, Unused: true,
}

// Clean says that the network loses and doubles nothing, and nothing happens that
// costs a packet: none may be lost, doubled or out of order.
func (p Plan) Clean() bool {
	return p.lossless() && p.Prepared && !slices.ContainsFunc(p.Moves, func(m Move) bool { return !harmless[m.Fault] || !harmless[m.Second.Fault] })
}

// lossless says that every frame arrives once, and in order.
func (p Plan) lossless() bool {
	for _, c := range p.Cables {
		for _, imp := range c {
			if imp.Loss+imp.Duplicate+imp.Reorder > 0 {
				return false
			}
		}
	}
	return true
}

// unheard says that the node may give a lease back that it had taken itself, while the DHCP server is
// silent: that has no answer, so the lease lasts to its end. Without an address verified ahead no
// handover comes so far then.
func (p Plan) unheard() bool {
	return p.Ahead.Most > 0 && slices.ContainsFunc(p.Moves, func(m Move) bool { return m.Fault == SilentDHCP || m.Second.Fault == SilentDHCP })
}

// Trouble is a fault and its time.
type Trouble struct {
	Fault Fault
	At    time.Duration // from the beginning of the handover to the fault
	Back  time.Duration // from the fault to its end
}

// Move is one handover of a plan.
type Move struct {
	Trouble
	Second Trouble       // at the same time; one of those that come and go, or none
	Gap    time.Duration // without a link
	Pause  time.Duration // after the handover
}

// Kind names what goes wrong.
func (m Move) Kind() string {
	if m.Second.Fault != None {
		return "two of them"
	}
	return string(m.Fault)
}

// passing are the faults that may come beside another.
var passing = []Fault{SilentAAA, SilentDHCP, SilentHA, Conflict, CrashNext, CrashOld, CrashHA, CrashAAA, LinkLost}

// Plan is all that is drawn from a seed.
type Plan struct {
	Seed     uint64
	Rate     int                             // packets a second, each way
	Cables   map[string][2]simnet.Impairment // by label: there and back
	Moves    []Move
	Prepared bool               // false: break before make
	Second   Second             // interface of the node
	Reach    bool               // points are tested before the old one is left
	Rekey    [2]esp.RekeyLimits // of the node's end of tunnels, and of the routers'
	Hold     mn.HoldAt          // by whom packets are held in a planned move
	Guard    mn.GuardWhen       // whether copies are kept against a cut
	Ahead    par.Ahead          // addresses that routers verify before the node asks
	Keep     time.Duration      // what the node has in the network that it has left is kept so long for a return
	Bicast   bool               // packets go to both places around a move; not drawn
}

// classes are those of the routers; none: the standard.
func (p Plan) classes() []flow.Class {
	if !p.Bicast {
		return nil
	}
	return []flow.Class{{Name: "all", Handling: flow.HandleBicast}}
}

// cables are the labels of those that a plan impairs.
var cables = []string{"air", "rb-core", "ra-core", "ha-core", "cn-core", "aaa-core", "dhcp-b", "dhcp-a"}

// NewPlan draws one.
func NewPlan(seed uint64) Plan {
	r := rand.New(rand.NewPCG(seed, 0x6d7061))
	p := Plan{Seed: seed, Rate: 20 + r.IntN(130), Cables: map[string][2]simnet.Impairment{}, Prepared: r.IntN(12) > 0}
	// Some networks lose nothing, some little, some much, and few very much.
	most := []float64{0, 0, 0, 0.01, 0.01, 0.01, 0.08, 0.08, 0.08, 0.2}[r.IntN(10)]
	reorders := r.IntN(2) == 0
	delay := time.Duration(1+r.IntN(40)) * time.Millisecond
	if r.IntN(10) == 0 {
		delay *= 5
	}
	for _, label := range cables {
		var both [2]simnet.Impairment
		for i := range both {
			d := time.Duration(r.Int64N(int64(delay)))
			if label == "air" {
				d /= 8
			}
			both[i] = simnet.Impairment{
				Delay: d, Jitter: time.Duration(r.Int64N(int64(d)/2 + 1)), Loss: most * r.Float64(),
				Duplicate: most * r.Float64(), Late: d,
			}
			if reorders {
				both[i].Reorder = most * r.Float64()
			}
		}
		p.Cables[label] = both
	}
	p.Reach = r.IntN(4) == 0
	for range 1 + r.IntN(3) {
		p.Moves = append(p.Moves, drawMove(r))
	}
	p.Rekey = drawRekey(seed)
	p.Second = drawSecond(seed)
	p.Hold, p.Guard = drawDelivery(seed)
	p.Ahead = drawAhead(seed)
	p.Keep = drawKeep(seed)
	return p
}

// Second says whether the node has another interface for network a.
type Second uint8

// The ways to have one.
const (
	NoSecond     Second = iota // one interface reaches both
	SecondUp                   // both are up all the time
	SecondAtMove               // it is set up for its move only
)

// String implements fmt.Stringer.
func (s Second) String() string { return [...]string{"none", "up", "up for its move"}[s] }

// drawSecond draws for a third of the plans. It has draws of its own.
func drawSecond(seed uint64) Second {
	r := rand.New(rand.NewPCG(seed, 0x7365636f6e64))
	return []Second{NoSecond, NoSecond, NoSecond, NoSecond, SecondUp, SecondAtMove}[r.IntN(6)]
}

// linger is longer than any packet is on its way in a plan.
const linger = time.Second

// drawRekey draws when each end wants a tunnel rekeyed: never, after some packets, or
// after a time. It has draws of its own.
func drawRekey(seed uint64) (limits [2]esp.RekeyLimits) {
	r := rand.New(rand.NewPCG(seed, 0x72656b6579))
	for i := range limits {
		switch l := &limits[i]; r.IntN(3) {
		case 0:
			l.Packets = 2 + r.Uint64N(80)
		case 1:
			l.Age = 100*time.Millisecond + time.Duration(r.Int64N(int64(2*time.Second)))
		}
		limits[i].Linger = linger
	}
	return limits
}

// drawDelivery draws who holds packets, and whether copies are kept. It has draws of its
// own.
func drawDelivery(seed uint64) (hold mn.HoldAt, guard mn.GuardWhen) {
	r := rand.New(rand.NewPCG(seed, 0x686f6c64))
	hold, guard = mn.HoldNext, mn.GuardNever
	if r.IntN(3) == 0 {
		hold = mn.HoldPrevious
	}
	if r.IntN(3) == 0 {
		guard = mn.GuardAlways
	}
	return hold, guard
}

// drawAhead draws addresses verified ahead for a third of the plans. It has draws of its own.
func drawAhead(seed uint64) par.Ahead {
	r := rand.New(rand.NewPCG(seed, 0x6168656164))
	if r.IntN(3) > 0 {
		return par.Ahead{}
	}
	a := par.Ahead{Most: 1 + r.IntN(3), Idle: time.Second + time.Duration(r.Int64N(int64(time.Minute)))}
	a.Least = r.IntN(a.Most + 1)
	return a
}

// drawKeep draws for how long the network of before is kept for two thirds of the plans. It has draws of its own.
func drawKeep(seed uint64) time.Duration {
	r := rand.New(rand.NewPCG(seed, 0x6b656570))
	if r.IntN(3) == 0 {
		return 0
	}
	return 200*time.Millisecond + time.Duration(r.Int64N(int64(keptTime)))
}

func drawMove(r *rand.Rand) Move {
	all := 0
	for _, f := range faults {
		all += f.weight
	}
	trouble := func() Trouble {
		soon := 500 * time.Millisecond // where a handover on a short path is over
		if r.IntN(2) == 0 {
			soon = 6 * time.Second
		}
		return Trouble{
			Fault: None, At: time.Duration(r.Int64N(int64(soon))), Back: time.Second + time.Duration(r.Int64N(int64(10*time.Second))),
		}
	}
	m := Move{
		Trouble: trouble(), Second: trouble(), Gap: time.Duration(r.Int64N(int64(100 * time.Millisecond))),
		Pause: time.Duration(r.Int64N(int64(2 * time.Second))),
	}
	pick := r.IntN(all)
	for _, f := range faults {
		if pick -= f.weight; pick < 0 {
			m.Fault = f.fault
			break
		}
	}
	if second := passing[r.IntN(len(passing))]; m.Fault != None && m.Fault != second && r.IntN(8) == 0 {
		m.Second.Fault = second
	}
	return m
}

// String is the plan on a few lines.
func (p Plan) String() string {
	s := fmt.Sprintf("seed %d: %d packets/s, prepared %v, points tested %v", p.Seed, p.Rate, p.Prepared, p.Reach)
	s += fmt.Sprintf(", second interface %v", p.Second)
	s += fmt.Sprintf(", held by the %s router, guarded %s", p.Hold, p.Guard)
	s += fmt.Sprintf(", %d to %d addresses ahead, for %v, the last network kept for %v", p.Ahead.Least, p.Ahead.Most, p.Ahead.Idle, p.Keep)
	s += fmt.Sprintf(", rekeying by the node %v, by the routers %v", p.Rekey[0], p.Rekey[1])
	for _, label := range cables {
		c := p.Cables[label]
		s += fmt.Sprintf("\n  %-8s there %+v\n           back  %+v", label, c[0], c[1])
	}
	for i, m := range p.Moves {
		s += fmt.Sprintf("\n  handover %d: %s at %v for %v", i+1, m.Fault, m.At, m.Back)
		if m.Second.Fault != None {
			s += fmt.Sprintf(", %s at %v for %v", m.Second.Fault, m.Second.At, m.Second.Back)
		}
		s += fmt.Sprintf(", gap %v, then pause %v", m.Gap, m.Pause)
	}
	return s
}
