package scenario

import (
	"strings"
	"testing"

	"openmpa/testbed/impair"
	"openmpa/testbed/traffic"
)

func TestFlaws(t *testing.T) {
	links := func(text string) tolerance {
		asked, err := impair.Parse([]string{"core-a=" + text})
		if err != nil {
			t.Fatal(err)
		}
		return Options{Links: asked}.tolerance()
	}
	lossy, copying, mixing := links("loss:1%"), links("dup:1%"), links("delay:1ms,reorder:1%")
	for _, x := range []struct {
		name   string
		t      tolerance
		s      traffic.Stats
		onLink int
		forced int
		want   string
	}{
		{"nothing", tolerance{}, traffic.Stats{}, 0, 0, ""},
		{"lost without a link", tolerance{}, traffic.Stats{Lost: 1}, 0, 0, "1 lost"},
		{"as many as the link lost", lossy, traffic.Stats{Lost: 3}, 3, 0, ""},
		{"more than the link lost", lossy, traffic.Stats{Lost: 4}, 3, 0, "the links lost 3"},
		{"fewer than the link lost", lossy, traffic.Stats{Lost: 2}, 3, 0, "the links lost 3"},
		{"a copy was lost", copying, traffic.Stats{Lost: 2, Duplicated: 5}, 3, 0, ""},
		{"duplicated", lossy, traffic.Stats{Duplicated: 1}, 0, 0, "1 duplicated"},
		{"as many as the router dropped", tolerance{dropped: 3}, traffic.Stats{Lost: 3}, 0, 0, ""},
		{"more than the router dropped", tolerance{dropped: 3}, traffic.Stats{Lost: 4}, 0, 0, "the router dropped 3"},
		{"fewer than the router dropped", tolerance{dropped: 3}, traffic.Stats{Lost: 2}, 0, 0, "the router dropped 3"},
		{"fewer, and others were dropped", tolerance{dropped: 3, others: true}, traffic.Stats{Lost: 2}, 0, 0, ""},
		{"dropped, and lost on a link", tolerance{dropped: 3}, traffic.Stats{Lost: 5}, 2, 0, ""},
		{"reordered", lossy, traffic.Stats{Reordered: 2}, 0, 0, "2 reordered"},
		{"reordered in a forced flip", lossy, traffic.Stats{Reordered: 2}, 0, 1, ""},
		{"reordered by the link", mixing, traffic.Stats{Reordered: 2}, 0, 0, ""},
	} {
		got := strings.Join(x.t.flaws(x.s, x.onLink, x.forced), ", ")
		if (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s: %q, expected %q", x.name, got, x.want)
		}
	}
}

func TestPromiseWith(t *testing.T) {
	s, err := Find("handover")
	if err != nil {
		t.Fatal(err)
	}
	if s.PromiseWith(Options{}) != s.Promise {
		t.Error("another promise without bad links")
	}
	if text := s.PromiseWith(Options{BufferOff: true}); !strings.Contains(text, "dropped") {
		t.Errorf("without buffers: %q", text)
	}
	asked, err := impair.Parse([]string{"core-a=loss:1%,dup:1%"})
	if err != nil {
		t.Fatal(err)
	}
	if text := s.PromiseWith(Options{Links: asked}); !strings.Contains(text, "lost are exactly") || !strings.Contains(text, "duplicates are as") {
		t.Errorf("%q", text)
	}
}
