package simnet

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"openmpa/internal/acd"
	"openmpa/internal/host"
	"openmpa/tunnel/bind"
	"openmpa/tunnel/ipip"
	"openmpa/tunnel/tun"
)

// ipipSocket is a host.IPIP.
type ipipSocket struct {
	h     *machineHost
	m     *Machine
	local netip.Addr
	in    *inbox
	stats bind.Stats // guarded by World.mu
}

// OpenIPIP implements host.Sockets.
func (h *machineHost) OpenIPIP(local netip.Addr, _ bind.Options) (p host.IPIP, err error) {
	err = h.change(func() error {
		if !h.m.isLocal(local) {
			return fmt.Errorf("simnet: %s: IP in IP on %v: %w", h.m.name, local, unix.EADDRNOTAVAIL)
		}
		s := &ipipSocket{h: h, m: h.m, local: local, in: newInbox(socketQueue)}
		h.m.ipip = append(h.m.ipip, s)
		h.socks[s] = s.shut
		p = s
		return nil
	})
	return p, err
}

func (s *ipipSocket) shut() {
	if s.in.shut() {
		s.m.ipip = slices.DeleteFunc(s.m.ipip, func(o *ipipSocket) bool { return o == s })
		s.in.lose(s.m)
	}
}

func (s *ipipSocket) offer(pkt []byte) {
	if !s.in.put(pkt) {
		s.m.w.lost(s.m.name, ReasonQueue, pkt)
	}
}

func (s *ipipSocket) LocalAddr() netip.Addr { return s.local }

func (s *ipipSocket) Send(dst netip.Addr, inner []byte, tos uint8) error {
	w := s.m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.in.closed() {
		return fmt.Errorf("simnet: IP in IP: %w", net.ErrClosed)
	}
	s.m.ident++
	pkt, err := ipip.Encapsulate(nil, ipip.Header{Src: s.local, Dst: dst, TTL: ttl, TOS: tos, ID: s.m.ident}, inner)
	if err != nil {
		s.stats.SendErrors++
		return err
	}
	sent := func() {
		s.stats.Sent++
		w.given(s.m, ViaIPIP, pkt[ipip.HeaderLen:])
	}
	if !s.m.output(pkt, "", sent) {
		s.stats.SendErrors++
		return fmt.Errorf("simnet: IP in IP to %v: %w", dst, unix.ENETUNREACH)
	}
	return nil
}

func (s *ipipSocket) Read([]byte) (inner []byte, src netip.Addr, err error) {
	for {
		pkt, ok := s.in.get(nil)
		if !ok {
			return nil, src, fmt.Errorf("simnet: IP in IP: %w", net.ErrClosed)
		}
		if inner, src, ok = s.open(pkt); ok {
			return inner, src, nil
		}
	}
}

// open takes the inner packet out of pkt.
func (s *ipipSocket) open(pkt []byte) (inner []byte, src netip.Addr, ok bool) {
	s.m.w.mu.Lock()
	defer s.m.w.mu.Unlock()
	inner, src, _, err := ipip.Decapsulate(slices.Clone(pkt))
	if err != nil {
		s.stats.Malformed++
		s.m.w.lost(s.m.name, ReasonMalformed, pkt)
		return nil, src, false
	}
	s.stats.Received++
	s.m.w.taken(s.m, ViaIPIP, inner)
	return inner, src, true
}

func (s *ipipSocket) ReadBatch(*bind.Batch) ([]bind.Packet, error) {
	inner, src, err := s.Read(nil)
	if err != nil {
		return nil, err
	}
	return []bind.Packet{{Data: inner, From: netip.AddrPortFrom(src, 0), TOS: inner[1]}}, nil
}

func (s *ipipSocket) Stats() bind.Stats {
	s.m.w.mu.Lock()
	defer s.m.w.mu.Unlock()
	return s.stats
}

func (s *ipipSocket) Close() error { return s.h.closing(s) }

// wholeSocket is a host.Raw.
type wholeSocket struct {
	h      *machineHost
	local  netip.Addr
	dev    string     // empty: any
	closed bool       // guarded by World.mu
	stats  bind.Stats // guarded by World.mu
}

// OpenRaw implements host.Sockets.
func (h *machineHost) OpenRaw(local netip.Addr, o bind.Options) (p host.Raw, err error) {
	err = h.change(func() error {
		if !h.m.isLocal(local) {
			return fmt.Errorf("simnet: %s: packets from %v: %w", h.m.name, local, unix.EADDRNOTAVAIL)
		}
		s := &wholeSocket{h: h, local: local, dev: o.Device}
		h.socks[s] = s.shut
		p = s
		return nil
	})
	return p, err
}

func (s *wholeSocket) shut() { s.closed = true }

func (s *wholeSocket) Send(pkt []byte) error {
	m := s.h.m
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if s.closed {
		return fmt.Errorf("simnet: packets from %v: %w", s.local, net.ErrClosed)
	}
	src, dst, _, _, _, err := ipip.ParseIPv4(pkt)
	switch {
	case err != nil:
	case src != s.local:
		err = fmt.Errorf("simnet: packets from %v: one from %v", s.local, src)
	case !m.output(slices.Clone(pkt), s.dev, func() { s.stats.Sent++ }):
		err = fmt.Errorf("simnet: packet to %v: %w", dst, unix.ENETUNREACH)
	}
	if err != nil {
		s.stats.SendErrors++
	}
	return err
}

func (s *wholeSocket) Stats() bind.Stats {
	s.h.m.w.mu.Lock()
	defer s.h.m.w.mu.Unlock()
	return s.stats
}

func (s *wholeSocket) Close() error { return s.h.closing(s) }

// tunDevice is a host.TUN.
type tunDevice struct {
	h     *machineHost
	i     *Interface
	in    *inbox
	stats tun.Stats // guarded by World.mu
}

// OpenTUN implements host.Sockets.
func (h *machineHost) OpenTUN(cfg tun.Config) (t host.TUN, err error) {
	err = h.change(func() error {
		if h.m.find(cfg.Name) != nil {
			return fmt.Errorf("simnet: %s: TUN %s: %w", h.m.name, cfg.Name, unix.EBUSY)
		}
		i := h.m.addInterface(cfg.Name)
		if cfg.MTU == 0 {
			cfg.MTU = tun.DefaultMTU
		}
		if cfg.QueueLen == 0 {
			cfg.QueueLen = tun.DefaultQueueLen
		}
		i.mtu = cfg.MTU
		i.tun = &tunDevice{h: h, i: i, in: newInbox(cfg.QueueLen)}
		h.socks[i.tun] = i.tun.shut
		t = i.tun
		return nil
	})
	return t, err
}

func (t *tunDevice) shut() {
	if t.in.shut() {
		t.i.m.removeInterface(t.i)
		t.in.lose(t.i.m)
	}
}

func (t *tunDevice) offer(pkt []byte) {
	if !t.in.put(pkt) {
		t.stats.ReadDropped++
		t.i.m.w.lost(t.i.name(), ReasonQueue, pkt)
	}
}

func (t *tunDevice) Name() string { return t.i.dev }
func (t *tunDevice) MTU() int     { return t.i.mtu }

func (t *tunDevice) Read(b []byte) (int, error) {
	pkt, ok := t.in.get(nil)
	if !ok {
		return 0, fmt.Errorf("simnet: %s: %w", t.i.name(), os.ErrClosed)
	}
	return t.read(pkt, b), nil
}

func (t *tunDevice) ReadNow(b []byte) (int, error) {
	select {
	case <-t.in.done:
		return 0, fmt.Errorf("simnet: %s: %w", t.i.name(), os.ErrClosed)
	case pkt := <-t.in.ch:
		return t.read(pkt, b), nil
	default:
		return 0, nil
	}
}

func (t *tunDevice) read(pkt, b []byte) int {
	w := t.i.m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	t.stats.Read++
	w.taken(t.i.m, ViaTUN, pkt)
	return copy(b, pkt)
}

func (t *tunDevice) Write(b []byte) (int, error) {
	w := t.i.m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.in.closed() {
		return 0, fmt.Errorf("simnet: %s: %w", t.i.name(), os.ErrClosed)
	}
	t.stats.Write++
	pkt := slices.Clone(b)
	w.given(t.i.m, ViaTUN, pkt)
	t.i.m.receive(t.i, pkt)
	return len(b), nil
}

// Buffered is how many packets a Read finds.
func (t *tunDevice) Buffered() int { return len(t.in.ch) }

// Queue writes at once: who is corked waits for nothing here.
func (t *tunDevice) Queue(b []byte) (int, error) { return t.Write(b) }

func (t *tunDevice) Cork()         {}
func (t *tunDevice) Uncork() error { return nil }

func (t *tunDevice) Stats() (tun.Stats, error) {
	t.i.m.w.mu.Lock()
	defer t.i.m.w.mu.Unlock()
	return t.stats, nil
}

func (t *tunDevice) Close() error { return t.h.closing(t) }

// rawSocket sees the frames of one interface.
type rawSocket struct {
	h    *machineHost
	i    *Interface
	port uint16 // of UDP; 0: it sees ARP
	in   *inbox
}

func (h *machineHost) openRaw(dev string, port uint16) (s *rawSocket, err error) {
	err = h.change(func() error {
		i, err := h.m.device(dev)
		if err != nil {
			return err
		}
		s = &rawSocket{h: h, i: i, port: port, in: newInbox(socketQueue)}
		i.raw = append(i.raw, s)
		h.socks[s] = s.shut
		return nil
	})
	return s, err
}

func (s *rawSocket) shut() {
	if s.in.shut() {
		s.i.raw = slices.DeleteFunc(s.i.raw, func(o *rawSocket) bool { return o == s })
	}
}

// offer gives the socket a copy of what comes off the link, if it is its kind. A full
// queue drops, as the kernel's.
func (s *rawSocket) offer(f frame) {
	if f.typ == typeARP && s.port == 0 || f.typ == typeIPv4 && s.port != 0 && udpPort(f.data) == s.port {
		_ = s.in.put(f.data)
	}
}

// udpPort is the port an IPv4 packet is for, 0 if it is not UDP.
func udpPort(pkt []byte) uint16 {
	_, _, proto, body, _, err := ipip.ParseIPv4(pkt)
	if err != nil || proto != protoUDP || len(pkt) < body+udpLen {
		return 0
	}
	return binary.BigEndian.Uint16(pkt[body+2:])
}

func (s *rawSocket) read(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if pkt, ok := s.in.get(ctx.Done()); ok {
		return pkt, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("simnet: %s: %w", s.i.name(), net.ErrClosed)
}

func (s *rawSocket) write(dst net.HardwareAddr, typ etherType, b []byte) error {
	to, err := acd.MACFrom(dst)
	if err != nil {
		return err
	}
	s.i.m.w.mu.Lock()
	defer s.i.m.w.mu.Unlock()
	if s.in.closed() {
		return fmt.Errorf("simnet: %s: %w", s.i.name(), net.ErrClosed)
	}
	s.i.send(to, typ, b)
	return nil
}

func (s *rawSocket) Close() error { return s.h.closing(s) }

// arpConn is a host.ARP.
type arpConn struct{ *rawSocket }

// OpenARP implements host.Sockets.
func (h *machineHost) OpenARP(dev string) (host.ARP, error) {
	s, err := h.openRaw(dev, 0)
	if err != nil {
		return nil, err
	}
	return arpConn{s}, nil
}

func (c arpConn) MAC() net.HardwareAddr { return c.i.mac.HardwareAddr() }
func (c arpConn) Device() string        { return c.i.dev }

func (c arpConn) ReadARP(ctx context.Context) (acd.Packet, error) {
	for {
		pkt, err := c.read(ctx)
		if err != nil {
			return acd.Packet{}, err
		}
		if p, err := acd.ParseARP(pkt); err == nil {
			return p, nil
		}
	}
}

func (c arpConn) WriteARP(dst net.HardwareAddr, p acd.Packet) error {
	b, err := p.AppendBinary(nil)
	if err != nil {
		return err
	}
	return c.write(dst, typeARP, b)
}

func (c arpConn) SendGratuitous(a netip.Addr) error {
	return c.WriteARP(acd.Broadcast(), acd.AnnouncementPacket(a, c.i.mac))
}

// udpTap is a host.UDPTap.
type udpTap struct{ *rawSocket }

// OpenUDPTap implements host.Sockets.
func (h *machineHost) OpenUDPTap(dev string, port uint16) (host.UDPTap, error) {
	s, err := h.openRaw(dev, port)
	if err != nil {
		return nil, err
	}
	return udpTap{s}, nil
}

func (t udpTap) ReadPacket(ctx context.Context, b []byte) (int, error) {
	pkt, err := t.read(ctx)
	return copy(b, pkt), err
}

func (t udpTap) WritePacket(dst net.HardwareAddr, ipv4 []byte) error {
	return t.write(dst, typeIPv4, slices.Clone(ipv4))
}
