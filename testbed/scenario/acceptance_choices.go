package scenario

import (
	"context"
	"time"

	"openmpa/testbed/traffic"
)

// choices are the checks of a node that has several networks to go to, and of one that chooses itself.
func choices(scenario func(name string, change func(*Options)) func(context.Context, *Progress) ([]string, error)) []check {
	return []check{
		{"to and fro each second: a return is no longer than a prepared move, and asks for nothing again", alone, scenario("ping-pong", func(o *Options) {
			o.Repeat, o.Probe = 8, false
			o.Rate, _ = traffic.ParseRate(pongRate)
		})},
		{"five networks, four policies, 40 s of an emulated signal: nothing lost, each decision with a reason", beside, scenario("wander", func(o *Options) {
			o.Probe, o.Walk, o.WalkSeed = false, 40*time.Second, 1
		})},
		{"another network than the one that is prepared: the node goes on there", beside, scenario("wrong-target", nil)},
		{"the prepared network vanishes: the node goes on where it was", beside, scenario("target-vanishes", nil)},
		{"a router killed where the node relies on it: traffic goes on", beside, scenario("router-reboots", nil)},
		{"a cut with nothing prepared, and back: followed, and what is held is not asked for again", beside, scenario("unprepared", nil)},
	}
}
