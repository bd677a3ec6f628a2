package bed

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/neighbourhood"
	"openmpa/mn"
	"openmpa/mn/discover"
	"openmpa/testbed/field"
	"openmpa/testbed/topo"
)

// What routers of a site tell each other, and where things are.
const (
	infoPort  = 7161 // TCP
	planName  = "lab"
	placeFile = "place"

	knownLimit = 20 * time.Second
)

// siteName is how a network's router is called as one of a site.
func siteName(n topo.Network) string { return fmt.Sprintf("ar.%s.%s", n.Name, visitedRealm) }

// configAround is what a router's configuration says of the networks around: how to reach the first router, which tells it
// of the others.
func (b *Bed) configAround(n topo.Network) string {
	if !b.opt.Site {
		return ""
	}
	f := b.transportFiles(routerIdentity(n))
	text := fmt.Sprintf("info: {operator: %s, points: [%s], site: %s, ca: %s, certificate: %s, key: %s",
		visitedRealm, b.pointsAround(n), visitedRealm, f.CA, f.Certificate, f.Key)
	first := b.opt.networks()[0]
	at := netip.AddrPortFrom(first.Outer, infoPort)
	if n.Name == first.Name {
		return fmt.Sprintf("%s, listen: %q}\n", text, at)
	}
	return fmt.Sprintf("%s}\nneighbours: [{name: %s, router: %q, identity: %s}]\n", text, first.Name, at, siteName(first))
}

// pointsAround are a network's points, and where they are.
func (b *Bed) pointsAround(n topo.Network) string {
	var all []string
	for _, p := range n.Points {
		where := ""
		if c, ok := b.opt.cell(p); ok {
			where = fmt.Sprintf(", location: {plan: %s, x: %g, y: %g}, reach: %.0f", planName, c.X, c.Y, c.Reach(lostAt))
		}
		all = append(all, fmt.Sprintf("{name: %s%s}", p, where))
	}
	return strings.Join(all, ", ")
}

// lostAt is the signal in dBm at which a point's reach ends: where decisions take a link for lost.
const lostAt = -85

func (o Options) cell(point string) (c field.Cell, ok bool) {
	i := slices.IndexFunc(o.Cells, func(c field.Cell) bool { return c.Point == point })
	if i < 0 {
		return c, false
	}
	return o.Cells[i], true
}

// discovery is the section of that name in the mobile node's configuration.
func (b *Bed) discovery() string {
	if !b.opt.Position {
		return ""
	}
	return fmt.Sprintf("discovery: {position: {file: %s, plan: %s}}\n", b.Run.File(placeFile), planName)
}

// SetPlace has the mobile node know where it is, how fast it goes in m/s, and in which direction: in radians, anticlockwise
// from east. It needs Options.Position.
func (b *Bed) SetPlace(at field.Place, speed, heading float64) error {
	next := b.Run.File(placeFile + ".next")
	line := fmt.Sprintf("%.2f %.2f %.2f %.1f\n", at.X, at.Y, speed, heading*180/math.Pi)
	if err := os.WriteFile(next, []byte(line), 0o644); err != nil {
		return fmt.Errorf("bed: the mobile node's place: %w", err)
	}
	if err := os.Rename(next, b.Run.File(placeFile)); err != nil {
		return fmt.Errorf("bed: the mobile node's place: %w", err)
	}
	return nil
}

// awaitSite waits until the mobile node has heard of every network of the lab: from its router, as its configuration has
// the first one only.
func (b *Bed) awaitSite(ctx context.Context) error {
	if !b.opt.Site {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, knownLimit)
	defer cancel()
	var unknown []string
	for {
		var s mn.Surroundings
		err := b.Client(topo.MN).Command(ctx, control.CommandNetworks, struct{}{}, &s)
		if err == nil {
			if unknown = b.unknown(s); len(unknown) == 0 {
				return nil
			}
			err = Sleep(ctx, 5*time.Millisecond)
		}
		if err != nil {
			return fmt.Errorf("bed: the mobile node has not heard of %s from its router: %w%s", strings.Join(unknown, ", "), err,
				b.children[b.opt.networks()[0].Name].Tail(12))
		}
	}
}

// unknown are the networks of which somebody does not know all points, or not the PAA, from a router.
func (b *Bed) unknown(s mn.Surroundings) (names []string) {
	for _, n := range b.opt.networks() {
		if !slices.ContainsFunc(s.Networks, func(k discover.NetworkStatus) bool {
			return k.Name == n.Name && slices.ContainsFunc(k.From, func(f neighbourhood.Source) bool { return f.Kind == neighbourhood.Router }) &&
				slices.ContainsFunc(k.Agents, func(a neighbourhood.Agent) bool {
					return a.Role == neighbourhood.PAA && a.Addr.Addr() == b.opt.at(n.Address)
				}) &&
				len(k.Points) == len(n.Points)
		}) {
			names = append(names, n.Name)
		}
	}
	return names
}
