package doctor

import (
	"fmt"
	"net/netip"

	"openmpa/internal/config"
	"openmpa/internal/operators"
)

// settings are the keys of all daemons' configurations that matter here.
type settings struct {
	Node    string      `yaml:"node"`
	State   config.Path `yaml:"state"`
	Address config.Addr `yaml:"address"` // of ar and ha
	Access  struct {
		Interface string `yaml:"interface"`
	} `yaml:"access"`
	PANA struct {
		Allow []config.Prefix `yaml:"allow"`
	} `yaml:"pana"`
	AAA  operators.List `yaml:"aaa"`
	DHCP struct {
		Server config.Addr `yaml:"server"`
	} `yaml:"dhcp"`
	Tunnel struct {
		Device  string        `yaml:"device"`
		Address config.Prefix `yaml:"address"`
		Port    uint16        `yaml:"port"`
		MTU     int           `yaml:"mtu"`
	} `yaml:"tunnel"`
	Home struct {
		Interface string `yaml:"interface"`
	} `yaml:"home"`
	RADIUS struct {
		Listen  config.AddrPort `yaml:"listen"`
		Clients []struct {
			Prefix config.Prefix `yaml:"prefix"`
		} `yaml:"clients"`
	} `yaml:"radius"` // of aaa
	AccessPoints []accessPoint `yaml:"access-points"` // of ar
	Info         around        `yaml:"info"`
	Neighbours   []neighbour   `yaml:"neighbours"`
	Identity     struct {
		AR string `yaml:"ar"`
	} `yaml:"identity"`
	Interface  string `yaml:"interface"` // of mn, where it has one
	Link       mover  `yaml:"link"`
	Interfaces []struct {
		Name string `yaml:"name"`
		Link mover  `yaml:"link"`
	} `yaml:"interfaces"` // of mn, where it has several
	EAP struct {
		CA          config.File `yaml:"ca"`
		Certificate config.File `yaml:"certificate"`
	} `yaml:"eap"`
	Networks []struct {
		Name   string      `yaml:"name"`
		PAA    config.Addr `yaml:"paa"`
		Port   uint16      `yaml:"port"`
		Points []point     `yaml:"points"`
	} `yaml:"networks"`
	Mobility struct {
		MIP4 struct {
			HomeAddress config.Addr       `yaml:"home-address"`
			HomeAgent   config.Addr       `yaml:"home-agent"`
			SPI         uint32            `yaml:"spi"`
			KeyFile     config.SecretFile `yaml:"key-file"`
			Algorithm   string            `yaml:"algorithm"`
		} `yaml:"mip4"`
	} `yaml:"mobility"`
}

// mover says who moves a link.
type mover struct {
	Type   string      `yaml:"type"`
	Socket config.Path `yaml:"socket"`
}

// The ports of the protocols, on UDP.
const (
	portRegistration = 434
	portPANA         = 716
	portESP          = 4500
)

// anySource is a sender that no configuration names: of TEST-NET-1.
var anySource = netip.MustParseAddr("192.0.2.1")

func (p *patient) aaa() {
	if r := p.c.RADIUS; r.Listen.IsValid() {
		p.address("radius.listen", r.Listen.Addr(), "")
		p.port(r.Listen)
		for _, client := range r.Clients {
			p.filterIn(client.Prefix.Addr().Next(), r.Listen)
		}
	}
	p.authority()
	p.clock()
	p.space()
	p.operators() // of other realms
}

func (p *patient) ha() {
	p.tunDevice()
	p.routing(p.c.Home.Interface)
	p.address("address", p.c.Address, "")
	at := netip.AddrPortFrom(p.c.Address, portRegistration)
	p.port(at)
	p.filterIn(anySource, at)
	p.clock()
	p.space()
}

func (p *patient) ar() {
	config.Default(&p.c.Tunnel.Device, "mpa0")
	config.Default(&p.c.Tunnel.Address, netip.MustParsePrefix("169.254.62.52/31"))
	config.Default(&p.c.Tunnel.Port, portESP)
	config.Default(&p.c.Tunnel.MTU, 1428)
	p.tunDevice()
	p.link("access.interface", p.c.Access.Interface)
	p.routing(p.c.Access.Interface)
	p.address("address", p.c.Address, p.c.Access.Interface)
	p.fence()
	from := anySource
	if len(p.c.PANA.Allow) > 0 {
		from = p.c.PANA.Allow[0].Addr().Next()
	}
	for _, port := range []uint16{portPANA, p.c.Tunnel.Port} {
		at := netip.AddrPortFrom(p.c.Address, port)
		p.port(at)
		p.filterIn(from, at)
	}
	p.filterThrough()
	p.managers(p.c.Access.Interface, false)
	p.accessPoints()
	p.neighbours()
	p.clock()
	p.space()
	p.operators()
	p.dhcp()
}

func (p *patient) mn() {
	config.Default(&p.c.Tunnel.Device, "mpa0")
	config.Default(&p.c.Tunnel.MTU, 1400)
	p.tunDevice()
	if len(p.c.Interfaces) == 0 {
		p.link("interface", p.c.Interface)
		p.managers(p.c.Interface, true)
		p.mover()
	}
	for i, one := range p.c.Interfaces {
		p.c.Interface, p.c.Link = one.Name, one.Link
		if l, err := p.net.LinkByName(one.Name); err == nil && !l.Up { // the node sets up what is down
			p.ok("interface", one.Name+" is down until the node needs it")
		} else {
			p.link(fmt.Sprintf("interfaces[%d].name", i), one.Name)
		}
		p.managers(one.Name, true)
		p.mover()
	}
	p.certificates()
	p.clock()
	p.space()
	p.agents()
	if p.c.Mobility.MIP4.HomeAgent.IsValid() { // with a hook in its place there is none
		p.registration()
	}
}
