package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/neighbourhood"
	"openmpa/mn"
)

type networksCmd struct{}

// Run prints what the mobile node knows of networks, or the router, where there is no node.
func (networksCmd) Run(a *app) error {
	s, err := a.ofNode()
	if err != nil {
		r := a.ofRouter()
		switch {
		case r == nil:
			return err
		case a.cli.JSON:
			return writeJSON(a.stdout, r)
		}
		return writeAround(a.stdout, r, time.Now())
	}
	if a.cli.JSON {
		return writeJSON(a.stdout, s)
	}
	return writeNetworks(a.stdout, s)
}

// ofNode is what the mobile node of this machine knows.
func (a *app) ofNode() (s mn.Surroundings, err error) {
	c, err := a.mobileNode()
	if err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(a.ctx, askTimeout)
	defer cancel()
	return s, c.Command(ctx, control.CommandNetworks, struct{}{}, &s)
}

// writeNetworks prints tables of networks with their points, of sources, and of what was not believed.
func writeNetworks(w io.Writer, s mn.Surroundings) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(cells ...string) {
		for i := range cells {
			if cells[i] = clean(cells[i]); cells[i] == "" && i > 0 {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	row("NETWORK", "POINT", "PAA", "CHANNEL", "SECURITY", "COST", "LOAD", "FOLLOWS", "FROM", "LASTS")
	for _, n := range s.Networks {
		row(n.Name, "", paaOf(n.Network), "", "", optional(n.Cost, "%g dB"), "", "", sources(n.From), lasts(n.Left))
		for _, p := range n.Points {
			name, channel, follows := p.Name, "", ""
			if p.Name == s.Point {
				name += " *"
			}
			if p.SSID != "" {
				channel = fmt.Sprintf("%q", p.SSID)
			}
			if p.Freq > 0 {
				channel = strings.TrimSpace(fmt.Sprint(channel, " ", p.Freq, " MHz"))
			}
			if f, ok := s.Follows[p.Name]; ok {
				follows = fmt.Sprintf("%.0f %%", 100*f)
			}
			row("", name, "", channel, string(p.Security), "", load(p.Load), follows, "", "")
		}
	}
	if s.Place != nil {
		fmt.Fprintf(tw, "\nplace: %s, %.1f s ago\n", clean(words(s.Place.Where)), s.Place.Age)
	}
	if len(s.Contradictions) > 0 {
		fmt.Fprintln(tw)
		row("NOT BELIEVED", "OF", "SAID BY", "INSTEAD OF", "BY")
		for _, c := range s.Contradictions {
			row(c.Dropped, c.Network+", "+c.Field, c.By.String(), c.Kept, c.KeptBy.String())
		}
	}
	if more := s.Counts.Contradictions - len(s.Contradictions); more > 0 {
		fmt.Fprintf(tw, "and %d more\n", more)
	}
	if c := s.Counts; c.Crowded > 0 || c.Invalid > 0 || c.TooMany > 0 {
		fmt.Fprintf(tw, "\nno room for %d; refused: %d that nobody can mean, %d too many\n", c.Crowded, c.Invalid, c.TooMany)
	}
	return tw.Flush()
}

func paaOf(n neighbourhood.Network) string {
	for _, a := range n.Agents {
		if a.Role == neighbourhood.PAA && a.Addr.IsValid() {
			return a.Addr.String()
		}
	}
	return ""
}

func optional(v *float32, format string) string {
	if v == nil {
		return ""
	}
	return fmt.Sprintf(format, *v)
}

func load(v *float32) string {
	if v == nil {
		return ""
	}
	return fmt.Sprintf("%.0f %%", 100**v)
}

func sources(list []neighbourhood.Source) string {
	var out []string
	for _, s := range list {
		if s.Kind == neighbourhood.Configured {
			out = append(out, s.Kind.String())
		} else {
			out = append(out, s.String())
		}
	}
	return strings.Join(out, ", ")
}

// lasts is how long something holds.
func lasts(seconds float64) string {
	if seconds == 0 {
		return ""
	}
	return (time.Duration(seconds) * time.Second).String()
}

func words(l neighbourhood.Location) string {
	if l.Plan == "" {
		return fmt.Sprintf("latitude %.6f, longitude %.6f", l.Y, l.X)
	}
	return fmt.Sprintf("%.1f, %.1f m of %s", l.X, l.Y, l.Plan)
}
