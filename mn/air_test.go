package mn

import (
	"context"
	"slices"
	"testing"

	"openmpa/internal/host"
	"openmpa/internal/neighbourhood"
	"openmpa/mn/link"
)

// scans is a radio that has seen an access point which nobody has named.
type scans struct{ *radio }

const unnamedPoint = "02:00:00:00:0a:09"

func (scans) Seen(context.Context) ([]link.Sighting, error) {
	return []link.Sighting{{Point: "poa-a", SSID: "site-a", Freq: 2437}, {Point: unnamedPoint, SSID: "site-a", Freq: 5180}}, nil
}

// TestUnknownPoint: an access point with a network's SSID is that network's where the operator says so; the channel of a point
// that is known is learned either way.
func TestUnknownPoint(t *testing.T) {
	for _, unknown := range []bool{false, true} {
		t.Run(map[bool]string{false: "left out", true: "taken"}[unknown], func(t *testing.T) {
			b := start(t, func(c *Config) {
				on := c.Interfaces[0].Link
				c.Interfaces[0].Link = func(n host.Host) (link.Adapter, error) {
					l, err := on(n)
					return scans{&radio{Adapter: l}}, err
				}
				for i := range c.Networks {
					if c.Networks[i].Name == "a" {
						c.Networks[i].About.Points = []neighbourhood.Point{{Name: "poa-a", SSID: "site-a"}}
					}
				}
				c.Discovery.Air, c.Discovery.Unknown = true, unknown
			})
			b.eventually("the channel of poa-a", func(Status) bool {
				a, err := b.node.network("a")
				return err == nil && len(a.About.Points) > 0 && a.About.Points[0].Freq == 2437
			})
			if a, err := b.node.network("a"); err != nil || slices.Contains(a.Points, unnamedPoint) != unknown {
				t.Errorf("%+v, %v", a.Points, err)
			}
		})
	}
}
