package aaa

import (
	"context"
	"errors"
	"testing"
	"time"

	"openmpa/paa/keys"
)

// accepting is a Carrier whose servers accept whoever asks.
type accepting struct {
	ledger
	name string
	info SessionInfo // of the last
}

type acceptance struct{ c *accepting }

func (c *accepting) Open(info SessionInfo, _ string) (Conversation, error) {
	c.info = info
	return acceptance{c}, nil
}

func (a acceptance) Ask(context.Context, []byte) (Answer, error) {
	return Answer{Decision: Accept, MSK: keys.NewSecret(make([]byte, mskLen)), Server: a.c.name, Timeout: time.Hour}, nil
}
func (acceptance) Close() {}

// TestRoutes: the realm says whose servers are asked, the more of it the better.
func TestRoutes(t *testing.T) {
	var names []string
	var all []Operator
	for name, realms := range map[string][]string{
		"home": {"home.example", "*.home.example"}, "deep": {"*.deep.home.example"}, "none": {""}, "rest": {"*"},
	} {
		names = append(names, name)
		all = append(all, Operator{Name: name, Realms: realms, Carrier: &accepting{name: name}})
	}
	r, err := NewRealms(all...)
	if err != nil {
		t.Fatal(err)
	}
	for identity, want := range map[string]string{
		"mn@home.example": "home", "mn@HOME.example": "home", "mn@a.home.example": "home", "mn@a.deep.home.example": "deep",
		"mn": "none", "mn@other.example": "rest", "mn@nothome.example": "rest", "a@home.example@other.example": "rest", "@home.example": "home",
	} {
		c, err := r.Open(SessionInfo{CallingStation: "10.1.0.7", Again: &Grant{Operator: want, Session: "s", Began: time.Unix(1, 0)}}, identity)
		if err != nil {
			t.Fatal(err)
		}
		a, err := c.Ask(t.Context(), nil)
		if g := a.Grant; err != nil || g.Operator != want || g.Server != want || g.Identity != identity || g.Session != "s" || !g.Began.Equal(time.Unix(1, 0)) || g.Station != "10.1.0.7" || g.Realm != RealmOf(identity) {
			t.Errorf("%s: %+v, %v; expected %s of %q", identity, g, err, want, names)
		}
	}
	r, err = NewRealms(Operator{Name: "home", Realms: []string{"home.example"}, Carrier: &accepting{name: "home"}})
	if err != nil {
		t.Fatal(err)
	}
	var unknown *RealmError
	if _, err := r.Open(SessionInfo{}, "mn@other.example"); !errors.As(err, &unknown) || unknown.Realm != "other.example" {
		t.Errorf("%v", err)
	}
	// What another operator has accepted is a session of its own here.
	c, err := r.Open(SessionInfo{Again: &Grant{Operator: "other", Session: "s"}}, "mn@home.example")
	if err != nil {
		t.Fatal(err)
	}
	if a, err := c.Ask(t.Context(), nil); err != nil || a.Grant.Session == "s" || a.Grant.Session == "" {
		t.Errorf("%+v, %v", a.Grant, err)
	}
	if i := r.operators[0].Carrier.(*accepting).info; i.Again != nil {
		t.Errorf("%+v", i)
	}
}

func TestMatch(t *testing.T) {
	g := Grant{Operator: "home", Session: "s", Identity: "mn@home.example", Station: "10.1.0.7", Called: "ar", NASPort: "7", Handle: []byte("h"), Class: [][]byte{{1}, {2}}}
	for _, c := range []struct {
		m    Match
		want bool
	}{
		{Match{}, false},
		{Match{Operator: "home"}, false},
		{Match{Session: "s"}, true},
		{Match{Operator: "home", Session: "s"}, true},
		{Match{Operator: "other", Session: "s"}, false},
		{Match{Session: "s", Identity: "other"}, false},
		{Match{Identity: "mn@home.example", Station: "10.1.0.7"}, true},
		{Match{Class: []byte{2}}, true},
		{Match{Class: []byte{3}}, false},
		{Match{NASPort: "7"}, true},
		{Match{NASPort: "8"}, false},
		{Match{Called: "ar"}, false},
		{Match{Called: "ar", Session: "s"}, true},
		{Match{Called: "other", Session: "s"}, false},
		{Match{Handle: []byte("h"), Session: "x"}, false},
	} {
		if got := c.m.Matches(g); got != c.want {
			t.Errorf("%+v: %v", c.m, got)
		}
	}
}
