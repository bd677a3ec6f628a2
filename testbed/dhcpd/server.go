package dhcpd

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"

	"openmpa/internal/state"
	"openmpa/testbed/space"
)

// A Server is a table behind one socket for each link.
type Server struct {
	servers []listener
	store   state.Store
	wg      sync.WaitGroup

	mu    sync.Mutex
	table *Table // guarded by mu
	mute  bool   // guarded by mu
}

// A listener is the socket of a link.
type listener interface {
	Serve() error // until it is closed
	Close() error
}

// Serve opens the pools' interfaces in the namespace s and answers. Leases end with it.
func Serve(s *space.Space, pools []Pool, lifetime time.Duration) (*Server, error) {
	return serve(s, pools, lifetime, state.NewMemory())
}

// ServeFile is Serve with leases in the file at path, where they outlive it.
func ServeFile(s *space.Space, pools []Pool, lifetime time.Duration, path string) (*Server, error) {
	store, err := state.Open(path, slog.Default())
	if err != nil {
		return nil, fmt.Errorf("dhcpd: %w", err)
	}
	return serve(s, pools, lifetime, store)
}

func serve(s *space.Space, pools []Pool, lifetime time.Duration, store state.Store) (*Server, error) {
	table, err := NewTable(pools, lifetime, store)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	srv := &Server{table: table, store: store}
	for _, p := range table.pools {
		var one listener
		err := s.Do(func() (err error) {
			if p.Prefix.Addr().Is6() {
				one, err = listen6(p.Interface, func(conn *net.UDPConn, peer *net.UDPAddr, datagram []byte) {
					srv.answer6(conn, p.Interface, peer, datagram)
				})
				return err
			}
			one, err = server4.NewServer(p.Interface, nil, func(conn net.PacketConn, _ net.Addr, m *dhcpv4.DHCPv4) {
				srv.handle(conn, p.Interface, m)
			})
			return err
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("dhcpd: %s: %w", p.Interface, err), srv.Close())
		}
		srv.servers = append(srv.servers, one)
		srv.wg.Add(1)
		go func() {
			defer srv.wg.Done()
			// It ends with an error when Close closes its socket.
			_ = one.Serve()
		}()
	}
	return srv, nil
}

// Close stops answering, and no more: what is in the file is what was granted.
func (s *Server) Close() error {
	var errs []error
	for _, one := range s.servers {
		if err := one.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	s.wg.Wait()
	if err := s.store.Close(); !errors.Is(err, state.ErrClosed) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// With runs fn on the table; nothing is answered meanwhile.
func (s *Server) With(fn func(*Table)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s.table)
}

// Leases are the addresses that are not free now.
func (s *Server) Leases() (leases []Lease) {
	s.With(func(t *Table) { leases = t.Leases(time.Now()) })
	return leases
}

// Mute has the server silent altogether, or answer again.
func (s *Server) Mute(mute bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mute = mute
}

func (s *Server) handle(conn net.PacketConn, ifname string, m *dhcpv4.DHCPv4) {
	s.mu.Lock()
	if s.mute {
		s.mu.Unlock()
		return
	}
	r := s.table.Handle(time.Now(), ifname, m)
	s.mu.Unlock()
	if r == nil {
		return
	}
	// A reply that cannot be sent is as good as one lost on the way: the
	// client repeats its request.
	_, _ = conn.WriteTo(r.ToBytes(), net.UDPAddrFromAddrPort(destination(m, r)))
}
