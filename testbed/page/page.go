package page

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"openmpa/testbed/picture"
	"openmpa/testbed/report"
)

//go:embed page.html page.css
var files embed.FS

// A Run is a result with what its scenario is about.
type Run struct {
	*report.Result
	Doc string
}

// document is what the template gets.
type document struct {
	Style    template.CSS
	Made     string
	Sections []section
}

// section is one run. Its tables are nil when there is nothing for them.
type section struct {
	ID       string
	Scenario string
	Doc      string
	Facts    []fact
	Problems []string
	Figures  *figures
	Phases   *table
	Delays   []delay
	Beyond   string
	Pictures []drawn
	Missing  string // why there is no picture of packets
	Moves    *table
}

type fact struct {
	Name   string
	Values []string
}

type table struct {
	Groups []group // above Head, when there are several
	Head   []string
	Rows   []row
}

type group struct {
	Title string
	Span  int
}

type row struct {
	Title string
	Sub   bool // a part of the row above
	Cells []string
}

type figures struct {
	Groups  []group
	Columns []report.Column
	Rows    []figureRow
	Notes   []string
}

type figureRow struct {
	Title string
	Cells []figureCell
}

type figureCell struct {
	Value, Range string
	Ours         bool
}

type delay struct {
	report.DelayRow
	Share float64 // percent of the limit
}

type drawn struct {
	Title   string
	Caption string
	SVG     template.HTML // from package picture, which escapes every text
}

// Write writes the page.
func Write(w io.Writer, runs []Run, made time.Time) error {
	css, err := files.ReadFile("page.css")
	if err != nil {
		return fmt.Errorf("page: %w", err)
	}
	t, err := template.New("page.html").Funcs(template.FuncMap{"limit": func() int { return report.DelayLimitMS }}).ParseFS(files, "page.html")
	if err != nil {
		return fmt.Errorf("page: %w", err)
	}
	d := document{Style: template.CSS(css), Made: made.Format("2 January 2006, 15:04 MST")}
	for i, r := range runs {
		s, err := sectionOf(i, r)
		if err != nil {
			return fmt.Errorf("page: %s: %w", r.Scenario, err)
		}
		d.Sections = append(d.Sections, s)
	}
	if err := t.Execute(w, d); err != nil {
		return fmt.Errorf("page: %w", err)
	}
	return nil
}

func sectionOf(i int, r Run) (section, error) {
	s := section{
		ID: fmt.Sprintf("run-%d", i+1), Scenario: r.Scenario, Doc: r.Doc, Facts: facts(r.Result), Problems: r.Problems,
		Phases: phases(r.Result), Beyond: report.BeyondFloor(r.Result), Moves: moves(r.Handovers),
	}
	if columns := report.FigureColumns(r.Result); columns != nil {
		s.Figures = figuresOf(r.Result, columns)
	}
	for _, d := range report.DelayRows(r.Result) {
		s.Delays = append(s.Delays, delay{d, 100 * d.Max / report.DelayLimitMS})
	}
	pictures, err := picture.Of(r.Result)
	if err != nil {
		return s, err
	}
	for _, p := range pictures {
		s.Pictures = append(s.Pictures, drawn{Title: p.Title, Caption: p.Caption, SVG: template.HTML(p.Inline())})
	}
	if report.Roams(r.Result) == nil && !slices.ContainsFunc(r.Handovers, func(h report.Handover) bool { return h.Track != nil }) {
		s.Missing = "The file has no packets to draw: make it with --tracks."
	}
	return s, nil
}

func facts(r *report.Result) []fact {
	out := []fact{{"commit", []string{r.Commit}}}
	if r.Kernel != "" {
		out = append(out, fact{"kernel", []string{"Linux " + r.Kernel}})
	}
	if r.Started != nil {
		out = append(out, fact{"started", []string{r.Started.Format("2006-01-02 15:04:05 MST")}})
	}
	if r.Machine != nil {
		out = append(out, fact{"machine", []string{fmt.Sprintf("%d processors, load of %.2f in the minute before", r.Machine.CPUs, r.Machine.Load)}})
	}
	if len(r.Links) > 0 {
		out = append(out, fact{"bad links", strings.Split(strings.TrimSpace(report.LinkLines(r.Links)), "\n")})
	}
	var flags []string
	for _, k := range slices.Sorted(maps.Keys(r.Flags)) {
		switch v := r.Flags[k]; v {
		case "true":
			flags = append(flags, "--"+k)
		case "false":
			flags = append(flags, "--no-"+k)
		default:
			flags = append(flags, "--"+k+" "+v)
		}
	}
	return append(out, fact{"flags", flags}, fact{"handovers", []string{fmt.Sprint(len(r.Handovers))}})
}

// figuresOf puts RFC 6252's columns and ours into a table.
func figuresOf(r *report.Result, columns []report.Column) *figures {
	f := &figures{Notes: report.FigureNotes(r), Columns: columns}
	for _, c := range columns {
		if n := len(f.Groups); n > 0 && f.Groups[n-1].Title == c.Case {
			f.Groups[n-1].Span++
		} else {
			f.Groups = append(f.Groups, group{c.Case, 1})
		}
	}
	for i, title := range report.FigureRows {
		r := figureRow{Title: title.Title}
		for _, c := range columns {
			x := figureCell{Value: c.Values[i], Ours: c.Ours}
			if c.Ranges != nil {
				x.Range = c.Ranges[i]
			}
			r.Cells = append(r.Cells, x)
		}
		f.Rows = append(f.Rows, r)
	}
	return f
}

// phases are median and 99th percentile of each phase, of each case if there
// are several.
func phases(r *report.Result) *table {
	cases := r.Cases
	if len(cases) == 0 {
		cases = []report.Case{{Summary: r.Summary}}
	}
	t := &table{}
	for _, c := range cases {
		t.Head = append(t.Head, "p50", "p99", "max")
		if c.Name != "" {
			t.Groups = append(t.Groups, group{c.Name, 3})
		}
	}
	for _, p := range report.PhaseNames {
		title := strings.TrimLeft(p.Title, " ")
		line := row{Title: title, Sub: title != p.Title}
		there := false
		for _, c := range cases {
			f, ok := c.Summary["phases."+p.Field]
			there = there || ok
			line.Cells = append(line.Cells, report.Cell(f.P50, ok, ""), report.Cell(f.P99, ok, ""), report.Cell(f.Max, ok, ""))
		}
		if there {
			t.Rows = append(t.Rows, line)
		}
	}
	if len(t.Rows) == 0 {
		return nil
	}
	return t
}

// moveColumns are the figures of each handover.
var moveColumns = []struct{ title, field string }{
	{"l2", "phases.l2_ms"},
	{"l3", "phases.l3_ms"},
	{"floor", "phases.l3_floor_ms"},
	{"lost down", "flow.down.lost"},
	{"lost up", "flow.up.lost"},
	{"gap down", "flow.down.handover_gap_ms"},
	{"gap up", "flow.up.handover_gap_ms"},
	{"delay down", "flow.down.delay_max_ms"},
	{"delay up", "flow.up.delay_max_ms"},
	{"held", "buffer.packets"},
	{"held for", "buffer.held_ms"},
	{"dropped", "buffer.dropped"},
}

func moves(hs []report.Handover) *table {
	if len(hs) == 0 {
		return nil
	}
	t := &table{Head: []string{"outcome"}}
	for _, c := range moveColumns {
		t.Head = append(t.Head, c.title)
	}
	for i, h := range hs {
		title := fmt.Sprintf("%d. %s to %s", i+1, h.From, h.To)
		if h.Case != "" {
			title += ", " + h.Case
		}
		line := row{Title: title, Cells: []string{h.Outcome}}
		if h.Reason != "" {
			line.Cells[0] += ": " + h.Reason
		}
		fields := h.Fields()
		for _, c := range moveColumns {
			v, ok := fields[c.field]
			line.Cells = append(line.Cells, report.Cell(v, ok, ""))
		}
		t.Rows = append(t.Rows, line)
	}
	return t
}
