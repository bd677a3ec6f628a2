package discover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"openmpa/internal/inet"
	"openmpa/internal/neighbourhood"
)

// The name of ours in DNS: no RFC defines one. Below it are the authentication agents of a site,
//
//	_pana._udp.site.example.  SRV  0 0 716 a.site.example.
//
// the first label of each target is what the site calls its network.
const (
	dnsService = "pana"
	dnsProto   = "udp"
)

// The bounds of what is taken from DNS.
const (
	maxTargets   = 16 // of one name
	maxAddresses = 4  // of one target
	lookWithin   = 3 * time.Second
	dnsEvery     = 15 * time.Minute
	dnsFor       = time.Hour
	dnsAgain     = 30 * time.Second // after a failure, twice as long each time, up to dnsEvery
)

// Resolver asks name servers by UDP. An answer that does not fit a datagram is none.
type Resolver struct {
	Servers []netip.Addr
	// Dial opens a socket for what is said to a server, from an address of the node's own.
	Dial func(server netip.AddrPort) (net.Conn, error)
}

// Target is an authentication agent that DNS names.
type Target struct {
	Host  string // in lower case, without the dot behind
	Addrs []netip.AddrPort
}

// Network is what its site calls the target's network: its first label.
func (t Target) Network() string {
	name, _, _ := strings.Cut(t.Host, ".")
	return name
}

var errNoServer = errors.New("no name server is known")

// Agents looks up the authentication agents of a domain, in the order in which they are to be tried.
func (r Resolver) Agents(ctx context.Context, domain string) ([]Target, error) {
	if !inet.Domain(domain) {
		return nil, fmt.Errorf("discover: domain %.80q: expected letters, digits, hyphens and dots", domain)
	}
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	var next atomic.Uint32 // addresses of both families are asked for at once
	res := net.Resolver{PreferGo: true, Dial: func(_ context.Context, network, _ string) (net.Conn, error) {
		switch {
		case len(r.Servers) == 0:
			return nil, errNoServer
		case !strings.HasPrefix(network, "udp"):
			return nil, errors.New("the answer does not fit a datagram")
		}
		server := r.Servers[int(next.Add(1)-1)%len(r.Servers)]
		return r.Dial(netip.AddrPortFrom(server, 53))
	}}
	_, list, err := res.LookupSRV(ctx, dnsService, dnsProto, domain+".")
	if err != nil && len(list) == 0 {
		return nil, fmt.Errorf("discover: %w", err)
	}
	var out []Target
	for _, s := range list[:min(len(list), maxTargets)] {
		host := strings.ToLower(strings.TrimSuffix(s.Target, "."))
		if !inet.Domain(host) || s.Port == 0 || slices.ContainsFunc(out, func(o Target) bool { return o.Host == host }) {
			continue
		}
		addrs, lookErr := res.LookupNetIP(ctx, "ip", host+".")
		if lookErr != nil {
			err = errors.Join(err, lookErr)
			continue
		}
		t := Target{Host: host}
		for _, a := range addrs {
			if a = a.Unmap(); len(t.Addrs) < maxAddresses && a.IsGlobalUnicast() {
				t.Addrs = append(t.Addrs, netip.AddrPortFrom(a, s.Port))
			}
		}
		if len(t.Addrs) > 0 {
			out = append(out, t)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("discover: _%s._%s.%s names nobody with an address: %w", dnsService, dnsProto, domain, err)
	}
	return out, nil
}

// Namer knows whom to ask by DNS, and about what.
type Namer interface {
	// Arrived brings something when the node is on another link. It holds one.
	Arrived() <-chan struct{}
	// Names are the resolver of the present link, and the domains to ask for. No domain: nothing to do.
	Names() (Resolver, []string)
}

// DNS looks up the authentication agents of the present link's domains.
type DNS struct {
	Namer Namer
	Log   *slog.Logger
}

// Run implements Source.
func (d DNS) Run(ctx context.Context, say func(Statement)) {
	timer := time.NewTimer(askAfter)
	defer timer.Stop()
	rest := dnsAgain
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.Namer.Arrived():
			rest = dnsAgain
			timer.Reset(askFirst) // what an arrival has left to do comes first
			continue
		case <-timer.C:
		}
		r, domains := d.Namer.Names()
		next := dnsEvery
		for _, domain := range domains {
			targets, err := r.Agents(ctx, domain)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				d.Log.Debug("no authentication agents in DNS", "domain", domain, "err", err)
				next = rest
				rest = min(2*rest, dnsEvery)
				continue
			}
			say(statement(domain, targets))
		}
		timer.Reset(next)
	}
}

// statement is what DNS says of a domain.
func statement(domain string, targets []Target) Statement {
	st := Statement{From: neighbourhood.Source{Kind: neighbourhood.Link, Name: "dns " + domain}, Lifetime: dnsFor}
	for _, t := range targets {
		n := neighbourhood.Network{Name: t.Network()}
		for _, a := range t.Addrs {
			n.Agents = append(n.Agents, neighbourhood.Agent{Role: neighbourhood.PAA, Addr: a})
		}
		if !slices.ContainsFunc(st.Networks, func(o neighbourhood.Network) bool { return o.Name == n.Name }) {
			st.Networks = append(st.Networks, n)
		}
	}
	return st
}
