package trace

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"openmpa/mn/decision"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type file struct {
	bytes.Buffer
	closed bool
}

func (f *file) Close() error {
	f.closed = true
	return nil
}

var head = Header{Node: "mn1", Began: time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC), Policy: decision.DefaultPolicy(decision.Predictive)}

// all is one record of each kind.
func all() []Record {
	return []Record{
		{At: 1, Know: &Known{
			Networks: []decision.Network{{ID: 1, Name: "a", Cost: -2.5, Most: decision.Bind, Times: decision.Times{
				RTT: 20 * time.Millisecond, Rounds: 5.5, Auth: 1, Configure: 2, Tunnel: 3, Bind: 4, Switch: 5,
			}}, {ID: 3, Name: "b"}},
			Points: []decision.Point{
				{ID: 1, Network: 1, Name: "a1", Load: 0.25, Place: decision.Place{X: 1, Y: -2, Known: true}, Reach: 50, Follows: 0.5},
				{ID: 7, Network: 3, Name: "b1", Load: -1, Follows: -1},
			},
		}},
		{At: 2, Sample: &decision.Sample{
			At: 2, Here: 1, Signal: -61.5, Loss: 0.01, Rate: 54, Place: decision.Place{X: 3, Y: 4, Known: true}, Speed: 1.2, Heading: -3,
			Seen:   []decision.Sighting{{Point: 7, Signal: -70, Age: time.Second}, {Point: 9, Signal: -80.25}},
			Stands: []decision.Standing{{Network: 3, Depth: decision.Tunnel, Held: true}},
		}},
		{At: 2, Decided: &decision.Decision{
			Action: decision.Handover, To: 7, Now: true, Look: true, Both: true, Left: 3 * time.Second,
			Ladder: []decision.Rung{{Network: 3, Point: 7, Depth: decision.Bind}}, Reason: decision.Reason{Code: decision.Hurry, Left: 3 * time.Second},
		}, Words: "moves at once"},
		{At: 3, Sample: &decision.Sample{At: 3, Loss: -1, Speed: -1}},
		{At: 3, Decided: &decision.Decision{Left: -1, Reason: decision.Reason{Code: decision.Nowhere, Left: -1}}, Words: "nowhere"},
		{At: 4, Moved: &decision.Move{From: 1, To: 7, Depth: decision.Bind, Chosen: true}},
		{At: 5, Failed: &decision.Decision{Action: decision.Roam, To: 1, Left: -1, Reason: decision.Reason{Code: decision.Better, Left: -1}}},
		{At: 6, Took: &Took{Network: 3, Depth: decision.Configure, Took: 190 * time.Millisecond, OK: true}},
		{At: 7, RTT: &RTT{Network: 3, RTT: 100 * time.Millisecond}},
	}
}

// write writes records as whoever has an engine does.
func write(w *Writer, records []Record) {
	for _, r := range records {
		switch {
		case r.Know != nil:
			w.Know(r.At, r.Know.Networks, r.Know.Points)
		case r.Sample != nil:
			w.Sample(r.Sample)
		case r.Decided != nil:
			w.Decided(r.At, *r.Decided, r.Words)
		case r.Moved != nil:
			w.Moved(r.At, *r.Moved)
		case r.Failed != nil:
			w.Failed(r.At, *r.Failed)
		case r.Took != nil:
			w.Took(r.At, r.Took.Network, r.Took.Depth, r.Took.Took, r.Took.OK)
		case r.RTT != nil:
			w.RTT(r.At, r.RTT.Network, r.RTT.RTT)
		}
	}
}

func written(t testing.TB, records []Record) []byte {
	t.Helper()
	f := &file{}
	w := NewWriter(f, head)
	write(w, records)
	if err := w.Close(); err != nil || !f.closed || w.Lost() != 0 {
		t.Fatalf("closed %v, %d lost: %v", f.closed, w.Lost(), err)
	}
	return f.Bytes()
}

func read(in io.Reader) (h Header, out []Record, r *Reader, err error) {
	if r, err = NewReader(in); err != nil {
		return h, nil, r, err
	}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Header(), out, r, nil
		}
		if err != nil {
			return r.Header(), out, r, err
		}
		out = append(out, rec)
	}
}

func TestRoundTrip(t *testing.T) {
	h, got, r, err := read(bytes.NewReader(written(t, all())))
	if err != nil || r.Cut() || r.Strange() != 0 {
		t.Fatalf("cut %v, strange %d: %v", r.Cut(), r.Strange(), err)
	}
	if d := cmp.Diff(head, h); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(all(), got); d != "" {
		t.Error(d)
	}
}

// TestSame: a decision that says nothing new is not written.
func TestSame(t *testing.T) {
	d := decision.Decision{Left: -1, Reason: decision.Reason{Code: decision.Well, Here: -50, Left: -1}}
	e := d
	e.Reason.Here = -51
	f := d
	f.Look = true
	records := []Record{{At: 1, Decided: &d, Words: "a"}, {At: 2, Decided: &e, Words: "b"}, {At: 3, Decided: &f, Words: "c"}, {At: 4, Decided: &d, Words: "d"}}
	_, got, _, err := read(bytes.NewReader(written(t, records)))
	if err != nil || len(got) != 3 || got[1].Words != "c" || got[2].Words != "d" {
		t.Errorf("%+v: %v", got, err)
	}
}

// TestCut: a trace that ends anywhere is read as far as it goes.
func TestCut(t *testing.T) {
	whole := written(t, all())
	first := bytes.IndexByte(whole, '\n') + 1
	for n := range whole {
		_, got, r, err := read(bytes.NewReader(whole[:n]))
		if n < first {
			if err == nil {
				t.Fatalf("%d octets: no header, and no error", n)
			}
			continue
		}
		if lines := bytes.Count(whole[first:n], []byte("\n")); err != nil || len(got) != lines || r.Cut() != (whole[n-1] != '\n') {
			t.Fatalf("%d octets: %d records of %d, cut %v: %v", n, len(got), lines, r.Cut(), err)
		}
	}
}

func TestRefused(t *testing.T) {
	header := string(written(t, nil))
	for text, want := range map[string]string{
		"":                             "expected a header",
		"{}\n":                         "version 0",
		`{"trace":2}` + "\n":           "version 2",
		"no\n":                         "expected a header",
		`{"trace":1}` + "\n":           "policy",
		header + "no\n":                "line 2",
		header + `{"at_ns":-1}` + "\n": "at_ns",
		header + `{"at_ns":1,"sample":{"signal_dbm":1e99}}` + "\n":                                                "line 2",
		header + `{"at_ns":1,"moved":{"depth":"deep"}}` + "\n":                                                    `depth "deep"`,
		header + `{"at_ns":1,"decided":{"action":"go","code":"well"}}` + "\n":                                     `action "go"`,
		header + `{"at_ns":1,"decided":{"action":"stay","code":"x"}}` + "\n":                                      `code "x"`,
		header + `{"at_ns":1,"rtt":{},"sample":{}}` + "\n":                                                        "several kinds",
		header + `{"at_ns":2,"sample":{}}` + "\n" + `{"at_ns":1,"sample":{}}` + "\n":                              "line 3",
		header + `{"at_ns":1,"sample":{"seen":[` + strings.Repeat(`{},`, decision.MaxSeen) + `{}]}}` + "\n":       "sightings",
		header + `{"at_ns":1,"know":{"networks":[` + strings.Repeat(`{},`, decision.MaxNetworks) + `{}]}}` + "\n": "networks",
		header + strings.Repeat(" ", maxLine+1):                                                                   "octets",
	} {
		if _, _, _, err := read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, expected %q", text, err, want)
		}
	}
}

// TestStrange: what a later version adds is stepped over.
func TestStrange(t *testing.T) {
	text := string(written(t, nil)) + `{"at_ns":1,"weather":{"rain":true}}` + "\n" + `{"at_ns":1,"rtt":{"network":1,"rtt_ns":5,"by":"x"}}` + "\n"
	_, got, r, err := read(strings.NewReader(text))
	if err != nil || len(got) != 1 || got[0].RTT == nil || r.Strange() != 1 {
		t.Errorf("%+v, strange %d: %v", got, r.Strange(), err)
	}
}

// stuck is a disk that does not come back before it is let.
type stuck struct {
	file
	let chan struct{}
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.let
	return s.file.Write(p)
}

// TestStuck: nobody waits for the disk; what is lost is counted, and told in the trace.
func TestStuck(t *testing.T) {
	f := &stuck{let: make(chan struct{})}
	w := NewWriter(f, head)
	s := &decision.Sample{Here: 1, Signal: -60, Loss: -1, Speed: -1}
	n := 0
	for ; w.Lost() < 10; n++ {
		s.At++
		w.Sample(s)
	}
	close(f.let)
	for lost := w.Lost(); w.Lost() == lost; lost = w.Lost() { // until there is room again
		before := w.Lost()
		s.At++
		n++
		if w.Sample(s); w.Lost() == before {
			break
		}
		time.Sleep(time.Millisecond)
	}
	for before := w.Lost(); ; before = w.Lost() {
		s.At++
		n++
		if w.Sample(s); w.Lost() == before {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_, got, _, err := read(&f.Buffer)
	samples, told := 0, uint64(0)
	for _, r := range got {
		if told += r.Lost; r.Sample != nil {
			samples++
		}
	}
	if err != nil || told != w.Lost() || samples+int(told) != n {
		t.Errorf("%d samples and %d lost of %d, counted %d: %v", samples, told, n, w.Lost(), err)
	}
}

type broken struct{ file }

func (*broken) Write([]byte) (int, error) { return 0, errors.New("the disk is full") }

func TestBroken(t *testing.T) {
	w := NewWriter(&broken{}, head)
	w.RTT(1, 2, 3)
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("%v", err)
	}
	w.RTT(1, 2, 3)
	if w.Lost() != 1 {
		t.Errorf("%d lost after the end", w.Lost())
	}
}

func TestNone(t *testing.T) {
	var w *Writer
	write(w, all())
	if err := w.Close(); err != nil || w.Lost() != 0 {
		t.Error(err)
	}
}

// TestNumbers: what is no number is left out.
func TestNumbers(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	s := &decision.Sample{Here: 1, Signal: nan, Loss: nan, Rate: inf, Speed: inf, Heading: nan, Seen: []decision.Sighting{{Point: 1, Signal: nan}}}
	_, got, _, err := read(bytes.NewReader(written(t, []Record{{Sample: s}})))
	want := &decision.Sample{Here: 1, Loss: -1, Speed: -1, Seen: []decision.Sighting{{Point: 1}}}
	if err != nil || len(got) != 1 || !cmp.Equal(got[0].Sample, want) {
		t.Errorf("%+v: %v", got, err)
	}
}

// FuzzRead: what is read can be written, and is the same then.
func FuzzRead(f *testing.F) {
	f.Add(written(f, all()))
	f.Add([]byte(`{"trace":1,"policy":{"style":"era","look_dbm":-65,"leave_dbm":-72}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, records, _, err := read(bytes.NewReader(text))
		if err != nil {
			return
		}
		out := &file{}
		w := NewWriter(out, h)
		for _, r := range records {
			w.last = decisionKey{rungs: -1} // each is new
			write(w, []Record{r})
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		_, again, _, err := read(&out.Buffer)
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		for i := range records {
			records[i].Lost = 0
		}
		if n := len(again); n > len(records) {
			t.Fatalf("%d records became %d", len(records), n)
		}
	})
}
