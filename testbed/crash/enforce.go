package crash

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"openmpa/internal/osnet"
	"openmpa/testbed/bed"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

const (
	strangerPort = 20100
	strangerRate = 50 // datagrams a second to each place
)

// strangers is what a station on network a's link that has never authenticated sends all the time: to
// where everybody may send, and to where nobody may who has not authenticated.
type strangers struct {
	open, shut *traffic.Flow
	first      atomic.Int64 // number of the first that arrived where everybody may send, and one
}

func (r *cellRun) openStrangers(ctx context.Context) (s *strangers, err error) {
	a, _ := topo.NetworkByName("a")
	if _, err := r.bed.Bare.Attach(ctx, a.Points[0]); err != nil {
		return nil, err
	}
	s = &strangers{}
	spec := traffic.Spec{
		Name: "stranger to all", ID: 3, From: r.bed.Endpoint(topo.Bare), To: r.bed.Endpoint(topo.CN), Port: strangerPort,
		Rate: traffic.PerSecond(strangerRate), OnArrival: func(a traffic.Arrival) { s.first.CompareAndSwap(0, int64(a.Seq)+1) },
	}
	if s.open, err = traffic.Open(spec); err != nil {
		return nil, err
	}
	spec.Name, spec.ID, spec.Port, spec.OnArrival = "stranger to the home agent", 4, strangerPort+1, nil
	spec.To = r.bed.Plain(topo.HA, topo.HomeAgent)
	if s.shut, err = traffic.Open(spec); err != nil {
		return nil, errors.Join(err, s.open.Close())
	}
	s.open.Start()
	s.shut.Start()
	for begun := time.Now(); s.first.Load() == 0; { // the link has come up just now
		if time.Since(begun) > settleLimit {
			return nil, errors.Join(fmt.Errorf("crash: in %v nothing of a station that has not authenticated got to %v, which is open to all", settleLimit, topo.Correspondent), s.end(r.rec))
		}
		if err := bed.Sleep(ctx, look); err != nil {
			return nil, errors.Join(err, s.end(r.rec))
		}
	}
	return s, nil
}

// end judges what became of it.
func (s *strangers) end(rec *Record) error {
	s.shut.Stop(late)
	s.open.Stop(late)
	if n := s.shut.Seen(); n > 0 {
		rec.problem("of %d datagrams of a station that has not authenticated %d got to the home agent", s.shut.Sent(), n)
	}
	stats, err := s.open.Stats()
	if err == nil {
		lost := 0
		for _, run := range stats.Losses {
			if first := s.first.Load() - 1; int64(run.Last) > first {
				lost += int(int64(run.Last) - max(first, int64(run.First)-1))
			}
		}
		if lost > 0 {
			rec.problem("of %d datagrams to where everybody may send %d were lost", stats.Sent, lost)
		}
	}
	return errors.Join(err, s.open.Close(), s.shut.Close())
}

// gates says what is wrong with whom the enforcement points let pass: the node, where it is, and nobody else.
func (r *cellRun) gates(network string, node netip.Addr) (wrong []string, err error) {
	for _, n := range topo.Networks {
		var pass, want []netip.Addr
		var there bool
		err := r.bed.Top.Space(n.Router).Do(func() (err error) {
			pass, there, err = osnet.GateLeft(osnet.OwnerAccessRouter)
			return err
		})
		if err != nil {
			return nil, err
		}
		if n.Name == network {
			want = []netip.Addr{node}
		}
		if !there || !slices.Equal(pass, want) {
			wrong = append(wrong, fmt.Sprintf("%s: the enforcement point (there: %v) lets pass %v, expected %v", n.Router, there, pass, want))
		}
	}
	return wrong, nil
}

// router is the network of a victim that is a router.
func (r *cellRun) router() (topo.Network, bool) { return topo.NetworkByName(r.cell.Victim.daemon()) }

// cleaned has a router that was the victim die once more, and what it leaves removed by "mpa-ar clean":
// the enforcement point stays, as it is, and nothing else.
func (r *cellRun) cleaned(ctx context.Context) (err error) {
	network, ok := r.router()
	if !ok {
		return nil
	}
	if r.died, err = r.bed.Kill(network.Name); err != nil {
		return err
	}
	if err := r.bed.AtRouter(network, "clean"); err != nil {
		return err
	}
	at, address, err := r.address(ctx)
	if err != nil {
		return fmt.Errorf("crash: %w", err)
	}
	wrong, err := r.gates(at, address)
	if err != nil {
		return err
	}
	left, err := r.bed.Left(network.Router)
	for _, line := range left {
		if !strings.Contains(line, "nftables") {
			wrong = append(wrong, line)
		}
	}
	r.report("clean", wrong)
	return err
}

// opened has "mpa-ar open" remove the rest, and the router start again. It waits until everything stands.
func (r *cellRun) opened(ctx context.Context) error {
	network, ok := r.router()
	if !ok {
		return nil
	}
	if err := r.bed.AtRouter(network, "open"); err != nil {
		return err
	}
	left, err := r.bed.Left(network.Router)
	if err != nil {
		return err
	}
	r.report("open", left)
	if err := r.bed.Restart(ctx, network.Name); err != nil {
		return err
	}
	for {
		_, missing := standing(ctx, r.bed)
		if missing == "" {
			return r.settled(ctx)
		}
		if time.Since(r.died) > recoverLimit {
			return fmt.Errorf("crash: not recovered within %v: %s", recoverLimit, missing)
		}
		if err := bed.Sleep(ctx, look); err != nil {
			return err
		}
	}
}

func (r *cellRun) report(command string, wrong []string) {
	for _, line := range wrong {
		r.rec.problem("after the death of %s and its %q: %s", r.cell.Victim, command, line)
	}
}
