package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"openmpa/internal/doctor"
)

type doctorCmd struct {
	Config string        `default:"/etc/openmpa" placeholder:"DIR" help:"Folder of the daemons' configurations."`
	Wait   time.Duration `default:"3s" help:"How long to wait for an answer over the network."`
	All    bool          `short:"a" help:"Show what is well, too."`
}

// Run examines this machine; a fault is exit code 1.
func (d doctorCmd) Run(a *app) error {
	if os.Geteuid() != 0 {
		fmt.Fprintln(a.stderr, "mpactl: doctor sees little without root: try sudo mpactl doctor")
	}
	findings, err := doctor.Examine(a.ctx, doctor.Options{Config: d.Config, Wait: d.Wait})
	if err != nil {
		return err
	}
	faults := 0
	for _, f := range findings {
		if f.Level == doctor.Fail {
			faults++
		}
	}
	if a.cli.JSON {
		err = writeJSON(a.stdout, findings)
	} else {
		d.print(a.stdout, findings, faults)
	}
	if err == nil && faults > 0 {
		return errReported
	}
	return err
}

func (d doctorCmd) print(w io.Writer, findings []doctor.Finding, faults int) {
	count := map[doctor.Level]int{}
	for _, f := range findings {
		count[f.Level]++
		if f.Level == doctor.OK && !d.All {
			continue
		}
		fmt.Fprintf(w, "%-8s %s, %s: %s\n", f.Level, f.Program, f.Check, clean(f.Text))
		if f.Remedy != "" {
			fmt.Fprintf(w, "         -> %s\n", clean(f.Remedy))
		}
	}
	fmt.Fprintf(w, "%d checks: %d well, %d warnings, %d faults\n", len(findings), count[doctor.OK], count[doctor.Warn], faults)
}
