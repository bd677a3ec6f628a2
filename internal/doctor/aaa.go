package doctor

import (
	"fmt"

	"openmpa/aaa/eap"
	"openmpa/aaa/radius"
	"openmpa/internal/config"
	"openmpa/internal/operators"
)

// operators asks the servers of each.
func (p *patient) operators() {
	for _, o := range p.c.AAA {
		if o.RADIUS != nil {
			for _, s := range o.RADIUS.Servers {
				p.radius(*o.RADIUS, s)
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
	client, err := r.Client(operators.Options{Node: p.c.Node})
	if err != nil {
		p.fail("radius", err.Error(), "correct aaa: radius:")
		return
	}
	name := "doctor@openmpa.invalid"
	identity := eap.Packet{Code: eap.CodeResponse, ID: 1, Type: eap.TypeIdentity, Data: []byte(name)}
	packet, err := identity.AppendBinary(nil)
	if err == nil {
		_, err = client.Exchange(p.ctx, radius.Request{UserName: name, EAP: packet, CalledStation: p.c.Node})
	}
	client.Close()
	switch {
	case err == nil:
		p.ok("radius", fmt.Sprintf("%v answers, and the secret is the same", s.Address))
	case p.refused(s.Address):
		p.fail("radius", fmt.Sprintf("nothing listens on %v", s.Address), "start the RADIUS server there, or correct aaa: radius: servers:")
	default:
		p.fail("radius", err.Error(), fmt.Sprintf("on the server: is it running, is this router among its clients, with the same secret? On the path: let UDP port %d pass, both ways", s.Address.Port()))
	}
}
