package picture

import (
	"fmt"
	"math"

	"gonum.org/v1/plot/vg"

	"openmpa/testbed/report"
)

// mark is what is drawn for a packet, or for several next to one another.
type mark struct {
	number        int
	sent, arrived float64 // ms; arrived is NaN when it was lost
}

// marksMost is how many marks a panel holds; when there are more packets, one
// stands for several.
const marksMost = 160

// marksOf are the marks of the packets sent within the panel, and how many
// packets one stands for. It is lost when one of them was.
func marksOf(p *report.Packets, left, right float64) (out []mark, each int) {
	var all []mark
	p.Each(func(n int, sent, arrived float64) {
		if sent < left || sent > right {
			return
		}
		if arrived < sent {
			arrived = math.NaN()
		}
		all = append(all, mark{n, sent, arrived})
	})
	each = max((len(all)+marksMost-1)/marksMost, 1)
	for i := 0; i < len(all); i += each {
		m := all[i]
		for _, other := range all[i:min(i+each, len(all))] {
			if math.IsNaN(other.arrived) {
				m = other
				break
			}
		}
		out = append(out, m)
	}
	return out, each
}

// lostIn counts all packets of a flow that were lost, and finds the longest
// delay in milliseconds.
func lostIn(p *report.Packets) (lost int, longest float64) {
	for _, d := range p.DelayUS {
		if d < 0 {
			lost++
		}
		longest = max(longest, float64(d)/1000)
	}
	return lost, longest
}

// drawPackets draws number over time: a ring where a packet was sent, a dot
// where it arrived, a cross where one was lost.
func (p panel) drawPackets(t *report.Packets, title string) {
	marks, each := marksOf(t, p.left, p.right)
	lost, longest := lostIn(t)
	note := fmt.Sprintf("%d lost, longest delay %s", lost, milliseconds(longest))
	if each > 1 {
		note += fmt.Sprintf(" (a mark for every %d)", each)
	}
	p.write(p.x0, p.y1+5, style{size: normal}, title)
	p.write(p.x1, p.y1+5, style{size: small, x: -1}, note)
	if len(marks) > 0 {
		p.low, p.high = float64(marks[0].number), float64(marks[len(marks)-1].number)
	}
	margin := max((p.high-p.low)*0.08, 1)
	p.low, p.high = p.low-margin, p.high+margin
	p.yGrid(whole(p.low, p.high, 5), round)
	p.xGrid(false)
	r, way := vg.Length(3.1), vg.Length(0.9)
	if len(marks) > 60 {
		r, way = 2.2, 0.25
	}
	for _, m := range marks {
		y := p.y(float64(m.number))
		if math.IsNaN(m.arrived) {
			p.cross(p.x(m.sent), y, vermillion, r)
			continue
		}
		if to := p.x(p.clip(m.arrived)); to > p.x(m.sent)+r {
			p.line(p.x(m.sent)+r, y, to, y, grey, way)
		}
		p.ring(p.x(m.sent), y, grey, r)
		if p.inside(m.arrived) {
			p.dot(p.x(m.arrived), y, blue, r*0.62)
		}
	}
	p.outline()
}
