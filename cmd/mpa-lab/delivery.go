package main

import (
	"errors"
	"fmt"
	"slices"

	"openmpa/testbed/scenario"
)

type deliveryCmd struct {
	Pairwise bool     `help:"Only as many cells as it takes for each two values of two factors to meet."`
	Cases    []string `placeholder:"planned" help:"Only these cases; all of them by default."`
	Cells    []string `placeholder:"CASE/TRAFFIC/GAP/DELAY" help:"Single cells, as they are named in the output."`
	Moves    int      `default:"3" placeholder:"3" help:"Moves in each cell, to and fro in one lab."`
	Jobs     int      `default:"1" placeholder:"1" help:"Labs beside one another; what one takes of the processors the others feel."`
	JSON     string   `name:"json" placeholder:"FILE" help:"Write a record of each cell to FILE, a line each."`
	Resume   string   `placeholder:"FILE" help:"The same, and leave out the cells of which FILE has a verdict for this commit."`
	Logs     string   `type:"path" placeholder:"DIR" help:"Keep the daemons' logs of the cells that fail in DIR."`
	List     bool     `help:"Only list the cases with their promises, and the cells."`
}

// cells are what the flags name.
func (c *deliveryCmd) cells() (cells []scenario.DeliveryCell, err error) {
	for _, s := range c.Cells {
		cell, err := scenario.ParseDeliveryCell(s, c.Moves)
		if err != nil {
			return nil, err
		}
		cells = append(cells, cell)
	}
	if c.Cells != nil {
		return cells, nil
	}
	var names []string
	for _, x := range scenario.DeliveryCases() {
		names = append(names, x.Name)
	}
	for _, name := range c.Cases {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("--cases %s: expected some of %v", name, names)
		}
	}
	cells = scenario.AllDeliveryCells(c.Moves)
	if c.Pairwise {
		cells = scenario.PairwiseDeliveryCells(c.Moves)
	}
	return slices.DeleteFunc(cells, func(x scenario.DeliveryCell) bool { return c.Cases != nil && !slices.Contains(c.Cases, x.Case) }), nil
}

func (c *deliveryCmd) Run(a *app) (err error) {
	if c.Moves < 1 || c.Moves > 1000 {
		return fmt.Errorf("--moves %d: expected 1 to 1000", c.Moves)
	}
	if c.Jobs < 1 || c.Jobs > 32 {
		return fmt.Errorf("--jobs %d: expected 1 to 32", c.Jobs)
	}
	cells, err := c.cells()
	if err != nil {
		return err
	}
	if c.List {
		for _, x := range scenario.DeliveryCases() {
			fmt.Printf("%-15s %s\n%-15s   promise: %s\n", x.Name, x.Doc, "", x.Promise)
		}
		for _, cell := range cells {
			fmt.Println(cell)
		}
		return nil
	}
	if err := a.ready(); err != nil {
		return err
	}
	p := progress()
	opt := scenario.DeliveryOptions{
		Cells: cells, Jobs: c.Jobs, Logs: c.Logs, Progress: p.Line,
		Failed: func(r scenario.DeliveryRecord) { sayFailed(p, r.Cell(), r.Problems) },
	}
	built := commit(a.self)
	if opt.Book, err = openBook[scenario.DeliveryCell, scenario.DeliveryRecord](c.JSON, c.Resume, built); err != nil {
		return err
	}
	records, err := scenario.Delivery(a.ctx, a.bin, built, opt)
	err = errors.Join(err, opt.Book.Close())
	p.Done()
	if len(records) > 0 {
		fmt.Printf("%s\n%s", scenario.DeliveryTable(records), scenario.DeliverySummary(records))
	}
	if err == nil && slices.ContainsFunc(records, func(r scenario.DeliveryRecord) bool { return !r.Passed }) {
		err = errQuiet
	}
	return err
}
