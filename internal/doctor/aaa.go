package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"openmpa/aaa/eap"
	"openmpa/aaa/radius"
	"openmpa/internal/config"
	"openmpa/internal/operators"
)

// operators asks the servers of each.
func (p *patient) operators() {
	for _, o := range p.c.AAA {
		switch {
		case o.RADIUS != nil:
			for _, s := range o.RADIUS.Servers {
				p.radius(*o.RADIUS, s)
			}
		case o.RadSec != nil:
			for _, s := range o.RadSec.Servers {
				p.radsec(*o.RadSec, s)
			}
		case o.Diameter != nil:
			for _, s := range o.Diameter.Peers {
				p.diameter(*o.Diameter, s)
			}
		}
	}
}

// radius has a server begin a conversation: that proves path, secret and EAP.
func (p *patient) radius(r operators.RADIUS, s operators.RADIUSServer) {
	if p.unreachable("radius", s.Address) {
		return
	}
	r.Servers, r.Timeout, r.Retransmit = []operators.RADIUSServer{s}, config.Duration(p.Wait), config.Duration(repeat)
	r.Orders = netip.AddrPort{} // the daemon's
	client, err := r.Client(operators.Options{Node: p.c.Node})
	if err != nil {
		p.fail("radius", err.Error(), "correct aaa: radius:")
		return
	}
	defer client.Close()
	switch err := p.begins(client); {
	case err == nil:
		p.ok("radius", fmt.Sprintf("%v answers, and the secret is the same", s.Address))
	case p.refused(s.Address):
		p.fail("radius", fmt.Sprintf("nothing listens on %v", s.Address), "start the RADIUS server there, or correct aaa: radius: servers:")
	default:
		p.fail("radius", err.Error(), fmt.Sprintf("on the server: is it running, is this router among its clients, with the same secret? On the path: let UDP port %d pass, both ways", s.Address.Port()))
	}
}

// radsec likewise, over TLS: that proves path, both certificates and EAP.
func (p *patient) radsec(r operators.RadSec, s operators.RadSecServer) {
	if p.deafTCP("radsec", s.Address, "aaa: radsec: servers:") {
		return
	}
	r.Servers, r.Timeout = []operators.RadSecServer{s}, config.Duration(p.Wait)
	client, err := r.Client(operators.Options{Node: p.c.Node})
	if err != nil {
		p.fail("radsec", err.Error(), "correct aaa: radsec:")
		return
	}
	defer client.Close()
	if err := p.begins(client); err != nil {
		p.fail("radsec", err.Error(), "does the server's certificate have the name of name:, by an authority of ca:, and does the server take ours? Its log has its side of it")
		return
	}
	p.ok("radsec", fmt.Sprintf("%v answers, and the certificates are right", s.Address))
}

// begins has the server of a client begin a conversation.
func (p *patient) begins(client *radius.Client) error {
	name := "doctor@openmpa.invalid"
	identity := eap.Packet{Code: eap.CodeResponse, ID: 1, Type: eap.TypeIdentity, Data: []byte(name)}
	packet, err := identity.AppendBinary(nil)
	if err == nil {
		_, err = client.Exchange(p.ctx, radius.Request{UserName: name, EAP: packet, CalledStation: p.c.Node})
	}
	return err
}

// diameter connects to a peer, and says nothing: two connections of one identity would
// disturb the daemon's.
func (p *patient) diameter(d operators.Diameter, s operators.DiameterPeer) {
	if p.deafTCP("diameter", s.Address, "aaa: diameter: peers:") {
		return
	}
	if !s.TLS {
		p.ok("diameter", fmt.Sprintf("%v takes connections; mpactl status says whether %s is a peer", s.Address, s.Identity))
		return
	}
	pair, roots, err := operators.Certificates(d.CA, d.Certificate, d.Key)
	if err != nil {
		p.fail("diameter", err.Error(), "correct aaa: diameter:")
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, p.Wait)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: s.Identity, MinVersion: tls.VersionTLS13}}
	c, err := dialer.DialContext(ctx, "tcp", s.Address.String())
	if err != nil {
		p.fail("diameter", fmt.Sprintf("%v: %v", s.Address, err), fmt.Sprintf("is %s in the certificate of the peer, by an authority of ca:, and does it speak TLS 1.3 on this port?", s.Identity))
		return
	}
	c.Close()
	p.ok("diameter", fmt.Sprintf("%v has the certificate of %s; mpactl status says whether it is a peer", s.Address, s.Identity))
}

// deafTCP says whether nobody takes connections there; key is where that is written.
func (p *patient) deafTCP(check string, to netip.AddrPort, key string) bool {
	d := net.Dialer{Timeout: p.Wait}
	c, err := d.DialContext(p.ctx, "tcp", to.String())
	switch {
	case err == nil:
		c.Close()
		return false
	case errors.Is(err, syscall.ECONNREFUSED):
		p.fail(check, fmt.Sprintf("nothing listens on %v", to), "start the server there, or correct "+key)
	default:
		p.fail(check, fmt.Sprintf("%v: %v", to, err), fmt.Sprintf("is there a route, and does the path let TCP port %d pass?", to.Port()))
	}
	return true
}
