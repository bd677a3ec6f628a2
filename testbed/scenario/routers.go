package scenario

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
	"openmpa/tunnel/flow"
)

// askLimit bounds how long a router may take to answer: it may be what is broken.
const askLimit = 2 * time.Second

// routerDrops is what a router has dropped so far of what came for nodes, by the reason.
type routerDrops map[string]int

// ofEarlier is before the reason in a router's status, where the node has gone.
const ofEarlier = "visitors before: "

// routersOf are the networks of a lab whose routers are ours and run.
func routersOf(b *bed.Bed) (names []string) {
	for _, name := range b.Daemons() {
		if _, ok := topo.NetworkByName(name); ok {
			names = append(names, name)
		}
	}
	return names
}

// askRouters are the drops of those that answer.
func askRouters(ctx context.Context, b *bed.Bed) map[string]routerDrops {
	all := make(map[string]routerDrops)
	for _, name := range routersOf(b) {
		if d, err := askRouter(ctx, b, name); err == nil {
			all[name] = d
		}
	}
	return all
}

func askRouter(ctx context.Context, b *bed.Bed, name string) (routerDrops, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var status struct {
		Dropped  map[string]int `json:"dropped"`
		Visitors []struct {
			Dropped map[string]int `json:"dropped"`
		} `json:"visitors"`
	}
	if err := b.Client(name).Status(ctx, &status); err != nil {
		return nil, fmt.Errorf("scenario: status of router %s: %w", name, err)
	}
	drops := routerDrops{}
	for why, n := range status.Dropped {
		if reason, ok := strings.CutPrefix(why, ofEarlier); ok {
			drops[reason] += n
		}
	}
	for _, v := range status.Visitors {
		for why, n := range v.Dropped {
			drops[why] += n
		}
	}
	return drops, nil
}

// countRouters notes what all routers have dropped since before, and their forced flips since
// the beginning. One that does not answer is an error where the move completed.
func (m *measured) countRouters(ctx context.Context, b *bed.Bed, before map[string]routerDrops) error {
	m.dropped = make(map[string]int)
	forced, reasons := 0, make(map[string]int)
	for _, name := range routersOf(b) {
		was, asked := before[name]
		now, err := askRouter(ctx, b, name)
		if err == nil {
			var n int
			n, err = forcedFlips(ctx, b, name, m.begun)
			forced += n
		}
		switch {
		case err != nil && m.Outcome == string(event.Completed):
			return err
		case err != nil || !asked:
			continue
		}
		for why, n := range now {
			if n -= was[why]; n > 0 {
				m.dropped[name+": "+why] = n
				reasons[why] += n
			}
		}
	}
	if m.Buffer == nil {
		if forced == 0 && len(reasons) == 0 {
			return nil
		}
		m.Buffer = &report.Buffer{}
	}
	m.Buffer.ForcedFlips, m.Buffer.Dropped, m.Buffer.Reasons = forced, 0, nil
	for _, n := range reasons {
		m.Buffer.Dropped += n
	}
	if len(reasons) > 0 {
		m.Buffer.Reasons = reasons
	}
	return nil
}

// forcedFlips counts them in a router's timeline.
func forcedFlips(ctx context.Context, b *bed.Bed, name string, since time.Time) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var records []event.Event
	err = b.Client(name).Events(ctx, 0, false, func(e event.Event) error {
		if e.Time.After(since) {
			records = append(records, e)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("scenario: timeline of router %s: %w", name, err)
	}
	if held := buffer(ofNode(records, name)); held != nil {
		n = held.ForcedFlips
	}
	return n, nil
}

// forced is how often a flip was forced, at whatever router.
func (m measured) forced() int {
	if m.Buffer == nil {
		return 0
	}
	return m.Buffer.ForcedFlips
}

// markerCopies is how often the home agent says again that the old path has ended: to a router that the node may have
// left by then, which drops it.
const markerCopies = 2

// expectNothingDropped checks all routers.
func (r *run) expectNothingDropped(name string, m measured) {
	copies, others := 0, 0
	for where, n := range m.dropped {
		if strings.HasSuffix(where, ": "+string(flow.ReasonReleased)) {
			copies += n
		} else {
			others += n
		}
	}
	if others == 0 && copies <= markerCopies {
		return
	}
	r.problem("%s: routers dropped packets: %s", name, strings.Join(m.droppedByRouters(), ", "))
}

func (m measured) droppedByRouters() (list []string) {
	for _, where := range slices.Sorted(maps.Keys(m.dropped)) {
		list = append(list, fmt.Sprintf("%s %d", where, m.dropped[where]))
	}
	return list
}

// nodeDrops are the mobile node's own counters of what it has dropped so far, by where and why.
func nodeDrops(ctx context.Context, b *bed.Bed) (map[string]uint64, error) {
	type part struct {
		Dropped map[string]uint64 `json:"dropped"`
	}
	var status struct {
		part
		Uplink   part   `json:"uplink"`
		Downlink part   `json:"downlink"`
		Merged   []part `json:"merged"`
	}
	if err := b.Client(topo.MN).Status(ctx, &status); err != nil {
		return nil, fmt.Errorf("scenario: status of the mobile node: %w", err)
	}
	drops := make(map[string]uint64)
	add := func(where string, p part) {
		for why, n := range p.Dropped {
			drops[where+": "+why] += n
		}
	}
	add("besides", status.part)
	add("to the correspondent", status.Uplink)
	add("from home", status.Downlink)
	for _, p := range status.Merged {
		add("from tunnels", p)
	}
	return drops, nil
}

// sayDropped adds to the last problem what everybody has dropped meanwhile.
func (r *run) sayDropped(ctx context.Context, b *bed.Bed, m measured, kernel, node map[string]uint64) error {
	after, err := b.Drops()
	if err != nil {
		return err
	}
	nodeNow, err := nodeDrops(ctx, b)
	if err != nil {
		return err
	}
	for _, by := range []struct {
		who  string
		list []string
	}{{"the kernel", bed.DropsSince(kernel, after)}, {"the node", bed.DropsSince(node, nodeNow)}, {"routers", m.droppedByRouters()}} {
		if len(by.list) > 0 {
			r.res.Problems[len(r.res.Problems)-1] += "\n    meanwhile dropped by " + by.who + ": " + strings.Join(by.list, ", ")
		}
	}
	return nil
}
