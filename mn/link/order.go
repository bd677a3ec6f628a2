package link

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// InSight is how old a sighting may be to say that the point is there.
const InSight = 30 * time.Second

// Best returns a network's points in the order in which to try them. It asks nobody on the air: a scan takes the link off its
// channel, and must not come between departure and arrival. What cannot be asked sees nothing.
func Best(ctx context.Context, a Adapter, points []string) []string {
	s, ok := a.(Scanner)
	if !ok {
		return slices.Clone(points)
	}
	seen, err := s.Seen(ctx)
	if err != nil {
		return slices.Clone(points)
	}
	return Order(points, seen)
}

// InSightOf says whether a link sees a point: one that cannot be asked sees nothing.
func InSightOf(ctx context.Context, a Adapter, point string) bool {
	s, ok := a.(Scanner)
	if !ok {
		return false
	}
	seen, err := s.Seen(ctx)
	return err == nil && slices.ContainsFunc(seen, func(g Sighting) bool { return g.Point == point && g.Age <= InSight && g.Signal < 0 })
}

// Order returns the points that are in sight, the loudest first, and then the others as they were.
func Order(points []string, seen []Sighting) []string {
	loudness := make(map[string]int)
	for _, s := range seen {
		if s.Age <= InSight && s.Signal < 0 {
			loudness[s.Point] = s.Signal
		}
	}
	out := slices.Clone(points)
	slices.SortStableFunc(out, func(a, b string) int {
		la, lb := loudness[a], loudness[b]
		switch {
		case la != 0 && lb != 0:
			return cmp.Compare(lb, la)
		case la != 0:
			return -1
		case lb != 0:
			return 1
		}
		return 0
	})
	return out
}
