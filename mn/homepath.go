package mn

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/mn/mobility/mip4"
	"openmpa/tunnel/bind"
	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// homeWire is a path to the home agent: IP-in-IP for the home address, and
// registrations.
type homeWire struct {
	home *home
	path *path
	ipip host.IPIP // native
	udp  host.UDP  // registrations from this care-of address
	id   atomic.Uint32
}

func (h *home) newPath(c *candidate) (p *path, err error) {
	p = h.uplink.newPath(c)
	p.always = true
	w := &homeWire{home: h, path: p}
	if w.ipip, err = h.n.net.OpenIPIP(p.coa, bind.Options{}); err != nil {
		return nil, fmt.Errorf("path from %s: %w", p.coa, err)
	}
	if w.udp, err = h.n.udp(p.coa); err != nil {
		return nil, errors.Join(err, w.ipip.Close())
	}
	p.wire = w
	p.landing.deliver = func(inner []byte) { h.down(p, inner, h.agent) }
	p.leaving.deliver, p.leaving.ask = p.landing.deliver, w.fence
	h.wg.Go(w.readNative)
	h.wg.Go(w.readReplies)
	return p, nil
}

func (w *homeWire) close() error { return errors.Join(w.ipip.Close(), w.udp.Close()) }

// inner lets the network fragment what it makes, as the kernel does for the link: the
// home agent has it whole again, and nobody waits for an ICMP message that only the
// kernel would understand.
func (w *homeWire) inner(buf, pkt []byte) ([]byte, error) {
	return ipip.Encapsulate(buf, ipip.Header{
		Src: w.path.coa, Dst: w.home.agent, TTL: ipip.DefaultTTL, ID: uint16(w.id.Add(1)), Fragmentable: true,
	}, pkt)
}

func (w *homeWire) toLink(pkt []byte) error { return w.ipip.Send(w.home.agent, pkt, ipip.TOS(pkt)) }

// readNative takes IP-in-IP off the link.
func (w *homeWire) readNative() {
	buf := make([]byte, 65536)
	for {
		inner, src, err := w.ipip.Read(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		switch src {
		case w.home.agent:
			w.path.landing.take(inner)
		case w.path.coa:
			w.fenced(inner)
		default:
			w.home.down(w.path, inner, src)
		}
	}
}

// protoNothing is that of a packet which carries nothing (59, No Next Header).
const protoNothing = 59

// fence sends a packet from the care-of address to itself, behind what waits in the native
// socket: from elsewhere none with that source gets past the kernel.
func (w *homeWire) fence(id event.HandoverID) error {
	pkt, err := ipip.AppendHeader(nil, ipip.Header{Src: w.home.address, Dst: w.home.address, Protocol: protoNothing}, len(id))
	if err != nil {
		return err
	}
	return w.ipip.Send(w.path.coa, append(pkt, id[:]...), 0)
}

// fenced takes it.
func (w *homeWire) fenced(pkt []byte) {
	var id event.HandoverID
	_, _, proto, headerLen, total, err := ipip.ParseIPv4(pkt)
	if err == nil && proto == protoNothing && copy(id[:], pkt[headerLen:total]) == len(id) {
		w.path.leaving.ended(id)
	}
}

func (w *homeWire) readReplies() {
	buf := make([]byte, 4096)
	for {
		n, from, err := w.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if from.Addr() != w.home.agent {
			continue
		}
		reply := append([]byte(nil), buf[:n]...)
		select {
		case w.home.replies <- reply:
		case <-w.home.ctx.Done():
			return
		}
	}
}

// fromTunnel takes what came through the tunnel: IP-in-IP for the home address,
// or a packet for the care-of address itself. Fragments of the former, from a path on
// which it did not fit, are the kernel's to put together: it comes as if natively then.
func (w *homeWire) fromTunnel(pkt []byte) {
	src, dst, proto, _, _, err := ipip.ParseIPv4(pkt)
	if err != nil || proto != ipip.Protocol || dst != w.path.coa {
		w.home.write(pkt)
		return
	}
	if fragment, _ := ipip.Fragment(pkt); fragment {
		w.home.write(pkt)
		return
	}
	inner, _, _, err := ipip.Decapsulate(pkt)
	if err != nil { // a congestion mark that its transport does not know, mostly
		w.home.unopened.Add(1)
		return
	}
	if src == w.home.agent {
		w.path.leaving.take(inner)
	} else {
		w.home.down(w.path, inner, src)
	}
}

// endMarkerAgain is when the marker that ends a path is sent again: it may be lost,
// and what waits for it at the home agent would wait long.
var endMarkerAgain = []time.Duration{20 * time.Millisecond, 60 * time.Millisecond}

// endMarker is the last packet of a path that is no longer bound. The caller holds
// h.mu.
func (h *home) endMarker(p *path, id uint64) {
	m := mip4.Marker{HomeAddress: h.address, HomeAgent: h.agent, ID: id}
	pkt, err := mip4.AppendMarkerPacket(nil, m, h.security)
	if err != nil {
		h.n.cfg.Log.Error("path-end marker", "err", err)
		return
	}
	to := flow.ToLink
	if m := p.delivery.Mode(); p.tunnel != nil && (m == flow.Tunnel || m == flow.Hold) {
		to = flow.ToTunnel
	}
	p.send(pkt, to)
	for _, d := range endMarkerAgain {
		time.AfterFunc(d, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			if !p.closed && h.bound != p && (to == flow.ToLink || p.tunnel != nil) {
				p.send(pkt, to)
			}
		})
	}
}
