package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"openmpa/internal/dhcp4"
	"openmpa/internal/host"
	"openmpa/internal/inet"
	"openmpa/mn/mobility/mip4"
	"openmpa/paa/pana"
)

const (
	repeat  = 500 * time.Millisecond // until a probe is sent again
	farSkew = 2 * time.Second        // of two clocks: worth a warning; 7 s are refused by default
)

// dhcp asks for an offer, as the relay that the daemon will be.
func (p *patient) dhcp() {
	relay, err := dhcp4.OpenRelay(dhcp4.RelayConfig{Sockets: host.Beside(p.net), Giaddr: p.c.Address, Server: p.c.DHCP.Server, CircuitID: p.c.Access.Interface})
	if errors.Is(err, syscall.EADDRINUSE) {
		if holder, pid := udpHolder(67); holder != p.program && holder != "" {
			p.fail("dhcp", fmt.Sprintf("UDP port 67 is taken by %s (process %d)", holder, pid), "stop it, or have it listen on the address of dhcp: server: only")
		}
		return // the daemon runs, and asks itself
	}
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return // said by address
	}
	if err != nil {
		p.fail("dhcp", err.Error(), "run this as root")
		return
	}
	defer relay.Close()
	enough := errors.New("an offer came")
	client := dhcp4.Client{
		MAC: net.HardwareAddr{0x02, 'm', 'p', 'a', 0, 1}, Relay: relay, Rand: rand.Reader,
		Timing: dhcp4.Timing{First: repeat, Max: repeat, Tries: max(1, int(p.Wait/repeat))},
		// An offer is enough to know: what nobody requests lapses.
		Offered: func(dhcp4.Lease) error { return enough },
	}
	ctx, cancel := context.WithTimeout(p.ctx, p.Wait)
	defer cancel()
	_, err = client.Acquire(ctx)
	if errors.Is(err, enough) {
		p.ok("dhcp", fmt.Sprintf("%v offers addresses for %v", p.c.DHCP.Server, p.c.Address))
		return
	}
	p.fail("dhcp", fmt.Sprint(err), fmt.Sprintf("on %v: is a DHCP server running, has it a free range for the network of %v, and a route back? On the path: let UDP port 67 pass", p.c.DHCP.Server, p.c.Address))
}

// agents sends each router a PANA-Client-Initiation, with and without the E bit of pre-authentication.
func (p *patient) agents() {
	for _, n := range p.c.Networks {
		port := n.Port
		if port == 0 {
			port = portPANA
		}
		if !n.PAA.IsValid() {
			p.ok("pana", fmt.Sprintf("network %s: DHCP names its PAA", n.Name))
			continue
		}
		to := netip.AddrPortFrom(n.PAA, port)
		if p.unreachable("pana", to) {
			continue
		}
		err := p.initiate(to, 0)
		switch {
		case err == nil:
		case errors.Is(err, syscall.ECONNREFUSED):
			p.fail("pana", fmt.Sprintf("network %s: nothing listens on %v", n.Name, to), "start mpa-ar there, or correct paa:")
			continue
		default:
			p.fail("pana", fmt.Sprintf("network %s: no answer from %v", n.Name, to),
				fmt.Sprintf("is the router up? A filter on the path or at the router must let UDP ports %d and %d pass, both ways (mpactl doctor there)", port, portESP))
			continue
		}
		if err := p.initiate(to, pana.FlagE); err != nil {
			p.fail("pana", fmt.Sprintf("network %s: %v answers, but not to a pre-authentication from here", n.Name, to), "add this network to pana: allow: of that router")
			continue
		}
		p.ok("pana", fmt.Sprintf("network %s: %v answers", n.Name, to))
	}
}

func (p *patient) initiate(to netip.AddrPort, e pana.Flags) error {
	m := pana.Message{Type: pana.TypePCI, Flags: e}
	packet, err := m.AppendBinary(nil)
	if err != nil {
		return err
	}
	_, err = p.ask(to, packet, func(b []byte) bool {
		m, err := pana.ParseMessage(b)
		return err == nil && m.Type == pana.TypeAuth && m.Flags.Has(pana.FlagR|pana.FlagS)
	})
	return err
}

// registration sends the home agent a request that it must deny, and reads its clock from the denial.
func (p *patient) registration() {
	m := p.c.Mobility.MIP4
	to := netip.AddrPortFrom(m.HomeAgent, portRegistration)
	if p.unreachable("home agent", to) {
		return
	}
	key, err := m.KeyFile.Load()
	if err != nil {
		p.fail("home agent", err.Error(), "correct key-file:")
		return
	}
	defer key.Clear()
	algorithm, err := mip4.ParseAlgorithm(m.Algorithm)
	if err != nil {
		p.fail("home agent", err.Error(), "correct algorithm:")
		return
	}
	sa := mip4.Security{SPI: m.SPI, Key: key, Algorithm: algorithm}
	request := mip4.Request{Flags: mip4.FlagD, Lifetime: 1, HomeAddress: m.HomeAddress, HomeAgent: m.HomeAgent, CareOf: m.HomeAddress}
	packet, err := request.AppendSigned(nil, sa)
	if err != nil {
		p.fail("home agent", err.Error(), "correct mobility: mip4:")
		return
	}
	answer, err := p.ask(to, packet, func(b []byte) bool { _, err := mip4.ParseReply(b); return err == nil })
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		p.fail("home agent", fmt.Sprintf("nothing listens on %v", to), "start mpa-ha there, or correct home-agent:")
		return
	case err != nil:
		p.fail("home agent", fmt.Sprintf("no answer from %v", to),
			fmt.Sprintf("on the home agent: is it running, and is %v among its nodes, with SPI %d? On the path: let UDP port 434 and IP protocol 4 pass, both ways", m.HomeAddress, m.SPI))
		return
	}
	reply, err := mip4.ParseReply(answer)
	if err == nil {
		err = reply.Verify(sa)
	}
	switch skew := inet.Skew(reply.ID, inet.NTP(p.Now())).Truncate(time.Second); {
	case err != nil || reply.Code == mip4.CodeMNAuthentication:
		p.fail("home agent", fmt.Sprintf("%v has another key for %v", to, m.HomeAddress), "bring key-file:, spi: and algorithm: of both sides together")
	case reply.Code != mip4.CodeIdentification:
		p.fail("home agent", fmt.Sprintf("%v denies: %v", to, reply.Code), "its log has the reason")
	case skew.Abs() >= farSkew:
		p.fail("home agent", fmt.Sprintf("the clock of %v is %v off ours (7 s are tolerated by default)", to, skew), clockRemedy)
	default:
		p.ok("home agent", fmt.Sprintf("%v answers, key and clock agree", to))
	}
}

// unreachable says whether there is no route.
func (p *patient) unreachable(check string, to netip.AddrPort) bool {
	c, err := net.Dial("udp", to.String())
	if err == nil {
		c.Close()
		return false
	}
	p.fail(check, fmt.Sprintf("no route to %v", to.Addr()), "the interface may be down, or the default route missing: look at ip route get "+to.Addr().String())
	return true
}

// refused says whether the host answers that nobody has the port.
func (p *patient) refused(to netip.AddrPort) bool {
	_, err := p.ask(to, []byte{0}, func([]byte) bool { return false })
	return errors.Is(err, syscall.ECONNREFUSED)
}

// ask sends a datagram, again and again, until an answer is one.
func (p *patient) ask(to netip.AddrPort, packet []byte, answers func([]byte) bool) ([]byte, error) {
	c, err := net.Dial("udp", to.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(p.ctx, func() { c.Close() })()
	buf := make([]byte, 2048)
	for range max(1, int(p.Wait/repeat)) {
		if _, err := c.Write(packet); err != nil {
			return nil, err
		}
		if err := c.SetReadDeadline(time.Now().Add(repeat)); err != nil {
			return nil, err
		}
		for {
			n, err := c.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, err
			}
			if answers(buf[:n]) {
				return slices.Clone(buf[:n]), nil
			}
		}
	}
	return nil, os.ErrDeadlineExceeded
}
