package scenario

import (
	"context"
	"fmt"
	"time"

	"openmpa/testbed/bed"
	"openmpa/testbed/matrix"
)

// An aaaCell is one way in which routers reach the home of the mobile node.
type aaaCell struct {
	transport string
	foreign   bool // by somebody else's programs: FreeRADIUS, or freeDiameter between
	roaming   bool
}

// server is the choice of bed.Options.AAA.
func (c aaaCell) server() string {
	switch {
	case !c.foreign:
		return bed.AAAEmbedded
	case c.transport == bed.TransportRADIUS, c.transport == bed.TransportRadSec:
		return bed.AAAFreeRADIUS
	default:
		return bed.AAAFreeDiameter
	}
}

// String names the cell in results.
func (c aaaCell) String() string {
	where := "local"
	if c.roaming {
		where = "roaming"
	}
	return fmt.Sprintf("%s, %s, %s", c.server(), c.transport, where)
}

// The factors.
var (
	aaaTransports = []string{bed.TransportRADIUS, bed.TransportRadSec, bed.TransportDiameter, bed.TransportDiameterTLS}
	aaaSizes      = []int{len(aaaTransports), 2, 2}
)

func aaaCellOf(row []int) aaaCell {
	return aaaCell{transport: aaaTransports[row[0]], foreign: row[1] == 1, roaming: row[2] == 1}
}

// allAAACells are all of them, and pairwiseAAACells so many that each two values of two factors meet.
func allAAACells() (cells []aaaCell) {
	for t := range aaaTransports {
		for foreign := range 2 {
			for roaming := range 2 {
				cells = append(cells, aaaCellOf([]int{t, foreign, roaming}))
			}
		}
	}
	return cells
}

func pairwiseAAACells() (cells []aaaCell) {
	for _, row := range matrix.Pairwise(aaaSizes) {
		cells = append(cells, aaaCellOf(row))
	}
	return cells
}

func adjustAAA(o *Options, given func(string) bool) {
	if !given("seconds") {
		o.Lead = 500 * time.Millisecond
	}
	if !given("probe") {
		o.Probe = false
	}
}

// aaaCells plays each cell in a lab of its own.
func aaaCells(ctx context.Context, r *run) error {
	given, cells := r.opt, allAAACells()
	if given.Pairwise {
		cells = pairwiseAAACells()
	}
	for i, c := range cells {
		r.opt, r.caseName = given, c.String()
		if given.Pairwise && given.EAP == "" { // a sample of these comes along at no cost
			r.opt.EAP = bed.EAPMethods[i%len(bed.EAPMethods)]
			r.caseName += ", " + r.opt.EAP
		}
		r.opt.AAA, r.opt.Transport, r.opt.Roaming = c.server(), c.transport, c.roaming
		err := r.withBed(ctx, r.opt.bed(r.p), func(b *bed.Bed) error {
			return r.repeat(ctx, b, func(name string, m measured) { r.judgeClean(r.caseName+": "+name, m) })
		})
		if err != nil {
			return fmt.Errorf("%s: %w", r.caseName, err)
		}
	}
	return nil
}

// aaaName says how many are played.
func aaaName() string {
	return fmt.Sprintf("authentication servers: %d of %d cells, pairwise, each a handover to and fro, and tshark finds nothing wrong in what is said", len(pairwiseAAACells()), len(allAAACells()))
}

// pairwiseAAA plays the pairwise cells.
func pairwiseAAA(ctx context.Context, opt Options, p *Progress) ([]string, error) {
	adjustAAA(&opt, func(string) bool { return false })
	opt.Repeat, opt.Pairwise, opt.Lead = 2, true, 300*time.Millisecond
	return overheard(ctx, "aaa", opt, p, "radius.code == 1", "diameter.cmd.code == 268", "tls.record.opaque_type == 23")
}
