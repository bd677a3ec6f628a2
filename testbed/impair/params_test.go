package impair

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	got, err := Parse([]string{
		"core-a=delay:40ms,loss:1%", "core-b>=delay:10ms,jitter:5ms,dup:0.5%,reorder:1%,rate:10M,queue:100,seed:7", "core-b<=loss:100%",
	})
	if err != nil {
		t.Fatal(err)
	}
	both := Params{Delay: 40 * time.Millisecond, Loss: 0.01}
	want := map[string]Both{
		"core-a": {Out: both, In: both},
		"core-b": {
			Out:  Params{Delay: 10 * time.Millisecond, Jitter: 5 * time.Millisecond, Duplicate: 0.005, Reorder: 0.01, Rate: 1e7, Queue: 100},
			In:   Params{Loss: 1},
			Seed: 7,
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, b := range want {
		for _, p := range []Params{b.In, b.Out} {
			again, err := Parse([]string{"x=" + p.String()})
			if d := cmp.Diff(p, again["x"].In); err != nil || d != "" {
				t.Errorf("%v: %v\n%s", p, err, d)
			}
		}
	}
	for _, x := range []struct{ text, want string }{
		{"core-a", "expected LINK="},
		{"=delay:1ms", "expected LINK="},
		{"core-a=", "expected LINK="},
		{"core-a=speed:1", "jitter:5ms"},
		{"core-a=delay:40", "delay:40"},
		{"core-a=delay:-1ms", "expected 0 to 10s"},
		{"core-a=delay:1m", "expected 0 to 10s"},
		{"core-a=jitter:5ms", "at most the delay"},
		{"core-a=reorder:1%", "give a delay"},
		{"core-a=loss:1", "0% to 100%"},
		{"core-a=loss:NaN%", "0% to 100%"},
		{"core-a=dup:101%", "0% to 100%"},
		{"core-a=rate:9", "at least 1000"},
		{"core-a=rate:fast", "10M"},
		{"core-a=queue:0", "from 1 on"},
		{"core-a=seed:0", "from 1 on"},
		{"core-a=loss:1%,loss:2%", "twice"},
	} {
		if _, err := Parse([]string{x.text}); err == nil || !strings.Contains(err.Error(), x.want) || !strings.Contains(err.Error(), x.text) {
			t.Errorf("%s: %v, expected %q", x.text, err, x.want)
		}
	}
	if _, err := Parse([]string{"core-a=loss:1%", "core-a>=loss:2%"}); err == nil {
		t.Error("one direction was given twice")
	}
	if _, err := Parse([]string{"core-a<=seed:1", "core-a>=seed:2"}); err == nil {
		t.Error("two seeds for one link")
	}
}
