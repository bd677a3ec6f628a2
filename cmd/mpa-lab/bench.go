package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"openmpa/testbed/bench"
	"openmpa/testbed/picture"
	"openmpa/testbed/report"
)

type benchCmd struct {
	Bench    string   `arg:"" help:"Name of the bench; \"list\" shows them."`
	JSON     string   `name:"json" placeholder:"FILE" help:"Write the results as one JSON object to FILE, or to standard output for \"-\"."`
	Pictures string   `type:"path" placeholder:"DIR" help:"Draw the results into DIR, as SVG and PNG."`
	Rounds   int      `placeholder:"N" help:"How often each subject is measured, turn by turn; by default as often as the bench says."`
	Seconds  float64  `placeholder:"S" help:"How long each measurement is; by default as the bench says."`
	Nodes    int      `placeholder:"N" help:"Of sim: how many nodes."`
	Map      string   `placeholder:"KIND" enum:",dense,sparse,large,far" default:"" help:"Of sim: another kind of map: dense, sparse, large (cells), far (routers)."`
	Only     []string `placeholder:"TEXT" sep:"none" help:"Only the rows that have this text in their names, as it stands; given more than once, those that have one of them."`
	Logs     string   `type:"path" placeholder:"DIR" help:"Keep what the programs wrote in DIR."`
}

func (c *benchCmd) Run(a *app) error {
	b, err := bench.Find(c.Bench)
	if err != nil {
		return err
	}
	if c.Rounds < 0 || c.Seconds < 0 || c.Nodes < 0 {
		return fmt.Errorf("--rounds %d, --seconds %g, --nodes %d: expected no negative number", c.Rounds, c.Seconds, c.Nodes)
	}
	if !b.Virtual {
		if err := a.ready(); err != nil {
			return err
		}
	}
	r, err := bench.Run(a.ctx, b, bench.Options{
		Bin: a.bin, Self: a.self, Commit: commit(a.self), Rounds: c.Rounds, Seconds: c.Seconds, Nodes: c.Nodes, Map: c.Map, Only: c.Only, Logs: c.Logs, Say: progress(),
	})
	if r == nil || len(r.Rows) == 0 {
		return err
	}
	// What was measured is shown even if not everything could be.
	if c.JSON != "" {
		err = errors.Join(err, report.WriteJSON(c.JSON, r))
	}
	if c.Pictures != "" {
		p, perr := r.Picture(b.Doc)
		if perr == nil {
			perr = writePictures(c.Pictures, append([]picture.Picture{p}, r.Pictures...))
		}
		err = errors.Join(err, perr)
	}
	if c.JSON != "-" {
		fmt.Printf("%s: %s\n%s", b.Name, b.Doc, r)
		return verdict(r.Problems, err)
	}
	if err == nil && len(r.Problems) > 0 {
		return errQuiet
	}
	return err
}

// tunnelEndCmd is one end of a tunnel that is measured.
type tunnelEndCmd struct {
	End string `arg:"" type:"existingfile" help:"What the end is to be."`
}

// Run carries packets until it is told to end.
func (c *tunnelEndCmd) Run(a *app) error {
	end, err := bench.ReadEnd(c.End)
	if err != nil {
		return err
	}
	return end.Run(a.ctx, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}

// panaPAACmd is a PAA that is measured.
type panaPAACmd struct {
	End string `arg:"" help:"What it is to be, as JSON."`
}

// Run serves until standard input ends.
func (c *panaPAACmd) Run(a *app) error {
	var end bench.PAAEnd
	if err := json.Unmarshal([]byte(c.End), &end); err != nil {
		return fmt.Errorf("%q: %w", c.End, err)
	}
	return end.Run(a.ctx, os.Stdin, os.Stdout)
}

// aaaPAACmd is a PAA with its AAA client that is measured.
type aaaPAACmd struct {
	End string `arg:"" help:"What it is to be, as JSON."`
}

// Run serves until standard input ends.
func (c *aaaPAACmd) Run(a *app) error {
	var end bench.AAAPAA
	if err := json.Unmarshal([]byte(c.End), &end); err != nil {
		return fmt.Errorf("%q: %w", c.End, err)
	}
	return end.Run(a.ctx, os.Stdin, os.Stdout)
}
