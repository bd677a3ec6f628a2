package bench

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"openmpa/testbed/picture"
	"openmpa/testbed/report"
)

// A Result is one run of a bench.
type Result struct {
	Bench   string          `json:"bench"`
	Commit  string          `json:"commit"`
	Kernel  string          `json:"kernel,omitempty"`
	Go      string          `json:"go"`
	Started *time.Time      `json:"started,omitempty"`
	Machine *report.Machine `json:"machine,omitempty"`
	Rounds  int             `json:"rounds"`
	Seconds float64         `json:"seconds"` // of each sample
	Nodes   int             `json:"nodes,omitempty"`
	// Notes say what the figures are of: versions, sizes.
	Notes []string `json:"notes,omitempty"`
	Rows  []*Row   `json:"rows"`
	// Problems are what should not have been, a line each; absent when all was well.
	Problems []string `json:"problems,omitempty"`
	// Pictures are of what a bench draws besides its rows.
	Pictures []picture.Picture `json:"-"`
}

// A Row is one figure of every subject.
type Row struct {
	Name   string `json:"name"`
	Unit   string `json:"unit"`
	Better Better `json:"better"`
	// Base is the subject that ratios are to, "" for no ratios.
	Base string `json:"base,omitempty"`
	// Interval has ratios be of the medians of all samples, of which a round has several,
	// with an interval.
	Interval bool     `json:"-"`
	Samples  []*Cells `json:"subjects"`
}

// Better says which of two figures is the better one.
type Better string

// The two ways.
const (
	More Better = "more"
	Less Better = "less"
)

// Cells are the samples of one subject in the order of the rounds.
type Cells struct {
	Subject string    `json:"subject"`
	Values  []float64 `json:"values"`
	Median  float64   `json:"median"`
	Min     float64   `json:"min"`
	Max     float64   `json:"max"`
	// Ratio is the median of what the subject had of the base in the same round, by division.
	Ratio *float64 `json:"ratio,omitempty"`
	// Within is where the ratio is with 95 % confidence, in rows that have an interval.
	Within *[2]float64 `json:"ratio_within,omitempty"`

	// Mean of all that was measured, and More than the base of the same, with where it is with 95 % confidence: in rows
	// that are compared pair by pair.
	Mean *Estimate `json:"mean,omitempty"`
	More *Estimate `json:"more_than_base,omitempty"`

	rounds []int // how many of the values are of each round
}

// An Estimate is a figure with where it is with 95 % confidence.
type Estimate struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// An Adder fills a result.
type Adder struct{ r *Result }

// Note adds a line about what was measured, once.
func (a *Adder) Note(format string, args ...any) {
	if line := fmt.Sprintf(format, args...); !slices.Contains(a.r.Notes, line) {
		a.r.Notes = append(a.r.Notes, line)
	}
}

// Problem adds what should not have been.
func (a *Adder) Problem(format string, args ...any) {
	a.r.Problems = append(a.r.Problems, fmt.Sprintf(format, args...))
}

// Add adds one sample: call it once a round for each subject of a row. The row is made
// by its first sample, and a subject with the first of its own.
func (a *Adder) Add(row Row, subject string, value float64) { a.AddRound(row, subject, value) }

// Compare says of a subject of a row what all of its pairs with the base say.
func (a *Adder) Compare(row, subject string, mean Estimate, more *Estimate) {
	for _, r := range a.r.Rows {
		for _, c := range r.Samples {
			if r.Name == row && c.Subject == subject {
				c.Mean, c.More = &mean, more
			}
		}
	}
}

// Draw adds a picture.
func (a *Adder) Draw(p picture.Picture) { a.r.Pictures = append(a.r.Pictures, p) }

// AddRound adds the samples of one round.
func (a *Adder) AddRound(row Row, subject string, values ...float64) {
	if len(values) == 0 {
		return
	}
	i := slices.IndexFunc(a.r.Rows, func(r *Row) bool { return r.Name == row.Name })
	if i < 0 {
		i = len(a.r.Rows)
		a.r.Rows = append(a.r.Rows, &row)
	}
	r := a.r.Rows[i]
	j := slices.IndexFunc(r.Samples, func(c *Cells) bool { return c.Subject == subject })
	if j < 0 {
		j = len(r.Samples)
		r.Samples = append(r.Samples, &Cells{Subject: subject})
	}
	c := r.Samples[j]
	c.Values, c.rounds = append(c.Values, values...), append(c.rounds, len(values))
	r.settle()
}

// settle computes medians, spread and ratios.
func (r *Row) settle() {
	var base []float64
	for _, c := range r.Samples {
		c.Median, c.Min, c.Max = median(c.Values), slices.Min(c.Values), slices.Max(c.Values)
		if c.Subject == r.Base {
			base = c.Values
		}
	}
	if r.Interval {
		return // it takes all samples
	}
	for _, c := range r.Samples {
		c.Ratio = nil
		var ratios []float64
		for i := range min(len(c.Values), len(base)) {
			if q := c.Values[i] / base[i]; !math.IsNaN(q) && !math.IsInf(q, 0) {
				ratios = append(ratios, q)
			}
		}
		if len(ratios) > 0 {
			q := median(ratios)
			c.Ratio = &q
		}
	}
}

// median of at least one value; of an even number the mean of the two in the middle.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// title is what stands above a row.
func (r *Row) title() string {
	return fmt.Sprintf("%s: %s, %s is better", r.Name, r.Unit, r.Better)
}

// number writes a figure with three or so digits.
func number(v float64) string {
	switch abs := math.Abs(v); {
	case abs >= 100 || v == 0:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case abs >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// signed writes a difference.
func signed(v float64) string {
	if v >= 0 {
		return "+" + number(v)
	}
	return number(v)
}

// quotient writes a ratio, with two digits where two decimals would have none.
func quotient(v float64) string {
	if abs := math.Abs(v); abs > 0 && abs < 0.1 {
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// String is the table: of each row the subjects with median, spread, ratio and a bar.
func (r *Result) String() string {
	const widest = 30 // of a bar, in characters
	table := [][]string{{"", "median", "lowest", "highest", "ratio", ""}}
	for _, row := range r.Rows {
		if slices.ContainsFunc(row.Samples, func(c *Cells) bool { return c.More != nil }) {
			table[0][4] = "ratio, or difference"
		}
		top := 0.0
		for _, c := range row.Samples {
			top = max(top, c.Median)
		}
		for _, c := range row.Samples {
			line := []string{"  " + c.Subject, number(c.Median), number(c.Min), number(c.Max), "", ""}
			if c.Ratio != nil {
				line[4] = quotient(*c.Ratio)
				if c.Within != nil && c.Subject != row.Base {
					line[4] += fmt.Sprintf(" (%s to %s)", quotient(c.Within[0]), quotient(c.Within[1]))
				}
			}
			if c.More != nil {
				line[4] = fmt.Sprintf("%s (%s to %s)", signed(c.More.Value), signed(c.More.Low), signed(c.More.High))
			}
			if top > 0 && c.Median > 0 {
				n := int(math.Round(widest * c.Median / top))
				line[5] = strings.Repeat("#", n) + strings.Repeat(" ", widest-n)
			}
			table = append(table, line)
		}
	}
	var b strings.Builder
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "  %s\n", n)
	}
	fmt.Fprintf(&b, "  %d rounds of %g s", r.Rounds, r.Seconds)
	if r.Nodes > 0 {
		fmt.Fprintf(&b, " of %d nodes", r.Nodes)
	}
	if m := r.Machine; m != nil {
		fmt.Fprintf(&b, ", %d processors, load %.1f before", m.CPUs, m.Load)
	}
	fmt.Fprintf(&b, ", kernel %s, %s, commit %s\n\n", r.Kernel, r.Go, r.Commit)
	// A row's title stands above its lines, however long it is.
	lines := strings.SplitAfter(report.Table(table), "\n")
	b.WriteString(lines[0])
	lines = lines[1:]
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "\n  %s\n%s", row.title(), strings.Join(lines[:len(row.Samples)], ""))
		lines = lines[len(row.Samples):]
	}
	return b.String()
}

// Picture draws all rows.
func (r *Result) Picture(doc string) (picture.Picture, error) {
	var groups []picture.BarGroup
	for _, row := range r.Rows {
		g := picture.BarGroup{Title: row.title()}
		for _, c := range row.Samples {
			bar := picture.Bar{Title: c.Subject, Values: c.Values, Median: c.Median, Text: number(c.Median)}
			if c.Ratio != nil && c.Subject != row.Base {
				bar.Text += fmt.Sprintf(" (%s x)", quotient(*c.Ratio))
			}
			g.Bars = append(g.Bars, bar)
		}
		groups = append(groups, g)
	}
	return picture.Bars("bench-"+r.Bench, doc, groups)
}
