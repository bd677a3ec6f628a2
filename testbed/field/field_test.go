package field

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTrace(t *testing.T) {
	tr := NewTrace("a", "b", "c").Add(time.Second, -50, -90, math.NaN()).Add(3*time.Second, -70, -60, -80)
	for at, want := range map[time.Duration][]Signal{
		0:                       {{"a", -50}, {"b", -90}},
		time.Second:             {{"a", -50}, {"b", -90}},
		1500 * time.Millisecond: {{"a", -55}, {"b", -82.5}},
		2500 * time.Millisecond: {{"a", -65}, {"b", -67.5}, {"c", -80}},
		time.Hour:               {{"b", -60}, {"a", -70}, {"c", -80}},
	} {
		if diff := cmp.Diff(want, tr.At(at)); diff != "" {
			t.Errorf("%v: %s", at, diff)
		}
	}
	var text bytes.Buffer
	if err := tr.Write(&text); err != nil {
		t.Fatal(err)
	}
	if want := "t_s,a,b,c\n1.000,-50.0,-90.0,\n3.000,-70.0,-60.0,-80.0\n"; text.String() != want {
		t.Errorf("%q", text.String())
	}
	again, err := ReadTrace(&text)
	if err != nil {
		t.Fatal(err)
	}
	for at := time.Duration(0); at < 4*time.Second; at += 250 * time.Millisecond {
		if diff := cmp.Diff(tr.At(at), again.At(at)); diff != "" {
			t.Errorf("%v: %s", at, diff)
		}
	}
	for _, bad := range []string{"", "x,a\n", "t_s\n", "t_s,a\n", "t_s,a\n1\n", "t_s,a\n1,-50,-50\n", "t_s,a\n1,5\n", "t_s,a\nNaN,-5\n", "t_s,a\n2,-5\n2,-5\n", "t_s,a\n-1,-5\n", "t_s,a\n1,-201\n", "t_s,a\n,-20\n"} {
		if _, err := ReadTrace(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// TestWalk: from one cell to the other and back, by the formula.
func TestWalk(t *testing.T) {
	cells := []Cell{{"a", Place{0, 0}, -40, 3}, {"b", Place{100, 0}, -40, 3}}
	w, err := NewWalk(cells, []Place{{0, 0}, {50, 0}, {100, 0}}, 2, Shadow{})
	if err != nil {
		t.Fatal(err)
	}
	if w.Lasts() != 50*time.Second || math.Abs(cells[0].Reach(-40-30)-10) > 1e-9 {
		t.Errorf("lasts %v, reach %v", w.Lasts(), cells[0].Reach(-70))
	}
	both := []Signal{{"b", -40 - 30*math.Log10(40)}, {"a", -40 - 30*math.Log10(60)}}
	for at, want := range map[time.Duration][]Signal{5 * time.Second: {{"a", -70}}, 30 * time.Second: both} { // b is not heard 90 m away
		if diff := cmp.Diff(want, w.At(at)); diff != "" {
			t.Errorf("%v: %s", at, diff)
		}
	}
	for _, same := range [][2]time.Duration{{0, 100 * time.Second}, {20 * time.Second, 80 * time.Second}} {
		if diff := cmp.Diff(w.At(same[0]), w.At(same[1])); diff != "" {
			t.Errorf("back at %v: %s", same, diff)
		}
	}
	if at, speed, heading := w.Where(30 * time.Second); at != (Place{60, 0}) || speed != 2 || heading != 0 {
		t.Errorf("%v %v %v", at, speed, heading)
	}
	if at, _, heading := w.Where(70 * time.Second); at != (Place{60, 0}) || math.Abs(heading-math.Pi) > 1e-9 {
		t.Errorf("back: %v %v", at, heading)
	}
	for name, bad := range map[string]func() (*Walk, error){
		"no path":     func() (*Walk, error) { return NewWalk(cells, []Place{{0, 0}}, 1, Shadow{}) },
		"no speed":    func() (*Walk, error) { return NewWalk(cells, []Place{{0, 0}, {1, 1}}, 0, Shadow{}) },
		"no distance": func() (*Walk, error) { return NewWalk(cells, []Place{{0, 0}, {1, 1}}, 1, Shadow{Sigma: 1}) },
		"too long":    func() (*Walk, error) { return NewWalk(cells, []Place{{0, 0}, {1e6, 1}}, 1, Shadow{}) },
	} {
		if _, err := bad(); err == nil {
			t.Error(name)
		}
	}
}

// TestShadow: of the spread and the correlation that was asked for, the same for the same seed, and cells apart.
func TestShadow(t *testing.T) {
	const sigma, distance = 6.0, 20.0
	s := shadowing(Shadow{sigma, distance, 1}, 0, maxPath)
	var sum, squares, apart float64
	for i, x := range s {
		sum += x
		squares += x * x
		if i >= distance {
			apart += x * s[i-distance]
		}
	}
	n := float64(len(s))
	if mean, spread, corr := sum/n, math.Sqrt(squares/n), apart/squares; math.Abs(mean) > 0.5 || math.Abs(spread-sigma) > 0.4 || math.Abs(corr-1/math.E) > 0.05 {
		t.Errorf("mean %.2f, spread %.2f, correlation at D %.2f; expected 0, %v and 0.37", mean, spread, corr, sigma)
	}
	if again := shadowing(Shadow{sigma, distance, 1}, 0, 10); again[9] != s[9] {
		t.Error("another for the same seed")
	}
	if other := shadowing(Shadow{sigma, distance, 1}, 1, 10); other[9] == s[9] {
		t.Error("two cells have the same")
	}
	w, err := NewWalk([]Cell{{"a", Place{}, -40, 3}}, []Place{{10, 0}, {90, 0}}, 10, Shadow{sigma, distance, 1})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w.At(2*time.Second), w.At(14*time.Second)); diff != "" {
		t.Errorf("another in the same place: %s", diff)
	}
}

func TestLink(t *testing.T) {
	for dBm, mbps := range map[float64]float64{-30: 54, -65: 54, -65.5: 48, -80: 9, -95: 1} {
		if Rate(dBm) != mbps {
			t.Errorf("%v dBm: %v Mbit/s", dBm, Rate(dBm))
		}
	}
	if Loss(-60) > 1e-6 || math.Abs(Loss(-90)-0.5) > 1e-9 || Loss(-100) < 0.99 {
		t.Errorf("%v %v %v", Loss(-60), Loss(-90), Loss(-100))
	}
}

func FuzzReadTrace(f *testing.F) {
	f.Add("t_s,a,b\n0,-50,\n1.5,-60,-70\n")
	f.Fuzz(func(t *testing.T, text string) {
		tr, err := ReadTrace(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, s := range tr.At(time.Second) {
			if !(s.DBm >= Floor && s.DBm < 0) {
				t.Errorf("%v", s)
			}
		}
	})
}
