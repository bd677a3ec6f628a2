package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"openmpa/aaa"
	"openmpa/aaa/eap"
	"openmpa/aaa/radius"
	"openmpa/internal/event"
	"openmpa/paa/keys"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hub joins sockets in memory by their addresses.
type hub struct {
	mu    sync.Mutex
	ports map[netip.AddrPort]*port
	// pass says how many copies of a packet arrive; nil: one.
	pass func(from, to netip.AddrPort, b []byte) int
}

type port struct {
	hub    *hub
	addr   netip.AddrPort
	in     chan packet
	closed chan struct{}
	once   sync.Once
}

type packet struct {
	b    []byte
	from netip.AddrPort
}

func (h *hub) open(addr string) *port {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ports == nil {
		h.ports = map[netip.AddrPort]*port{}
	}
	p := &port{hub: h, addr: netip.MustParseAddrPort(addr), in: make(chan packet, 4096), closed: make(chan struct{})}
	h.ports[p.addr] = p
	return p
}

func (p *port) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case x := <-p.in:
		return copy(b, x.b), x.from, nil
	case <-p.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (p *port) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	h := p.hub
	h.mu.Lock()
	dst := h.ports[to]
	n := 1
	if h.pass != nil {
		n = h.pass(p.addr, to, b)
	}
	h.mu.Unlock()
	for range n {
		if dst != nil {
			dst.in <- packet{bytes.Clone(b), p.addr}
		}
	}
	return len(b), nil
}

func (p *port) Close() error { p.once.Do(func() { close(p.closed) }); return nil }

const (
	serverName = "aaa.home.example"
	nodeName   = "mn@home.example"
	serverAddr = "10.0.5.1:1812"
	routerAddr = "10.0.2.1:40000"
)

func secret(s string) *keys.Secret { return keys.NewSecret([]byte(s)) }

// site is a server with its state directory, and a node with its certificate.
type site struct {
	t        *testing.T
	hub      hub
	server   *Server
	front    *RADIUS
	recorder *event.Recorder
	client   *radius.Client
	backend  aaa.Backend
	node     eap.PeerConfig
}

// runRADIUS makes a server with its RADIUS front, and has both run until the test ends.
func runRADIUS(t *testing.T, cfg Config, clients []Client, conn Conn) (*Server, *RADIUS) {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewRADIUS(s, RADIUSConfig{Clients: clients})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- s.Run(ctx) }()
	go func() { done <- f.Serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, <-done); err != nil {
			t.Error(err)
		}
		if n := s.Counters().Sessions; n != 0 {
			t.Errorf("%d sessions left", n)
		}
	})
	return s, f
}

// client makes one of text.
func client(prefix, key string) Client {
	return Client{Prefix: netip.MustParsePrefix(prefix), Secret: secret(key)}
}

func newSite(t *testing.T, change func(*Config), more ...Client) *site {
	t.Helper()
	dir := t.TempDir()
	state, err := OpenState(filepath.Join(dir, "aaa"))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := state.ServerCertificate(serverName)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, recorder: event.NewRecorder("aaa", nil, 0)}
	cfg := Config{
		TLS: eap.ServerConfig{Certificate: cert, ClientCAs: state.Roots()}, SessionTimeout: time.Hour, Recorder: s.recorder,
	}
	if change != nil {
		change(&cfg)
	}
	s.server, s.front = runRADIUS(t, cfg, append([]Client{client("10.0.0.0/8", "testing123")}, more...), s.hub.open(serverAddr))
	s.client, s.backend = s.router(routerAddr, "testing123")
	t.Cleanup(func() { _ = s.client.Close() })
	s.node = s.issue(state, nodeName)
	return s
}

// issue makes the node's configuration from files as the command writes them.
func (s *site) issue(state *State, name string) eap.PeerConfig {
	s.t.Helper()
	files, err := state.Issue(name, s.t.TempDir())
	if err != nil {
		s.t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(files[0], files[1])
	if err != nil {
		s.t.Fatal(err)
	}
	pem, err := os.ReadFile(files[2])
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		s.t.Fatal("no CA in its file")
	}
	return eap.PeerConfig{Identity: name, TLS: eap.TLSConfig{Roots: roots, ServerName: serverName, Certificate: pair}}
}

func (s *site) router(addr, key string) (*radius.Client, aaa.Backend) {
	s.t.Helper()
	c, err := radius.NewClient(radius.Config{
		NASIdentifier: "ar-a", Servers: []radius.Server{{Addr: netip.MustParseAddrPort(serverAddr), Secret: secret(key)}},
		Timeout: 10 * time.Second, Listen: func() (radius.Conn, error) { return s.hub.open(addr), nil },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return c, aaa.NewRADIUS(c)
}

// authenticate carries packets between a node and a backend.
func authenticate(t *testing.T, backend aaa.Backend, cfg eap.PeerConfig) (p *eap.Peer, r aaa.Result, err error) {
	t.Helper()
	return converse(t, backend, cfg, func(int) {})
}

// converse is authenticate with something done before each exchange, by its number
// from 0 on.
func converse(t *testing.T, backend aaa.Backend, cfg eap.PeerConfig, before func(round int)) (p *eap.Peer, r aaa.Result, err error) {
	t.Helper()
	p, err = eap.NewPeer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	session, err := backend.Start(t.Context(), aaa.SessionInfo{NASPort: "sid-1", CallingStation: "10.1.0.100", CalledStation: "ar.a.example"})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	r.EAP = session.Identity()
	for round := range 200 {
		response, _ := p.Handle(r.EAP)
		if r.Decision != aaa.Continue {
			return p, r, err
		}
		before(round)
		if r, err = session.Exchange(t.Context(), response); err != nil && r.EAP == nil {
			p.AltReject() // as PANA does
			return p, r, err
		}
	}
	t.Fatal("no end")
	return nil, r, nil
}

func (s *site) lastEvent() event.Event {
	all := s.recorder.Events(event.HandoverID{})
	if len(all) == 0 {
		s.t.Fatal("no events")
	}
	return all[len(all)-1]
}

func TestAuthentication(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, func(c *Config) { c.TLS.MaxVersion = version })
				p, r, err := authenticate(t, s.backend, s.node)
				if err != nil || r.Decision != aaa.Accept {
					t.Fatalf("%v, %v, node: %v", r.Decision, err, p.Err())
				}
				_, success, msk := p.Result()
				if !success || msk.Len() != 64 || !msk.Equal(r.MSK) || r.SessionTimeout != time.Hour {
					t.Errorf("success %v, MSK equal %v, session timeout %v", success, msk.Equal(r.MSK), r.SessionTimeout)
				}
				e := s.lastEvent()
				if e.Phase != event.PhaseAuth || e.Kind != event.KindEnd || e.Outcome != event.OK || e.Attrs["tls"] != name ||
					e.Attrs["identity"] != nodeName || e.Attrs["method"] != "EAP-TLS" || e.Attrs["nas"] != "ar-a" {
					t.Errorf("%+v", e)
				}
				if n := s.server.Counters(); n.Accepted != 1 || n.Rejected != 0 {
					t.Errorf("%+v", n)
				}
			})
		})
	}
}

// TestLossAndDuplication loses every third packet and repeats the others.
func TestLossAndDuplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		n := 0
		s.hub.pass = func(_, _ netip.AddrPort, _ []byte) int {
			if n++; n%3 == 0 {
				return 0
			}
			return 2
		}
		p, r, err := authenticate(t, s.backend, s.node)
		if err != nil || r.Decision != aaa.Accept {
			t.Fatalf("%v, %v, node: %v", r.Decision, err, p.Err())
		}
		synctest.Wait()
		c := s.server.Counters()
		if s.front.Counters().Duplicates == 0 || c.Accepted != 1 || c.Invalid != 0 || c.UnknownState != 0 {
			t.Errorf("%+v", c)
		}
	})
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		rogue, err := OpenState(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			cfg     func() eap.PeerConfig
			node    error // of the peer; nil: an alert
			outcome string
		}{
			"client of another CA": {func() eap.PeerConfig {
				cfg := s.issue(rogue, nodeName)
				cfg.TLS.Roots = s.node.TLS.Roots
				return cfg
			}, nil, "issuer is not among the trusted CA certificates"},
			"server of another CA": {func() eap.PeerConfig {
				cfg := s.node
				cfg.TLS.Roots = rogue.Roots()
				return cfg
			}, eap.ErrUnknownCA, "client refused by TLS alert 42"},
			"server of another name": {func() eap.PeerConfig {
				cfg := s.node
				cfg.TLS.ServerName = "aaa.other.example"
				return cfg
			}, eap.ErrWrongName, "client refused by TLS alert 42"},
			"identity of somebody else": {func() eap.PeerConfig {
				cfg := s.node
				cfg.Identity = "other@home.example"
				return cfg
			}, nil, `the peer says it is "other@home.example", its certificate is for "mn@home.example"`},
		} {
			p, r, err := authenticate(t, s.backend, c.cfg())
			var reject *aaa.RejectError
			if !errors.As(err, &reject) || r.Decision != aaa.Reject || r.MSK != nil {
				t.Errorf("%s: %v, %v", name, r.Decision, err)
			}
			if done, success, _ := p.Result(); !done || success {
				t.Errorf("%s: the node did not fail", name)
			}
			var alert *eap.AlertError
			if c.node != nil && !errors.Is(p.Err(), c.node) || c.node == nil && !errors.As(p.Err(), &alert) {
				t.Errorf("%s: node: %v", name, p.Err())
			}
			if e := s.lastEvent(); e.Outcome != event.Failed || !strings.Contains(e.Reason, c.outcome) {
				t.Errorf("%s: event: %v %q", name, e.Outcome, e.Reason)
			}
		}
		if n := s.server.Counters(); n.Accepted != 0 || n.Rejected != 4 {
			t.Errorf("%+v", n)
		}
		anonymous := s.node
		anonymous.Identity = "@home.example"
		if _, r, err := authenticate(t, s.backend, anonymous); err != nil || r.Decision != aaa.Accept {
			t.Errorf("anonymous: %v, %v", r.Decision, err)
		}
	})
}

func TestUnknownClientAndWrongSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		stranger, backend := s.router("192.0.2.1:40000", "testing123")
		defer stranger.Close()
		_, _, err := authenticate(t, backend, s.node)
		if !errors.Is(err, aaa.ErrTimeout) || !strings.Contains(err.Error(), serverAddr) {
			t.Errorf("%v", err)
		}
		wrong, backend := s.router("10.0.2.2:40000", "another")
		defer wrong.Close()
		if _, _, err = authenticate(t, backend, s.node); !errors.Is(err, aaa.ErrTimeout) {
			t.Errorf("%v", err)
		}
		if n := s.front.Counters(); n.UnknownClient != 3 || n.WrongSecret != 3 || n.Requests != 0 {
			t.Errorf("%+v", n)
		}
	})
}

// TestLongestPrefix gives one router of a network a secret of its own.
func TestLongestPrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil, client("10.0.2.2/32", "its own"))
		c, backend := s.router("10.0.2.2:40000", "its own")
		defer c.Close()
		if _, r, err := authenticate(t, backend, s.node); err != nil || r.Decision != aaa.Accept {
			t.Errorf("%v, %v", r.Decision, err)
		}
	})
}

// TestStateBelongsToItsRouter replays a State from another address.
func TestStateBelongsToItsRouter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		identity := append([]byte{2, 1, 0, byte(5 + len(nodeName)), 1}, nodeName...)
		r, err := s.client.Exchange(t.Context(), radius.Request{UserName: nodeName, EAP: identity})
		if err != nil || r.Code != radius.AccessChallenge || len(r.State) != stateLen {
			t.Fatalf("%+v, %v", r, err)
		}
		other, _ := s.router("10.0.2.2:40000", "testing123")
		defer other.Close()
		for name, req := range map[string]radius.Request{
			"of another router": {UserName: nodeName, EAP: []byte{2, 2, 0, 6, 13, 0}, State: r.State},
			"nobody's":          {UserName: nodeName, EAP: []byte{2, 2, 0, 6, 13, 0}, State: make([]byte, stateLen)},
			"short":             {UserName: nodeName, EAP: []byte{2, 2, 0, 6, 13, 0}, State: []byte{1}},
			"no EAP":            {UserName: nodeName},
			"not an identity":   {UserName: nodeName, EAP: []byte{2, 2, 0, 6, 13, 0}},
		} {
			if got, err := other.Exchange(t.Context(), req); err != nil || got.Code != radius.AccessReject {
				t.Errorf("%s: %v, %v", name, got.Code, err)
			}
		}
		if n := s.server.Counters(); n.UnknownState != 3 || n.Invalid != 2 || n.Sessions != 1 {
			t.Errorf("%+v", n)
		}
	})
}

// TestExpiry leaves conversations alone: they are forgotten, with their goroutines.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(c *Config) { c.MaxSessions = 2 })
		identity := append([]byte{2, 1, 0, byte(5 + len(nodeName)), 1}, nodeName...)
		for range 2 {
			if _, err := s.client.Exchange(t.Context(), radius.Request{UserName: nodeName, EAP: identity}); err != nil {
				t.Fatal(err)
			}
		}
		if n := s.server.Counters().Sessions; n != 2 {
			t.Errorf("%d sessions", n)
		}
		// No room: no answer, and the next server could be asked.
		if _, err := s.client.Exchange(t.Context(), radius.Request{UserName: nodeName, EAP: identity}); err == nil {
			t.Error("a third session")
		}
		if s.server.Counters().Overload == 0 {
			t.Error("not counted")
		}
		time.Sleep(sessionIdle + 2*sweep)
		if n := s.server.Counters(); n.Sessions != 0 || n.Expired != 2 {
			t.Errorf("%+v", n)
		}
		if e := s.lastEvent(); e.Outcome != event.Failed || !strings.Contains(e.Reason, "silent") {
			t.Errorf("%+v", e)
		}
		if _, r, err := authenticate(t, s.backend, s.node); err != nil || r.Decision != aaa.Accept {
			t.Errorf("afterwards: %v, %v", r.Decision, err)
		}
	})
}

// TestInvalidPackets sends responses under a wrong identifier: the request comes
// again, and after the fifth the conversation is over.
func TestInvalidPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		identity := append([]byte{2, 1, 0, byte(5 + len(nodeName)), 1}, nodeName...)
		first, err := s.client.Exchange(t.Context(), radius.Request{UserName: nodeName, EAP: identity})
		if err != nil {
			t.Fatal(err)
		}
		for i := 1; i <= maxInvalid; i++ {
			r, err := s.client.Exchange(t.Context(), radius.Request{UserName: nodeName, EAP: []byte{2, 77, 0, 6, 13, 0}, State: first.State})
			if err != nil {
				t.Fatal(err)
			}
			again := r.Code == radius.AccessChallenge && bytes.Equal(r.EAP, first.EAP)
			over := r.Code == radius.AccessReject && bytes.Equal(r.EAP, []byte{4, first.EAP[1], 0, 4})
			if i < maxInvalid && !again || i == maxInvalid && !over {
				t.Errorf("%d: %v % x", i, r.Code, r.EAP)
			}
		}
	})
}

func TestMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				if _, r, err := authenticate(t, s.backend, s.node); err != nil || r.Decision != aaa.Accept {
					t.Errorf("%v, %v", r.Decision, err)
				}
			})
		}
		wg.Wait()
		if n := s.server.Counters(); n.Accepted != 40 || n.Pending != 0 {
			t.Errorf("%+v", n)
		}
	})
}

func TestCache(t *testing.T) {
	c := newCache()
	now := time.Unix(1000, 0)
	key := cacheKey{netip.MustParseAddrPort(routerAddr), radius.AccessRequest, 7}
	e, seen := c.add(now, key, [16]byte{1})
	if seen {
		t.Fatal("seen at first")
	}
	e.reply = []byte("reply")
	if again, seen := c.add(now.Add(29*time.Second), key, [16]byte{1}); !seen || string(again.reply) != "reply" {
		t.Error("not recognised")
	}
	if _, seen := c.add(now.Add(29*time.Second), key, [16]byte{2}); seen {
		t.Error("another authenticator is another request")
	}
	if _, seen := c.add(now.Add(29*time.Second), key, [16]byte{1}); seen {
		t.Error("the request that was replaced is still known")
	}
	if _, seen := c.add(now.Add(2*time.Minute), key, [16]byte{1}); seen {
		t.Error("known for ever")
	}
	for i := range 2 * cacheSize {
		c.add(now, cacheKey{netip.AddrPortFrom(key.from.Addr(), uint16(i)), radius.AccessRequest, byte(i >> 16)}, [16]byte{})
	}
	if len(c.order) > cacheSize || len(c.entries) > cacheSize {
		t.Errorf("%d entries, %d in order", len(c.entries), len(c.order))
	}
}

func TestAuthorize(t *testing.T) {
	names := []string{"mn@home.example", "node7"}
	for _, ok := range []string{"mn@home.example", "mn@HOME.example", "@home.example", "anonymous@home.example", "node7"} {
		if err := authorize(ok, names); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range []string{"MN@home.example", "other@home.example", "mn@other.example", "@other.example", "anonymous", "mn", "@", "node8"} {
		if err := authorize(bad, names); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
	if err := authorize("mn@home.example", nil); err == nil {
		t.Error("a certificate without names")
	}
}

func TestNewChecks(t *testing.T) {
	state, err := OpenState(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := state.ServerCertificate(serverName)
	if err != nil {
		t.Fatal(err)
	}
	good := Config{TLS: eap.ServerConfig{Certificate: cert, ClientCAs: state.Roots()}}
	for name, change := range map[string]func(*Config){
		"no certificate": func(c *Config) { c.TLS.Certificate = tls.Certificate{} },
		"TLS 1.0":        func(c *Config) { c.TLS.MinVersion = tls.VersionTLS10 },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	core, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, clients := range map[string][]Client{
		"no clients": nil,
		"no secret":  {{Prefix: netip.MustParsePrefix("10.0.0.0/8")}},
		"no prefix":  {{Secret: secret("x")}},
	} {
		if _, err := NewRADIUS(core, RADIUSConfig{Clients: clients}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
