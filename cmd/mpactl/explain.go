package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
)

type explainCmd struct {
	ID   string `arg:"" optional:"" help:"Handover, or the first digits of its identifier; the last one when it is left out."`
	List bool   `short:"l" help:"List the handovers instead."`

	Decisions bool `short:"d" help:"List what the mobile node has decided lately instead, and why it moved or stayed."`
}

// Run prints why the node moved, or stays, and one handover as a table of its phases, those of all nodes together.
func (x explainCmd) Run(a *app) error {
	if x.Decisions {
		return a.listDecisions()
	}
	known, err := a.handovers()
	if err != nil {
		return err
	}
	if x.List {
		return a.list(known)
	}
	latest, err := a.latest(x.ID)
	if err != nil {
		return err
	}
	if latest != nil && !a.cli.JSON {
		fmt.Fprintln(a.stdout, now(*latest))
		if len(known) == 0 {
			return nil
		}
		fmt.Fprintln(a.stdout)
	}
	id, err := choose(known, strings.ToLower(x.ID))
	if err != nil {
		return err
	}
	events, err := a.records(id)
	if err != nil {
		return err
	}
	if len(events) == 0 {
		return fmt.Errorf("the records of handover %s are gone: they were too many for the daemons' memory", id)
	}
	sum := control.Summarize(events)[0]
	if a.cli.JSON {
		return writeJSON(a.stdout, control.HandoverDetail{Handover: sum, Records: events})
	}
	return explain(a.stdout, sum, decided(events), rowsOf(events, time.Now()))
}

// handovers lists what the daemons know, one entry a handover, the newest last.
func (a *app) handovers() ([]control.Handover, error) {
	var out []control.Handover
	err := a.each(func(ctx context.Context, c *control.Client) error {
		list, err := c.Handovers(ctx)
		for _, h := range list {
			out = join(out, h)
		}
		return err
	})
	return out, err
}

// join adds what one daemon knows of a handover to what others know.
func join(list []control.Handover, h control.Handover) []control.Handover {
	for i := range list {
		o := &list[i]
		if o.ID != h.ID {
			continue
		}
		o.From, o.To = cmp.Or(o.From, h.From), cmp.Or(o.To, h.To)
		o.Outcome, o.Reason = cmp.Or(o.Outcome, h.Outcome), cmp.Or(o.Reason, h.Reason)
		o.DurationMS = max(o.DurationMS, h.DurationMS)
		o.Events += h.Events
		if h.Start.Before(o.Start) {
			o.Start = h.Start
		}
		return list
	}
	i := len(list)
	for i > 0 && list[i-1].Start.After(h.Start) {
		i--
	}
	list = append(list, control.Handover{})
	copy(list[i+1:], list[i:])
	list[i] = h
	return list
}

// choose finds a handover by the start of its identifier, or the last one: a
// move between networks before an attachment, which has an identifier too.
func choose(known []control.Handover, prefix string) (event.HandoverID, error) {
	if len(known) == 0 {
		return event.HandoverID{}, errors.New("no handover yet: mpactl handover NETWORK makes one")
	}
	if prefix == "" {
		for i := len(known) - 1; i >= 0; i-- {
			if known[i].To != "" {
				return known[i].ID, nil
			}
		}
		return known[len(known)-1].ID, nil
	}
	var found []event.HandoverID
	for _, h := range known {
		if strings.HasPrefix(h.ID.String(), prefix) {
			found = append(found, h.ID)
		}
	}
	switch len(found) {
	case 0:
		return event.HandoverID{}, fmt.Errorf("no handover's identifier begins with %q: mpactl explain --list names them", prefix)
	case 1:
		return found[0], nil
	}
	return event.HandoverID{}, fmt.Errorf("%d handovers' identifiers begin with %q: give more digits", len(found), prefix)
}

// records collects one handover's records from all daemons.
func (a *app) records(id event.HandoverID) ([]event.Event, error) {
	var sources [][]event.Event
	err := a.each(func(ctx context.Context, c *control.Client) error {
		h, err := c.Handover(ctx, id)
		var refused *control.Error
		if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
			return nil // it took no part
		}
		sources = append(sources, h.Records)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := merge(sources...)
	more, err := a.related(id, out)
	return merge(append([][]event.Event{out}, more...)...), err
}

func (a *app) list(known []control.Handover) error {
	if a.cli.JSON {
		if known == nil {
			known = []control.Handover{}
		}
		return writeJSON(a.stdout, known)
	}
	tw := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ID\tSTART\tFROM\tTO\tTOOK ms\tOUTCOME\tREASON")
	for _, h := range known {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", h.ID, h.Start.Local().Format(time.DateTime), orDash(h.From), orDash(h.To),
			ms(time.Duration(h.DurationMS*float64(time.Millisecond))), orDash(string(h.Outcome)), clean(h.Reason))
	}
	return tw.Flush()
}

func explain(w io.Writer, sum control.Handover, why string, rows []row) error {
	fmt.Fprintf(w, "handover %s", sum.ID)
	if sum.To != "" {
		fmt.Fprintf(w, ": %s to %s", orDash(sum.From), clean(sum.To))
	}
	switch {
	case sum.Outcome != "":
		fmt.Fprintf(w, ", %s in %.1f ms", clean(string(sum.Outcome)), sum.DurationMS)
	case sum.To != "":
		fmt.Fprint(w, ", still under way")
	}
	fmt.Fprintf(w, ", began %s\n", sum.Start.Local().Format("2006-01-02 15:04:05.000"))
	if sum.Reason != "" {
		fmt.Fprintf(w, "reason: %s\n", clean(sum.Reason))
	}
	if why != "" {
		fmt.Fprintf(w, "decision: %s\n", clean(why))
	}
	fmt.Fprintln(w)
	if err := writeTable(w, rows); err != nil {
		return err
	}
	if odd := aheadOf(rows); odd != "" {
		fmt.Fprintf(w, "\nRecords of %s are from before the handover began: its clock differs from the other node's.\n", odd)
	}
	return nil
}

func writeTable(w io.Writer, rows []row) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "PHASE\tSTART ms\tTOOK ms\tNODE\tOUTCOME\tDETAIL")
	for _, r := range rows { // the offsets count from the first, which is the whole
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", clean(string(r.Phase)), right(ms(r.Start.Sub(rows[0].Start)), 8), right(r.took(), 8),
			orDash(r.Node), r.verdict(), r.detail())
	}
	return tw.Flush()
}

// aheadOf names a node whose records begin before the whole does.
func aheadOf(rows []row) string {
	if len(rows) == 0 || rank(rows[0]) != 0 {
		return ""
	}
	for _, r := range rows[1:] {
		if r.Node != rows[0].Node && r.Start.Before(rows[0].Start) {
			return clean(r.Node)
		}
	}
	return ""
}

func right(s string, width int) string { return fmt.Sprintf("%*s", width, s) }

func orDash(s string) string { return cmp.Or(clean(s), "-") }
