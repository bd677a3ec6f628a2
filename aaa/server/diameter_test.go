package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/diameter"
	"openmpa/aaa/eap"
	"openmpa/internal/event"
)

// dsite is servers that a router asks by Diameter.
type dsite struct {
	t       *testing.T
	state   *State
	node    eap.PeerConfig
	servers []*dserver
	orders  *orders
	carrier aaa.Carrier
	backend *aaa.Realms
}

type dserver struct {
	core  *Server
	front *Diameter
	addr  string
	name  string
	kill  func()
}

// orders notes what servers want.
type orders struct {
	mu   sync.Mutex
	n    int
	list []string
}

func (o *orders) note(s string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, s)
	return o.n
}
func (o *orders) End(m aaa.Match, why string) int { return o.note("end " + m.Session + " " + why) }
func (o *orders) Again(m aaa.Match) int           { return o.note("again " + m.Session) }
func (o *orders) Extend(m aaa.Match, life time.Duration) int {
	return o.note(fmt.Sprint("extend ", m.Session, " ", life))
}

// running has something run until the test ends, or the function returned is called.
func running(t *testing.T, runs ...func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range runs {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

// newDiameterSite has n servers of home.example, the first preferred, and a router.
func newDiameterSite(t *testing.T, n int) *dsite {
	t.Helper()
	s := newDiameterServers(t, n, diameter.Peer{Identity: "*.visited.example"})
	var peers []diameter.Peer
	for _, d := range s.servers {
		peers = append(peers, diameter.Peer{Identity: d.name, Addr: d.addr})
	}
	s.router(peers...)
	return s
}

// newDiameterServers has n servers of home.example, whom those peers may ask.
func newDiameterServers(t *testing.T, n int, peers ...diameter.Peer) *dsite {
	t.Helper()
	state, err := OpenState(filepath.Join(t.TempDir(), "aaa"))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := state.ServerCertificate(serverName)
	if err != nil {
		t.Fatal(err)
	}
	s := &dsite{t: t, state: state, orders: &orders{n: 1}}
	s.node = (&site{t: t}).issue(state, nodeName)
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		d := &dserver{addr: l.Addr().String(), name: fmt.Sprintf("aaa%d.home.example", i)}
		d.core, err = New(Config{
			TLS: eap.ServerConfig{Certificate: cert, ClientCAs: state.Roots()}, SessionTimeout: time.Hour, Recorder: event.NewRecorder("aaa", nil, 0),
		})
		if err != nil {
			t.Fatal(err)
		}
		d.front, err = NewDiameter(d.core, diameter.Config{
			Identity: d.name, Realm: "home.example", Peers: peers, Listeners: []diameter.Listener{{Listener: l}},
		})
		if err != nil {
			t.Fatal(err)
		}
		d.kill = running(t, d.core.Run, d.front.Serve)
		s.servers = append(s.servers, d)
	}
	return s
}

// router connects a router to those peers, and waits for that.
func (s *dsite) router(peers ...diameter.Peer) {
	s.t.Helper()
	client, err := diameter.NewClient(diameter.Config{Identity: "ar-a.visited.example", Realm: "visited.example", Peers: peers}, diameter.ClientConfig{NASIdentifier: "ar-a"})
	if err != nil {
		s.t.Fatal(err)
	}
	s.carrier = aaa.NewDiameterCarrier(client)
	if s.backend, err = aaa.NewRealms(aaa.Operator{Name: "home", Carrier: s.carrier}); err != nil {
		s.t.Fatal(err)
	}
	running(s.t, func(ctx context.Context) error { return s.backend.Run(ctx, s.orders) })
	eventually(s.t, func() error {
		for _, x := range s.backend.Servers() {
			if !x.Alive {
				return fmt.Errorf("not connected: %+v", x)
			}
		}
		return nil
	})
}

// eventually waits for a condition to hold.
func eventually(t *testing.T, holds func() error) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestDiameterAuthentication says that a node authenticates, and what its grant has.
func TestDiameterAuthentication(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			s := newDiameterSite(t, 1)
			s.node.TLS.MaxVersion = version
			p, r, err := authenticate(t, s.backend, s.node)
			if err != nil || r.Decision != aaa.Accept {
				t.Fatalf("%v, %v, node: %v", r.Decision, err, p.Err())
			}
			_, success, msk := p.Result()
			if !success || msk.Len() != 64 || !msk.Equal(r.MSK) || r.SessionTimeout != time.Hour {
				t.Errorf("success %v, MSK equal %v, session timeout %v", success, msk.Equal(r.MSK), r.SessionTimeout)
			}
			g := r.Grant
			if !g.Stateful || g.Server != "aaa0.home.example" || !strings.HasPrefix(g.Session, "ar-a.visited.example;") || g.Identity != nodeName || g.Operator != "home" {
				t.Errorf("%+v", g)
			}
			if n := s.servers[0].core.Counters(); n.Accepted != 1 || n.Rejected != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// TestDiameterReject says that a node of another authority is refused, with the
// server's last EAP packet.
func TestDiameterReject(t *testing.T) {
	s := newDiameterSite(t, 1)
	other, err := OpenState(filepath.Join(t.TempDir(), "other"))
	if err != nil {
		t.Fatal(err)
	}
	stranger := (&site{t: t}).issue(other, nodeName)
	stranger.TLS.Roots = s.node.TLS.Roots
	_, r, err := authenticate(t, s.backend, stranger)
	var no *aaa.RejectError
	if !errors.As(err, &no) || no.Server != "aaa0.home.example" || r.Decision != aaa.Reject || len(r.EAP) == 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestDiameterServerKilled kills the server before each exchange of an authentication:
// with a spare one, it is a loss that says so, and the next authentication succeeds;
// without one, nobody answers.
func TestDiameterServerKilled(t *testing.T) {
	for _, spare := range []bool{true, false} {
		for at := 0; ; at++ {
			s := newDiameterSite(t, map[bool]int{true: 2, false: 1}[spare])
			if _, _, err := authenticate(t, s.backend, s.node); err != nil { // everybody is there
				t.Fatal(err)
			}
			killed := false
			_, r, err := converse(t, s.backend, s.node, func(round int) {
				if round == at {
					killed = true
					s.servers[0].kill()
				}
			})
			if !killed {
				if at < 4 {
					t.Errorf("only %d exchanges", at)
				}
				break
			}
			var lost *aaa.LostError
			switch {
			case spare && at == 0:
				if err != nil || r.Decision != aaa.Accept || r.Grant.Server != "aaa1.home.example" {
					t.Errorf("killed before the first exchange, with a spare: %+v, %v", r, err)
				}
			case spare:
				if !errors.As(err, &lost) || lost.Server != "aaa0.home.example" || lost.Next != "aaa1.home.example" {
					t.Errorf("killed before exchange %d, with a spare: %v", at, err)
				}
				if _, r, err = authenticate(t, s.backend, s.node); err != nil || r.Decision != aaa.Accept {
					t.Errorf("the one after that: %v", err)
				}
			case !errors.Is(err, aaa.ErrTimeout) || errors.As(err, &lost):
				t.Errorf("killed before exchange %d, alone: %v", at, err)
			}
		}
	}
}

// TestDiameterOrders says that what a server wants reaches the router, and that its
// answer is told.
func TestDiameterOrders(t *testing.T) {
	s := newDiameterSite(t, 1)
	_, r, err := authenticate(t, s.backend, s.node)
	if err != nil {
		t.Fatal(err)
	}
	client := "diameter:ar-a.visited.example"
	for _, k := range []OrderKind{OrderEnd, OrderAgain, OrderExtend} {
		if err := s.servers[0].front.Order(t.Context(), client, Order{Kind: k, Grant: r.Grant, Life: time.Minute, Why: "no credit"}); err != nil {
			t.Errorf("%v: %v", k, err)
		}
	}
	id := r.Grant.Session
	if want := fmt.Sprint([]string{"end " + id + " no credit", "again " + id, "extend " + id + " 1m0s"}); fmt.Sprint(s.orders.list) != want {
		t.Errorf("told %v, want %v", s.orders.list, want)
	}
	s.orders.n = 0
	err = s.servers[0].front.Order(t.Context(), client, Order{Kind: OrderEnd, Grant: r.Grant})
	var no *diameter.ResultError
	if !errors.As(err, &no) || no.Result != diameter.UnknownSession {
		t.Errorf("a session that is gone: %v", err)
	}
	if err := s.servers[0].front.Order(t.Context(), "diameter:ar-x.visited.example", Order{Kind: OrderEnd, Grant: r.Grant}); !errors.Is(err, diameter.ErrNoAnswer) {
		t.Errorf("a router that is not there: %v", err)
	}
}

// TestDiameterStateBelongsToItsRouter says that another router cannot go on with a
// conversation whose State it has got hold of.
func TestDiameterStateBelongsToItsRouter(t *testing.T) {
	s := newDiameterSite(t, 1)
	f := s.servers[0].front
	first := f.EAP(t.Context(), "ar-a.visited.example", diameter.EAPRequest{Session: "s", UserName: nodeName, EAP: identityResponse(nodeName)})
	if first.Result != diameter.MultiRoundAuth || len(first.State) != 1 {
		t.Fatalf("%+v", first)
	}
	response := []byte{2, first.EAP[1] + 1, 0, 6, 13, 0} // to another request: the one that is out is sent again
	for _, thief := range []string{"ar-b.visited.example", "ar-a.visited.example (relayed)"} {
		if a := f.EAP(t.Context(), thief, diameter.EAPRequest{Session: "s", UserName: nodeName, EAP: response, State: first.State}); a.Result != diameter.AuthenticationRejected {
			t.Errorf("%s: %v", thief, a.Result)
		}
	}
	if a := f.EAP(t.Context(), "ar-a.visited.example", diameter.EAPRequest{Session: "s", UserName: nodeName, EAP: response, State: first.State}); a.Result != diameter.MultiRoundAuth {
		t.Errorf("its own router: %v", a.Result)
	}
	if a := f.EAP(t.Context(), "ar-a.visited.example", diameter.EAPRequest{Session: "t"}); a.Result != diameter.MultiRoundAuth || len(a.EAP) != 5 || a.EAP[4] != byte(eap.TypeIdentity) {
		t.Errorf("a router that leaves it to the server to begin: %+v", a)
	}
}

func identityResponse(name string) []byte {
	return append([]byte{2, 1, 0, byte(5 + len(name)), byte(eap.TypeIdentity)}, name...)
}
