package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"openmpa/testbed/page"
	"openmpa/testbed/picture"
	"openmpa/testbed/report"
	"openmpa/testbed/scenario"
)

type reportCmd struct {
	Out    string   `type:"path" default:"report.html" placeholder:"FILE" help:"The page to write, by default ${default}."`
	From   []string `type:"existingfile" sep:"none" placeholder:"FILE" help:"Measure nothing: take what was written by \"run --json FILE --tracks\". More files may follow."`
	Files  []string `arg:"" optional:"" type:"existingfile" help:"More files, after --from."`
	Repeat int      `default:"10" placeholder:"10" help:"How many handovers of each kind."`
	flags
}

// measuredByReport are the scenarios of a report.
var measuredByReport = []string{"handover", "figure6-mip4"}

func (c *reportCmd) Run(a *app, k *kong.Context) error {
	var runs []page.Run
	var err error
	switch {
	case len(c.From) > 0:
		runs, err = readRuns(append(c.From, c.Files...))
	case len(c.Files) > 0:
		err = errors.New("files are read with --from: mpa-lab report --from " + strings.Join(c.Files, " "))
	default:
		runs, err = c.measure(a, k)
	}
	if len(runs) == 0 {
		return err
	}
	// What was measured is shown even if not everything could be.
	if werr := writePage(c.Out, runs); werr != nil {
		return errors.Join(err, werr)
	}
	fmt.Println("written:", c.Out)
	var problems []string
	for _, r := range runs {
		for _, p := range r.Problems {
			if !strings.HasPrefix(p, r.Scenario) {
				p = r.Scenario + ": " + p
			}
			problems = append(problems, p)
		}
	}
	return verdict(problems, err)
}

// measure runs the scenarios of a report.
func (c *reportCmd) measure(a *app, k *kong.Context) (runs []page.Run, err error) {
	if c.Repeat < 1 {
		return nil, fmt.Errorf("--repeat %d: expected 1 or more", c.Repeat)
	}
	if err := a.ready(); err != nil {
		return nil, err
	}
	for i, name := range measuredByReport {
		s, err := scenario.Find(name)
		if err != nil {
			return runs, err
		}
		o, err := c.options(a)
		if err != nil {
			return runs, err
		}
		o.Repeat, o.Tracks = c.Repeat, true
		if s.Adjust != nil {
			s.Adjust(&o, func(flag string) bool { return flag == "repeat" || given(k, flag) })
		}
		o.Flags = c.record(s, o)
		res, err := scenario.Run(a.ctx, s, o, progress().With(fmt.Sprintf("%d of %d: ", i+1, len(measuredByReport))))
		if len(res.Handovers) > 0 {
			runs = append(runs, page.Run{Result: res, Doc: s.Doc})
		}
		if err != nil {
			return runs, err
		}
	}
	return runs, nil
}

// readRuns reads earlier results.
func readRuns(paths []string) ([]page.Run, error) {
	var runs []page.Run
	for _, path := range paths {
		res, err := report.ReadJSON(path)
		if err != nil {
			return nil, err
		}
		r := page.Run{Result: res}
		if s, err := scenario.Find(res.Scenario); err == nil {
			r.Doc = s.Doc
		}
		runs = append(runs, r)
	}
	return runs, nil
}

func writePage(path string, runs []page.Run) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(page.Write(f, runs, time.Now()), f.Close())
}

// drawResult draws what a run has to show.
func drawResult(dir string, res *report.Result) error {
	pictures, err := picture.Of(res)
	if err != nil {
		return err
	}
	return writePictures(dir, pictures)
}

// writePictures writes pictures and says where, apart from the results.
func writePictures(dir string, pictures []picture.Picture) error {
	for _, p := range pictures {
		paths, err := p.Write(dir)
		if err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "written:", strings.Join(paths, " "))
	}
	return nil
}
