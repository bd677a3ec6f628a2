package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"openmpa/testbed/bed"
	"openmpa/testbed/crash"
	"openmpa/testbed/matrix"
	"openmpa/testbed/scenario"
)

type crashCmd struct {
	Victims   []string      `placeholder:"mn,next" help:"Whom to kill: mn, next, previous, ha, aaa, dhcp; all of them by default. next and previous are the routers of the handover."`
	Points    []string      `placeholder:"\"mn l2 begin\"" help:"At which records; all of them by default."`
	Messages  bool          `help:"At the messages between the parties instead, as a tap at the next router sees them."`
	Cells     []string      `placeholder:"VICTIM@POINT" help:"Single cells, as they are named in the output, instead of --victims and --points."`
	Delay     time.Duration `default:"300ms" placeholder:"300ms" help:"From the death until it is started again."`
	Hasty     bool          `help:"Ask for the next handover as soon as traffic goes on, and not only when nothing of the crash is left."`
	AAA       string        `name:"aaa" enum:"embedded,freeradius" default:"embedded" help:"The authentication server: embedded (mpa-aaa) or freeradius."`
	DHCP      string        `name:"dhcp" enum:"embedded,kea" default:"embedded" help:"The DHCP server: embedded (the lab's own) or kea."`
	IP        int           `name:"ip" enum:"4,6" default:"4" help:"The family of the node's addresses: 4 or 6."`
	Addresses string        `enum:"slaac,dhcp" default:"dhcp" help:"With --ip 6, how nodes get an address: they form one (slaac), or DHCPv6 gives it."`
	Guard     string        `enum:"never,always" default:"never" help:"Whether the router that serves keeps copies, and sends through the tunnel that stands by: never or always."`
	Enforce   bool          `help:"Have the routers let pass only what authenticated nodes send; a station that has not authenticated tries to send all the time."`
	Jobs      int           `default:"1" placeholder:"1" help:"Labs beside one another."`
	JSON      string        `name:"json" placeholder:"FILE" help:"Write a record of each cell to FILE, a line each."`
	Resume    string        `placeholder:"FILE" help:"The same, and leave out the cells of which FILE has a verdict for this commit."`
	L2Gap     time.Duration `name:"l2-gap" default:"4ms" placeholder:"4ms" help:"How long the node has no link in a move."`
	Logs      string        `type:"path" placeholder:"DIR" help:"Keep the daemons' logs of the cells that fail in DIR."`
	List      bool          `help:"Only list the cells."`
}

// cells are what the flags name.
func (c *crashCmd) cells(a *app, p *scenario.Progress) (cells []crash.Cell, err error) {
	if c.Delay < 0 || c.Delay > time.Minute {
		return nil, fmt.Errorf("--delay %v: expected up to one minute", c.Delay)
	}
	how := crash.How{Delay: c.Delay, Hasty: c.Hasty, AAA: c.AAA, DHCP: c.DHCP, Guard: c.Guard, Enforce: c.Enforce, IP: c.IP}
	if c.IP == 6 {
		how.Addresses = c.Addresses
	}
	for _, s := range c.Cells {
		cell, err := crash.ParseCell(s)
		if err != nil {
			return nil, err
		}
		cell.How = how
		cells = append(cells, cell)
	}
	if c.Cells == nil {
		var victims []crash.Party
		for _, v := range c.Victims {
			if !slices.Contains(crash.Victims, crash.Party(v)) {
				return nil, fmt.Errorf("--victims %s: expected some of %v", v, crash.Victims)
			}
			victims = append(victims, crash.Party(v))
		}
		points := how.Points()
		if c.Messages && c.IP == 6 {
			return nil, errors.New("--messages is for --ip 4")
		}
		if c.Messages {
			p.Line("crash: the messages of a handover without a crash")
			if points, err = crash.Messages(a.ctx, bed.Options{Bin: a.bin, Gap: c.L2Gap, AAA: c.AAA, DHCP: c.DHCP}); err != nil {
				return nil, err
			}
		}
		if c.Points != nil {
			points = nil
		}
		for _, name := range c.Points {
			if !slices.Contains(how.Points(), crash.Point(name)) {
				return nil, fmt.Errorf("--points %q: expected some of %q", name, how.Points())
			}
			points = append(points, crash.Point(name))
		}
		cells = crash.Cells(victims, points, how)
	}
	return cells, nil
}

func (c *crashCmd) Run(a *app) (err error) {
	p := progress()
	cells, err := c.cells(a, p)
	if err != nil {
		return err
	}
	if c.List {
		for _, cell := range cells {
			fmt.Println(cell)
		}
		return nil
	}
	if c.Jobs < 1 || c.Jobs > 32 {
		return fmt.Errorf("--jobs %d: expected 1 to 32", c.Jobs)
	}
	if err := a.ready(); err != nil {
		return err
	}
	opt := crash.Options{
		Cells: cells, Jobs: c.Jobs, Logs: c.Logs, Progress: p.Line,
		Failed: func(r crash.Record) { sayFailed(p, r.Cell(), r.Problems) },
	}
	built := commit(a.self)
	if opt.Book, err = openBook[crash.Cell, crash.Record](c.JSON, c.Resume, built); err != nil {
		return err
	}
	records, err := crash.Run(a.ctx, bed.Options{Bin: a.bin, Gap: c.L2Gap}, built, opt)
	err = errors.Join(err, opt.Book.Close())
	p.Done()
	if len(records) > 0 {
		fmt.Printf("%s\n%s", crash.Table(records), crash.Summary(records))
	}
	if err == nil && slices.ContainsFunc(records, func(r crash.Record) bool { return !r.Passed }) {
		err = errQuiet
	}
	return err
}

// sayFailed tells of a cell that failed as soon as it has.
func sayFailed(p *scenario.Progress, cell fmt.Stringer, problems []string) {
	p.Done()
	fmt.Fprintf(os.Stderr, "FAIL %v\n     %s\n", cell, strings.ReplaceAll(strings.Join(problems, "\n"), "\n", "\n     "))
}

// openBook opens the file of records that --json begins and --resume goes on
// with, nil without either.
func openBook[C matrix.Cell, R matrix.Record[C]](begin, resume, commit string) (*matrix.Book[C, R], error) {
	switch {
	case begin != "" && resume != "":
		return nil, errors.New("--json begins a file and --resume goes on with one: expected one of them")
	case begin != "":
		if err := os.Remove(begin); err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		return matrix.OpenBook[C, R](begin, commit)
	case resume != "":
		return matrix.OpenBook[C, R](resume, commit)
	}
	return nil, nil
}
