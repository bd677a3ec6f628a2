package picture

import (
	"bytes"
	"encoding/xml"
	"image/png"
	"io"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"openmpa/testbed/report"
)

// track is one with packets every 20 ms, of which those from the first to the
// last of lost did not arrive.
func track(first, last int, phases ...report.TrackPhase) *report.Track {
	t := &report.Track{Away: []report.Span{{AtMS: 0, TookMS: 4}}, Phases: phases}
	for _, p := range []**report.Packets{&t.Down, &t.Up} {
		*p = &report.Packets{}
		for i := range 40 {
			at, delay := int64(20000), int64(300)
			if i == 0 {
				at = -400000
			}
			if i >= first && i <= last {
				delay = report.Lost
			}
			(*p).SentUS, (*p).DelayUS = append((*p).SentUS, at), append((*p).DelayUS, delay)
		}
	}
	return t
}

func phase(name, node string, at, took float64) report.TrackPhase {
	return report.TrackPhase{Phase: name, Node: node, Outcome: "ok", Span: report.Span{AtMS: at, TookMS: took}}
}

func prepared() *report.Track {
	return track(1, 0,
		phase("handover", "mn", -270, 280), phase("tauth", "mn", -270, 6), phase("dad", "a", -260, 240),
		phase("bind", "mn", -10, 2), phase("hold", "a", -1, 6), phase("drain", "a", 5, 0.3))
}

func handover(t *report.Track) report.Handover {
	gap := 24.5
	return report.Handover{From: "b", To: "a", Outcome: "completed", Track: t, Flow: report.Flows{Down: &report.Flow{HandoverGapMS: &gap}}}
}

// drawing is what an SVG file says and holds.
type drawing struct {
	texts map[string]bool
	count map[string]int // elements
}

func parse(t *testing.T, svg []byte) drawing {
	t.Helper()
	d := drawing{map[string]bool{}, map[string]int{}}
	dec := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := dec.Token()
		if err == io.EOF {
			return d
		}
		if err != nil {
			t.Fatalf("the SVG does not parse: %v", err)
		}
		switch x := token.(type) {
		case xml.StartElement:
			d.count[x.Name.Local]++
		case xml.CharData:
			if s := strings.TrimSpace(string(x)); s != "" {
				d.texts[s] = true
			}
		}
	}
}

func (d drawing) expect(t *testing.T, texts ...string) {
	t.Helper()
	for _, s := range texts {
		if !d.texts[s] {
			t.Errorf("the picture does not say %q", s)
		}
	}
}

func TestComparison(t *testing.T) {
	broken := track(20, 32, phase("dhcp", "mn", 5, 12), phase("dad", "mn", 17, 240), phase("tauth", "mn", 258, 7))
	p, err := Comparison("comparison", Move{"With MPA", handover(prepared())}, Move{"Without MPA", handover(broken)})
	if err != nil {
		t.Fatal(err)
	}
	d := parse(t, p.SVG)
	d.expect(t, "With MPA", "Without MPA", "authentication", "duplicate address detection", "binding at the home agent",
		"router holds packets", "no link", "13 lost, longest delay 0.30 ms", "0 lost, longest delay 0.30 ms", "sent, and lost")
	if d.texts["handover"] || d.texts["lease renewed"] {
		t.Error("a lane for a phase that is none, or that nobody had")
	}
	img, err := png.Decode(bytes.NewReader(p.PNG))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := img.Bounds().Dx(), pageWidth*pixels/72; got != want {
		t.Errorf("the PNG is %d wide, expected %d", got, want)
	}
	if strings.Contains(p.Inline(), "xmlns") || strings.Contains(p.Inline(), inkText) || !strings.Contains(p.Inline(), "currentColor") {
		t.Error("inline it should take the page's colour and refer to nothing")
	}
}

// TestLostPacketsAreCrosses counts strokes: a cross has two, and nothing else
// has their colour.
func TestLostPacketsAreCrosses(t *testing.T) {
	paths := func(first, last int) string {
		tr := track(first, last, phase("tauth", "mn", -270, 300))
		p, err := Comparison("x", Move{"one", handover(tr)})
		if err != nil {
			t.Fatal(err)
		}
		return string(p.SVG)
	}
	crosses := func(svg string) int { return strings.Count(svg, "stroke:#D55E00") / 2 }
	// One is in the legend.
	if got := crosses(paths(1, 0)); got != 1 {
		t.Errorf("%d crosses without a loss", got)
	}
	if got := crosses(paths(15, 17)); got != 1+2*3 {
		t.Errorf("%d crosses for three lost each way", got)
	}
}

func TestCloser(t *testing.T) {
	p, err := Closer("move", Move{"From network b to a", handover(prepared())})
	if err != nil {
		t.Fatal(err)
	}
	parse(t, p.SVG).expect(t, "From network b to a", "completed; 0 packets lost, silence around the move 24.5 ms", "The move itself, closer", "240 ms")
	if _, err := Closer("move", Move{"nothing", report.Handover{}}); err == nil {
		t.Error("a picture of nothing")
	}
}

func TestDistribution(t *testing.T) {
	var hs []report.Handover
	for i := range 20 {
		gap := 20 + float64(i)
		hs = append(hs, report.Handover{
			Phases: map[string]float64{"l3_ms": 1 + float64(i)/10, "l3_floor_ms": 0.3, "l3_beyond_floor_ms": 0.7 + float64(i)/10},
			Flow:   report.Flows{Down: &report.Flow{MaxGapMS: &gap}},
		})
	}
	p, err := Distribution("d", hs)
	if err != nil {
		t.Fatal(err)
	}
	parse(t, p.SVG).expect(t, "Link up to the first packet", "handover: median 1.9 ms, largest 2.9 ms", "difference: median 1.6 ms, largest 2.6 ms",
		"at any time, to the mobile node: median 29.0 ms, largest 39.0 ms")
	if _, err := Distribution("d", []report.Handover{{}}); err == nil {
		t.Error("a distribution of nothing")
	}
}

// TestHostileText: names in a result may come from a file.
func TestHostileText(t *testing.T) {
	evil := "<script>alert(1)</script>&\n\x00" + strings.Repeat("long ", 100)
	tr := prepared()
	tr.Phases = append(tr.Phases, phase(evil, evil, 2, 3))
	p, err := Closer("move", Move{evil, handover(tr)})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(p.SVG), p.Inline()} {
		if d := parse(t, []byte(text)); d.count["script"] > 0 {
			t.Error("a name became an element")
		}
	}
}

// TestExtremes: figures that no lab measures, but that a file may hold.
func TestExtremes(t *testing.T) {
	for name, change := range map[string]func(*report.Track){
		"no packets":       func(t *report.Track) { t.Down, t.Up = &report.Packets{}, &report.Packets{} },
		"one packet":       func(t *report.Track) { t.Down = &report.Packets{SentUS: []int64{5}, DelayUS: []int64{1}} },
		"no link gap":      func(t *report.Track) { t.Away = nil },
		"an instant":       func(t *report.Track) { t.Away, t.Phases = nil, t.Phases[1:2]; t.Phases[0].TookMS = 0 },
		"a year":           func(t *report.Track) { t.Phases[2].TookMS = 3e10 },
		"the end of times": func(t *report.Track) { t.Phases[2].AtMS = math.MaxFloat64; t.Down.SentUS[3] = math.MaxInt64 },
	} {
		tr := prepared()
		change(tr)
		p, err := Closer("move", Move{name, handover(tr)})
		if refused := name == "a year" || name == "the end of times"; refused != (err != nil) {
			t.Errorf("%s: error %v", name, err)
		}
		if err != nil {
			continue
		}
		parse(t, p.SVG)
		if strings.Contains(string(p.SVG), "NaN") || strings.Contains(string(p.SVG), "Inf") {
			t.Errorf("%s: coordinates that are no numbers", name)
		}
	}
}

func TestThinning(t *testing.T) {
	p := &report.Packets{}
	for i := range 1000 {
		delay := int64(100)
		if i == 777 {
			delay = report.Lost
		}
		p.SentUS, p.DelayUS = append(p.SentUS, 1000), append(p.DelayUS, delay)
	}
	marks, each := marksOf(p, 0, 2000)
	lost := 0
	for _, m := range marks {
		if math.IsNaN(m.arrived) {
			lost++
		}
	}
	if len(marks) > marksMost || each != 7 || lost != 1 {
		t.Errorf("%d marks for %d packets each, %d of them lost", len(marks), each, lost)
	}
}

func TestTicks(t *testing.T) {
	for _, x := range []struct {
		low, high float64
		n         int
		want      []float64
	}{
		{0, 10, 8, []float64{0, 2, 4, 6, 8, 10}},
		{-280, 140, 8, []float64{-250, -200, -150, -100, -50, 0, 50, 100}},
		{69, 72, 5, []float64{69, 70, 71, 72}},
		{0.1, 0.9, 5, []float64{0.2, 0.4, 0.6, 0.8}},
		{1, 1, 5, nil},
	} {
		got := ticks(x.low, x.high, x.n)
		for i := range got {
			got[i] = math.Round(got[i]*1e9) / 1e9
		}
		if d := cmp.Diff(x.want, got); d != "" {
			t.Errorf("%v to %v:\n%s", x.low, x.high, d)
		}
	}
	if got := round(-0.0000001); got != "0" {
		t.Errorf("nothing is written as %q", got)
	}
	if got := whole(0, 2, 5); len(got) != 3 {
		t.Errorf("whole numbers from 0 to 2: %v", got)
	}
}

func TestOf(t *testing.T) {
	r := &report.Result{Scenario: "handover"}
	for range 3 {
		h := handover(prepared())
		h.Phases = map[string]float64{"l3_ms": 1}
		r.Handovers = append(r.Handovers, h)
	}
	longest := 99.0
	r.Handovers[1].Flow.Down.HandoverGapMS = &longest
	r.Summarize()
	pictures, err := Of(r)
	if err != nil || len(pictures) != 2 {
		t.Fatalf("%d pictures, %v; expected a move and a distribution", len(pictures), err)
	}
	parse(t, pictures[0].SVG).expect(t, "Number 2 of 3, from b to a: the longest silence")
	for i, want := range []string{"Number 1 of 3, from b to a: AAA silent", "Number 1 of 3, from b to a"} {
		for j := range r.Handovers {
			r.Handovers[j].Case, r.Handovers[j].Flow = []string{"AAA silent", ""}[i], report.Flows{}
		}
		of, err := Of(r)
		if err != nil {
			t.Fatal(err)
		}
		parse(t, of[0].SVG).expect(t, want)
	}
	dir := t.TempDir() + "/new"
	for _, p := range pictures {
		paths, err := p.Write(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
		}
	}

	r = &report.Result{Scenario: "figure6-mip4"}
	for _, name := range []string{report.CaseBuffered, report.CaseUnprepared} {
		h := handover(prepared())
		h.Case = name
		r.Handovers = append(r.Handovers, h)
	}
	r.SummarizeCases()
	if pictures, err = Of(r); err != nil || len(pictures) != 1 || pictures[0].Name != "figure6-mip4-comparison" {
		t.Errorf("%v, %v; expected a comparison", pictures, err)
	}
	r.DropTracks()
	if pictures, err = Of(r); err != nil || len(pictures) != 0 {
		t.Errorf("%v, %v; expected nothing of a result without tracks", pictures, err)
	}
}
