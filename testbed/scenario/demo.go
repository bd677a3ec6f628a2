package scenario

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"openmpa/testbed/bed"
	"openmpa/testbed/report"
)

// Demo runs one handover with MPA and one without, in the same network and
// with the same traffic, writes them side by side and returns both. The lines
// are the promises that were not kept.
func Demo(ctx context.Context, opt Options, p *Progress, w io.Writer) (hs []report.Handover, problems []string, err error) {
	start := time.Now()
	opt.Repeat = 1
	fmt.Fprintf(w, `One handover from network b to network a, with MPA and without, in the same network:
%s of speech to a mobile node and from it, a link that is gone for %v;
%s.

`, opt.Rate, opt.Gap, bed.DescribeDAD(opt.DAD))
	var strips []Strips
	for _, name := range []string{"handover", "break-before-make"} {
		s, err := Find(name)
		if err != nil {
			return nil, nil, err
		}
		res, t, err := runWithStrips(ctx, s, opt, p)
		for _, line := range res.Problems {
			problems = append(problems, name+": "+line)
		}
		if err != nil {
			return nil, problems, err
		}
		if len(res.Handovers) != 1 {
			return nil, problems, fmt.Errorf("scenario: %s measured %d handovers, expected 1", name, len(res.Handovers))
		}
		hs, strips = append(hs, res.Handovers[0]), append(strips, t)
	}
	fmt.Fprintln(w, report.Compare([]string{"with MPA", "without"}, hs))
	fmt.Fprintln(w, "The packets around the move, in the order of sending:")
	fmt.Fprintf(w, "  . arrived   h arrived after %v or more   x lost, x(n) n in a row   | the link goes\n\n", heldUp)
	for i, title := range []string{"with MPA", "without"} {
		for _, d := range []struct {
			word string
			t    report.Strip
		}{{"to the node", strips[i].Down}, {"from the node", strips[i].Up}} {
			fmt.Fprintf(w, "  %-9s %-14s %s\n", title, d.word, d.t.Draw(20, 60))
			title = ""
		}
	}
	fmt.Fprintf(w, "\n%s\n\nThis took %v. More: %s\n", verdict(hs[0], hs[1]), time.Since(start).Round(100*time.Millisecond),
		"`sudo ./testbed/lab list`")
	return hs, problems, nil
}

// verdict is the result in a sentence.
func verdict(with, without report.Handover) string {
	gap := func(h report.Handover) string {
		longest := 0.0
		for _, f := range []*report.Flow{h.Flow.Down, h.Flow.Up} {
			if f != nil && f.MaxGapMS != nil {
				longest = max(longest, *f.MaxGapMS)
			}
		}
		return fmt.Sprintf("%.0f ms", longest)
	}
	lost := func(h report.Handover) int {
		n := 0
		for _, f := range []*report.Flow{h.Flow.Down, h.Flow.Up} {
			if f != nil {
				n += f.Lost
			}
		}
		return n
	}
	return strings.TrimSpace(fmt.Sprintf("With MPA %d packets were lost and the longest silence was %s; without, %d and %s.",
		lost(with), gap(with), lost(without), gap(without)))
}
