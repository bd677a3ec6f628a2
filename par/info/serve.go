package info

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"openmpa/internal/neighbourhood"
	"openmpa/paa/notify"
)

const (
	maxConns    = 32
	acceptPause = 100 * time.Millisecond // after a failure of the listener
)

// accept answers routers until the listener is closed.
func (s *Service) accept() {
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{s.cfg.Certificate},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: s.cfg.Roots, SessionTicketsDisabled: true,
	}
	for s.ctx.Err() == nil {
		raw, err := s.cfg.Listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil {
				return
			}
			select {
			case <-s.ctx.Done():
			case <-time.After(acceptPause): // out of descriptors, as a rule
			}
			continue
		}
		if !s.room(+1) {
			_ = raw.Close()
			continue
		}
		s.wg.Go(func() {
			defer s.room(-1)
			defer raw.Close()
			ctx, cancel := context.WithTimeout(s.ctx, exchangeMax)
			defer cancel()
			defer context.AfterFunc(ctx, func() { raw.Close() })()
			conn := tls.Server(raw, config)
			if err := conn.HandshakeContext(ctx); err != nil {
				s.stranger(raw, err)
				return
			}
			s.serve(conn)
		})
	}
}

// room counts connections; there are maxConns at most.
func (s *Service) room(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > 0 && s.conns == maxConns {
		return false
	}
	s.conns += n
	return true
}

func (s *Service) stranger(raw net.Conn, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Strangers++
	s.cfg.Log.Debug("no router that may ask", "from", raw.RemoteAddr(), "err", err)
}

// serve answers one router, part by part, until it hangs up; when it says so it is asked, too.
func (s *Service) serve(conn *tls.Conn) {
	n, known := s.peer(conn.ConnectionState())
	if !known {
		s.stranger(conn, errors.New("its certificate has no name of a router here: of a neighbour, of info.site, or of info.routers"))
		return
	}
	name := ""
	if n != nil {
		name = n.Network.Name
	}
	if !s.answers(conn, name) || n == nil || n.Address != "" || !s.take(n, conn) {
		return
	}
	err := fetch(conn, &n.gathered)
	if s.ctx.Err() == nil {
		s.heard(n, err)
	}
	s.mu.Lock()
	n.busy = false
	s.mu.Unlock()
}

// answers answers the router of a network until it says that it is its turn, or hangs up.
func (s *Service) answers(conn net.Conn, network string) (turn bool) {
	for range maxRequests {
		m, err := read(conn)
		if err != nil {
			return false
		}
		switch m := m.(type) {
		case *notify.NeighboursChanged:
			return true
		case *notify.NeighboursRequest:
			now := time.Now()
			s.mu.Lock()
			s.measure(now)
			a := s.sheet(now, network, s.cfg.Hops)
			s.counts.Answers++
			s.mu.Unlock()
			if err := write(conn, a.Reply(m, a.lives(now, s.cfg.Lifetime))); err != nil {
				return false
			}
		default:
			return false
		}
	}
	return false
}

// peer says which router it is, by its certificate; nil of one that may ask and is not asked.
func (s *Service) peer(state tls.ConnectionState) (n *neighbour, known bool) {
	leaf := state.PeerCertificates[0]
	for _, n := range s.neighbours {
		if n.Identity != "" && leaf.VerifyHostname(n.Identity) == nil {
			return n, true
		}
	}
	for _, name := range leaf.DNSNames {
		if network := s.ofSite(name); network != "" && leaf.VerifyHostname(name) == nil {
			return &neighbour{Neighbour: Neighbour{Network: neighbourhood.Network{Name: network}, Identity: name}}, true
		}
	}
	return nil, slices.ContainsFunc(s.cfg.Routers, func(name string) bool { return leaf.VerifyHostname(name) == nil })
}

// ofSite is the network that a router of the site has, by its name; empty: it is none, or that of ours.
func (s *Service) ofSite(name string) string {
	network, ok := strings.CutSuffix(name, "."+s.cfg.Site)
	if !ok || s.cfg.Site == "" {
		return ""
	}
	network, ok = strings.CutPrefix(network, RouterLabel)
	one := neighbourhood.Network{Name: network}
	if !ok || strings.ContainsAny(network, ".*") || network == s.cfg.Own.Name || one.Check() != nil {
		return ""
	}
	return network
}

// take makes a router that has come one that is asked over its own connection: the one it was before, or a new one in the place of one
// that is silent. It reports false where there is no room, and where it is being asked already.
func (s *Service) take(n *neighbour, conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.neighbours, n) {
		if n.busy {
			return false
		}
	} else {
		i := slices.IndexFunc(s.came, func(o *neighbour) bool { return o.Network.Name == n.Network.Name })
		switch {
		case i >= 0 && s.came[i].busy:
			return false
		case i >= 0:
			o := s.came[i]
			n.gathered, n.up, n.heard, n.networks, n.why = o.gathered, o.up, o.heard, o.networks, o.why
			s.came[i] = n
		case len(s.cfg.Neighbours)+len(s.came) < maxNeighbours:
			s.came = append(s.came, n)
		default:
			silent := slices.IndexFunc(s.came, func(o *neighbour) bool { return !o.busy && time.Since(o.heard) > maxLifetime })
			if silent < 0 {
				return false
			}
			s.came[silent] = n
		}
	}
	n.busy, n.from = true, conn.RemoteAddr().String()
	return true
}

// Status of a Service.
type Status struct {
	Network        string                        `json:"network"` // the router's own
	Networks       []neighbourhood.Known         `json:"networks"`
	Contradictions []neighbourhood.Contradiction `json:"contradictions,omitempty"`
	Table          neighbourhood.Counts          `json:"table"`
	Neighbours     []NeighbourStatus             `json:"neighbours,omitempty"`
	Nodes          int                           `json:"nodes"` // that have asked, and are still there
	Told           NodeCounts                    `json:"told"`
	Routers        RouterCounts                  `json:"routers"`
}

// NeighbourStatus is a neighbouring router that is asked.
type NeighbourStatus struct {
	Network  string    `json:"network"`
	Address  string    `json:"address,omitempty"` // where it is asked
	From     string    `json:"from,omitempty"`    // where it came from, if it is asked when it comes
	Identity string    `json:"identity"`
	Up       bool      `json:"up"`
	Heard    time.Time `json:"heard,omitzero"` // last
	Networks int       `json:"networks"`       // that it told of then
	Why      string    `json:"why,omitempty"`  // it is not up
}

// Status returns what is known at the moment.
func (s *Service) Status() Status {
	now := time.Now()
	s.nodeMu.Lock()
	nodes, given := len(s.nodes), s.given
	s.nodeMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{
		Network: s.cfg.Own.Name, Networks: s.table.Networks(now), Contradictions: s.table.Contradictions(now), Table: s.table.Counts(now),
		Nodes: nodes, Told: given, Routers: s.counts,
	}
	for _, n := range slices.Concat(s.neighbours, s.came) {
		if n.Identity != "" {
			st.Neighbours = append(st.Neighbours, NeighbourStatus{n.Network.Name, n.Address, n.from, n.Identity, n.up, n.heard, n.networks, n.why})
		}
	}
	return st
}
