package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"openmpa/testbed/bench/pac"
)

// AAAThroughput measures what pre-authentications take at the router and at the server.
func AAAThroughput() Bench {
	return Bench{
		Name: "aaa-throughput", Doc: "processor time of a pre-authentication in the router's PAA and in the AAA server, FreeRADIUS and ours, with more and more nodes at a time",
		Rounds: 3, Seconds: 3, Measure: measureAAAThroughput,
	}
}

// throughputNodes are how many nodes authenticate at a time.
var throughputNodes = []int{1, 4, 16, 64, 256}

// throughputAddrs is how many addresses the nodes have in turn: the PAA answers each address
// so often only.
const throughputAddrs = 10_000

// paaShare is what the PAA is meant to take of what the server does.
const paaShare = 0.1

// throughputRows are of one server.
type throughputRows struct{ rate, paa, kernel, server, share, took, failed Row }

func rowsOfThroughput(server homeKind) throughputRows {
	row := func(what, unit string, b Better) Row {
		return Row{Name: string(server) + ": " + what, Unit: unit, Better: b}
	}
	return throughputRows{
		rate:   row("pre-authentications a second", "1/s", More),
		paa:    row("processor time of the PAA, one pre-authentication", "µs", Less),
		kernel: row("of the PAA's, in the kernel", "µs", Less),
		server: row("processor time of the server, one pre-authentication", "µs", Less),
		share:  row("the PAA's processor time in the server's", "%", Less),
		took:   row("time of a pre-authentication, median", "ms", Less),
		failed: row("pre-authentications that failed", "of all", Less),
	}
}

// throughputServers are those behind the PAA.
var throughputServers = []homeKind{homeFreeRADIUS, homeOurs}

func measureAAAThroughput(ctx context.Context, o Options, a *Adder) error {
	a.Note("EAP-TLS 1.3 in full, P-256 certificates, RADIUS; nodes, PAA and server are three processes that share this machine's processors; the PAA is that of mpa-ar without what it does for nodes that are authenticated")
	for round := range o.Rounds {
		for _, s := range throughputServers {
			r := rowsOfThroughput(s)
			if !o.wantsAny(r.rate, r.paa, r.kernel, r.server, r.share, r.took, r.failed) {
				continue
			}
			if err := throughputRound(ctx, o, a, s, round); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
	}
	for _, row := range a.r.Rows {
		if n := len(row.Samples); n > 0 && row.Unit == "%" {
			if last := row.Samples[n-1]; last.Median > 100*paaShare {
				a.Note("%s, %s: %.0f %%, which was meant to be %.0f at most", row.Name, last.Subject, last.Median, 100*paaShare)
			}
		}
	}
	return nil
}

// throughputRound has a server and a router of their own.
func throughputRound(ctx context.Context, o Options, a *Adder, kind homeKind, round int) (err error) {
	w, err := newAAAWorld(ctx, o, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	h := &aaaHome{server: netip.AddrPortFrom(w.right.addr, 1812), paa: netip.MustParseAddrPort("127.0.0.1:716")}
	w.homes[kind] = h
	if h.child, err = w.startServerOf(ctx, kind, "server", h.server); err != nil {
		return err
	}
	if h.router, err = w.startPAA("server", h); err != nil {
		return err
	}
	if _, err := w.crowd(ctx, h, 4, warmUp); err != nil {
		return err
	}
	for _, n := range throughputNodes {
		o.Say.Line("%s: round %d of %d, %d nodes at a time", kind, round+1, o.Rounds, n)
		if err := w.throughput(ctx, a, rowsOfThroughput(kind), h, n); err != nil {
			return fmt.Errorf("%d nodes at a time: %w", n, err)
		}
	}
	return nil
}

// throughput takes one sample.
func (w *aaaWorld) throughput(ctx context.Context, a *Adder, rows throughputRows, h *aaaHome, nodes int) error {
	var before, after AAAState
	if err := h.router.ask(&before); err != nil {
		return err
	}
	server, err := childCPU(h.child)
	if err != nil {
		return err
	}
	took, err := w.crowd(ctx, h, nodes, w.o.Duration())
	if err != nil {
		return err
	}
	serverAfter, err := childCPU(h.child)
	if err != nil {
		return err
	}
	if err := h.router.opened(&after, before.Opened+uint64(len(took.Took))); err != nil {
		return err
	}
	done := float64(len(took.Took))
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / done }
	paa, of := each(after.CPU-before.CPU), each(serverAfter-server)
	subject := fmt.Sprintf("%d nodes at a time", nodes)
	if nodes == 1 {
		subject = "one node after the other"
	}
	slices.Sort(took.Took)
	for _, x := range []struct {
		row   Row
		value float64
	}{
		{rows.rate, done / took.Span.Seconds()},
		{rows.paa, paa},
		{rows.kernel, each(after.Kernel - before.Kernel)},
		{rows.server, of},
		{rows.share, 100 * paa / of},
		{rows.took, ms(took.Took[len(took.Took)/2])},
		{rows.failed, float64(len(took.Failed))},
	} {
		w.add(a, x.row, subject, x.value)
	}
	if len(took.Failed) > 0 {
		a.Problem("%s, %s: %d failed, the first one: %s", rows.failed.Name, subject, len(took.Failed), took.Failed[0])
	}
	return nil
}

// crowd has nodes authenticate, one authentication behind the other each.
func (w *aaaWorld) crowd(ctx context.Context, h *aaaHome, nodes int, d time.Duration) (took pac.Took, err error) {
	c, err := w.startNodes(ctx, pac.Nodes{
		PAA: h.paa, Loopback: throughputAddrs, Parallel: nodes, Identity: aaaIdentity, Certificate: w.files[0], Key: w.files[1], CA: w.files[2],
		ServerName: aaaName, TLS: "1.3", Fragment: tauthFragment, For: d, Stay: true,
	})
	if err != nil {
		return took, err
	}
	err = c.read(&took)
	if err := errors.Join(err, c.stop()); err != nil {
		return took, err
	}
	if len(took.Took) == 0 {
		return took, fmt.Errorf("bench: no node could authenticate: %v", took.Failed[:min(1, len(took.Failed))])
	}
	return took, nil
}
