package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"openmpa/internal/config"
)

// around is what the configuration of a router says of routers around.
type around struct {
	Off         bool            `yaml:"off"`
	Listen      config.AddrPort `yaml:"listen"`
	CA          config.File     `yaml:"ca"`
	Certificate config.File     `yaml:"certificate"`
	Key         config.File     `yaml:"key"`
}

// neighbour is an entry of neighbours.
type neighbour struct {
	Name     string `yaml:"name"`
	Router   string `yaml:"router"`
	Identity string `yaml:"identity"`
}

// neighbours looks whether a router can show who it is, and whether those that it asks are who they should be.
func (p *patient) neighbours() {
	i := p.c.Info
	if i.Off || i.Certificate == "" {
		return
	}
	p.certificate("this router's certificate", i.Certificate.String(), "get a new one: mpa-aaa cert issue --name "+p.c.Identity.AR)
	p.certificate("the certificate of the routers' authority", i.CA.String(), "get the present ca.pem of the AAA server")
	if i.Listen.IsValid() {
		p.address("info.listen", i.Listen.Addr(), "")
	}
	pair, err := tls.LoadX509KeyPair(i.Certificate.String(), i.Key.String())
	if err != nil {
		p.fail("neighbour", err.Error(), "put the key of that certificate into the file that info: key: names")
		return
	}
	text, err := os.ReadFile(i.CA.String())
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(text) {
		return // said of the certificate
	}
	for _, n := range p.c.Neighbours {
		if n.Router != "" {
			p.neighbour(n, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: n.Identity, Time: p.Now})
		}
	}
}

func (p *patient) neighbour(n neighbour, config *tls.Config) {
	ctx, cancel := context.WithTimeout(p.ctx, p.Wait)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", n.Router)
	if err == nil {
		_ = conn.Close()
		p.ok("neighbour", fmt.Sprintf("the router of %s answers on %s, and is %s", n.Name, n.Router, n.Identity))
		return
	}
	remedy := fmt.Sprintf("look whether mpa-ar runs there with info: listen: %s, and whether that TCP port is let through", n.Router)
	if refused := (*net.OpError)(nil); !errors.As(err, &refused) && ctx.Err() == nil {
		remedy = "its certificate must have that name and be of the authority in info: ca:; correct identity: or issue it anew"
	}
	p.warn("neighbour", fmt.Sprintf("the router of %s is not heard: %v", n.Name, err), remedy)
}
