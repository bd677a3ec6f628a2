package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"openmpa/testbed/report"
	"openmpa/testbed/scenario"
)

// A Bench is one comparison.
type Bench struct {
	Name string
	Doc  string // what it compares, a line
	// Rounds and Seconds are for Options that say nothing: how often each subject is
	// measured, and for how long.
	Rounds  int
	Seconds float64
	// Virtual says that seconds are of a clock of its own, and that nothing of the machine is needed, but its processors.
	Virtual bool
	Nodes   int // as Rounds, of benches that have a number of nodes
	// Measure fills the result. What it has measured when it fails is shown, too.
	Measure func(ctx context.Context, o Options, a *Adder) error
}

// Options are the same for all benches.
type Options struct {
	Bin     string // folder of the daemons' programs
	Self    string // mpa-lab itself, which also is its own helper process
	Commit  string
	Rounds  int
	Seconds float64
	Nodes   int
	Map     string // of benches with a map: which kind
	// Only, if not empty, are the rows to be measured: those with one of these texts in
	// their names, each as it stands.
	Only []string
	Logs string // folder for what programs wrote, if not empty
	Say  *scenario.Progress
}

// Wants reports whether a row is to be measured.
func (o Options) Wants(row string) bool {
	return len(o.Only) == 0 || slices.ContainsFunc(o.Only, func(text string) bool { return strings.Contains(row, text) })
}

// wantsAny reports whether one of the rows is, which are measured together.
func (o Options) wantsAny(rows ...Row) bool {
	return slices.ContainsFunc(rows, func(r Row) bool { return o.Wants(r.Name) })
}

// Duration is how long one sample takes.
func (o Options) Duration() time.Duration { return time.Duration(o.Seconds * float64(time.Second)) }

// All lists the benches.
func All() []Bench {
	return []Bench{Tunnel(), Buffers(), TConf(), PANASessions(), PANAFlood(), TAuth(), AAAThroughput(), Sim(), Speed()}
}

// Find returns the bench of a name.
func Find(name string) (Bench, error) {
	var names []string
	for _, b := range All() {
		if b.Name == name {
			return b, nil
		}
		names = append(names, b.Name)
	}
	return Bench{}, fmt.Errorf("bench: there is no bench %q; there are %s", name, strings.Join(names, ", "))
}

// Run measures.
func Run(ctx context.Context, b Bench, o Options) (*Result, error) {
	if o.Rounds == 0 {
		o.Rounds = b.Rounds
	}
	if o.Seconds == 0 {
		o.Seconds = b.Seconds
	}
	longest := 600.0
	if b.Virtual {
		longest = 24 * 3600
	}
	// Written so that NaN does not pass.
	if o.Rounds < 1 || !(o.Seconds >= 0.1 && o.Seconds <= longest) {
		return nil, fmt.Errorf("bench: %d rounds of %g s, expected 1 or more of 0.1 to %g s", o.Rounds, o.Seconds, longest)
	}
	if o.Nodes != 0 && b.Nodes == 0 {
		return nil, fmt.Errorf("bench: %d nodes, but %s has no number of nodes", o.Nodes, b.Name)
	}
	if o.Nodes == 0 {
		o.Nodes = b.Nodes
	}
	if o.Say == nil {
		o.Say = scenario.Quiet()
	}
	now := time.Now()
	r := &Result{
		Bench: b.Name, Commit: o.Commit, Started: &now, Kernel: report.Kernel(), Go: runtime.Version(),
		Rounds: o.Rounds, Seconds: o.Seconds, Nodes: o.Nodes, Machine: report.Here(),
	}
	err := b.Measure(ctx, o, &Adder{r})
	o.Say.Done()
	for _, row := range r.Rows {
		row.intervals()
	}
	if err == nil && len(r.Rows) == 0 {
		err = errors.New("bench: nothing was measured: no row has a text that was asked for in its name")
	}
	return r, err
}
