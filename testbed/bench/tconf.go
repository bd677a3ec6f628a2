package bench

import (
	"context"
	"fmt"

	"openmpa/testbed/bed"
	"openmpa/testbed/scenario"
)

// TConf compares the time to configure with and without addresses verified ahead.
func TConf() Bench {
	return Bench{
		Name: "tconf", Doc: "how long a node waits for its address: when it is asked for, and verified ahead",
		Rounds: 5, Seconds: 1, Measure: measureTConf,
	}
}

// configurations are how a node gets its address.
var configurations = []struct {
	name      string
	ip        int
	addresses string
}{
	{"DHCPv4", 4, ""},
	{"DHCPv6", 6, bed.AddressesDHCP},
	{"SLAAC", 6, bed.AddressesSLAAC},
}

const (
	subjectAsked = "when it is asked for"
	subjectAhead = "verified ahead"
	aheadInBench = "{min: 1, max: 4}"
)

func measureTConf(ctx context.Context, o Options, a *Adder) error {
	a.Note("a node moves between two networks of the lab, once a round in each of two labs; the router's time is that of the next router; rounds take as long as they take")
	for _, c := range configurations {
		whole := Row{Name: c.name + ", from request to usable address", Unit: "ms", Better: Less, Base: subjectAsked}
		dhcp := Row{Name: c.name + ", of that DHCP, at the router", Unit: "ms", Better: Less}
		dad := Row{Name: c.name + ", of that duplicate address detection", Unit: "ms", Better: Less}
		if !o.wantsAny(whole, dhcp, dad) {
			continue
		}
		add := func(subject string, m scenario.Configured) {
			for _, f := range []struct {
				row   Row
				value float64
			}{{whole, m.Whole}, {dhcp, m.DHCP}, {dad, m.DAD}} {
				if o.Wants(f.row.Name) && f.value > 0 { // else there was none of it
					a.Add(f.row, subject, f.value)
				}
			}
		}
		opt := scenario.Options{Bin: o.Bin, Logs: o.Logs, DAD: bed.DADStandard, IP: c.ip, Addresses: c.addresses}
		problems, err := besideOneAnother(ctx, opt, o.Say, func(labs map[string]*scenario.Configuring) error {
			for round := range o.Rounds {
				o.Say.Line("%s: round %d of %d", c.name, round+1, o.Rounds)
				if err := configureOnce(ctx, labs, round, add); err != nil {
					return err
				}
			}
			return nil
		})
		for _, p := range problems {
			a.Problem("%s: %s", c.name, p)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// besideOneAnother runs fn with a lab of each subject.
func besideOneAnother(ctx context.Context, opt scenario.Options, p *scenario.Progress, fn func(map[string]*scenario.Configuring) error) (problems []string, err error) {
	var inner []string
	outer, err := scenario.Configure(ctx, opt, "", p, func(asked *scenario.Configuring) (err error) {
		inner, err = scenario.Configure(ctx, opt, aheadInBench, p, func(ahead *scenario.Configuring) error {
			return fn(map[string]*scenario.Configuring{subjectAsked: asked, subjectAhead: ahead})
		})
		return err
	})
	return append(inner, outer...), err
}

// configureOnce takes one sample of each subject, with another one first in each round.
func configureOnce(ctx context.Context, labs map[string]*scenario.Configuring, round int, add func(string, scenario.Configured)) error {
	order := []string{subjectAsked, subjectAhead}
	for i := range order {
		subject := order[(i+round)%len(order)]
		lab := labs[subject]
		if err := lab.Ready(ctx); err != nil {
			return err
		}
		m, err := lab.Move(ctx)
		if err != nil {
			return err
		}
		add(subject, m)
	}
	return nil
}
