package mn

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/mn/mobility/mip4"
	"openmpa/tunnel/bind"
	"openmpa/tunnel/ipip"
)

// home4 is what is Mobile IPv4's own (RFC 5944).
type home4 struct {
	h        *home
	security mip4.Security
}

// open4 makes h Mobile IPv4's.
func (h *home) open4(c mip4.ClientConfig) (binder, error) {
	client, err := mip4.NewClient(c)
	if err != nil {
		return nil, err
	}
	h.address, h.agent, h.mip = c.HomeAddress, c.HomeAgent, &home4{h: h, security: c.Security()}
	return binder4{client}, nil
}

// binder4 is a mip4.Client as a binder.
type binder4 struct{ *mip4.Client }

func (b binder4) register(now time.Time, careOf netip.Addr, ordered bool, also ...netip.Addr) {
	b.OfferPathMarkers(ordered)
	b.Register(now, careOf, also...)
}

func (b binder4) deregister(now time.Time, from netip.Addr) { b.Deregister(now, from) }

func (b binder4) handle(now time.Time, m received) error { return b.HandleReply(now, m.data) }

// wanted and want implement binder: every packet goes by the home agent.
func (binder4) wanted() <-chan netip.Addr { return nil }

func (binder4) want(time.Time, netip.Addr) {}

func (b binder4) next() (any, bool) {
	o, ok := b.Poll()
	switch o := o.(type) {
	case mip4.Send:
		return signalling{from: o.From, data: o.Data, path: o.Path}, ok
	case mip4.Registered:
		return registered{careOf: o.CareOf, id: o.ID, markers: o.PathMarkers, alone: !o.Several, tries: o.Tries, rtt: o.RTT}, ok
	case mip4.Deregistered:
		return deregistered{}, ok
	case mip4.Failed:
		return failed{err: o.Err, renewal: o.Renewal, beside: o.Beside}, ok
	case mip4.Expired:
		return expired{careOf: o.CareOf}, ok
	}
	return nil, ok
}

// overhead implements mobileIP.
func (*home4) overhead() int { return ipip.HeaderLen }

// endMarker implements mobileIP.
func (m *home4) endMarker(id uint64) ([]byte, error) {
	return mip4.AppendMarkerPacket(nil, mip4.Marker{HomeAddress: m.h.address, HomeAgent: m.h.agent, ID: id}, m.security)
}

// isMarker implements mobileIP.
func (*home4) isMarker(pkt []byte) bool { return mip4.IsMarkerPacket(pkt) }

// parseMarker implements mobileIP.
func (m *home4) parseMarker(pkt []byte) (uint64, bool) {
	k, ok := mip4.ParseMarkerPacket(pkt, m.security)
	return k.ID, ok && k.Down
}

// signals implements mobileIP.
func (*home4) signals([]byte) bool { return false }

// careOf implements mobileIP: all go by the home agent.
func (*home4) careOf([]byte) netip.Addr { return netip.Addr{} }

// late implements mobileIP.
func (*home4) late([]byte) bool { return false }

// status implements mobileIP.
func (*home4) status(*Status) {}

// wire4 is a path of Mobile IPv4: IP-in-IP for the home address, and registrations.
type wire4 struct {
	home *home
	path *path
	ipip host.IPIP // native
	udp  host.UDP  // registrations from this care-of address
	id   atomic.Uint32
}

// newWire implements mobileIP.
func (m *home4) newWire(p *path) (_ homeWire, err error) {
	h := m.h
	w := &wire4{home: h, path: p}
	if w.ipip, err = h.n.net.OpenIPIP(p.coa, bind.Options{}); err != nil {
		return nil, err
	}
	if w.udp, err = h.n.udp(p.coa, h.agent); err != nil {
		return nil, errors.Join(err, w.ipip.Close())
	}
	return w, nil
}

func (w *wire4) listen() {
	w.home.wg.Go(func() { w.home.readNative(w.path, w.ipip, w.path.turn.native, w.fenced) })
	w.home.wg.Go(w.readReplies)
}

func (w *wire4) close() error { return errors.Join(w.ipip.Close(), w.udp.Close()) }

// inner lets the network fragment what it makes, as the kernel does for the link: the
// home agent has it whole again, and nobody waits for an ICMP message that only the
// kernel would understand.
func (w *wire4) inner(buf, pkt []byte) ([]byte, error) {
	return ipip.Encapsulate(buf, ipip.Header{
		Src: w.path.coa, Dst: w.home.agent, TTL: ipip.DefaultTTL, ID: uint16(w.id.Add(1)), Fragmentable: true,
	}, pkt)
}

func (w *wire4) toLink(pkt []byte) error { return w.ipip.Send(w.home.agent, pkt, ipip.TOS(pkt)) }

// signal implements homeWire.
func (w *wire4) signal(b []byte) error {
	_, err := w.udp.WriteToUDPAddrPort(b, netip.AddrPortFrom(w.home.agent, mip4.Port))
	return err
}

// protoNothing is that of a packet which carries nothing (59, No Next Header).
const protoNothing = 59

// fence sends a packet from the care-of address to itself, behind what waits in the native
// socket: from elsewhere none with that source gets past the kernel.
func (w *wire4) fence(id event.HandoverID) error {
	pkt, err := ipip.AppendHeader(nil, ipip.Header{Src: w.home.address, Dst: w.home.address, Protocol: protoNothing}, len(id))
	if err != nil {
		return err
	}
	return w.ipip.Send(w.path.coa, append(pkt, id[:]...), 0)
}

// fenced takes it.
func (w *wire4) fenced(pkt []byte) {
	var id event.HandoverID
	_, _, proto, headerLen, total, err := ipip.ParseIPv4(pkt)
	if err == nil && proto == protoNothing && copy(id[:], pkt[headerLen:total]) == len(id) {
		w.path.turn.fenced(id)
	}
}

func (w *wire4) readReplies() {
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
		w.home.receive(buf[:n], false)
	}
}

// fromTunnel takes what came through the tunnel: IP-in-IP for the home address,
// or a packet for the care-of address itself. Fragments of the former, from a path on
// which it did not fit, are the kernel's to put together: it comes as if natively then.
func (w *wire4) fromTunnel(pkt []byte) {
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
		w.path.turn.tunneled(inner)
	} else {
		w.home.down(w.path, inner, src)
	}
}
