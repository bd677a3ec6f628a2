package vhandover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/osnet"
	"openmpa/mn"
	"openmpa/testbed/dhcpd"
	"openmpa/testbed/simnet"
	"openmpa/testbed/topo"
)

// Limits of virtual time, generous: what takes longer hangs.
const (
	attachLimit   = 5 * time.Minute
	handoverLimit = 4 * time.Minute
	agreeLimit    = sessionTime + leaseTime
	promptly      = 15 * time.Second
	quietTime     = 3 * time.Second // what is under way, or waits for a marker, has come by then
)

// Outcome of one handover of a plan.
type Outcome struct {
	Fault  Fault
	Ended  string // completed, switched-back, failed, refused, crashed, followed
	Reason string
}

// certain is how a handover ends where nothing is lost.
var certain = map[Fault]string{
	None: "completed", Twice: "completed", Conflict: "completed", DeadTarget: "switched-back", Unknown: "failed",
}

// Result of a plan.
type Result struct {
	Plan     Plan
	Outcomes []Outcome
	Wrong    []string // nothing: all is well
	Trace    []string // when something is wrong
	Up, Down Flow
	Virtual  time.Duration
}

// Flow is what became of an application's packets. Late came behind a newer one.
type Flow struct{ Sent, Delivered, Doubled, Late int }

// Run carries out a plan, in a synctest bubble. log, which may be nil, gets every
// party's log as it is written.
func Run(plan Plan, creds *Credentials, log io.Writer) (r Result) {
	r.Plan = plan
	b, err := newBed(plan, creds, log)
	if err != nil {
		r.Wrong = append(r.Wrong, "the network could not be built: "+err.Error())
		return r
	}
	r.Outcomes, err = b.play()
	if err != nil {
		r.Wrong = append(r.Wrong, err.Error())
	}
	flows := b.ledger.flows()
	r.Up, r.Down = flows[up], flows[down]
	if plan.Clean() {
		for i, o := range r.Outcomes {
			if want := certain[o.Fault]; want != "" && o.Ended != want {
				r.Wrong = append(r.Wrong, fmt.Sprintf("nothing was lost on any cable, and handover %d, %s, ended %s (%s), expected %s", i+1, o.Fault, o.Ended, o.Reason, want))
			}
		}
		for dir, f := range flows {
			if f.Delivered < f.Sent || f.Doubled > 0 || f.Late > 0 {
				r.Wrong = append(r.Wrong, fmt.Sprintf("nothing was lost on any cable, and %v was %+v; %s", direction(dir), f, b.ledger.losses()))
			}
		}
	}
	b.close()
	for _, m := range b.machines {
		r.Wrong = append(r.Wrong, m.Left()...)
	}
	r.Virtual = time.Since(b.began)
	if len(r.Wrong) > 0 {
		r.Trace = b.net.Trace()
	}
	return r
}

// play is a plan from the first attachment to the good-bye.
func (b *bed) play() (outcomes []Outcome, err error) {
	if err := b.air.Attach(context.Background(), topo.Networks[0].Points[0]); err != nil {
		return nil, err
	}
	if err := b.node.start(); err != nil {
		return nil, fmt.Errorf("the node does not start: %w", err)
	}
	for i, m := range b.plan.Moves {
		if err := b.attached(); err != nil {
			return outcomes, err
		}
		if i == 0 {
			if b.apps, err = newApps(b); err != nil {
				return outcomes, err
			}
			time.Sleep(300 * time.Millisecond)
			b.own = len(b.machines[topo.MN].Owned())
		}
		o, err := b.move(m)
		if err != nil {
			return outcomes, fmt.Errorf("handover %d, %s: %w", i+1, m.Fault, err)
		}
		b.net.Note("OUTCOME of handover %d, %s: %s %s", i+1, m.Fault, o.Ended, o.Reason)
		outcomes = append(outcomes, o)
		time.Sleep(m.Pause)
	}
	b.heal()
	if err := b.attached(); err != nil {
		return outcomes, err
	}
	b.apps.quiet()
	time.Sleep(quietTime)
	return outcomes, b.part()
}

// part lets everybody agree, has the node say good-bye, and looks at what is left.
func (b *bed) part() error {
	var errs []error
	limit := agreeLimit
	if b.plan.Clean() {
		limit = promptly // nobody has to wait until something expires
	}
	if wrong := b.until(limit, b.disagreement); wrong != "" {
		errs = append(errs, fmt.Errorf("%v after the last handover they do not agree: %s", limit, wrong))
	}
	for _, wrong := range b.ledger.check(b.swallowed(), b.crashed) {
		errs = append(errs, errors.New(wrong))
	}
	b.node.stop()
	if wrong := b.until(limit, b.remains); wrong != "" {
		errs = append(errs, fmt.Errorf("%v after the node's good-bye there is left: %s", limit, wrong))
	}
	return errors.Join(errs...)
}

// until asks once a second what is wrong, at most for a time, and returns the last
// answer.
func (b *bed) until(limit time.Duration, ask func() string) string {
	for end := time.Now().Add(limit); ; time.Sleep(time.Second) {
		if wrong := ask(); wrong == "" || time.Now().After(end) {
			return wrong
		}
	}
}

// attached waits until the node is.
func (b *bed) attached() error {
	wrong := b.until(attachLimit, func() string {
		if s := b.node.node.Status(); s.State != "attached" || s.Bound == "" {
			return fmt.Sprintf("%s, bound %q: %s", s.State, s.Bound, s.Problem)
		}
		return ""
	})
	if wrong != "" {
		return fmt.Errorf("the node is not attached in %v: %s", attachLimit, wrong)
	}
	return nil
}

// move is one handover and its fault.
func (b *bed) move(m Move) (o Outcome, err error) {
	from := b.node.node.Status().Network
	target, _ := topo.NetworkByName(topo.Other(from))
	bad := map[string]trouble{}
	switch m.Fault {
	case DeadTarget:
		bad[target.Points[0]] = dead
	case Flapping:
		bad[target.Points[0]] = flaps
	}
	b.air.set(m.Gap, bad)
	over := b.fault(m, from, target)
	o.Fault = m.Fault
	defer over()
	if m.Fault == Carried {
		return b.carry(target)
	}
	to := target.Name
	if m.Fault == Unknown {
		to = "nowhere"
	}
	h, err := b.handover(to)
	if m.Fault == Twice && err == nil {
		if _, err := b.node.node.Handover(from); !errors.Is(err, mn.ErrBusy) {
			return o, fmt.Errorf("a second one at once: %w, expected that it is refused", err)
		}
	}
	if err != nil {
		o.Ended, o.Reason = "refused", err.Error()
		return o, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), handoverLimit)
	defer cancel()
	if m.Fault == Cancelled {
		ctx, cancel = context.WithTimeout(context.Background(), m.At)
		defer cancel()
	}
	began := time.Now()
	outcome, why := h.Wait(ctx)
	o.Ended = string(outcome)
	switch {
	case time.Since(began) > handoverLimit:
		return o, fmt.Errorf("not at its end after %v, then %s: %w", handoverLimit, outcome, why)
	case m.Fault == CrashNode && why != nil && time.Since(began) >= m.At:
		o.Ended, o.Reason = "crashed", why.Error()
	case outcome == event.Completed && why != nil, outcome != event.Completed && (why == nil || why.Error() == ""):
		return o, fmt.Errorf("it ended %s with %v", outcome, why)
	case outcome != event.Completed && outcome != event.SwitchedBack && outcome != event.Failed:
		return o, fmt.Errorf("it ended %q", outcome)
	case why != nil:
		o.Reason = why.Error()
	}
	return o, nil
}

// carry has the link move without a handover, and the node follow it.
func (b *bed) carry(target topo.Network) (Outcome, error) {
	o := Outcome{Fault: Carried, Ended: "followed"}
	if err := b.air.Attach(context.Background(), target.Points[0]); err != nil {
		return o, err
	}
	wrong := b.until(attachLimit, func() string {
		if s := b.node.node.Status(); s.Network != target.Name || s.State != "attached" {
			return fmt.Sprintf("%s at %s: %s", s.State, s.Network, s.Problem)
		}
		return ""
	})
	if wrong != "" {
		return o, fmt.Errorf("the node does not follow its link to %s in %v: %s", target.Name, attachLimit, wrong)
	}
	return o, nil
}

// handover asks for one; the node may be about to follow its link, or to look.
func (b *bed) handover(network string) (h *mn.Handover, err error) {
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if h, err = b.node.node.Handover(network); !errors.Is(err, mn.ErrBusy) || time.Now().After(end) {
			return h, err
		}
	}
}

// fault has m's fault happen, and returns what ends it and waits for its end.
func (b *bed) fault(m Move, from string, target topo.Network) (over func()) {
	done := make(chan struct{})
	stage := func(begin, end func()) func() {
		go func() {
			defer close(done)
			time.Sleep(m.At)
			b.net.Note("FAULT %s", m.Fault)
			begin()
			time.Sleep(m.Back)
			b.net.Note("FAULT ends: %s", m.Fault)
			end()
		}()
		return func() { <-done }
	}
	again := func(start func() error) func() {
		return func() {
			if err := start(); err != nil {
				b.net.Note("START FAILED: %v", err)
			}
		}
	}
	silence := func(label string) (begin, end func()) {
		all := simnet.Impairment{Loss: 1}
		return func() { b.cables[label].Impair(all, all) },
			func() { b.cables[label].Impair(b.plan.Cables[label][0], b.plan.Cables[label][1]) }
	}
	switch m.Fault {
	case SilentAAA:
		m.At = 0
		return stage(silence("aaa-core"))
	case SilentHA:
		return stage(silence("ha-core"))
	case SilentDHCP:
		m.At = 0
		return stage(func() { b.dhcp.setMute(true) }, func() { b.dhcp.setMute(false) })
	case Conflict:
		m.At = 0
		return stage(b.usurp(target))
	case LinkLost:
		m.Back = min(m.Back, 3*time.Second)
		return stage(func() { b.air.lose(m.Back) }, func() {})
	case CrashNext:
		r := b.routers[target.Name]
		return stage(r.kill, again(r.start))
	case CrashOld:
		r := b.routers[from]
		return stage(r.kill, again(r.start))
	case CrashHA:
		return stage(b.home.kill, again(b.home.start))
	case CrashAAA:
		return stage(b.aaa.kill, again(b.aaa.start))
	case CrashNode:
		return stage(b.node.kill, again(b.node.start))
	}
	return func() { b.air.set(m.Gap, nil) }
}

// usurp has the stranger take the next two addresses of a network, and leave them.
func (b *bed) usurp(n topo.Network) (begin, end func()) {
	var taken []netip.Prefix
	dev := "eth-" + n.Name
	used := map[netip.Addr]bool{}
	for _, l := range b.dhcp.leases() {
		used[l.Addr] = true
	}
	for a := n.PoolLo; len(taken) < 2; a = a.Next() {
		if !used[a] {
			taken = append(taken, netip.PrefixFrom(a, 32))
		}
	}
	return func() {
			for _, p := range taken {
				if err := b.stranger.AddAddress(dev, p, osnet.AddrOptions{}); err != nil {
					b.net.Note("stranger: %v", err)
				}
			}
		}, func() {
			for _, p := range taken {
				if err := b.stranger.DelAddress(dev, p); err != nil {
					b.net.Note("stranger: %v", err)
				}
			}
		}
}

// disagreement says what the parties see differently; "" when they agree.
func (b *bed) disagreement() string {
	s := b.node.node.Status()
	prefix, err := netip.ParsePrefix(s.Address)
	if s.State != "attached" || err != nil {
		return fmt.Sprintf("the node is %s at %q", s.State, s.Address)
	}
	var wrong []string
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if s.Bound != prefix.Addr().String() {
		add("the node's uplink goes from %s, its address is %s", s.Bound, prefix)
	}
	for name, r := range b.routers {
		visitors := r.router.Status().Visitors
		switch {
		case name != s.Network && len(visitors) > 0:
			add("%s still has %+v, the node is at %s", r.network.Router, visitors, s.Network)
		case name == s.Network && len(visitors) != 1:
			add("%s has %d visitors, expected the node: %+v", r.network.Router, len(visitors), visitors)
		case name == s.Network && visitors[0].SID != s.Session:
			add("%s has session %d, the node %d", r.network.Router, visitors[0].SID, s.Session)
		case name == s.Network && visitors[0].Mode != "direct" && visitors[0].Mode != "released":
			add("%s delivers to the node by %s", r.network.Router, visitors[0].Mode)
		}
	}
	if at := b.bindings(); len(at) != 1 || at[0] != prefix.Addr() {
		add("the home agent has %v, the node is at %s", at, prefix)
	}
	if own := b.machines[topo.MN].Owned(); len(own) != b.own {
		add("the node has %d objects on its machine, and had %d when it was attached first: %q", len(own), b.own, own)
	}
	for _, l := range b.dhcp.leases() {
		if l.Addr != prefix.Addr() && l.State != dhcpd.Declined {
			add("the DHCP server has %v", l)
		}
	}
	return strings.Join(wrong, "; ")
}

// bindings are the care-of addresses at the home agent.
func (b *bed) bindings() (at []netip.Addr) {
	for _, s := range b.home.agent.Status().Bindings {
		if s.Bound {
			at = append(at, *s.CareOf)
		}
	}
	return at
}

// remains says what is left of a node that has gone.
func (b *bed) remains() string {
	var wrong []string
	for _, r := range b.routers {
		if v := r.router.Status().Visitors; len(v) > 0 {
			wrong = append(wrong, fmt.Sprintf("%s has %+v", r.network.Router, v))
		}
	}
	for name, base := range b.base {
		if now := b.machines[name].Owned(); !slices.Equal(now, base) {
			wrong = append(wrong, fmt.Sprintf("%s has %q, and had %q before the node came", name, now, base))
		}
	}
	if at := b.bindings(); len(at) > 0 {
		wrong = append(wrong, fmt.Sprintf("the home agent has a binding to %v", at))
	}
	for _, l := range b.dhcp.leases() {
		if l.State != dhcpd.Declined {
			wrong = append(wrong, fmt.Sprintf("the DHCP server has %v", l))
		}
	}
	return strings.Join(wrong, "; ")
}

// swallowed is what each machine's daemons say they have dropped.
func (b *bed) swallowed() map[string]uint64 {
	out := map[string]uint64{}
	for _, r := range b.routers {
		s := r.router.Status()
		n := s.Stray + sum(s.Dropped)
		for _, v := range s.Visitors {
			n += sum(v.Dropped)
		}
		out[r.network.Router] = n
	}
	node := b.node.node.Status()
	out[topo.MN] = sum(node.Dropped) + sum(node.Downlink.Dropped)
	if node.Uplink != nil {
		out[topo.MN] += sum(node.Uplink.Dropped)
	}
	home := b.home.agent.Status()
	for name, n := range home.Counters {
		if strings.Contains(name, "_dropped_") && !strings.HasPrefix(name, "requests_") {
			out[topo.HA] += n
		}
	}
	for _, s := range home.Bindings {
		out[topo.HA] += sum(s.Gate.Dropped)
	}
	return out
}

func sum[K comparable](m map[K]uint64) (n uint64) {
	for _, k := range m {
		n += k
	}
	return n
}
