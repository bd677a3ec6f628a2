package discover

import (
	"cmp"
	"context"
	"log/slog"
	"reflect"
	"slices"
	"time"

	"openmpa/internal/neighbourhood"
)

// Sight is an access point that a scan has seen, or that another one has reported (802.11k).
type Sight struct {
	Point  string // what the configuration calls it; else its BSSID, in lower case with colons
	SSID   string // empty: not told
	Freq   int    // MHz; 0: not told
	Signal int    // dBm; 0: not told
	Age    time.Duration
}

// The times of Air.
const (
	airEvery  = 5 * time.Second
	airFor    = time.Minute
	airAgain  = 20 * time.Second // what is as it was is said again
	airMost   = 512              // sights of one look
	airWithin = 3 * time.Second
)

// Air says what scans have seen, and access points have reported, of networks that are known.
type Air struct {
	// Seen are the sights of the last scans. It asks nobody on the air.
	Seen func(ctx context.Context) ([]Sight, error)
	// Reported asks the present access point for others, and says which it is. It is asked once at each; nil: never.
	Reported func(ctx context.Context) ([]Sight, error)
	Present  func(ctx context.Context) (point, network string) // where the node is
	Known    func() []neighbourhood.Known
	// Unknown has access points that nobody has named be points of the network that has their SSID, or, where they are
	// reported, of that of the one that reports them. Anybody can send any SSID: it is for links that authenticate.
	Unknown bool
	Log     *slog.Logger
}

// Run implements Source.
func (a Air) Run(ctx context.Context, say func(Statement)) {
	tick := time.NewTicker(airEvery)
	defer tick.Stop()
	var (
		last Statement
		at   time.Time
		here reporter
	)
	for {
		if st, ok := a.look(ctx, &here); ok && (time.Since(at) >= airAgain || !reflect.DeepEqual(st, last)) {
			say(st)
			last, at = st, time.Now()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// reporter is the present point, and what it has reported.
type reporter struct {
	point, network string
	sights         []Sight
}

// look is one statement; false for none.
func (a Air) look(ctx context.Context, here *reporter) (Statement, bool) {
	ctx, cancel := context.WithTimeout(ctx, airWithin)
	defer cancel()
	seen, err := a.Seen(ctx)
	if err != nil {
		a.Log.Debug("what scans have seen is not known", "err", err)
		return Statement{}, false
	}
	if a.Unknown && a.Reported != nil {
		a.report(ctx, here)
	}
	return Statement{
		From: neighbourhood.Source{Kind: neighbourhood.Air, Name: "scan"}, Lifetime: airFor,
		Networks: attribute(seen, *here, a.Known(), a.Unknown),
	}, true
}

// report asks the present point, if it is another one than before.
func (a Air) report(ctx context.Context, here *reporter) {
	point, network := a.Present(ctx)
	if point == here.point {
		here.network = network
		return
	}
	*here = reporter{point: point, network: network}
	if point == "" || network == "" {
		return
	}
	sights, err := a.Reported(ctx)
	if err != nil {
		a.Log.Debug("no neighbour report", "point", point, "err", err)
	}
	here.sights = sights[:min(len(sights), airMost)]
}

// attribute says which network each sight is of: the strongest first, so that it is others for which there is no room.
func attribute(seen []Sight, here reporter, known []neighbourhood.Known, unknown bool) []neighbourhood.Network {
	owner, bySSID := map[string]string{}, map[string]string{}
	for _, n := range known {
		for _, p := range n.Points {
			owner[p.Name] = n.Name
			if name, there := bySSID[p.SSID]; there && name != n.Name {
				bySSID[p.SSID] = "" // of two networks: nobody knows which
			} else if !there {
				bySSID[p.SSID] = n.Name
			}
		}
	}
	seen = slices.Clone(seen[:min(len(seen), airMost)])
	slices.SortStableFunc(seen, func(x, y Sight) int { return cmp.Or(cmp.Compare(y.heard(), x.heard()), cmp.Compare(x.Point, y.Point)) })
	points := map[string][]neighbourhood.Point{}
	had := map[string]bool{}
	add := func(network string, s Sight) {
		if network == "" || had[s.Point] || len(points[network]) >= neighbourhood.MaxPoints {
			return
		}
		had[s.Point] = true
		points[network] = append(points[network], neighbourhood.Point{Name: s.Point, SSID: s.SSID, Freq: s.Freq})
	}
	for _, s := range seen {
		network, there := owner[s.Point]
		if !there && unknown && s.SSID != "" {
			network = bySSID[s.SSID]
		}
		if s.Age <= airFor {
			add(network, s)
		}
	}
	for _, s := range here.sights {
		network, there := owner[s.Point]
		if !there && unknown {
			network = here.network
		}
		add(network, s)
	}
	var out []neighbourhood.Network
	for _, n := range known {
		if p := points[n.Name]; len(p) > 0 {
			slices.SortFunc(p, func(a, b neighbourhood.Point) int { return cmp.Compare(a.Name, b.Name) })
			out = append(out, neighbourhood.Network{Name: n.Name, Points: p})
		}
	}
	return out
}

// heard is the signal for sorting: not told is the weakest.
func (s Sight) heard() int {
	if s.Signal == 0 {
		return -1 << 20
	}
	return s.Signal
}
