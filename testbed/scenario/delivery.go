package scenario

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"openmpa/testbed/bed"
	"openmpa/testbed/impair"
	"openmpa/testbed/matrix"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

// A DeliveryCase is a way to move, with its line of the table of promises.
type DeliveryCase struct {
	Name    string
	Doc     string
	Promise string
	// adjust makes the lab one for the case; nil: it is the standard one.
	adjust func(*bed.Options)
	// order gets everything ready for a move to a network, the n-th of the lab,
	// and says how to have it; nil: mpa-mn is told.
	order func(ctx context.Context, r *run, b *bed.Bed, n int, to string) (order, error)
	// judge holds a move with datagrams to the promise, and judgeTCP one with a
	// TCP connection.
	judge, judgeTCP func(r *run, name string, m measured)
	// slow is what the direction has that is not under load, packets a second; 0: slowRate.
	slow float64
}

// DeliveryCases are those of the matrix, in its order.
func DeliveryCases() []DeliveryCase {
	return []DeliveryCase{
		{
			Name: "planned", judge: (*run).judgeClean, judgeTCP: (*run).judgeCleanStream,
			Doc: "a planned move; the next router holds",
			Promise: "nothing lost, duplicated or reordered in either direction (reordered only in forced flips); " +
				"TCP: every octet arrives, nothing is dropped, and no retransmission time-out where the link is gone for up to 50 ms",
		},
		{
			Name: "previous", judge: (*run).judgePrevious, judgeTCP: (*run).judgePreviousStream, order: standsBy,
			adjust:  func(o *bed.Options) { o.Hold = bed.HoldPrevious },
			Doc:     "a planned move; the previous router holds, forwards to the new place, and the binding moves then",
			Promise: "as planned",
		},
		{
			Name: "cut", judge: (*run).judgeCut, judgeTCP: (*run).judgeCutStream, order: cutOff,
			adjust: func(o *bed.Options) { o.Guard, o.Count = bed.GuardAlways, true },
			Doc:    "the link is cut without warning, and comes up at the other network, which was prepared every other time; a router keeps copies",
			Promise: "nothing lost or duplicated to the node; from the node exactly those are lost that were on the air, each one counted, and nothing is reordered; " +
				"TCP: every octet arrives",
		},
		{
			Name: "bicast", judge: (*run).judgeBicast, judgeTCP: (*run).judgeCutStream, order: standsBy,
			adjust: func(o *bed.Options) {
				o.Count = true
				o.Classes = "classes: [{name: all, handling: bicast}]\n"
			},
			slow: 1000, // some reach both places however short the time is
			Doc:  "a planned move; packets to the node go to both places and are not held",
			Promise: "nothing duplicated or reordered; to the node those are lost that reached each of the two links while the node was not there, each one counted; " +
				"nothing from the node; TCP: every octet arrives",
		},
		{
			Name: "elsewhere", judge: (*run).judgeElsewhere, judgeTCP: (*run).judgeElsewhereStream, order: diverted,
			adjust: func(o *bed.Options) { o.Further = 1 },
			Doc:    "a planned move, but the link comes up at a third network; the target forwards there; every other time back from there as planned",
			Promise: "the node goes on where it is, and has said why; nothing lost, duplicated or reordered in either direction (reordered only in forced flips); " +
				"TCP: every octet arrives, and nothing is dropped",
		},
		{
			Name: "two-interfaces", judge: (*run).judgeClean, judgeTCP: (*run).judgeCleanStream,
			adjust:  func(o *bed.Options) { o.Second = bed.SecondUp },
			Doc:     "a planned move between two interfaces that are both up",
			Promise: "as planned, and there is no time without a link",
		},
		{
			Name: "second-interface", judge: (*run).judgeClean, judgeTCP: (*run).judgeCleanStream,
			adjust:  func(o *bed.Options) { o.Second = bed.SecondAtMove },
			Doc:     "a planned move to an interface that is set up for it",
			Promise: "as planned, and there is no time without a link",
		},
	}
}

// The other factors of the matrix.
var (
	DeliveryLoads  = []string{"50", "100M", loadTCP}
	DeliveryGaps   = []time.Duration{4 * time.Millisecond, 50 * time.Millisecond, 500 * time.Millisecond}
	DeliveryDelays = []time.Duration{0, 40 * time.Millisecond}
)

const (
	// loadTCP is one TCP connection each way in turn, paced to tcpRate.
	loadTCP = "tcp"
	tcpRate = "100M"
	// slowRate is what the direction has that is not under load, packets a second.
	slowRate = 50
	// delayed is the link that the delay is on: the way to one router is longer
	// than that to the other, which is what reorders when a binding moves.
	delayed = "core-a"
	// deliveryLead is how long traffic runs before and after each move.
	deliveryLead = 400 * time.Millisecond
)

// A DeliveryCell is a combination of the values of the factors.
type DeliveryCell struct {
	Case  string
	Load  string // datagrams a second, bits a second, or TCP
	Gap   time.Duration
	Delay time.Duration // each way on a link of the core
	Moves int           // to and fro, in one lab
}

// String is how a cell is written on the command line.
func (c DeliveryCell) String() string {
	return fmt.Sprintf("%s/%s/%v/%v", c.Case, c.Load, c.Gap, c.Delay)
}

// ParseDeliveryCell reads what String writes.
func ParseDeliveryCell(s string, moves int) (c DeliveryCell, err error) {
	parts := strings.Split(s, "/")
	if len(parts) == 4 {
		c = DeliveryCell{Case: parts[0], Load: parts[1], Moves: moves}
		var err1, err2 error
		c.Gap, err1 = time.ParseDuration(parts[2])
		c.Delay, err2 = time.ParseDuration(parts[3])
		err = errors.Join(err1, err2)
	}
	if err != nil || !slices.Contains(AllDeliveryCells(moves), c) {
		return c, fmt.Errorf("%q is no cell: expected CASE/TRAFFIC/GAP/DELAY as in %q; `mpa-lab delivery --list` shows them all", s, AllDeliveryCells(1)[0])
	}
	return c, nil
}

// AllDeliveryCells is the whole matrix.
func AllDeliveryCells(moves int) (all []DeliveryCell) {
	for _, c := range DeliveryCases() {
		for _, l := range DeliveryLoads {
			for _, g := range DeliveryGaps {
				for _, d := range DeliveryDelays {
					all = append(all, DeliveryCell{c.Name, l, g, d, moves})
				}
			}
		}
	}
	return all
}

// PairwiseDeliveryCells are few cells in which each two values of two factors meet.
func PairwiseDeliveryCells(moves int) (some []DeliveryCell) {
	cases := DeliveryCases()
	for _, row := range matrix.Pairwise([]int{len(cases), len(DeliveryLoads), len(DeliveryGaps), len(DeliveryDelays)}) {
		some = append(some, DeliveryCell{cases[row[0]].Name, DeliveryLoads[row[1]], DeliveryGaps[row[2]], DeliveryDelays[row[3]], moves})
	}
	return some
}

// A DeliveryRecord is what became of a cell.
type DeliveryRecord struct {
	Commit  string  `json:"commit"`
	Case    string  `json:"case"`
	Load    string  `json:"traffic"`
	GapMS   float64 `json:"gap_ms"`
	DelayMS float64 `json:"delay_ms"`
	Moves   int     `json:"moves"`
	// Passed says that there are no problems.
	Passed   bool            `json:"passed"`
	Problems []string        `json:"problems,omitempty"`
	At       time.Time       `json:"at"`
	TookS    float64         `json:"took_s"`
	Machine  *report.Machine `json:"machine,omitempty"`

	Handovers []report.Handover      `json:"handovers"`
	Streams   []report.Stream        `json:"streams,omitempty"`
	Links     map[string]report.Link `json:"links,omitempty"`
}

// Cell is the cell of the record.
func (r DeliveryRecord) Cell() DeliveryCell {
	ms := func(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }
	return DeliveryCell{Case: r.Case, Load: r.Load, Gap: ms(r.GapMS), Delay: ms(r.DelayMS), Moves: r.Moves}
}

// Built is the commit of the record.
func (r DeliveryRecord) Built() string { return r.Commit }

// Verdict is whether the cell passed.
func (r DeliveryRecord) Verdict() bool { return r.Passed }

// DeliveryOptions are those of the matrix.
type DeliveryOptions = matrix.Options[DeliveryCell, DeliveryRecord]

// Delivery plays cells in labs of programs in a directory, built of a commit.
func Delivery(ctx context.Context, bin, commit string, opt DeliveryOptions) ([]DeliveryRecord, error) {
	opt.Name = "delivery"
	opt.Play = func(ctx context.Context, c DeliveryCell, logs string) DeliveryRecord {
		return playDelivery(ctx, bin, commit, c, logs)
	}
	return matrix.Run(ctx, opt)
}

// playDelivery plays a cell in a lab of its own.
func playDelivery(ctx context.Context, bin, commit string, c DeliveryCell, logs string) DeliveryRecord {
	begun := time.Now()
	rec := DeliveryRecord{
		Commit: commit, Case: c.Case, Load: c.Load, GapMS: report.MS(c.Gap), DelayMS: report.MS(c.Delay), Moves: c.Moves, At: begun, Machine: report.Here(),
	}
	r := &run{p: Quiet(), at: "b", caseName: c.Case, res: &report.Result{Scenario: "delivery"}, opt: Options{
		Bin: bin, Commit: commit, Repeat: c.Moves, Gap: c.Gap, DAD: bed.DADFast, Lead: deliveryLead, Logs: logs,
	}}
	err := r.deliver(ctx, c)
	if err != nil {
		r.problem("%v", err)
	}
	panics, err := matrix.Panics(logs)
	if err != nil {
		r.problem("%v", err)
	}
	rec.Problems = append(r.res.Problems, panics...)
	rec.Handovers, rec.Streams, rec.Links = r.res.Handovers, r.res.Streams, r.res.Links
	rec.Passed = len(rec.Problems) == 0
	rec.TookS = time.Since(begun).Seconds()
	return rec
}

// deliver plays the moves of a cell.
func (r *run) deliver(ctx context.Context, c DeliveryCell) (err error) {
	cases := DeliveryCases()
	way := cases[slices.IndexFunc(cases, func(x DeliveryCase) bool { return x.Name == c.Case })]
	load := c.Load
	if load == loadTCP {
		load = tcpRate
	}
	if r.opt.Rate, err = traffic.ParseRate(load); err != nil {
		return err
	}
	if r.opt.Rate.Bits() {
		r.opt.Slow = traffic.PerSecond(cmp.Or(way.slow, slowRate))
		r.opt.Slow.Payload = r.opt.Rate.Payload // the ways are exchanged, and what is counted is told apart by its length
	}
	if c.Delay > 0 {
		p := impair.Params{Delay: c.Delay}
		r.opt.Links = map[string]impair.Both{delayed: {Out: p, In: p}}
	}
	opt := r.opt.bed(r.p)
	if way.adjust != nil {
		way.adjust(&opt)
	}
	if c.Load == loadTCP {
		opt.Count = false // its segments have no lengths to know them by
	}
	return r.withBed(ctx, opt, func(b *bed.Bed) error {
		orders := func(ctx context.Context, n int, to string) (order, error) {
			if way.order == nil {
				return ordered(b, to), nil
			}
			return way.order(ctx, r, b, n, to)
		}
		if c.Load != loadTCP {
			return r.datagramsThroughMoves(ctx, b, orders, func(name string, m measured) { way.judge(r, name, m) })
		}
		for _, d := range []Direction{Down, Up} {
			if _, err := r.streamThroughMoves(ctx, b, d, c.Case, orders, func(name string, m measured) { way.judgeTCP(r, name, m) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// datagramsThroughMoves moves to and fro, with flows of their own for each move. What is fast goes down and up in turn.
func (r *run) datagramsThroughMoves(ctx context.Context, b *bed.Bed, orders orders, judge func(string, measured)) error {
	for i := range r.opt.Repeat {
		from, to := r.at, topo.Other(r.at)
		name := fmt.Sprintf("move %d, %s to %s", i+1, from, to)
		if r.opt.Rate.Bits() {
			r.opt.Direction = []Direction{Down, Up}[i%2]
			name += ", " + string(r.opt.Direction)
		}
		if err := r.awaitClean(ctx, b, to); err != nil {
			return err
		}
		give, err := orders(ctx, i, to)
		if err != nil {
			return err
		}
		before, err := b.Drops()
		if err != nil {
			return err
		}
		node, err := nodeDrops(ctx, b)
		if err != nil {
			return err
		}
		m, err := r.attemptBy(ctx, b, from, to, give)
		if err != nil {
			return fmt.Errorf("scenario: %s: %w", name, err)
		}
		m.Case = r.caseName
		r.res.Handovers = append(r.res.Handovers, m.Handover)
		bad := len(r.res.Problems)
		judge(name, m)
		if len(r.res.Problems) > bad {
			if err := r.sayDropped(ctx, b, m, before, node); err != nil {
				return err
			}
		}
		if r.at, err = serves(ctx, b); err != nil {
			return err
		}
		if err := r.oneLease(ctx, b, r.at); err != nil {
			return err
		}
	}
	return nil
}

// judgeCleanStream holds a planned move to what is promised: of a TCP connection most shows as segments sent again only.
func (r *run) judgeCleanStream(name string, m measured) {
	r.judgeStream(name, m)
	r.expectNothingDropped(name, m)
	// After a time-out what is sent again and needless is not all told of: there it is lost where somebody has dropped it.
	if lost := m.TCP.Retransmitted - m.TCP.Needless - m.TCP.Probes; lost > 0 && (m.TCP.Timeouts == 0 || len(m.kernel) > 0) {
		text := ""
		if len(m.kernel) > 0 {
			text = "\n    meanwhile the kernel dropped: " + strings.Join(m.kernel, ", ")
		}
		r.problem("%s: %d segments were sent again, at most %d of them as tail loss probes, and the receiver had %d of them%s",
			name, m.TCP.Retransmitted, m.TCP.Probes, m.TCP.Needless, text)
	}
	if m.TCP.OutOfOrder > 0 && m.forced() == 0 {
		r.problem("%s: %d segments out of order without a forced flip", name, m.TCP.OutOfOrder)
	}
}
