package dhcp4

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"openmpa/internal/host"
)

// onLink sends and hears whole IPv4 packets, for a host without an address.
type onLink struct {
	tap  host.UDPTap
	dev  string
	buf  [2048]byte
	err  error
	next uint16 // IP identification
}

func openLink(s host.Sockets, dev string) (transport, error) {
	tap, err := s.OpenUDPTap(dev, clientPort)
	if err != nil {
		return nil, fmt.Errorf("dhcp4: %w", err)
	}
	return &onLink{tap: tap, dev: dev}, nil
}

func (t *onLink) send(m []byte) error {
	t.next++
	p := udpPacket(netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255}), clientPort, serverPort, t.next, m)
	if err := t.tap.WritePacket(net.HardwareAddr{255, 255, 255, 255, 255, 255}, p); err != nil {
		if errors.Is(err, syscall.ENETDOWN) {
			return nil // the link may come up before the next try
		}
		return fmt.Errorf("dhcp4: send on %s: %w", t.dev, err)
	}
	return nil
}

func (t *onLink) receive(ctx context.Context) ([]byte, error) {
	for {
		n, err := t.tap.ReadPacket(ctx, t.buf[:])
		if err != nil {
			t.err = err
			return nil, err
		}
		if m, ok := udpPayload(t.buf[:n]); ok {
			return m, nil
		}
	}
}

func (t *onLink) failure() error { return t.err }
func (t *onLink) asked() string  { return "any server on " + t.dev }
func (t *onLink) check() string {
	return fmt.Sprintf("check that %s is up and attached, and that a server with free addresses serves its link", t.dev)
}
func (t *onLink) Close() error { return t.tap.Close() }

// udpPacket builds an IPv4 packet with a UDP datagram.
func udpPacket(src, dst netip.Addr, sport, dport, ident uint16, payload []byte) []byte {
	const ipLen, udpLen = 20, 8
	b := make([]byte, ipLen+udpLen, ipLen+udpLen+len(payload))
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], uint16(ipLen+udpLen+len(payload)))
	binary.BigEndian.PutUint16(b[4:], ident)
	b[8], b[9] = 64, syscall.IPPROTO_UDP
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(b[10:], ^fold(sum(0, b[:ipLen])))
	u := b[ipLen:]
	binary.BigEndian.PutUint16(u, sport)
	binary.BigEndian.PutUint16(u[2:], dport)
	binary.BigEndian.PutUint16(u[4:], uint16(udpLen+len(payload)))
	b = append(b, payload...)
	pseudo := sum(uint32(syscall.IPPROTO_UDP)+uint32(udpLen+len(payload)), b[12:20])
	c := ^fold(sum(pseudo, b[ipLen:]))
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(b[ipLen+6:], c)
	return b
}

// udpPayload takes the payload out of an unfragmented IPv4 UDP packet from a server. The UDP checksum is not looked at: a sender
// on this machine may have left it to a network card that is not there.
func udpPayload(b []byte) ([]byte, bool) {
	if len(b) < 20 || b[0]>>4 != 4 || b[9] != syscall.IPPROTO_UDP {
		return nil, false
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < 20 || total > len(b) || total < header+8 || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 ||
		fold(sum(0, b[:header])) != 0xffff {
		return nil, false
	}
	u := b[header:total]
	size := int(binary.BigEndian.Uint16(u[4:]))
	if size < 8 || size > len(u) || binary.BigEndian.Uint16(u) != serverPort || binary.BigEndian.Uint16(u[2:]) != clientPort {
		return nil, false
	}
	return u[8:size], true
}

// sum adds b to a one's complement sum.
func sum(s uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// unicastConn is an ordinary socket from an address we hold to one server.
type unicastConn struct {
	conn   net.Conn
	server netip.Addr
	buf    [maxMessageSize + 1]byte
	err    error
}

func openUnicast(s host.Sockets, dev string, from netip.AddrPort, server netip.Addr) (*unicastConn, error) {
	conn, err := s.DialUDP(dev, from, netip.AddrPortFrom(server, serverPort))
	if err != nil {
		switch {
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			err = fmt.Errorf("%w: the address is not on this host", err)
		case errors.Is(err, syscall.EADDRINUSE):
			err = fmt.Errorf("%w: another DHCP client runs on this address: stop it", err)
		}
		return nil, fmt.Errorf("dhcp4: socket from %s on %s: %w", from, dev, err)
	}
	return &unicastConn{conn: conn, server: server}, nil
}

func (t *unicastConn) send(m []byte) error {
	if _, err := t.conn.Write(m); err != nil && !errors.Is(err, syscall.ECONNREFUSED) { // an earlier message's
		return fmt.Errorf("dhcp4: send to server %s: %w", t.server, err)
	}
	return nil
}

const (
	releases    = 2                      // messages without answer that are not refused are sent so often,
	repeatAfter = time.Second            // one so long after the other
	refusal     = 300 * time.Millisecond // the ICMP error of the last one is waited for
)

// insist sends a message that has no answer twice, and again while it is refused: a
// network loses packets, and a server that dies takes those along that it has not
// read.
func (t *unicastConn) insist(ctx context.Context, m []byte) error {
	for sent, wait := 0, repeatAfter; sent < releases; {
		if err := t.send(m); err != nil {
			return err
		}
		listen := repeatAfter
		if sent++; sent == releases {
			listen = refusal
		}
		refused, err := t.refused(ctx, listen)
		if err != nil || !refused && ctx.Err() != nil {
			return err
		}
		if !refused {
			continue
		}
		select {
		case <-time.After(wait):
			sent, wait = 0, 2*wait
		case <-ctx.Done():
			return fmt.Errorf("dhcp4: no server runs at %s: %w", t.server, ctx.Err())
		}
	}
	return nil
}

// refused waits for the ICMP error of the message sent last.
func (t *unicastConn) refused(ctx context.Context, within time.Duration) (bool, error) {
	end := time.Now().Add(within)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		end = d
	}
	if err := t.conn.SetReadDeadline(end); err != nil {
		return false, fmt.Errorf("dhcp4: send to server %s: %w", t.server, err)
	}
	for {
		if _, err := t.conn.Read(t.buf[:]); err != nil { // mostly the deadline
			return errors.Is(err, syscall.ECONNREFUSED), nil
		}
	}
}

func (t *unicastConn) receive(ctx context.Context) ([]byte, error) {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_ = t.conn.SetReadDeadline(time.Unix(1, 0)) // fails only when closed
	})
	defer func() {
		if !stop() {
			<-woken
			_ = t.conn.SetReadDeadline(time.Time{}) // likewise
		}
	}()
	for {
		n, err := t.conn.Read(t.buf[:])
		if errors.Is(err, syscall.ECONNREFUSED) {
			continue // the server is not running now; the tries decide
		}
		if err != nil {
			t.err = err
			return nil, err
		}
		return t.buf[:n], nil
	}
}

func (t *unicastConn) failure() error { return t.err }
func (t *unicastConn) asked() string {
	return fmt.Sprintf("server %s (from %s)", t.server, t.conn.LocalAddr())
}

func (t *unicastConn) check() string {
	return "check that the server runs and can be reached from the leased address"
}
func (t *unicastConn) Close() error { return t.conn.Close() }
