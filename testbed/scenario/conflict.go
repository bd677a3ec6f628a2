package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"openmpa/internal/event"
	"openmpa/internal/osnet"
	"openmpa/mn"
	"openmpa/testbed/bed"
	"openmpa/testbed/space"
	"openmpa/testbed/topo"
)

// The cases of the scenario conflict.
const (
	conflictNone    = "nobody has the address"
	conflictBefore  = "a stranger has it before"
	conflictBetween = "a stranger takes it, prepared" // with IPv6: detected on arrival (RFC 4429)
	conflictBehind  = "a stranger takes it, arrived"  // with IPv4: defended (RFC 5227 section 2.4)
	conflictProxy   = "the router's kernel has a proxy entry"
)

// conflictLimit is how long the node may need for another address.
const conflictLimit = 20 * time.Second

// conflicts has a stranger take addresses of the network where the node goes: before the move,
// and too late for anybody to find out before.
func conflicts(ctx context.Context, r *run) error {
	r.opt.Probe = false // the bare host stays where it is
	return r.withBed(ctx, r.opt.bed(r.p), func(b *bed.Bed) error {
		a, _ := topo.NetworkByName("a")
		if _, err := b.Bare.Attach(ctx, a.Points[0]); err != nil {
			return err
		}
		s := &squatter{b: b, space: b.Top.Space(topo.Bare)}
		for range r.opt.Repeat {
			steps := []func(context.Context, *squatter) error{r.unopposed, r.takenBefore, r.takenBehind}
			if r.opt.IP == 6 {
				steps = []func(context.Context, *squatter) error{r.unopposed, r.takenBefore, r.takenBetween, r.proxied}
			}
			for _, step := range steps {
				if err := errors.Join(step(ctx, s), s.leave()); err != nil {
					return err
				}
				if r.at != "a" {
					return nil // where it is then is anybody's guess
				}
				if err := r.measuredMove(ctx, b, "b", conflictNone); err != nil || r.at != "b" {
					return err
				}
			}
		}
		return nil
	})
}

// measuredMove is an ordered move that is to be clean.
func (r *run) measuredMove(ctx context.Context, b *bed.Bed, to, name string) error {
	r.p.Line("conflict: %s, from %s to %s", name, r.at, to)
	if err := r.awaitClean(ctx, b, to); err != nil {
		return err
	}
	m, err := r.attempt(ctx, b, r.at, to)
	if err != nil {
		return err
	}
	m.Case = name
	r.res.Handovers = append(r.res.Handovers, m.Handover)
	r.judgeClean("conflict: "+name, m)
	if m.Outcome == string(event.Completed) {
		r.at = to
	}
	return nil
}

// unopposed is a move to compare with. What the router has answered for is not defended
// against the node itself: on arrival it finds its address free.
func (r *run) unopposed(ctx context.Context, s *squatter) error {
	since := lastSeq(ctx, s.b.Client(topo.MN))
	if err := r.measuredMove(ctx, s.b, "a", conflictNone); err != nil || r.at != "a" {
		return err
	}
	var err error
	if s.usual, err = s.address(ctx); err != nil || r.opt.IP != 6 {
		return err
	}
	looked, err := s.b.Await(ctx, topo.MN, since, looksItself)
	if err != nil {
		return err
	}
	if looked.Outcome != event.OK {
		r.problem("conflict: %s: on arrival the node finds its own address in use: %s", conflictNone, looked.Reason)
	}
	return nil
}

// looksItself says that an event is the end of the node's own duplicate address detection.
func looksItself(e event.Event) bool {
	return e.Node == topo.MN && e.Phase == event.PhaseDAD && e.Kind == event.KindEnd
}

// takenBefore has the stranger have the address that the node would get.
func (r *run) takenBefore(ctx context.Context, s *squatter) error {
	was := s.usual
	if err := s.take(was); err != nil {
		return err
	}
	since := lastSeq(ctx, s.b.Client("a"))
	if err := r.measuredMove(ctx, s.b, "a", conflictBefore); err != nil || r.at != "a" {
		return err
	}
	now, err := s.address(ctx)
	if err != nil {
		return err
	}
	if now == was {
		r.problem("conflict: %s: the node got %s, which is in use", conflictBefore, now)
	}
	found := false
	err = s.b.Client("a").Events(ctx, since, false, func(e event.Event) error {
		found = found || e.Phase == event.PhaseDAD && e.Kind == event.KindEnd && e.Outcome == event.Failed && strings.Contains(e.Reason, was.String())
		return nil
	})
	if err == nil && !found {
		r.problem("conflict: %s: the router does not say that it has found %s in use", conflictBefore, was)
	}
	return err
}

// takenBetween has the stranger take the address behind the router's detection: the node finds
// it in use on arrival, and goes on with another (RFC 4429).
func (r *run) takenBetween(ctx context.Context, s *squatter) error {
	return r.givesUp(ctx, s, conflictBetween, s.take, s.mac)
}

// proxied has the router's kernel answer for the address: it does not know the node's own arrival
// from a stranger's, so that the node has to take another. Ours is for that.
func (r *run) proxied(ctx context.Context, s *squatter) (err error) {
	a, _ := topo.NetworkByName("a")
	router := s.b.Top.Space(a.Router)
	var undo []func() error
	defer func() {
		for _, f := range undo {
			err = errors.Join(err, f())
		}
	}()
	for _, key := range []struct{ name, value, was string }{
		{"net/ipv6/neigh/" + topo.AccessIf + "/proxy_delay", "0", "80"}, {"net/ipv6/conf/" + topo.AccessIf + "/proxy_ndp", "1", "0"},
	} {
		if err := router.Sysctl(key.name, key.value); err != nil {
			return err
		}
		undo = append(undo, func() error { return router.Sysctl(key.name, key.was) })
	}
	l, err := router.Netlink().LinkByName(topo.AccessIf)
	if err != nil {
		return err
	}
	proxy := func(a netip.Addr) error {
		entry := &netlink.Neigh{LinkIndex: l.Attrs().Index, IP: a.AsSlice(), Family: unix.AF_INET6, Flags: netlink.NTF_PROXY}
		undo = append(undo, func() error { return router.Netlink().NeighDel(entry) })
		return router.Netlink().NeighAdd(entry)
	}
	return r.givesUp(ctx, s, conflictProxy, proxy, func() (net.HardwareAddr, error) { return l.Attrs().HardwareAddr, nil })
}

// givesUp prepares the move, has somebody take the address, and the node find out on arrival that
// it is by's.
func (r *run) givesUp(ctx context.Context, s *squatter, name string, take func(netip.Addr) error, by func() (net.HardwareAddr, error)) error {
	r.p.Line("conflict: %s", name)
	if err := r.awaitClean(ctx, s.b, "a"); err != nil {
		return err
	}
	if _, err := prepare(ctx, s.b, "a"); err != nil {
		return err
	}
	was, err := s.prepared(ctx)
	if err != nil {
		return err
	}
	if err := take(was); err != nil {
		return err
	}
	since := lastSeq(ctx, s.b.Client(topo.MN))
	result, err := ordered(s.b, "a")(ctx)
	if err != nil || result.Outcome != event.Completed {
		r.problem("conflict: %s: the outcome is %q, expected %q: %s", name, result.Outcome, event.Completed, result.Reason)
		return err
	}
	looked, err := s.b.Await(ctx, topo.MN, since, looksItself)
	if err != nil {
		return err
	}
	mac, err := by()
	if err != nil {
		return err
	}
	if looked.Outcome != event.Failed || !strings.Contains(looked.Reason, mac.String()) {
		r.problem("conflict: %s: on arrival the node's detection of duplicates of %s ends %s, %q; expected that %s has it", name, was, looked.Outcome, looked.Reason, mac)
	}
	r.at = "a"
	return r.another(ctx, s, name, was)
}

// another waits until the node is attached with another address.
func (r *run) another(ctx context.Context, s *squatter, name string, was netip.Addr) error {
	var now netip.Addr
	var err error
	if await(ctx, conflictLimit, func() bool {
		now, err = s.address(ctx)
		return err != nil || now.IsValid() && now != was
	}) != nil && ctx.Err() == nil {
		r.problem("conflict: %s: the node has %s still, which is in use", name, was)
	}
	return errors.Join(err, ctx.Err())
}

// takenBehind has the stranger take the address that the node uses: it defends that once, and
// goes on with another when the stranger insists (RFC 5227 section 2.4).
func (r *run) takenBehind(ctx context.Context, s *squatter) error {
	if err := r.measuredMove(ctx, s.b, "a", conflictNone); err != nil || r.at != "a" {
		return err
	}
	r.p.Line("conflict: %s", conflictBehind)
	was, err := s.address(ctx)
	if err != nil {
		return err
	}
	if err := s.take(was); err != nil {
		return err
	}
	since := lastSeq(ctx, s.b.Client(topo.MN))
	if err := s.claim(was); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, conflictLimit)
	defer cancel()
	if _, err := s.b.Await(within, topo.MN, since, func(e event.Event) bool { return e.Phase == event.PhaseDAD && e.Name == "defended" }); err != nil {
		return err
	}
	if now, err := s.address(ctx); err != nil || now != was {
		r.problem("conflict: %s: the node has %s, given up at the first claim of %s (%v)", conflictBehind, now, was, err)
	}
	if err := s.claim(was); err != nil {
		return err
	}
	return r.another(ctx, s, conflictBehind, was)
}

// squatter is the bare host of the lab, at a point of network a.
type squatter struct {
	b     *bed.Bed
	space *space.Space
	usual netip.Addr // what the node gets at network a while nobody else has it
	has   netip.Addr // of those, the stranger's; the zero Addr: none
}

const bareIf = "eth0"

func (s *squatter) change(change func(*netlink.Handle, netlink.Link) error) error {
	l, err := s.space.Netlink().LinkByName(bareIf)
	if err == nil {
		err = change(s.space.Netlink(), l)
	}
	if err != nil {
		return fmt.Errorf("scenario: the stranger's address %s: %w", s.has, err)
	}
	return nil
}

func (s *squatter) entry() *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: s.has.AsSlice(), Mask: net.CIDRMask(s.has.BitLen(), s.has.BitLen())}, Flags: unix.IFA_F_NODAD}
}

// take gives the stranger an address, without a question to anybody.
func (s *squatter) take(a netip.Addr) error {
	s.has = a
	return s.change(func(n *netlink.Handle, l netlink.Link) error { return n.AddrAdd(l, s.entry()) })
}

// leave takes it away again.
func (s *squatter) leave() error {
	if !s.has.IsValid() {
		return nil
	}
	defer func() { s.has = netip.Addr{} }()
	return s.change(func(n *netlink.Handle, l netlink.Link) error { return n.AddrDel(l, s.entry()) })
}

func (s *squatter) mac() (mac net.HardwareAddr, err error) {
	err = s.change(func(_ *netlink.Handle, l netlink.Link) error {
		mac = l.Attrs().HardwareAddr
		return nil
	})
	return mac, err
}

// claim has the stranger say that an IPv4 address is its own.
func (s *squatter) claim(a netip.Addr) error {
	return s.space.Do(func() error {
		n, err := osnet.OpenReader()
		if err != nil {
			return err
		}
		defer n.Close()
		arp, err := n.OpenARP(bareIf)
		if err != nil {
			return err
		}
		return errors.Join(arp.SendGratuitous(a), arp.Close())
	})
}

func (s *squatter) status(ctx context.Context) (status mn.Status, err error) {
	return status, s.b.Client(topo.MN).Status(ctx, &status)
}

// address is the node's care-of address.
func (s *squatter) address(ctx context.Context) (netip.Addr, error) {
	status, err := s.status(ctx)
	if err != nil || status.State != "attached" || status.Bound == "" {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(status.Bound)
}

// prepared is the one that is prepared.
func (s *squatter) prepared(ctx context.Context) (netip.Addr, error) {
	status, err := s.status(ctx)
	if err == nil && status.Prepared == nil {
		err = errors.New("scenario: nothing is prepared")
	}
	if err != nil {
		return netip.Addr{}, err
	}
	p, err := netip.ParsePrefix(status.Prepared.Address)
	return p.Addr(), err
}
