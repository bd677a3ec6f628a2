package flow

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// published is the table as others rely on it, by hand. "-" is refused.
const published = `
          create   disable  arrival  switch-back  gone  flip    release   serve   behind  ended   guard  unguard  both
released  tunnel   -        -        -            -     -       released  direct  -       -       -      -        -
tunnel    tunnel   hold     drain    tunnel       hold  -       released  -       await   -       copy   tunnel   bicast
hold      tunnel   hold     drain    tunnel       hold  -       released  -       await   -       -      hold     bicast
drain     tunnel   hold     drain    tunnel       hold  direct  released  -       -       drain   copy   drain    bicast
direct    tunnel   hold     direct   tunnel       hold  -       released  direct  direct  direct  copy   direct   bicast
await     tunnel   hold     drain    tunnel       hold  -       released  -       await   drain   -      await    -
copy      tunnel   hold     drain    copy         hold  -       released  -       await   -       copy   tunnel   bicast
bicast    tunnel   hold     drain    tunnel       hold  -       released  -       await   -       copy   tunnel   bicast
`

// parsePublished returns mode name, event name -> mode name or "-".
func parsePublished(t *testing.T) map[[2]string]string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(published), "\n")
	events := strings.Fields(lines[0])
	out := make(map[[2]string]string)
	for _, line := range lines[1:] {
		f := strings.Fields(line)
		if len(f) != len(events)+1 {
			t.Fatalf("row %q: want %d columns", line, len(events)+1)
		}
		for i, e := range events {
			out[[2]string{f[0], e}] = f[i+1]
		}
	}
	return out
}

func TestTableIsThePublishedOne(t *testing.T) {
	want := parsePublished(t)
	rows := Table()
	if len(rows) != int(numModes)*int(numEvents) || len(rows) != len(want) {
		t.Fatalf("want %d pairs, the published table has %d, Table has %d", int(numModes)*int(numEvents), len(want), len(rows))
	}
	seen := make(map[[2]string]bool)
	for _, r := range rows {
		pair := [2]string{r.From.String(), r.On.String()}
		if seen[pair] {
			t.Errorf("%v occurs twice", pair)
		}
		seen[pair] = true
		got := "-"
		if r.OK {
			got = r.To.String()
		} else if r.To != r.From {
			t.Errorf("%v is refused but goes to %v", pair, r.To)
		}
		if w, ok := want[pair]; !ok || w != got {
			t.Errorf("%v: want %s, got %s", pair, w, got)
		}
		if r.Why == "" {
			t.Errorf("%v: no step was decided on", pair)
		}
		if next, ok := Next(r.From, r.On); next != r.To || ok != r.OK {
			t.Errorf("%v: Next gives %v, %v", pair, next, ok)
		}
	}
}

// The table in the package comment is this one.
func TestTableIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.Trim(published, "\n"), "\n") {
		if !strings.Contains(string(doc), "//\t"+line+"\n") {
			t.Errorf("doc.go lacks %q", line)
		}
	}
}

func TestNextOutsideTheTable(t *testing.T) {
	for _, c := range []struct {
		m Mode
		e Event
	}{{numModes, Create}, {255, Release}, {Tunnel, numEvents}, {Tunnel, 255}} {
		if next, ok := Next(c.m, c.e); ok || next != c.m {
			t.Errorf("%v, %v: got %v, %v", c.m, c.e, next, ok)
		}
	}
}

func TestNames(t *testing.T) {
	seen := make(map[string]bool)
	add := func(s fmt.Stringer) {
		if n := s.String(); n == "" || seen[n] {
			t.Errorf("%T: name %q is empty or used twice", s, n)
		}
		seen[s.String()] = true
	}
	for m := range numModes {
		add(m)
	}
	for e := range numEvents {
		add(e)
	}
	for d := Held; d <= ToBoth; d++ {
		add(d)
	}
	for _, s := range []fmt.Stringer{Mode(200), Event(200), Dest(200)} {
		if !strings.Contains(s.String(), "200") {
			t.Errorf("%T: got %q", s, s)
		}
	}
}

// From anywhere, release ends and create begins: no mode is a trap.
func TestNoModeIsATrap(t *testing.T) {
	for m := range numModes {
		if next, ok := Next(m, Release); !ok || next != Released {
			t.Errorf("%v: release gives %v, %v", m, next, ok)
		}
		if next, ok := Next(m, Create); !ok || next != Tunnel {
			t.Errorf("%v: create gives %v, %v", m, next, ok)
		}
	}
}
