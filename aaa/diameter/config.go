package diameter

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/dict"
)

// Ports (RFC 6733 section 11.4).
const (
	Port    = 3868
	PortTLS = 5868 // as registered; the text of RFC 6733 section 2.1 says 5658
)

// Peer is a Diameter node next to this one.
type Peer struct {
	Identity string         // its Origin-Host; "*.b.example": any below it, of peers without Addr
	Realm    string         // its Origin-Realm; empty: any
	Addr     string         // host:port to connect to; empty: it connects
	TLS      bool           // TLS 1.3 from the first octet, both sides with certificates of their identities
	From     []netip.Prefix // from where it may connect without TLS; empty: Addr's address, else anywhere
	Realms   []string       // reached by it: "home.example", "*.example", "*"; empty: every realm with Addr, else its own
	Priority int            // the lowest first; equal: in the order given
}

// Listener takes connections of peers.
type Listener struct {
	net.Listener
	TLS bool
}

// Config configures a Node. Identity and Realm are required.
type Config struct {
	Identity string // Origin-Host: a host name
	Realm    string // Origin-Realm
	Peers    []Peer

	Listen, ListenTLS netip.AddrPort // zero: not
	Listeners         []Listener     // beside them; closed by Run
	TLS               *tls.Config    // certificate, RootCAs and ClientCAs; needed with any TLS

	Auth, Acct []uint32      // applications; default 5 (EAP) and 3 (base accounting)
	Watchdog   time.Duration // Twinit of RFC 3539; default 30 s, at least 6 s
	Patience   time.Duration // how long a request waits for its answer before another peer is asked as well; default 3 s

	// Handler answers requests that are for this node, each in a goroutine of its own; ctx
	// ends with the Node. Nil as an answer: DIAMETER_TOO_BUSY. What is wrong with a
	// message has been answered before, and so have repetitions.
	Handler func(ctx context.Context, from string, req *diam.Message) (answer *diam.Message)
	// Restarted is told that a node has lost its state: its Origin-State-Id grew. It must
	// not block.
	Restarted func(host string)

	Dict *dict.Parser // default: of this package
	Rand io.Reader    // default crypto/rand
	Log  *slog.Logger // default: none
	Dial func(ctx context.Context, addr string) (net.Conn, error)
}

// Bounds and times of ours.
const (
	maxPending   = 1024             // requests that wait for a peer's answer
	maxQueue     = 512              // messages that wait to be written to a peer
	maxHandlers  = 128              // requests of a peer that are being worked on
	maxStrangers = 64               // connections whose peer is not known yet
	maxGuests    = 1024             // peers that a wildcard has let in
	helloTime    = 10 * time.Second // for TLS, CER and CEA
	leaveTime    = time.Second      // for DPA
	dialTime     = 5 * time.Second
	retryMin     = time.Second // Tc grows from here
	retryMax     = 30 * time.Second
	retryUnloved = 5 * time.Minute // after DO_NOT_WANT_TO_TALK_TO_YOU, or an answer to CER that refuses
)

func (c *Config) check() error {
	if !isIdentity(c.Identity) || !strings.Contains(c.Identity, ".") {
		return fmt.Errorf("diameter: identity %q, expected a host name with its domain, like ar-a.visited.example", c.Identity)
	}
	if !isIdentity(c.Realm) {
		return fmt.Errorf("diameter: realm %q, expected a domain name, like visited.example", c.Realm)
	}
	c.Identity, c.Realm = strings.ToLower(c.Identity), strings.ToLower(c.Realm)
	if c.Watchdog == 0 {
		c.Watchdog = 30 * time.Second
	}
	if c.Watchdog < 6*time.Second {
		return fmt.Errorf("diameter: watchdog %v, expected at least 6s (RFC 3539 section 3.4.1)", c.Watchdog)
	}
	if c.Patience <= 0 {
		c.Patience = 3 * time.Second
	}
	if c.Auth == nil && c.Acct == nil {
		c.Auth, c.Acct = []uint32{appEAP}, []uint32{appAccounting}
	}
	if c.Dict == nil {
		c.Dict = dictionary()
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Dial == nil {
		var d net.Dialer
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	wantTLS := c.ListenTLS.IsValid()
	for _, l := range c.Listeners {
		wantTLS = wantTLS || l.TLS
	}
	seen := map[string]bool{c.Identity: true}
	c.Peers = append([]Peer(nil), c.Peers...)
	for i := range c.Peers {
		p := &c.Peers[i]
		p.Identity, p.Realm = strings.ToLower(p.Identity), strings.ToLower(p.Realm)
		name, wild := strings.CutPrefix(p.Identity, "*.")
		switch {
		case !isIdentity(name):
			return fmt.Errorf("diameter: peer %q, expected its identity, a host name", p.Identity)
		case wild && p.Addr != "":
			return fmt.Errorf("diameter: peer %s at %s: a peer to connect to has one name", p.Identity, p.Addr)
		case seen[p.Identity]:
			return fmt.Errorf("diameter: peer %s twice, or this node itself", p.Identity)
		}
		seen[p.Identity] = true
		if p.Addr != "" {
			if _, _, err := net.SplitHostPort(p.Addr); err != nil {
				return fmt.Errorf("diameter: address %q of peer %s, expected host:port: %w", p.Addr, p.Identity, err)
			}
		}
		p.Realms = append([]string(nil), p.Realms...)
		for j, r := range p.Realms {
			p.Realms[j] = strings.ToLower(r)
		}
		wantTLS = wantTLS || p.TLS
	}
	if wantTLS {
		return c.checkTLS()
	}
	return nil
}

func (c *Config) checkTLS() error {
	switch {
	case c.TLS == nil || len(c.TLS.Certificates) == 0 && c.TLS.GetCertificate == nil:
		return errors.New("diameter: TLS without a certificate of our own: peers ask for it")
	case c.TLS.RootCAs == nil || c.TLS.ClientCAs == nil:
		return errors.New("diameter: TLS without the authority of the peers' certificates")
	}
	return nil
}
