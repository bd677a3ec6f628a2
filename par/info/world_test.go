package info

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"openmpa/internal/catest"
	"openmpa/internal/event"
	"openmpa/internal/neighbourhood"
	"openmpa/paa/notify"
)

// wire is a network of pipes, so that time can be virtual.
type wire struct {
	mu   sync.Mutex
	at   map[string]*pipes
	cuts map[string]bool
}

type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func newWire() *wire { return &wire{at: map[string]*pipes{}, cuts: map[string]bool{}} }

func (w *wire) listen(address string) net.Listener {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at[address] = &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	return w.at[address]
}

func (w *wire) cut(address string, is bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cuts[address] = is
}

func (w *wire) dial(ctx context.Context, address string) (net.Conn, error) {
	w.mu.Lock()
	p, cut := w.at[address], w.cuts[address]
	w.mu.Unlock()
	if p == nil || cut {
		return nil, fmt.Errorf("nobody at %s", address)
	}
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.done:
		return nil, errors.New("refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func network(name, paa string, points ...string) neighbourhood.Network {
	n := neighbourhood.Network{Name: name}
	if paa != "" {
		n.Agents = []neighbourhood.Agent{{Role: neighbourhood.PAA, Addr: netip.AddrPortFrom(netip.MustParseAddr(paa), 716)}}
	}
	for _, p := range points {
		n.Points = append(n.Points, neighbourhood.Point{Name: p})
	}
	return n
}

func routerName(network string) string { return "ar." + network + ".example" }

// site is a number of routers.
type site struct {
	*wire
	t         *testing.T
	authority *catest.Authority
}

func newSite(t *testing.T) *site { return &site{newWire(), t, catest.NewAuthority(t)} }

// config is of the router of network name, whose neighbours it asks.
func (s *site) config(own neighbourhood.Network, neighbours ...string) Config {
	c := Config{Own: own, Listener: s.listen(own.Name), Certificate: s.authority.Issue(routerName(own.Name)), Roots: s.authority.Roots(), Dial: s.dial}
	for _, n := range neighbours {
		c.Neighbours = append(c.Neighbours, Neighbour{Network: neighbourhood.Network{Name: n}, Address: n, Identity: routerName(n)})
	}
	return c
}

func (s *site) open(c Config) *Service {
	s.t.Helper()
	r, err := Open(c)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// told is what a node is told, by messages as they are on the wire.
func told(t *testing.T, s *Service, sid uint32, g *notify.Gathering) []neighbourhood.Network {
	t.Helper()
	for range 1000 {
		r := s.Answer(sid, g.Next(event.HandoverID{1}))
		b, err := notify.Append(nil, r)
		if err != nil {
			t.Fatal(err)
		}
		m, err := notify.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if whole, err := g.Add(m.(*notify.NeighboursReply)); err != nil {
			t.Fatal(err)
		} else if whole {
			return g.Networks()
		}
	}
	t.Fatal("no end")
	return nil
}

func words(list []neighbourhood.Network) string {
	var out []string
	for _, n := range list {
		paa := ""
		if len(n.Agents) > 0 {
			paa = "@" + n.Agents[0].Addr.Addr().String()
		}
		out = append(out, fmt.Sprintf("%s%s/%d", n.Name, paa, n.Hops))
	}
	return strings.Join(out, " ")
}

func asked(t *testing.T, s *Service) string {
	t.Helper()
	return words(told(t, s, 1, &notify.Gathering{}))
}

// forge answers as the router of a network with whatever list, until the listener is closed.
func (s *site) forge(name string, list []neighbourhood.Network) (end func()) {
	a, fit, err := notify.NewNeighbours(list)
	if err != nil || fit != len(list) {
		s.t.Fatalf("%d of %d networks fit, %v", fit, len(list), err)
	}
	lives := make([]time.Duration, fit)
	for i := range lives {
		lives[i] = 18 * time.Hour
	}
	l := s.listen(name)
	config := &tls.Config{Certificates: []tls.Certificate{s.authority.Issue(routerName(name))}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			conn := tls.Server(raw, config)
			for {
				m, err := read(conn)
				if err != nil {
					break
				}
				if m, ok := m.(*notify.NeighboursRequest); !ok || write(conn, a.Reply(m, lives)) != nil {
					break
				}
			}
			_ = raw.Close()
		}
	})
	return func() { _ = l.Close(); wg.Wait() }
}
