package crash

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/topo"
)

// A Party is who takes part in a handover, whichever way it goes.
type Party string

// The parties.
const (
	MN       Party = "mn"
	Next     Party = "next"     // the router the node moves to
	Previous Party = "previous" // the router it comes from
	HA       Party = "ha"
	AAA      Party = "aaa"
	DHCP     Party = "dhcp"
)

// Victims are the parties that are killed.
var Victims = []Party{MN, Next, Previous, HA, AAA, DHCP}

// daemon is the name the lab has for a party of a handover from b to a.
func (p Party) daemon() string {
	switch p {
	case Next:
		return "a"
	case Previous:
		return "b"
	case DHCP:
		return bed.DHCPName
	default:
		return string(p)
	}
}

// partyOf is the party that a daemon is in a handover from b to a.
func partyOf(daemon string) Party {
	switch daemon {
	case "a":
		return Next
	case "b":
		return Previous
	default:
		return Party(daemon)
	}
}

// A Point is a record in the timeline of a party: who wrote it, the phase,
// and "begin", "end" or the name of a moment.
type Point string

// pointOf names a record in a handover from b to a.
func pointOf(daemon string, e event.Event) Point {
	what := string(e.Kind)
	if e.Kind == event.KindPoint {
		what = e.Name
	}
	return Point(fmt.Sprintf("%s %s %s", partyOf(daemon), e.Phase, what))
}

// party is who writes the record.
func (p Point) party() Party {
	name, _, _ := strings.Cut(string(p), " ")
	return Party(name)
}

// Idle is the point of no handover at all.
const Idle Point = "idle"

// Points are Idle and the records of a prepared handover in the order in which they
// are written; some that two parties write at the same time may change places.
var Points = []Point{
	Idle,
	"mn handover begin",
	"mn prepare begin",
	"mn discovery begin",
	"mn discovery end",
	"mn tauth begin",
	"next tauth begin",
	"aaa tauth begin",
	"aaa tauth end",
	"next tauth end",
	"mn tauth end",
	"mn tconf begin",
	"next dhcp begin",
	"next dhcp end",
	"next dad begin",
	"next dad end",
	"mn tconf end",
	"mn tunnel begin",
	"next tunnel begin",
	"next tunnel end",
	"mn tunnel end",
	"mn bind begin",
	"ha bind moved",
	"ha bind marker",
	"mn bind end",
	"mn prepare end",
	"mn depart begin",
	"next hold begin",
	"mn depart end",
	"mn l2 begin",
	"mn l2 end",
	"mn arrival begin",
	"next hold end",
	"next drain begin",
	"mn arrival end",
	"next drain end",
	"next flip begin",
	"mn renew begin",
	"next flip end",
	"mn renew end",
	"mn cleanup begin",
	"mn cleanup end",
	"mn handover end",
}

// Delay is the usual time from the death to the start: longer than a message
// and its answer take, and shorter than a person.
const Delay = 300 * time.Millisecond

// A Cell is one crash.
type Cell struct {
	Victim Party
	Point  Point
	How
}

// How says in what way a cell is played.
type How struct {
	Delay time.Duration // from the death to the start
	// Hasty asks for the next handover when traffic goes on, and not only when
	// nothing of the crash is left.
	Hasty bool
	// AAA and DHCP are the servers, and Guard says when copies are kept, see [bed.Options].
	AAA, DHCP, Guard string
	// Enforce makes the routers enforcement points.
	Enforce bool
	// IP is the family, 4 or 6, and Addresses how nodes get theirs with IPv6, see [bed.Options].
	IP        int
	Addresses string
}

// optimistic is when a node that has arrived begins to look whether its address of IPv6, which it uses already, is another's, too.
const optimistic Point = "mn dad begin"

// Points are those of a handover played in that way: nobody asks a DHCP server where nodes form their addresses.
func (h How) Points() []Point {
	if h.IP != 6 {
		return Points
	}
	all := append(slices.Clone(Points), optimistic)
	if h.Addresses == bed.AddressesDHCP {
		return all
	}
	return slices.DeleteFunc(all, func(p Point) bool { return strings.HasPrefix(string(p), string(Next)+" "+string(event.PhaseDHCP)+" ") })
}

// String is how a cell is written on the command line.
func (c Cell) String() string { return fmt.Sprintf("%s@%s", c.Victim, c.Point) }

// ParseCell reads what String writes.
func ParseCell(s string) (Cell, error) {
	victim, point, _ := strings.Cut(s, "@")
	c := Cell{Victim: Party(victim), Point: Point(point)}
	if !slices.Contains(Victims, c.Victim) || !slices.Contains(Points, c.Point) && c.Point != optimistic && !c.Point.isMessage() {
		return c, fmt.Errorf("crash: %q is no cell: expected VICTIM@POINT, as in %q; `mpa-lab crash --list` shows them all", s, Cell{Victim: Next, Point: Points[11]})
	}
	return c, nil
}

// Cells are all cells of some victims and points; no victims stands for all.
func Cells(victims []Party, points []Point, how How) []Cell {
	var all []Cell
	there := how.Points()
	for _, p := range points {
		for _, v := range Victims {
			if !p.isMessage() && !slices.Contains(there, p) {
				continue
			}
			if len(victims) == 0 || slices.Contains(victims, v) {
				all = append(all, Cell{Victim: v, Point: p, How: how})
			}
		}
	}
	return all
}

// Sample chooses a cell of each victim, others for each seed.
func Sample(seed string) []Cell {
	h := fnv.New64a()
	h.Write([]byte(seed))
	rnd := rand.New(rand.NewPCG(h.Sum64(), 0)) //nolint:gosec // no secret: it has to be the same for the same seed
	var chosen []Cell
	for i, n := range rnd.Perm(len(Points))[:len(Victims)] {
		how := How{
			Delay: Delay, Hasty: rnd.IntN(2) == 1, AAA: bed.AAAEmbedded, DHCP: bed.DHCPEmbedded,
			Guard: []string{bed.GuardNever, bed.GuardAlways}[rnd.IntN(2)], Enforce: rnd.IntN(2) == 1, IP: 4,
		}
		if rnd.IntN(2) == 1 {
			how.IP, how.Addresses = 6, bed.AddressesDHCP
		}
		chosen = append(chosen, Cell{Victim: Victims[i], Point: Points[n], How: how})
	}
	return chosen
}

// compare says what of a timeline is not in the list of points, and what of
// the list is not in the timeline.
func compare(points, seen []Point) (problems []string) {
	for _, p := range points[1:] {
		if !slices.Contains(seen, p) {
			problems = append(problems, fmt.Sprintf("point %q did not occur in a handover without a crash", p))
		}
	}
	for _, p := range seen {
		if !slices.Contains(points, p) {
			problems = append(problems, fmt.Sprintf("point %q occurs in a handover, but is not in the matrix", p))
		}
	}
	return problems
}

// other is the network that is not the one named.
func other(network string) string { return topo.Other(network) }
