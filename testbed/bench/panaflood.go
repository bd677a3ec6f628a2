package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"openmpa/paa/pana"
	"openmpa/testbed/bench/pac"
)

// floodLoads are what is offered, in parts of what the PAA answers of PCIs alone.
var floodLoads = []float64{0, 0.5, 1, 2, 4}

const (
	floodHonest = 100 // nodes that pre-authenticate
	floodWithin = 2 * time.Second
	floodLead   = 500 * time.Millisecond // of the flood before the first of them
	// floodGrowth is what the PAA's memory may differ from that without a flood, in KiB.
	floodGrowth = 1024
	// floodComplete of the honest nodes complete when as much is offered as can be answered.
	floodComplete = 99
)

func floodRow(what, unit string, better Better) Row {
	return Row{Name: what, Unit: unit, Better: better}
}

var (
	rowFloodRate     = floodRow("PCIs answered a second, nothing else to do", "1/s", More)
	rowFloodOffered  = floodRow("PCIs sent a second", "1/s", More)
	rowFloodComplete = floodRow("honest nodes that complete", fmt.Sprintf("of %d", floodHonest), More)
	rowFloodTook     = floodRow("time that an honest node takes, median", "ms", Less)
	rowFloodWorst    = floodRow("time that an honest node takes, longest", "ms", Less)
	rowFloodMemory   = floodRow("memory of the PAA behind the flood, without buffers for datagrams", "KiB", Less)
	rowFloodShare    = floodRow("the flood's sender", "% of one processor", Less)
)

func subjectLoad(part float64) string { return fmt.Sprintf("%g x that rate", part) }

// PANAFlood measures what a flood of spoofed PCIs does to nodes that pre-authenticate.
func PANAFlood() Bench {
	return Bench{
		Name: "pana-flood", Doc: fmt.Sprintf("spoofed PCIs in rising numbers while %d honest nodes pre-authenticate: how many complete, how long they take, and the PAA's memory", floodHonest),
		Rounds: 1, Seconds: 3, Measure: measurePANAFlood,
	}
}

func measurePANAFlood(ctx context.Context, o Options, a *Adder) error {
	a.Note("sender, nodes and PAA share this machine's processors; each PCI has another source address; the honest nodes begin within %v", floodWithin)
	for round := range o.Rounds {
		o.Say.Line("round %d of %d: how many PCIs the PAA answers", round+1, o.Rounds)
		rate, err := statelessRate(ctx, o, a)
		if err != nil {
			return err
		}
		a.Add(rowFloodRate, "the PAA", rate)
		var quiet float64 // KiB without a flood
		for _, part := range floodLoads {
			o.Say.Line("round %d of %d: %s", round+1, o.Rounds, subjectLoad(part))
			memory, err := floodSample(ctx, o, a, rate, part)
			switch {
			case err != nil:
				return err
			case part == 0:
				quiet = memory
			case memory > quiet+floodGrowth:
				a.Problem("%s: the PAA has %.0f KiB behind the flood, %.0f without one", subjectLoad(part), memory, quiet)
			}
		}
	}
	return nil
}

func floodPAA(ctx context.Context, o Options, rate float64) (*paaChild, error) {
	return startPAA(ctx, o, &PAAEnd{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Sessions: 1000, Rate: rate})
}

// flooding runs a flood beside do.
func flooding(ctx context.Context, paa *paaChild, rate float64, do func() error) (offered, share float64, err error) {
	f, err := newFlooder(paa.addr)
	if err != nil {
		return 0, 0, err
	}
	defer f.close()
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var floodErr error
	began := time.Now()
	wg.Go(func() {
		var sent int
		sent, share, floodErr = f.run(ctx, rate)
		offered = float64(sent) / time.Since(began).Seconds()
	})
	err = do()
	stop()
	wg.Wait()
	return offered, share, errors.Join(err, floodErr)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// statelessRate is how many PAR[S] a second the PAA sends when more PCIs come than it can answer.
func statelessRate(ctx context.Context, o Options, a *Adder) (rate float64, err error) {
	paa, err := floodPAA(ctx, o, 1e9)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, paa.stop()) }()
	offered, share, err := flooding(ctx, paa, 0, func() error {
		if err := sleep(ctx, floodLead); err != nil {
			return err
		}
		before, err := paa.state(false)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := sleep(ctx, o.Duration()); err != nil {
			return err
		}
		after, err := paa.state(false)
		rate = float64(after.Sent-before.Sent) / time.Since(began).Seconds()
		return err
	})
	a.Add(rowFloodOffered, "as many as may be", offered)
	a.Add(rowFloodShare, "as many as may be", 100*share)
	return rate, err
}

// floodSample has honest nodes pre-authenticate beside a flood; memory is the PAA's in KiB
// when all is over.
func floodSample(ctx context.Context, o Options, a *Adder, rate, part float64) (memory float64, err error) {
	paa, err := floodPAA(ctx, o, rate)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, paa.stop()) }()
	var took []time.Duration
	honest := func() error {
		var err error
		took, err = preauthenticate(ctx, paa.addr)
		return err
	}
	var offered, share float64
	if part == 0 {
		err = honest()
	} else {
		offered, share, err = flooding(ctx, paa, part*rate, func() error {
			if err := sleep(ctx, floodLead); err != nil {
				return err
			}
			return honest()
		})
	}
	if err != nil {
		return 0, err
	}
	s, err := paa.state(true)
	if err != nil {
		return 0, err
	}
	memory = float64(s.Heap) / 1024
	load := subjectLoad(part)
	if part > 0 {
		a.Add(rowFloodOffered, load, offered)
		a.Add(rowFloodShare, load, 100*share)
	}
	a.Add(rowFloodComplete, load, float64(len(took)))
	a.Add(rowFloodMemory, load, memory)
	if len(took) > 0 {
		slices.Sort(took)
		a.Add(rowFloodTook, load, took[len(took)/2].Seconds()*1e3)
		a.Add(rowFloodWorst, load, took[len(took)-1].Seconds()*1e3)
	}
	if part <= 1 && len(took) < floodComplete {
		a.Problem("%s: %d of %d honest nodes complete, expected %d", load, len(took), floodHonest, floodComplete)
	}
	return memory, nil
}

// preauthenticate has all honest nodes log in, and returns how long it took those that could.
func preauthenticate(ctx context.Context, paa netip.AddrPort) (took []time.Duration, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, at := range pac.Loopback(200, floodHonest) {
		wg.Go(func() {
			if sleep(ctx, floodWithin*time.Duration(i)/floodHonest) != nil {
				return
			}
			began := time.Now()
			e := login(at, paa, true)
			d := time.Since(began)
			mu.Lock()
			defer mu.Unlock()
			var late *pana.ErrAuthTimeout
			var silent *pana.ErrRetransmissions
			switch {
			case e == nil:
				took = append(took, d)
			case !errors.As(e, &late) && !errors.As(e, &silent):
				err = errors.Join(err, e)
			}
		})
	}
	wg.Wait()
	return took, errors.Join(err, ctx.Err())
}
