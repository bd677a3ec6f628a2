package page

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"openmpa/testbed/report"
)

func ptr(v float64) *float64 { return &v }

// result is a run of three cases with everything a page can show.
func result(scenario string, cases ...string) *report.Result {
	started := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := &report.Result{Scenario: scenario, Commit: "abc", Kernel: "6.1.0", Started: &started, Flags: map[string]string{"rate": "62.5", "probe": "false"}}
	for i := range max(2, 2*len(cases)) {
		h := report.Handover{
			From: "b", To: "a", Outcome: "completed", Phases: map[string]float64{"tauth_ms": 7, "l2_ms": 4, "l3_ms": 1},
			Flow:   report.Flows{Down: &report.Flow{Sent: 9, Received: 9, DelayP50MS: ptr(0.2), DelayP99MS: ptr(5), DelayMaxMS: ptr(15), HandoverGapMS: ptr(21)}},
			Buffer: &report.Buffer{Packets: 2, HeldMS: ptr(6)},
			Track: &report.Track{
				Away: []report.Span{{TookMS: 4}}, Phases: []report.TrackPhase{{Phase: "tauth", Node: "mn", Span: report.Span{AtMS: -50, TookMS: 7}}},
				Down: &report.Packets{SentUS: []int64{-20000, 20000}, DelayUS: []int64{300, report.Lost}}, Up: &report.Packets{},
			},
		}
		h.SetFloor(300 * time.Microsecond)
		if len(cases) > 0 {
			h.Case = cases[i/2]
		}
		r.Handovers = append(r.Handovers, h)
	}
	if len(cases) > 0 {
		r.SummarizeCases()
	} else {
		r.Summarize()
	}
	return r
}

func write(t *testing.T, runs ...Run) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, runs, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// outward finds what would make a browser ask somebody else.
var outward = regexp.MustCompile(`(?i)(https?:|//[a-z]|@import|<(link|script|iframe|object|embed|base|form)\b|\burl\((?:[^d#]|d[^a]))`)

var reference = regexp.MustCompile(`(?i)\b(?:src|href|srcset|action|data)\s*=\s*("[^"]*"|'[^']*'|[^\s>]+)`)

// alone checks that a page refers to nothing outside of it.
func alone(t *testing.T, html string) {
	t.Helper()
	if m := outward.FindStringIndex(html); m != nil {
		t.Errorf("the page refers to something: %.80q", html[m[0]:])
	}
	for _, m := range reference.FindAllStringSubmatch(html, -1) {
		if target := strings.Trim(m[1], `"'`); !strings.HasPrefix(target, "#") && !strings.HasPrefix(target, "data:") {
			t.Errorf("the page refers to %q", target)
		}
	}
}

func TestPage(t *testing.T) {
	there := result("handover")
	there.Machine = &report.Machine{CPUs: 2, Load: 0.5}
	there.AddLink("core-a", report.Link{Seed: 7})
	html := write(t,
		Run{result("figure6-mip4", report.CaseUnbuffered, report.CaseBuffered, report.CaseUnprepared), "three cases"},
		Run{there, "there and back"})
	alone(t, html)
	for _, want := range []string{
		"Beside Figures 6 and 7 of RFC 6252", "45.33", "66.60", "Fig. 6, RO", `class="ours">here`, // the RFC's figures and ours
		"authentication", "of it: duplicate", // absent below
		"Link up to the first packet, beyond what a bare bridge swap takes", "10.0 %", // 15 of 150 ms
		"Linux 6.1.0", "2026-01-02 03:04:05 UTC", "--rate 62.5", "--no-probe", "three cases", "2 processors, load of 0.50", "seed:7", `href="#run-2"`,
		"With MPA", "Number 1 of 2, from b to a: the longest silence", "<svg role=", "Everything the scenario promises was kept.",
	} {
		if there := strings.Contains(html, want); there == (want == "of it: duplicate") {
			t.Errorf("%q: in the page %v", want, there)
		}
	}
}

func TestPageWithoutTracks(t *testing.T) {
	r := result("handover")
	r.DropTracks()
	r.Problems = []string{"one packet was lost"}
	html := write(t, Run{Result: r})
	alone(t, html)
	if !strings.Contains(html, "--tracks") || !strings.Contains(html, "one packet was lost") || strings.Contains(html, "was kept") {
		t.Error("what is missing, or went wrong, is not said")
	}
}

// TestHostileStrings puts markup into every text of a result.
func TestHostileStrings(t *testing.T) {
	const evil = `"'><script src=//evil.example/x></script><img src=x onerror=alert(1)></style></svg>{{.}}`
	r := result("handover")
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	// Every string of the JSON, but not the names of fields, and not numbers.
	var tree any
	if err := json.Unmarshal(b, &tree); err != nil {
		t.Fatal(err)
	}
	b, err = json.Marshal(spoil(tree, "", evil))
	if err != nil {
		t.Fatal(err)
	}
	r = &report.Result{}
	if err := json.Unmarshal(b, r); err != nil {
		t.Fatal(err)
	}
	r.Problems = []string{evil}
	r.Flags = map[string]string{evil: evil}
	r.Handovers[0].Phases[evil] = 3
	r.Handovers[0].Reason = evil
	r.Summarize()
	html := write(t, Run{r, evil})
	for _, bad := range []string{"<script", "<img", "</style></svg>"} {
		if strings.Contains(html, bad) {
			t.Errorf("%s came through", bad)
		}
	}
	if strings.Count(html, "</style>") != 1 || !strings.Contains(html, "&lt;script") {
		t.Error("the texts are not escaped as texts")
	}
}

// spoil replaces every string, except times and series of numbers.
func spoil(v any, key, evil string) any {
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			x[k] = spoil(e, k, evil)
		}
	case []any:
		for i, e := range x {
			x[i] = spoil(e, key, evil)
		}
	case string:
		if key != "started" && key != "origin" && !strings.HasSuffix(key, "_us") {
			return evil
		}
	}
	return v
}

// TestAlone: the check finds what it is for.
func TestAlone(t *testing.T) {
	for _, bad := range []string{
		`<a href="https://x.example">`, `<script>`, `<img src='x.png'>`, `<style>@import "x"`, `background: url(x.png)`, `<link rel=icon>`,
	} {
		if !outward.MatchString(bad) && !reference.MatchString(bad) {
			t.Errorf("%s is not found", bad)
		}
	}
}
