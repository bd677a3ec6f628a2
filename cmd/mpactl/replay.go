package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"openmpa/mn/decision"
	"openmpa/mn/decision/replay"
)

type replayCmd struct {
	Trace    string   `arg:"" type:"existingfile" help:"What mpa-mn --record wrote."`
	Policy   []string `short:"p" placeholder:"STYLE" enum:"sra,era,hara,predictive" help:"Policies to play, of sra, era, hara and predictive; all when it is left out."`
	AsIs     bool     `name:"defaults" help:"Play each policy with its own default levels; otherwise the one that was recorded has the levels it was recorded with."`
	Lost     float32  `placeholder:"DBM" help:"Below this signal the links of the trace carried nothing; that of the recorded policy when it is left out."`
	Seed     uint64   `default:"1" help:"Of how long steps take; the same seed gives the same result."`
	Moves    bool     `short:"m" help:"Print each move, and why."`
	Picture  string   `placeholder:"FILE.svg" help:"Draw signals and moves."`
	Segments int      `default:"72" hidden:"" help:"Parts of the time in the lines that are drawn."`
}

// played is what the command prints as JSON.
type played struct {
	Trace    playedTrace    `json:"trace"`
	Again    *playedAgain   `json:"again,omitempty"`
	Policies []playedPolicy `json:"policies"`
}

type playedTrace struct {
	Node     string    `json:"node,omitempty"`
	Began    time.Time `json:"began,omitzero"`
	Policy   string    `json:"policy"`
	Seconds  float64   `json:"duration_s"`
	Samples  int       `json:"samples"`
	Networks int       `json:"networks"`
	Points   int       `json:"points"`
	Lost     uint64    `json:"lost_records"`
	Cut      bool      `json:"cut_off"`
}

type playedAgain struct {
	Decisions int     `json:"decisions"`
	Same      int     `json:"same"`
	First     float64 `json:"first_difference_s,omitempty"`
	Recorded  string  `json:"recorded,omitempty"`
	Now       string  `json:"now,omitempty"`
}

type playedPolicy struct {
	Policy    string         `json:"policy"`
	Moves     int            `json:"moves"`
	Handovers int            `json:"handovers"`
	PingPongs int            `json:"ping_pongs"`
	Needless  int            `json:"needless"`
	Failed    int            `json:"failed"`
	Alone     int            `json:"link_gone"`
	Drops     int            `json:"drops"`
	Weak      float64        `json:"below_leave_s"`
	Below     float64        `json:"below_lost_s"`
	Out       float64        `json:"nowhere_s"`
	Used      int            `json:"preparations_used"`
	Vain      int            `json:"preparations_in_vain"`
	Prepared  map[string]int `json:"prepared_to"`
	VainAt    map[string]int `json:"in_vain_at"`
	Scans     int            `json:"scans"`
	List      []playedMove   `json:"moves_made"`
}

type playedMove struct {
	At       float64 `json:"at_s"`
	From     string  `json:"from,omitempty"`
	To       string  `json:"to"`
	Network  string  `json:"network"`
	Prepared string  `json:"prepared_to"`
	Signal   float32 `json:"signal_dbm"`
	Failed   bool    `json:"failed,omitempty"`
	PingPong bool    `json:"ping_pong,omitempty"`
	Reason   string  `json:"reason"`
}

// Run plays a trace with each policy.
func (x replayCmd) Run(a *app) error {
	f, err := os.Open(x.Trace)
	if err != nil {
		return err
	}
	defer f.Close()
	scene, err := replay.Load(f)
	if err != nil {
		return fmt.Errorf("%s: %w", x.Trace, err)
	}
	policies, err := x.policies(scene)
	if err != nil {
		return err
	}
	var results []*replay.Result
	for _, p := range policies {
		r, err := scene.Play(p, x.Seed, max(x.Segments, 1))
		if err != nil {
			return err
		}
		results = append(results, r)
	}
	if x.Picture != "" {
		if err := writePicture(x.Picture, drawReplay(scene, results)); err != nil {
			return err
		}
	}
	again := scene.Again()
	if a.cli.JSON {
		return writeJSON(a.stdout, playedOf(scene, again, results))
	}
	return x.print(a.stdout, scene, again, results)
}

// policies are those to be played.
func (x replayCmd) policies(s *replay.Scene) (list []decision.Policy, err error) {
	was := s.Header.Policy
	if x.Lost != 0 {
		was.Lost = x.Lost
	}
	want := x.Policy
	if len(want) == 0 {
		for _, style := range decision.Styles() {
			want = append(want, style.String())
		}
	}
	for _, name := range want {
		var style decision.Style
		if err := style.UnmarshalText([]byte(name)); err != nil {
			return nil, fmt.Errorf("--policy: %w", err)
		}
		p := decision.DefaultPolicy(style)
		if style == was.Style && !x.AsIs {
			p = was
		}
		p.Lost = min(was.Lost, p.Leave)
		if err := p.Check(); err != nil {
			return nil, fmt.Errorf("policy %s: %w", name, err)
		}
		list = append(list, p)
	}
	return list, nil
}

func depths(n [decision.Bind + 1]int) map[string]int {
	out := make(map[string]int, len(n))
	for d, c := range n {
		if c > 0 {
			out[decision.Depth(d).String()] = c //nolint:gosec // there are five
		}
	}
	return out
}

func playedOf(s *replay.Scene, again replay.Again, results []*replay.Result) played {
	h := s.Header
	out := played{
		Trace: playedTrace{h.Node, h.Began, h.Policy.Style.String(), s.Length.Seconds(), s.Samples(), len(s.Networks), len(s.Points), s.Lost, s.Cut},
		Again: &playedAgain{Decisions: again.Decisions, Same: again.Same},
	}
	if again.Different {
		out.Again.First, out.Again.Recorded, out.Again.Now = again.First.Seconds(), again.Recorded, again.Now
	}
	for _, r := range results {
		c := &r.Counts
		all, vain := c.Preparations()
		p := playedPolicy{
			Policy: r.Policy.Style.String(), Moves: c.Moves, Handovers: c.Handovers, PingPongs: c.PingPong, Needless: c.Needless, Failed: c.Failed,
			Alone: c.Alone, Drops: c.Drops, Weak: r.Weak.Seconds(), Below: c.Below.Seconds(), Out: c.Out.Seconds(), Used: all - vain, Vain: vain,
			Prepared: depths(c.Prepared), VainAt: depths(c.Vain), Scans: c.Scans, List: []playedMove{},
		}
		for _, m := range r.Moves {
			p.List = append(p.List, playedMove{m.At.Seconds(), m.From, m.To, m.Network, m.Depth.String(), m.Signal, m.Failed, m.PingPong, m.Words})
		}
		out.Policies = append(out.Policies, p)
	}
	return out
}

// print says in a table what became of each policy, and draws a line for each.
func (x replayCmd) print(out io.Writer, s *replay.Scene, again replay.Again, results []*replay.Result) error {
	h := s.Header
	fmt.Fprintf(out, "%s of node %s: %d samples in %s, %d networks, %d points, recorded with %s\n", filepath.Base(x.Trace), orDash(h.Node), s.Samples(),
		s.Length.Round(time.Second), len(s.Networks), len(s.Points), h.Policy.Style)
	switch {
	case again.Different:
		fmt.Fprintf(out, "told the same, the engine decides %d of %d times as it did; otherwise first after %s:\n  then: %s\n  now:  %s\n", again.Same, again.Decisions,
			again.First.Round(time.Millisecond), clean(again.Recorded), clean(again.Now))
	case again.Decisions > 0:
		fmt.Fprintf(out, "told the same, the engine decides all %d times as it did\n", again.Decisions)
	}
	if s.Lost > 0 {
		fmt.Fprintf(out, "%d records are missing: the recorder's disk was too slow\n", s.Lost)
	}
	if s.Cut {
		fmt.Fprintln(out, "the last record was cut off")
	}
	fmt.Fprintln(out)
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "POLICY\tMOVES\tTO NETWORKS\tPING-PONG\tNEEDLESS\tDROPS\tWEAK s\tLOST s\tNOWHERE s\tPREPARED\tUSED\tIN VAIN\t")
	for _, r := range results {
		c := &r.Counts
		all, vain := c.Preparations()
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%d\t%.1f\t%.1f\t%.1f\t%d\t%d\t%d\t\n", r.Policy.Style, c.Moves, c.Handovers, c.PingPong, c.Needless, c.Drops, r.Weak.Seconds(),
			c.Below.Seconds(), c.Out.Seconds(), all, all-vain, vain)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "weak: below leave of the recorded policy, %.0f dBm; lost: below %.0f dBm; needless: back, or left again within %v\n\n", h.Policy.Leave,
		results[0].Policy.Lost, 5*time.Second)
	x.lines(out, s, results)
	if x.Moves {
		for _, r := range results {
			if err := printMoves(out, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// lines draws where the node was: a letter for each network.
func (x replayCmd) lines(out io.Writer, s *replay.Scene, results []*replay.Result) {
	letters, legend := lettersOf(s)
	draw := func(name string, spots []replay.Spot) {
		var b strings.Builder
		for _, spot := range spots {
			b.WriteByte(letters[spot.Network])
		}
		fmt.Fprintf(out, "%12s  %s\n", name, b.String())
	}
	draw("recorded", s.Recorded(max(x.Segments, 1)))
	for _, r := range results {
		draw(r.Policy.Style.String(), r.Track)
	}
	fmt.Fprintf(out, "%12s  %s; %c nowhere\n", "", strings.Join(legend, ", "), letters[""])
}

const signs = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// lettersOf gives each network a letter: its own first, where that is free.
func lettersOf(s *replay.Scene) (letters map[string]byte, legend []string) {
	letters = map[string]byte{"": '.'}
	taken := map[byte]bool{}
	for _, n := range s.Networks {
		sign := byte('#')
		for _, c := range []byte(n.Name[:min(len(n.Name), 1)] + signs) {
			if strings.IndexByte(signs, c) >= 0 && !taken[c] {
				sign = c
				break
			}
		}
		taken[sign] = true
		letters[n.Name] = sign
		legend = append(legend, fmt.Sprintf("%c %s", sign, clean(n.Name)))
	}
	return letters, legend
}

func printMoves(out io.Writer, r *replay.Result) error {
	fmt.Fprintf(out, "\n%s\n", r.Policy.Style)
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "AFTER s\tFROM\tTO\tPREPARED\tdBm\tCAME TO\tWHY")
	for _, m := range r.Moves {
		came := "moved"
		switch {
		case m.Failed:
			came = "failed"
		case m.PingPong:
			came = "ping-pong"
		}
		fmt.Fprintf(tw, "%.1f\t%s\t%s\t%s\t%.0f\t%s\t%s\n", m.At.Seconds(), orDash(m.From), orDash(m.To), m.Depth, m.Signal, came, clean(m.Words))
	}
	return tw.Flush()
}

// writePicture writes a new file, or one in place of an old one.
func writePicture(name string, text []byte) error {
	if filepath.Ext(name) != ".svg" {
		return errors.New("--picture: expected the name of an .svg file")
	}
	return os.WriteFile(name, text, 0o644) //nolint:gosec // a picture is for everybody
}
