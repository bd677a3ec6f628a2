package field

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Bounds of a trace that is read.
const (
	maxPoints = 256
	maxRows   = 1 << 20
)

// A Trace is a field by time. Before its first row it is as there, after its last as there.
type Trace struct {
	points []string
	at     []time.Duration
	dBm    [][]float64 // of each row, by point; NaN: not heard
}

// NewTrace makes one for some points, without rows.
func NewTrace(points ...string) *Trace { return &Trace{points: points} }

// Add appends a row; NaN is a point that is not heard. Times rise.
func (t *Trace) Add(at time.Duration, dBm ...float64) *Trace {
	if len(dBm) != len(t.points) || len(t.at) > 0 && at <= t.at[len(t.at)-1] {
		panic(fmt.Sprintf("field: a row of %d signals at %v: expected %d, later than the row before", len(dBm), at, len(t.points)))
	}
	t.at, t.dBm = append(t.at, at), append(t.dBm, dBm)
	return t
}

// ReadTrace reads lines of values with commas between: first "t_s" and the points' names, then seconds and dBm; nothing
// where a point is not heard.
func ReadTrace(r io.Reader) (*Trace, error) {
	in := bufio.NewScanner(r)
	if !in.Scan() {
		return nil, errors.Join(errors.New("field: an empty trace: expected t_s and names of points in its first line"), in.Err())
	}
	head := strings.Split(in.Text(), ",")
	if head[0] != "t_s" || len(head) < 2 || len(head) > maxPoints+1 {
		return nil, fmt.Errorf("field: line 1 of the trace: expected t_s and 1 to %d points, came %.80q", maxPoints, in.Text())
	}
	t := NewTrace(head[1:]...)
	for line := 2; in.Scan(); line++ {
		cells := strings.Split(in.Text(), ",")
		row, err := parseRow(cells)
		switch {
		case err != nil:
			return nil, fmt.Errorf("field: line %d of the trace: %w", line, err)
		case len(cells) != len(head), len(t.at) == maxRows:
			return nil, fmt.Errorf("field: line %d of the trace: %d values: expected %d, in at most %d lines", line, len(cells), len(head), maxRows)
		}
		at := time.Duration(row[0] * float64(time.Second))
		if n := len(t.at); n > 0 && at <= t.at[n-1] {
			return nil, fmt.Errorf("field: line %d of the trace: %v: expected a time after %v", line, at, t.at[n-1])
		}
		t.Add(at, row[1:]...)
	}
	if len(t.at) == 0 {
		return nil, errors.Join(errors.New("field: a trace without signals"), in.Err())
	}
	return t, in.Err()
}

func parseRow(cells []string) ([]float64, error) {
	row := make([]float64, len(cells))
	for i, c := range cells {
		if c == "" && i > 0 {
			row[i] = math.NaN()
			continue
		}
		x, err := strconv.ParseFloat(c, 64)
		if err != nil || math.IsNaN(x) || x < -200 || i == 0 && x < 0 || i == 0 && x > 1e6 || i > 0 && x >= 0 {
			return nil, fmt.Errorf("%.40q: expected seconds first, then dBm, which are below 0", c)
		}
		row[i] = x
	}
	return row, nil
}

// Write writes what ReadTrace reads.
func (t *Trace) Write(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "t_s,%s\n", strings.Join(t.points, ","))
	for i, at := range t.at {
		fmt.Fprintf(out, "%.3f", at.Seconds())
		for _, x := range t.dBm[i] {
			if math.IsNaN(x) {
				out.WriteByte(',')
				continue
			}
			fmt.Fprintf(out, ",%.1f", x)
		}
		out.WriteByte('\n')
	}
	return out.Flush()
}

// At implements Field. A point that is heard at one of the two rows around only, is heard as there until half the time between.
func (t *Trace) At(since time.Duration) (heard []Signal) {
	i := sort.Search(len(t.at), func(i int) bool { return t.at[i] > since }) // the first row after it
	before, after := max(i-1, 0), min(i, len(t.at)-1)
	var part float64
	if span := t.at[after] - t.at[before]; span > 0 {
		part = float64(since-t.at[before]) / float64(span)
	}
	for j, point := range t.points {
		a, b := t.dBm[before][j], t.dBm[after][j]
		x := a + (b-a)*part
		switch {
		case math.IsNaN(a) && part >= 0.5:
			x = b
		case math.IsNaN(b) && part < 0.5:
			x = a
		}
		if x >= Floor {
			heard = append(heard, Signal{point, x})
		}
	}
	return loudestFirst(heard)
}
