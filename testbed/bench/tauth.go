package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// TAuth compares the time to authenticate with that of another EAP peer.
func TAuth() Bench {
	return Bench{
		Name: "tauth", Doc: "how long an authentication takes: our node by our router and FreeRADIUS, beside eapol_test and the same server, near and far",
		Rounds: 6, Seconds: 1, Measure: measureTAuth,
	}
}

const (
	subjectOurs  = "node and router of ours"
	subjectEapol = "eapol_test"

	// tauthFragment is what an EAP packet may have, of both sides and both subjects.
	tauthFragment = 1024
	tauthWarm     = 15 // authentications of a round in a process that has had one
	tauthFarWarm  = 3
	tauthCold     = 8
	// eapolPause is how long eapol_test waits before it authenticates again.
	eapolPause = 100 * time.Millisecond
)

// A tauthWay is one way to authenticate.
type tauthWay struct {
	name   string
	tls    string
	resume bool
	each   int // authentications of which one is of this way
	home   homeKind
}

// tauthWays are what is compared.
var tauthWays = []tauthWay{
	{"EAP-TLS 1.2", "1.2", false, 1, homeFreeRADIUS},
	{"EAP-TLS 1.3", "1.3", false, 1, homeFreeRADIUS},
	// FreeRADIUS 3.2 takes a ticket of TLS 1.3 once and gives none with a resumed one, and
	// with TLS 1.2 it has session identifiers, which crypto/tls has not.
	{"EAP-TLS 1.3 resumed", "1.3", true, 2, homeSessions},
	{"EAP-TLS 1.2 resumed, at mpa-aaa", "1.2", true, 1, homeOurs},
	{"EAP-TLS 1.3 resumed, at mpa-aaa", "1.3", true, 1, homeOurs},
}

// at is its name, with the distance of the server.
func (w tauthWay) at(rtt time.Duration) string {
	if rtt == 0 {
		return w.name
	}
	return fmt.Sprintf("%s, %v away", w.name, rtt)
}

// tauthDistances are round trips to the home server.
var tauthDistances = []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond}

// tauthRows are of one way at one distance.
type tauthRows struct{ whole, wire, trips, cold, cpu Row }

func rowsOfTAuth(name string) tauthRows {
	row := func(what, unit string, interval bool) Row {
		return Row{Name: name + ", " + what, Unit: unit, Better: Less, Base: subjectEapol, Interval: interval}
	}
	return tauthRows{
		whole: row("warm, whole", "ms", true),
		wire:  row("warm, from first Access-Request to Access-Accept", "ms", true),
		trips: row("round trips to the server", "requests", false),
		cold:  row("cold, process from start to end", "ms", true),
		cpu:   row("cold, processor time of the process", "ms", true),
	}
}

func measureTAuth(ctx context.Context, o Options, a *Adder) error {
	a.Note("warm: later authentications of a process, %v apart, whose first one does not count; whole: of ours from the first PANA message to the open session at the node, of eapol_test from its first Access-Request to the Access-Accept", eapolPause)
	a.Note("cold: processes that authenticate once; ours has a router that runs, eapol_test is node and router")
	a.Note("both nodes send their authority's certificate, too, which eapol_test does by itself")
	a.Note("P-256 certificates, EAP packets of %d octets at most, FreeRADIUS for both but where it is said", tauthFragment)
	for _, rtt := range tauthDistances {
		if err := tauthAt(ctx, o, a, rtt); err != nil {
			return err
		}
	}
	return nil
}

// tauthAt measures with the server at a distance.
func tauthAt(ctx context.Context, o Options, a *Adder, rtt time.Duration) (err error) {
	wanted := slices.Clone(tauthWays)
	wanted = slices.DeleteFunc(wanted, func(x tauthWay) bool {
		r := rowsOfTAuth(x.at(rtt))
		return rtt > 0 && x.home == homeOurs || !o.wantsAny(r.whole, r.wire, r.trips, r.cold, r.cpu)
	})
	if len(wanted) == 0 {
		return nil
	}
	o.Say.Line("%v to the home server: starting", rtt)
	var kinds []homeKind
	for _, way := range wanted {
		if !slices.Contains(kinds, way.home) {
			kinds = append(kinds, way.home)
		}
	}
	w, err := newAAAWorld(ctx, o, rtt, kinds...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	for round := range o.Rounds {
		for _, way := range wanted {
			o.Say.Line("%s: round %d of %d", way.at(rtt), round+1, o.Rounds)
			if err := w.round(ctx, a, way, rtt, round); err != nil {
				return fmt.Errorf("%s: %w", way.at(rtt), err)
			}
		}
	}
	for _, way := range wanted {
		sameTrips(a, rowsOfTAuth(way.at(rtt)).trips.Name)
	}
	return nil
}

// round takes a round's samples of one way.
func (w *aaaWorld) round(ctx context.Context, a *Adder, way tauthWay, rtt time.Duration, round int) error {
	rows := rowsOfTAuth(way.at(rtt))
	warm := tauthWarm
	if rtt > 0 {
		warm = tauthFarWarm
	}
	subjects := []string{subjectOurs, subjectEapol}
	if round%2 > 0 {
		slices.Reverse(subjects)
	}
	for _, s := range subjects {
		got, err := w.subject(ctx, s, way, 1+warm*way.each, false)
		if err != nil {
			return err
		}
		if err := w.warm(a, rows, way, s, got, warm); err != nil {
			return err
		}
	}
	if rtt > 0 || way.resume { // a process that begins has nothing to resume
		return nil
	}
	cold, cpu := map[string][]float64{}, map[string][]float64{}
	for range tauthCold {
		for _, s := range subjects {
			got, err := w.subject(ctx, s, way, 1, true)
			if err != nil {
				return err
			}
			cold[s], cpu[s] = append(cold[s], ms(got.process)), append(cpu[s], ms(got.cpu))
		}
	}
	for _, s := range subjects {
		w.add(a, rows.cold, s, cold[s]...)
		w.add(a, rows.cpu, s, cpu[s]...)
	}
	return nil
}

func (w *aaaWorld) add(a *Adder, row Row, subject string, values ...float64) {
	if w.o.Wants(row.Name) {
		a.AddRound(row, subject, values...)
	}
}

func (w *aaaWorld) subject(ctx context.Context, subject string, way tauthWay, times int, cold bool) (authenticated, error) {
	if subject == subjectOurs {
		return w.ours(ctx, way, times, cold)
	}
	return w.eapol(ctx, way, times)
}

// fullUp tells authentications in full from resumed ones: octets of EAP that the node
// sends less when it resumes, since its certificate and what it signs are not among them.
const fullUp = 300

// warm adds the samples of one process.
func (w *aaaWorld) warm(a *Adder, rows tauthRows, way tauthWay, subject string, got authenticated, warm int) error {
	if n := 1 + warm*way.each; len(got.wire) != n {
		return fmt.Errorf("%s: %d authentications on the wire, expected %d", subject, len(got.wire), n)
	}
	var whole, wire, trips []float64
	first, others := got.wire[0], 0
	for i, x := range got.wire[1:] {
		switch resumed := first.Up-x.Up > fullUp; {
		case !x.Accepted:
			return fmt.Errorf("%s: the server has refused an authentication", subject)
		case x.Repeated > 0:
			return fmt.Errorf("%s: %d requests were repeated, expected none on a link that loses nothing", subject, x.Repeated)
		case resumed != way.resume:
			others++
			continue
		}
		took := x.Took()
		wire, trips = append(wire, ms(took)), append(trips, float64(x.Trips))
		if got.whole != nil {
			took = got.whole[i+1]
		}
		whole = append(whole, ms(took))
	}
	if want := warm * (way.each - 1); others != want {
		a.Problem("%s, %s: %d of %d authentications were as asked for, expected %d", rows.whole.Name, subject, len(whole), warm*way.each, warm)
	}
	w.add(a, rows.whole, subject, whole...)
	w.add(a, rows.wire, subject, wire...)
	w.add(a, rows.trips, subject, trips...)
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// sameTrips has round trips that differ be a problem.
func sameTrips(a *Adder, name string) {
	var ours, theirs []float64
	for _, row := range a.r.Rows {
		for _, c := range row.Samples {
			switch {
			case row.Name != name:
			case c.Subject == subjectOurs:
				ours = c.Values
			case c.Subject == subjectEapol:
				theirs = c.Values
			}
		}
	}
	if len(ours) == 0 || len(theirs) == 0 {
		return
	}
	if lo, hi := slices.Min(theirs), slices.Max(theirs); slices.Min(ours) != lo || slices.Max(ours) != hi {
		a.Problem("%s: ours %g to %g, eapol_test %g to %g, expected the same", name, slices.Min(ours), slices.Max(ours), lo, hi)
	}
}
