package apctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
)

// paper is an access point that only takes notes.
type paper struct {
	info  Info
	fails error
	notes []string
	pmk   *keys.Secret // of the last Install: the caller's, to be cleared by it
	watch func(Seen)
}

func (p *paper) note(what string, station wpactrl.MAC) error {
	p.notes = append(p.notes, fmt.Sprintf("%s %v", what, station))
	return p.fails
}
func (p *paper) Info() Info { return p.info }
func (p *paper) Install(_ context.Context, k Key) error {
	p.pmk = k.PMK
	return p.note(fmt.Sprintf("install %.4x for %v", k.PMK.Bytes(), k.Lifetime), k.Station)
}
func (p *paper) Remove(_ context.Context, s wpactrl.MAC) error { return p.note("remove", s) }
func (p *paper) Left(s wpactrl.MAC, since time.Time) {
	_ = p.note("left "+since.UTC().Format(time.TimeOnly), s)
}
func (p *paper) Watch(f func(Seen)) { p.watch = f }
func (p *paper) Status() Status     { return Status{Info: p.info, Keys: len(p.notes)} }

func (p *paper) Close() error { return p.note("close", wpactrl.MAC{}) }

// TestController: one authentication serves every access point, each with a key of its own.
func TestController(t *testing.T) {
	a := &paper{info: ap1}
	b := &paper{info: Info{Name: "ap2", BSSID: wpactrl.MAC{2, 0, 0, 0, 1, 9}, AKM: keys.AKM8021XSHA256}, fails: ErrAway}
	c, err := NewController(a, b)
	if err != nil {
		t.Fatal(err)
	}
	msk := []byte(strings.Repeat("m", 64))
	derive := func(i Info) (*keys.Secret, error) { return keys.DerivePMK(keys.PRFHMACSHA256, msk, 7, 1, i.BSSID) }
	if have, err := c.Install(t.Context(), station, time.Hour, derive); !errors.Is(err, ErrAway) || !slices.Equal(have, []Info{ap1}) {
		t.Errorf("one fails: %v, %v have it", err, have)
	}
	for _, p := range []*paper{a, b} {
		want, err := derive(p.info)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("install %.4x for 1h0m0s %v", want.Bytes(), station); !slices.Equal(p.notes, []string{got}) {
			t.Errorf("%s: %q, want %q", p.info.Name, p.notes, got)
		}
		if p.pmk.Len() != 0 {
			t.Errorf("%s: the key was not cleared", p.info.Name)
		}
	}
	b.fails = nil
	failing := errors.New("no session")
	if have, err := c.Install(t.Context(), station, time.Hour, func(Info) (*keys.Secret, error) { return nil, failing }); !errors.Is(err, failing) || have != nil {
		t.Errorf("no key: %v, %v have it", err, have)
	}
	a.watch(Seen{Station: station, At: time.Unix(7, 0)}) // it has come to ap1
	if err := errors.Join(c.Remove(t.Context(), station), c.Close()); err != nil {
		t.Error(err)
	}
	s := station.String()
	if got := a.notes[1:]; !slices.Equal(got, []string{"remove " + s, "close 00:00:00:00:00:00"}) {
		t.Errorf("ap1: %q", got)
	}
	if got := b.notes[1:]; !slices.Equal(got, []string{"left 00:00:07 " + s, "remove " + s, "close 00:00:00:00:00:00"}) {
		t.Errorf("ap2: %q", got)
	}
	if st := c.Status(); len(st) != 2 || st[0].Name != "ap1" || st[1].Keys != 4 {
		t.Errorf("%+v", st)
	}
	for _, same := range []Info{{Name: "ap1", BSSID: b.info.BSSID}, {Name: "other", BSSID: bssid}} {
		if _, err := NewController(a, &paper{info: same}); err == nil {
			t.Errorf("%+v: want an error", same)
		}
	}
}

// TestControllerWatch: a station that was seen at another point since has not gone.
func TestControllerWatch(t *testing.T) {
	a, b := &paper{info: ap1}, &paper{info: ap2}
	c, err := NewController(a, b)
	if err != nil {
		t.Fatal(err)
	}
	a.watch(Seen{Station: station}) // nobody listens
	var got []bool
	c.Watch(func(s wpactrl.MAC, gone bool) {
		if s != station {
			t.Errorf("station %v", s)
		}
		got = append(got, gone)
	})
	for _, step := range []struct {
		p    *paper
		gone bool
		want []bool
	}{
		{b, false, []bool{false}},
		{a, true, nil},
		{b, true, []bool{true}},
		{a, false, []bool{false}},
		{b, true, nil},
		{a, true, []bool{true}},
		{b, true, []bool{true}}, // it came before we did, for all we know
	} {
		got = nil
		step.p.watch(Seen{Station: station, Gone: step.gone})
		if !slices.Equal(got, step.want) {
			t.Errorf("%+v: told %v", step, got)
		}
	}
}
