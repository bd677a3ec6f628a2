package mn

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/internal/inet"
	"openmpa/mn/mobility/mip6"
	"openmpa/tunnel/bind"
	"openmpa/tunnel/ipip"
)

// wire6 is a path of Mobile IPv6: IPv6 in IPv6 for the home address, and mobility messages.
// Those for the home address come with a type 2 routing header, which the kernel does not
// take: it is read here, as are the messages to the care-of address.
type wire6 struct {
	m       *home6
	path    *path
	ipip    host.IPIP      // native
	raw     host.Raw       // messages from this care-of address
	headers [2]host.Proto6 // routing headers, mobility headers
	tooBig  host.Proto6

	mu    sync.Mutex      // serialises what came off the link
	other chan otherFence // from the reader of routing headers
}

// The headers, and how many of their packets are read at a time.
var heard6 = [2]uint8{unix.IPPROTO_ROUTING, mip6.Protocol}

const heard6Batch = 16

// newWire implements mobileIP.
func (m *home6) newWire(p *path) (_ homeWire, err error) {
	w := &wire6{m: m, path: p, other: make(chan otherFence)}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	// No fragments: a home agent in user space puts none together.
	if w.ipip, err = m.net.OpenIPIP(p.coa, bind.Options{DontFragment: true}); err != nil {
		return nil, err
	}
	if w.raw, err = m.net.OpenRaw(p.coa, bind.Options{}); err != nil {
		return nil, err
	}
	if w.tooBig, err = m.net.OpenTooBig6(p.coa, bind.Options{}); err != nil {
		return nil, err
	}
	for i, proto := range heard6 {
		if w.headers[i], err = m.net.OpenProto6(p.coa, proto, bind.Options{}); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *wire6) listen() {
	w.m.h.wg.Go(func() { w.m.h.readNative(w.path, w.ipip, w.native, w.fenced) })
	w.m.h.wg.Go(w.readTooBig)
	for i, proto := range heard6 {
		w.m.h.wg.Go(func() { w.readHeaders(w.headers[i], proto) })
	}
}

func (w *wire6) close() error {
	var errs []error
	if w.ipip != nil {
		errs = append(errs, w.ipip.Close())
	}
	if w.raw != nil {
		errs = append(errs, w.raw.Close())
	}
	for _, s := range append(w.headers[:], w.tooBig) {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// inner implements wire (RFC 2473).
func (w *wire6) inner(buf, pkt []byte) ([]byte, error) {
	_, _, _, total, err := ipip.ParseIPv6(pkt)
	if err != nil {
		return buf, err
	}
	if w.m.careOf(pkt) == w.path.coa {
		return mip6.AppendFromHome(buf, pkt[:total], w.path.coa)
	}
	var header [ipip.HeaderLen6]byte
	start := len(buf)
	buf = append(append(buf, header[:]...), pkt[:total]...)
	return buf, ipip.Encapsulate6(buf[start:], w.path.coa, w.m.h.agent)
}

// toLink implements wire.
func (w *wire6) toLink(pkt []byte) error {
	if w.m.careOf(pkt) != w.path.coa {
		return w.ipip.Send(w.m.h.agent, pkt, ipip.TOS(pkt))
	}
	out, err := mip6.AppendFromHome(w.path.buf[:0], pkt, w.path.coa)
	if err != nil {
		return err
	}
	w.path.buf = out[:0]
	return w.raw.Send(out)
}

// signal implements homeWire.
func (w *wire6) signal(b []byte) error { return w.raw.Send(b) }

// fence implements homeWire. Where correspondents send natively, too, what they send waits
// in a socket of its own: there is a packet for each, and who has read one reads on when
// the other has come.
func (w *wire6) fence(id event.HandoverID) error {
	err := w.ipip.Send(w.path.coa, append(ipv6Header(w.m.h.address, w.m.h.address, protoNothing, len(id)), id[:]...), 0)
	if err != nil || !w.m.routes.any() {
		return err
	}
	// A routing header that leads nowhere any more, which the kernel passes over.
	header := append(ipv6Header(w.path.coa, w.path.coa, unix.IPPROTO_ROUTING, 8+len(id)), protoNothing, 0, 0, 0, 0, 0, 0, 0)
	return w.raw.Send(append(header, id[:]...))
}

// fenced takes the first.
func (w *wire6) fenced(pkt []byte) {
	_, _, next, total, err := ipip.ParseIPv6(pkt)
	if err != nil || next != protoNothing || total != ipip.HeaderLen6+len(event.HandoverID{}) {
		return
	}
	id := event.HandoverID(pkt[ipip.HeaderLen6:total])
	if !w.m.routes.any() {
		w.path.turn.fenced(id)
		return
	}
	for late := time.After(readWithin); ; {
		select {
		case o := <-w.other:
			if o.id == id {
				w.path.turn.fenced(id)
			}
			close(o.taken)
			if o.id == id {
				return
			}
		case <-late:
			return
		case <-w.m.h.ctx.Done():
			return
		}
	}
}

// otherFence is the second, which was read.
type otherFence struct {
	id    event.HandoverID
	taken chan struct{} // closed when both are known to have been
}

// fencedToo takes the second, if a packet is that.
func (w *wire6) fencedToo(p *mip6.Packet) bool {
	if p.Src != w.path.coa || p.Proto != protoNothing || len(p.Payload) != len(event.HandoverID{}) {
		return false
	}
	o := otherFence{id: event.HandoverID(p.Payload), taken: make(chan struct{})}
	late := time.After(readWithin)
	select {
	case w.other <- o:
	case <-late:
		return true
	case <-w.m.h.ctx.Done():
		return true
	}
	<-o.taken
	return true
}

// native takes what came off the link, by any of the sockets.
func (w *wire6) native(inner []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.path.turn.native(inner)
}

// ipv6Header is that of a packet with so many octets behind it.
func ipv6Header(src, dst netip.Addr, next uint8, length int) []byte {
	b := []byte{0x60, 0, 0, 0, 0, 0, next, ipip.DefaultTTL}
	binary.BigEndian.PutUint16(b[4:], uint16(length)) //nolint:gosec // what a packet had, or less
	return append(append(b, src.AsSlice()...), dst.AsSlice()...)
}

// readHeaders takes off the link what came with a header, of which the kernel has
// taken that of IPv6 off.
func (w *wire6) readHeaders(s host.Proto6, proto uint8) {
	b := bind.NewBatch(heard6Batch, 1<<16)
	for {
		packets, err := s.ReadBatch(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		for _, p := range packets {
			if len(p.Data) > 0xffff {
				continue
			}
			pkt := append(ipv6Header(p.From.Addr(), w.path.coa, proto, len(p.Data)), p.Data...)
			ipip.SetTOS(pkt, p.TOS)
			w.headed(pkt, w.native) // what is for neither, the kernel answers
		}
	}
}

// readTooBig hears of paths that are narrower than the link.
func (w *wire6) readTooBig() {
	b := bind.NewBatch(heard6Batch, 1<<11)
	for {
		packets, err := w.tooBig.ReadBatch(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		for _, p := range packets {
			w.narrower(p.Data)
		}
	}
}

// narrower takes an ICMPv6 message: where a packet from here to the home agent, or to a
// correspondent, was too big, none is as big any more (RFC 2473 section 6.7). Whoever says so
// must have seen the packet, and cannot say less than any link of IPv6 takes.
func (w *wire6) narrower(msg []byte) {
	if len(msg) < inet.ICMPv6Len+ipip.HeaderLen6 || msg[0] != inet.ICMPv6TooBig {
		return
	}
	quoted := msg[inet.ICMPv6Len:]
	src, dst := netip.AddrFrom16([16]byte(quoted[8:])), netip.AddrFrom16([16]byte(quoted[24:]))
	if src != w.path.coa || !(dst == w.m.h.agent && quoted[6] == ipip.Protocol6 || w.m.routes.knows(dst) && quoted[6] == unix.IPPROTO_DSTOPTS) {
		return
	}
	mtu := max(int(min(binary.BigEndian.Uint32(msg[4:]), 1<<16)), inet.MinMTU6+ipip.HeaderLen6)
	if err := w.m.h.n.fit(mtu); err != nil {
		w.m.h.n.cfg.Log.Error("a path is narrow, and applications do not hear of it", "mtu", mtu, "err", err)
	}
}

// fromTunnel takes what came through the tunnel: IPv6 in IPv6 for the home address, a
// packet with a mobility or type 2 routing header, or one for the care-of address itself.
// Fragments are the kernel's to put together: they come as if natively then.
func (w *wire6) fromTunnel(pkt []byte) {
	h := w.m.h
	src, dst, next, total, err := ipip.ParseIPv6(pkt)
	if err != nil || dst != w.path.coa {
		h.write(pkt)
		return
	}
	switch next {
	case unix.IPPROTO_ROUTING, mip6.Protocol:
		if !w.headed(pkt[:total], w.path.turn.tunneled) {
			h.write(pkt)
		}
	case ipip.Protocol6:
		w.tunnelled(src, pkt[ipip.HeaderLen6:total], ipip.TOS(pkt))
	case unix.IPPROTO_ICMPV6: // about what was sent ahead of the move, mostly; the kernel hears of its own packets
		w.narrower(pkt[ipip.HeaderLen6:total])
		h.write(pkt)
	case unix.IPPROTO_DSTOPTS: // of a tunnel with an encapsulation limit (RFC 2473 section 4.1.1)
		if p, err := mip6.ParsePacket(pkt); err == nil && p.Proto == ipip.Protocol6 && !p.Home.IsValid() {
			w.tunnelled(src, p.Payload, ipip.TOS(pkt))
			return
		}
		h.write(pkt)
	default:
		h.write(pkt)
	}
}

// tunnelled takes an inner packet of IPv6 in IPv6 that came through the tunnel.
func (w *wire6) tunnelled(src netip.Addr, inner []byte, tos uint8) {
	h := w.m.h
	_, _, _, total, err := ipip.ParseIPv6(inner)
	if err == nil {
		inner = inner[:total]
		_, err = ipip.DecapsulateECN(inner, tos)
	}
	switch {
	case err != nil: // a congestion mark that its transport does not know, mostly
		h.unopened.Add(1)
	case src == h.agent:
		w.path.turn.tunneled(inner)
	default:
		h.down(w.path, inner, src)
	}
}

// headed takes a packet to the care-of address that has a routing or a mobility header,
// if it is one of Mobile IPv6. take takes what a correspondent sent without the home agent.
func (w *wire6) headed(pkt []byte, take func([]byte)) bool {
	p, err := mip6.ParsePacket(pkt)
	switch {
	case err != nil || p.Final.IsValid() && p.Final != w.m.h.address:
		w.m.h.unopened.Add(1)
	case p.Proto == mip6.Protocol:
		w.m.h.receive(pkt, false)
	case p.Final.IsValid() && w.m.routes.knows(p.Src):
		take(p.AppendStripped(nil, pkt))
	case p.Final.IsValid():
		w.m.h.foreign.Add(1)
	case w.fencedToo(&p):
	default:
		return false
	}
	return true
}
