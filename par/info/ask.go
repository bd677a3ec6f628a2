package info

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"openmpa/internal/neighbourhood"
	"openmpa/paa/notify"
)

// neighbour is one that is asked. Its lower part is guarded by the service's mu.
type neighbour struct {
	Neighbour
	gathered notify.Gathering // of the goroutine that asks

	up       bool
	heard    time.Time // last
	networks int       // that it told of then
	why      string    // it is not up
	from     string    // of one that has come: its address
	busy     bool      // of one that has come: it is being asked
}

// backOff is the first pause after a failure; each further one is twice as long, Config.Every at most.
const backOff = time.Second

// follow asks one neighbour until the service ends.
func (s *Service) follow(n *neighbour) {
	pause := backOff
	for s.ctx.Err() == nil {
		err := s.ask(n)
		if s.ctx.Err() != nil {
			return
		}
		wait := s.cfg.Every
		if err != nil {
			s.heard(n, err)
			wait, pause = min(pause, s.cfg.Every), 2*pause
			pause = min(pause, s.cfg.Every)
		} else {
			pause = backOff
		}
		select {
		case <-s.ctx.Done():
		case <-time.After(wait):
		}
	}
}

// ask fetches what a neighbour's router knows.
func (s *Service) ask(n *neighbour) error {
	ctx, cancel := context.WithTimeout(s.ctx, exchangeMax)
	defer cancel()
	raw, err := s.cfg.Dial(ctx, n.Address)
	if err != nil {
		return fmt.Errorf("%w: does mpa-ar run there, with info.listen?", err)
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{s.cfg.Certificate}, RootCAs: s.cfg.Roots, ServerName: n.Identity,
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("expected the router %s: %w", n.Identity, err)
	}
	if err := fetch(conn, &n.gathered); err != nil {
		if remote := (*net.OpError)(nil); errors.Is(err, io.EOF) || errors.As(err, &remote) && remote.Op == "remote error" {
			return fmt.Errorf("it hangs up: %w; is our certificate of an authority that it knows, and a name in it the identity of one of its neighbours, or among its info.routers?", err)
		}
		return err
	}
	s.heard(n, nil)
	// Now it may ask us, if it does not know where we are.
	s.mu.Lock()
	a := s.sheet(time.Now(), n.Network.Name, s.cfg.Hops)
	s.mu.Unlock()
	if err := write(conn, &notify.NeighboursChanged{Revision: a.Revision()}); err == nil {
		s.answers(conn, n.Network.Name)
	}
	return nil
}

// heard takes what a neighbour has said, or that it said nothing.
func (s *Service) heard(n *neighbour, err error) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if n.up || n.why == "" {
			s.cfg.Log.Warn("a neighbouring router tells nothing; what it said holds until its time", "network", n.Network.Name, "address", n.Address, "err", err)
		}
		n.up, n.why = false, err.Error()
		return
	}
	if !n.up {
		s.cfg.Log.Info("a neighbouring router tells which networks are around", "network", n.Network.Name, "address", n.Address)
	}
	list := s.secondHand(n)
	n.up, n.why, n.heard, n.networks = true, "", now, len(list)
	s.table.Learn(now, n.source(), list, maxLifetime)
	s.changed() // if it is the same, it holds longer
}

func (n *neighbour) source() neighbourhood.Source {
	return neighbourhood.Source{Kind: neighbourhood.Router, Name: n.Network.Name}
}

// secondHand is what a neighbour's router says of others than us: at first hand about its own network only.
func (s *Service) secondHand(n *neighbour) []neighbourhood.Network {
	list := slices.DeleteFunc(n.gathered.Networks(), func(o neighbourhood.Network) bool { return o.Name == s.cfg.Own.Name })
	for i := range list {
		if list[i].Name != n.Network.Name {
			list[i].Hops = max(1, list[i].Hops)
		}
	}
	return list
}
