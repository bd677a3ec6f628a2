package discover

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/internal/neighbourhood"
)

var quiet = slog.New(slog.DiscardHandler)

func paa(a string) []neighbourhood.Agent {
	return []neighbourhood.Agent{{Role: neighbourhood.PAA, Addr: netip.MustParseAddrPort(a)}}
}

func points(names ...string) (out []neighbourhood.Point) {
	for _, n := range names {
		out = append(out, neighbourhood.Point{Name: n})
	}
	return out
}

// names are the networks that s knows.
func names(s *Service) (out []string) {
	for _, k := range s.Known() {
		out = append(out, k.Name)
	}
	return out
}

// TestService: what sources say is there as long as they say, changes are told once, and the configuration is right.
func TestService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{
			Networks: []neighbourhood.Network{{Name: "b", Agents: paa("10.1.0.1:716"), Points: points("poa-b1")}},
			Aliases:  map[string]string{"02:00:00:00:0b:01": "poa-b1"}, Log: quiet,
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.Run(ctx); close(done) }()
		changes, stop := s.Watch()
		defer stop()
		told := func(what string, want bool) {
			t.Helper()
			synctest.Wait()
			select {
			case <-changes:
				if !want {
					t.Errorf("%s: told of a change", what)
				}
			default:
				if want {
					t.Errorf("%s: told of no change", what)
				}
			}
		}
		router := neighbourhood.Source{Kind: neighbourhood.Router, Name: "router b"}
		say := Statement{From: router, Lifetime: time.Minute, Networks: []neighbourhood.Network{
			{Name: "a", Agents: paa("10.2.0.1:716"), Points: points("poa-a1")},
			{Name: "b", Agents: paa("10.66.0.1:716"), Points: points("02:00:00:00:0b:01", "02:00:00:00:0b:02")},
		}}
		s.Say(say)
		told("a router speaks", true)
		s.Say(say)
		told("it says the same again", false)
		if got := names(s); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("known: %v", got)
		}
		b := s.Known()[1]
		if b.Agents[0].Addr != netip.MustParseAddrPort("10.1.0.1:716") || len(b.Points) != 2 || b.Points[0].Name != "poa-b1" {
			t.Errorf("b is %+v, expected the PAA of the configuration, and one more point", b)
		}
		st := s.Status()
		if len(st.Contradictions) != 1 || st.Contradictions[0].Field != "paa" || st.Contradictions[0].By != router || st.Networks[0].Left != 60 || len(st.Sources) != 2 {
			t.Errorf("status %+v", st)
		}
		time.Sleep(time.Minute + time.Second)
		told("its time is over", true)
		if got := names(s); !slices.Equal(got, []string{"b"}) {
			t.Errorf("known behind the end: %v", got)
		}
		if st := s.Status(); len(st.Sources) != 1 || len(s.said) != 1 {
			t.Errorf("sources %+v, %d kept", st.Sources, len(s.said))
		}
		cancel()
		<-done
	})
}

// TestCrowd: sources that make up networks cost no more than the bounds, and what is configured stays.
func TestCrowd(t *testing.T) {
	s := New(Config{Networks: []neighbourhood.Network{{Name: "b", Agents: paa("10.1.0.1:716"), Points: points("poa-b1")}}, Log: quiet})
	var many []neighbourhood.Network
	for i := range 5000 {
		n := neighbourhood.Network{Name: fmt.Sprint("n", i), Agents: paa("10.66.0.1:716")}
		for j := range 100 {
			n.Points = append(n.Points, neighbourhood.Point{Name: fmt.Sprintf("p%d-%d", i, j%neighbourhood.MaxPoints)})
		}
		many = append(many, n)
	}
	for i := range 100 {
		s.Say(Statement{From: neighbourhood.Source{Kind: neighbourhood.Router, Name: fmt.Sprint("router ", i)}, Networks: many, Lifetime: time.Hour})
	}
	known := s.Known()
	if len(known) > neighbourhood.MaxNetworks || len(s.said) > neighbourhood.MaxSources {
		t.Errorf("%d networks, %d sources", len(known), len(s.said))
	}
	if !slices.ContainsFunc(known, func(k neighbourhood.Known) bool { return k.Name == "b" && k.From[0].Kind == neighbourhood.Configured }) {
		t.Errorf("b is lost among %d", len(known))
	}
}

// TestNames: a router may call a network otherwise than the configuration does; who has its PAA is meant.
func TestNames(t *testing.T) {
	s := New(Config{Log: quiet, Networks: []neighbourhood.Network{
		{Name: "a", Agents: paa("10.2.0.1:716"), Points: points("poa-a1")},
		{Name: "b", Agents: paa("10.1.0.1:716"), Points: points("poa-b1")},
		{Name: "c", Agents: paa("10.1.0.1:716"), Points: points("poa-c1")},
	}})
	cost := float32(7)
	s.Say(Statement{From: neighbourhood.Source{Kind: neighbourhood.Router, Name: "b"}, Lifetime: time.Minute, Networks: []neighbourhood.Network{
		{Name: "ar-a", Agents: paa("10.2.0.1:716"), Cost: &cost},
		{Name: "b", Agents: paa("10.2.0.1:716")}, // it cannot make b another one
		{Name: "ar-b", Agents: paa("10.1.0.1:716")},
	}})
	if got := names(s); !slices.Equal(got, []string{"a", "ar-b", "b", "c"}) {
		t.Errorf("known: %v", got)
	}
	if a := s.Known()[0]; a.Cost == nil || *a.Cost != 7 {
		t.Errorf("a: %+v", a)
	}
}
