package mn

import (
	"slices"

	"openmpa/mn/decision"
)

// register gives networks and points the numbers by which an engine knows them, the same as long as the node runs. What is more
// than an engine takes has none.
type register struct {
	networks []string // network i+1 by its name
	points   []spot   // point i+1
}

// networkID numbers a network; 0: there is no room.
func (r *register) networkID(name string) decision.NetworkID {
	i := slices.Index(r.networks, name)
	if i < 0 && name != "" && len(r.networks) < decision.MaxNetworks {
		i = len(r.networks)
		r.networks = append(r.networks, name)
	}
	return decision.NetworkID(i + 1)
}

// pointID numbers a point, of whatever network; 0: there is no room.
func (r *register) pointID(s spot) decision.PointID {
	i := slices.IndexFunc(r.points, func(known spot) bool { return known.point == s.point })
	switch {
	case s.point == "":
		return 0
	case i >= 0:
		r.points[i].network = s.network
	case len(r.points) < decision.MaxPoints:
		i = len(r.points)
		r.points = append(r.points, s)
	}
	return decision.PointID(i + 1)
}

func (r *register) network(id decision.NetworkID) string {
	if i := int(id) - 1; i >= 0 && i < len(r.networks) {
		return r.networks[i]
	}
	return ""
}

func (r *register) spot(id decision.PointID) spot {
	if i := int(id) - 1; i >= 0 && i < len(r.points) {
		return r.points[i]
	}
	return spot{}
}

// among numbers the point of that name, if one of the networks has it.
func (r *register) among(networks []Network, point string) decision.PointID {
	for _, n := range networks {
		if slices.Contains(n.Points, point) {
			return r.pointID(spot{n.Name, point})
		}
	}
	return 0
}
