package info

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
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

// serve answers one router, part by part, until it hangs up.
func (s *Service) serve(conn *tls.Conn) {
	network, known := s.peer(conn.ConnectionState())
	if !known {
		s.stranger(conn, errors.New("its certificate has the name of no neighbour, and of none of info.routers"))
		return
	}
	for range maxRequests {
		m, err := read[*notify.NeighboursRequest](conn)
		if err != nil {
			return
		}
		now := time.Now()
		s.mu.Lock()
		s.measure(now)
		a := s.sheet(now, network, s.cfg.Hops)
		s.counts.Routers++
		s.mu.Unlock()
		if err := write(conn, a.Reply(m, a.lives(now, s.cfg.Lifetime))); err != nil {
			return
		}
	}
}

// peer says which neighbour's router it is, by its certificate; empty, of one that is no neighbour but may ask.
func (s *Service) peer(state tls.ConnectionState) (network string, known bool) {
	leaf := state.PeerCertificates[0]
	for _, n := range s.neighbours {
		if n.Identity != "" && leaf.VerifyHostname(n.Identity) == nil {
			return n.Network.Name, true
		}
	}
	return "", slices.ContainsFunc(s.cfg.Routers, func(name string) bool { return leaf.VerifyHostname(name) == nil })
}

// Status of a Service.
type Status struct {
	Network        string                        `json:"network"` // the router's own
	Networks       []neighbourhood.Known         `json:"networks"`
	Contradictions []neighbourhood.Contradiction `json:"contradictions,omitempty"`
	Table          neighbourhood.Counts          `json:"table"`
	Neighbours     []NeighbourStatus             `json:"neighbours,omitempty"`
	Nodes          int                           `json:"nodes"` // that have asked, and are still there
	Counts         Counts                        `json:"counts"`
}

// NeighbourStatus is a neighbouring router that is asked.
type NeighbourStatus struct {
	Network  string    `json:"network"`
	Address  string    `json:"address"`
	Identity string    `json:"identity"`
	Up       bool      `json:"up"`
	Heard    time.Time `json:"heard,omitzero"` // last
	Networks int       `json:"networks"`       // that it told of then
	Why      string    `json:"why,omitempty"`  // it is not up
}

// Status returns what is known at the moment.
func (s *Service) Status() Status {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.measure(now)
	st := Status{
		Network: s.cfg.Own.Name, Networks: s.table.Networks(now), Contradictions: s.table.Contradictions(now), Table: s.table.Counts(now),
		Nodes: len(s.nodes), Counts: s.counts,
	}
	for _, n := range s.neighbours {
		if n.Address != "" {
			st.Neighbours = append(st.Neighbours, NeighbourStatus{n.Network.Name, n.Address, n.Identity, n.up, n.heard, n.networks, n.why})
		}
	}
	return st
}
