package picture

import (
	"fmt"
	"math"

	"gonum.org/v1/plot/vg"

	"openmpa/testbed/report"
)

// A Move is a handover with what it is called in a picture.
type Move struct {
	Title string
	report.Handover
}

// column is one handover at one scale.
type column struct {
	title, below string
	track        *report.Track
	left, right  float64 // ms
}

// Comparison draws handovers beside one another, all to the same scale.
func Comparison(name string, moves ...Move) (Picture, error) {
	var columns []column
	longest := 0.0
	for _, m := range moves {
		if !drawable(m.Track) {
			return Picture{}, fmt.Errorf("picture: %s: nothing was noted of the handover %q that could be drawn", name, m.Title)
		}
		left, right := extent(m.Track)
		longest = max(longest, right-left)
		columns = append(columns, column{title: m.Title, below: outcome(m.Handover), track: m.Track, left: left})
	}
	pad := longest * 0.12
	for i := range columns {
		columns[i].left -= pad
		columns[i].right = columns[i].left + longest + 2*pad
	}
	return sketch(name, "Phases and packets of handovers side by side: "+titles(columns), columns)
}

// Closer draws one handover twice: all of it, and what is around the time
// without a link, unless that is most of it.
func Closer(name string, m Move) (Picture, error) {
	if !drawable(m.Track) {
		return Picture{}, fmt.Errorf("picture: %s: nothing was noted of the handover %q that could be drawn", name, m.Title)
	}
	left, right := extent(m.Track)
	pad := (right - left) * 0.12
	columns := []column{{title: m.Title, below: outcome(m.Handover), track: m.Track, left: left - pad, right: right + pad}}
	if len(m.Track.Away) > 0 {
		around := max(min(right*1.15, 12*m.Track.Away[len(m.Track.Away)-1].End()), 15)
		closer := column{title: "The move itself, closer", track: m.Track, left: -0.7 * around, right: around}
		if whole := columns[0]; closer.right-closer.left < (whole.right-whole.left)/2 {
			columns = append(columns, closer)
		}
	}
	return sketch(name, "Phases and packets of a handover: "+titles(columns), columns)
}

func titles(columns []column) string {
	s := ""
	for i, c := range columns {
		if i > 0 {
			s += "; "
		}
		s += c.title
		if c.below != "" {
			s += ", " + c.below
		}
	}
	return s
}

// drawable reports whether there is anything to draw, and that it is a handover
// of this world: what was read from a file may be anything.
func drawable(t *report.Track) bool {
	if t == nil || t.Down == nil || t.Up == nil || len(t.Phases) == 0 {
		return false
	}
	const longest = 24 * 3600 * 1000 // ms
	left, right := extent(t)
	return left > -longest && right < longest
}

// extent is from the first phase to the end of the last one.
func extent(t *report.Track) (left, right float64) {
	left, right = math.Inf(1), math.Inf(-1)
	for _, p := range t.Phases {
		left, right = min(left, p.AtMS), max(right, p.End())
	}
	for _, s := range t.Away {
		left, right = min(left, s.AtMS), max(right, s.End())
	}
	return left, max(right, left+1)
}

// outcome is the handover in a few words.
func outcome(h report.Handover) string {
	lost, gap := 0, longestGap(h)
	for _, f := range []*report.Flow{h.Flow.Down, h.Flow.Up} {
		if f == nil {
			continue
		}
		lost += f.Lost
	}
	words := fmt.Sprintf("%s; %d packets lost", h.Outcome, lost)
	if gap > 0 {
		words += ", silence around the move " + milliseconds(gap)
	}
	return words
}

// longestGap is the longer of the silences around the move, 0 without one.
func longestGap(h report.Handover) float64 {
	gap := 0.0
	for _, f := range []*report.Flow{h.Flow.Down, h.Flow.Up} {
		if f != nil && f.HandoverGapMS != nil {
			gap = max(gap, *f.HandoverGapMS)
		}
	}
	return gap
}

// The measures of a picture, in points.
const (
	pageWidth  = 980
	laneHeight = 15
	laneLabels = 168 // room for the names of the lanes
	betweens   = 44  // between columns: numbers of the right one's packets
	flowHeight = 132
	flowTitle  = 24
	headHeight = 44
	footHeight = 58
	marginX    = 12
)

// sketch draws columns.
func sketch(name, title string, columns []column) (Picture, error) {
	var tracks []*report.Track
	for _, c := range columns {
		tracks = append(tracks, c.track)
	}
	lanes := lanesOf(tracks)
	height := vg.Length(headHeight + laneHeight*len(lanes) + 2*(flowTitle+flowHeight) + footHeight)
	const caption = "Above the phases, by the programs' own timelines; below the packets, a mark for each: a ring where it was sent, " +
		"a dot where it arrived, a line between when that took long, its number upwards. The grey band is the time without a link, which begins at 0."
	return render(Picture{Name: name, Title: title, Caption: caption}, pageWidth, height, func(s sheet) {
		laneTop := height - headHeight
		laneBottom := laneTop - vg.Length(laneHeight*len(lanes))
		for i, l := range lanes {
			s.write(marginX+laneLabels-6, laneTop-vg.Length(laneHeight)*(vg.Length(i)+0.5), style{size: normal, x: -1, y: -0.5}, l.title)
		}
		n := vg.Length(len(columns))
		width := (pageWidth - 2*marginX - laneLabels - betweens*(n-1)) / n
		for i, c := range columns {
			x0 := marginX + laneLabels + vg.Length(i)*(width+betweens)
			s.column(c, lanes, x0, x0+width, laneTop, laneBottom)
		}
		s.legend(marginX+laneLabels, 14)
	})
}

// column draws one column between x0 and x1.
func (s sheet) column(c column, lanes []lane, x0, x1, laneTop, laneBottom vg.Length) {
	s.write(x0, laneTop+24, style{size: large, bold: true}, c.title)
	if c.below != "" {
		s.write(x0, laneTop+9, style{size: normal}, c.below)
	}
	p := panel{sheet: s, x0: x0, x1: x1, y0: laneBottom, y1: laneTop, left: c.left, right: c.right}
	down, up := p, p
	down.y1 = laneBottom - flowTitle
	down.y0 = down.y1 - flowHeight
	up.y1 = down.y0 - flowTitle
	up.y0 = up.y1 - flowHeight
	for _, away := range c.track.Away {
		if away.End() < c.left || away.AtMS > c.right {
			continue
		}
		from, to := p.x(p.clip(away.AtMS)), p.x(p.clip(away.End()))
		for _, q := range []panel{p, down, up} {
			s.box(from, q.y0, max(to, from+1.2), q.y1, band)
		}
	}
	p.xGrid(false)
	p.drawLanes(c.track, lanes)
	p.outline()
	down.drawPackets(c.track.Down, "packets to the mobile node")
	up.drawPackets(c.track.Up, "packets from the mobile node")
	up.low, up.high = 0, 1
	for _, v := range ticks(c.left, c.right, 8) {
		s.write(up.x(v), up.y0-4, style{size: small, x: -0.5, y: -1}, round(v))
	}
	s.write((x0+x1)/2, up.y0-17, style{size: normal, x: -0.5, y: -1}, "milliseconds after the link went")
}

// legend explains the marks in a line.
func (s sheet) legend(x, y vg.Length) {
	st := style{size: small, y: -0.5}
	next := func(words string) {
		x += 9
		s.write(x, y, st, words)
		x += s.width(st, words) + 20
	}
	s.box(x-5, y-4, x+5, y+4, blue)
	next("phase of the mobile node")
	s.box(x-5, y-4, x+5, y+4, orange)
	next("of the new router")
	s.box(x-5, y-6, x+5, y+6, band)
	next("no link")
	s.ring(x, y, grey, 3.1)
	next("packet sent (number over time)")
	s.dot(x, y, blue, 2)
	next("arrived")
	s.cross(x, y, vermillion, 3.1)
	next("sent, and lost")
}
