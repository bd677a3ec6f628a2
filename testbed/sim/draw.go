package sim

import (
	"fmt"
	"time"

	"openmpa/testbed/picture"
)

// drawn is how much of a path is drawn: more crosses itself too often.
var drawn = [ways]time.Duration{Waypoint: 15 * time.Minute, GaussMarkov: 6 * time.Minute, Road: 3 * time.Minute}

// Picture draws the map, and for each subject the same paths, one of each way, with the moves.
func (r *Result) Picture(name string, subjects []Subject) (picture.Picture, error) {
	m := r.Map
	chart := picture.Chart{Width: m.Width}
	for i, c := range m.Cells {
		chart.Cells = append(chart.Cells, picture.Cell{X: c.X, Y: c.Y, Group: c.Network, Name: m.Points[i].Name})
	}
	const steps = 72
	chart.Steps = steps
	for row := range steps {
		for col := range steps {
			best, top := -1, float32(m.Spec.Lost)
			for c := range m.Cells {
				if s := m.Signal(c, (float64(col)+0.5)*m.Width/steps, (float64(row)+0.5)*m.Width/steps); s >= top {
					best, top = m.Cells[c].Network, s
				}
			}
			chart.Best = append(chart.Best, best)
		}
	}
	for i, s := range subjects {
		p := picture.Panel{Title: s.Name}
		var has [ways]bool
		moves := 0
		for _, path := range r.Paths {
			if has[path.Way] {
				continue
			}
			has[path.Way] = true
			t := picture.Trail{Title: path.Way.String()}
			end := drawn[path.Way]
			for k := range path.X {
				if time.Duration(k)*path.Every <= end {
					t.X, t.Y = append(t.X, float64(path.X[k])), append(t.Y, float64(path.Y[k]))
				}
			}
			for _, move := range path.Moves[i] {
				if move.At > end || move.From < 0 {
					continue
				}
				x, y := path.Where(move.At)
				kind := picture.Moved
				switch {
				case move.Failed:
					kind = picture.MoveFailed
				case move.PingPong:
					kind = picture.MovedBack
				}
				if !move.Failed {
					moves++
				}
				t.Marks = append(t.Marks, picture.Mark{X: float64(x), Y: float64(y), Kind: kind, ToX: m.Cells[move.To].X, ToY: m.Cells[move.To].Y})
			}
			p.Trails = append(p.Trails, t)
		}
		p.Title += fmt.Sprintf(": %d moves", moves)
		chart.Panels = append(chart.Panels, p)
	}
	title := fmt.Sprintf("%d cells of %d networks, and where the same nodes moved with each policy", len(m.Cells), m.Spec.Networks)
	caption := fmt.Sprintf("%.0f m each way. Colours: the network that is heard best; white: none. Paths: on foot for %v (solid), by bicycle for %v (dashed), by car for %v (dotted).",
		m.Width, drawn[Waypoint], drawn[GaussMarkov], drawn[Road])
	return picture.Map(name, title, caption, chart)
}
