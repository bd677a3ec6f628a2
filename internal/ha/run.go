package ha

import (
	"bytes"
	"context"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"openmpa/tunnel/bind"
)

const (
	readBatch  = 64      // packets read at a time
	packetRoom = 1 << 16 // octets
	// requestsAtOnce are registration requests; more wait in the socket.
	requestsAtOnce = 32
)

// Run serves until ctx is done, and undoes everything then. A clean end is nil.
func (a *Agent) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(a.requests)
	g.Go(a.downlink)
	g.Go(a.uplink)
	g.Go(func() error { return a.timer(ctx) })
	if a.home != nil {
		g.Go(func() error { return a.home.serve(ctx) })
	}
	g.Go(func() error {
		<-ctx.Done()
		return a.Close() // ends the readers
	})
	return g.Wait()
}

// requests reads registration requests and has them answered, several at once: they
// wait for the disk, and those that wait together are written together.
func (a *Agent) requests() error {
	var g errgroup.Group
	defer func() { _ = g.Wait() }() // they return no errors
	g.SetLimit(requestsAtOnce)
	buf := make([]byte, packetRoom)
	for {
		n, from, err := a.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return Closed(err)
		}
		b := bytes.Clone(buf[:n])
		g.Go(func() error {
			a.request(from, b)
			return nil
		})
	}
}

// request answers one registration request.
func (a *Agent) request(from netip.AddrPort, b []byte) {
	answer, err := a.core.HandleRequest(time.Now(), from, b)
	if err != nil {
		if dropped, ok := a.badRequests.Allow(time.Now()); ok {
			a.cfg.Log.Warn("registration request dropped", "from", from, "err", err, "not_logged_before", dropped)
		}
		return
	}
	if err := a.reply(answer); err != nil {
		a.cfg.Log.Warn("registration reply not sent", "to", answer.To, "err", err)
	}
	if answer.Notice.What == NoticeUnbound && answer.OnHomeLink && a.home != nil {
		a.home.returned(answer.Notice.Home)
	}
	a.record(answer.Notice)
}

// reply sends an answer; on the home link past all routes, if it must (RFC 5944 section 3.8.3.1).
func (a *Agent) reply(answer Answer) error {
	var control []byte
	if answer.OnHomeLink && a.index != 0 {
		control = unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(a.index), Spec_dst: a.cfg.Core.Address.As4()}) //nolint:gosec // an index is small
	}
	_, _, err := a.udp.WriteMsgUDPAddrPort(answer.Data, control, answer.To)
	return err
}

// downlink tunnels what the kernel routed into the TUN.
func (a *Agent) downlink() error {
	buf := make([]byte, Headroom+packetRoom)
	for {
		n, err := a.tun.Read(buf[Headroom:])
		if err != nil {
			return Closed(err)
		}
		a.core.Down(buf[:Headroom+n])
	}
}

// uplink takes in reverse-tunnelled packets.
func (a *Agent) uplink() error {
	batch := bind.NewBatch(readBatch, packetRoom)
	for {
		packets, err := a.ipip.ReadBatch(batch)
		if err != nil {
			return Closed(err)
		}
		now := time.Now()
		for _, p := range packets {
			if notice, ok := a.core.Up(now, p.From.Addr(), p.Data); ok {
				a.record(notice)
			}
		}
	}
}

// timer calls the core when it is due.
func (a *Agent) timer(ctx context.Context) error {
	return Timer(ctx, a.wake, a.core.Deadline, func(now time.Time) {
		for _, n := range a.core.OnDeadline(now) {
			a.record(n)
		}
	})
}

// record puts a notice into the timeline.
func (a *Agent) record(n Notice) { n.Record(a.cfg.Recorder) }
