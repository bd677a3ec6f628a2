package eap

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"openmpa/paa/keys"
)

// accounts has one user, testClient, with testPassword.
type accounts struct {
	password string
	version  string
	err      error
}

func (a *accounts) find(_ Type, user string) (Account, error) {
	switch {
	case a.err != nil:
		return Account{}, a.err
	case user != testClient:
		return Account{}, errors.New("there is no such user")
	}
	nt, err := NTHash(a.password)
	return Account{
		Name: testClient, NTHash: nt, Version: a.version,
		Check: func(p []byte) bool { return string(p) == a.password },
	}, err
}

// users gives the bench's server a user with a password.
func (b *bench) users() *accounts {
	a := &accounts{password: testPassword, version: "1"}
	b.server.Methods, b.server.Accounts = []Type{TypeTLS, TypeTTLS, TypePEAP}, a.find
	return a
}

var tunnels = []struct {
	kind  Type
	inner Inner
}{{TypeTTLS, InnerPAP}, {TypeTTLS, InnerMSCHAPv2}, {TypePEAP, InnerMSCHAPv2}}

// forTunnels does it for every tunnelled method in both versions of TLS.
func forTunnels(t *testing.T, do func(t *testing.T, b *bench, a *accounts)) {
	t.Helper()
	forVersions(t, func(t *testing.T, version uint16) {
		for _, m := range tunnels {
			t.Run(fmt.Sprintf("%v/%v", m.kind, m.inner), func(t *testing.T) {
				b := newBench(t, version)
				a := b.users()
				b.tunnelled(m.kind, m.inner)
				b.peer.TLS.SessionCache = tls.NewLRUClientSessionCache(4)
				b.server.Sessions = NewSessions(time.Hour, nil)
				do(t, b, a)
			})
		}
	})
}

// TestTunnels has our peer and our server agree, in full and resumed, which takes no
// more packets. The server offers EAP-TLS first, and the peer says what it wants.
func TestTunnels(t *testing.T) {
	forTunnels(t, func(t *testing.T, b *bench, _ *accounts) {
		full := b.converse(t)
		checkSuccess(t, full)
		again := b.converse(t)
		checkSuccess(t, again)
		if full.server.Resumed() || !again.server.Resumed() || full.server.Method() != b.peer.Method || again.requests > full.requests {
			t.Errorf("resumed %v and %v, method %v, requests %d and %d", full.server.Resumed(), again.server.Resumed(), full.server.Method(), full.requests, again.requests)
		}
		b.peer.FragmentSize, b.server.FragmentSize = MinFragmentSize, MinFragmentSize
		b.server.Sessions = nil
		checkSuccess(t, b.converse(t))
	})
}

// TestTicketsAreShort counts the packets of a resumption: one each way for each flight.
func TestTicketsAreShort(t *testing.T) {
	forVersions(t, func(t *testing.T, version uint16) {
		b := newBench(t, version)
		b.peer.TLS.SessionCache = tls.NewLRUClientSessionCache(4)
		b.server.Sessions = NewSessions(time.Hour, nil)
		full := b.converse(t)
		for range 2 {
			again := b.converse(t)
			checkSuccess(t, again)
			if !again.server.Resumed() || again.requests > full.requests || again.largest > 600 {
				t.Errorf("resumed %v in %d requests, of %d in full; the largest packet has %d octets", again.server.Resumed(), again.requests, full.requests, again.largest)
			}
		}
	})
}

// TestTunnelsRefuse gives the reason, and nobody is resumed after it.
func TestTunnelsRefuse(t *testing.T) {
	forTunnels(t, func(t *testing.T, b *bench, a *accounts) {
		for says, change := range map[string]func(){
			"wrong password": func() { b.peer.Password = keys.NewSecret([]byte("x")) },
			"no such user":   func() { b.peer.Identity = "who@home.example" },
			"not today":      func() { a.err = errors.New("not today") },
			"is not kept in a": func() {
				b.server.Accounts = func(Type, string) (Account, error) { return Account{Name: testClient}, nil }
			},
		} {
			peer, server, users := b.peer, b.server, *a
			change()
			r := b.converse(t)
			var denied *DeniedError
			_, success, msk, emsk, _ := r.server.Result()
			if success || msk != nil || emsk != nil || !errors.As(r.server.Err(), &denied) || !strings.Contains(denied.Error(), says) {
				t.Errorf("%s: %v, %v", says, success, r.server.Err())
			}
			if _, success, _ := r.peer.Result(); success || r.peer.Err() == nil || strings.Contains(r.server.Err().Error(), "\n") {
				t.Errorf("%s: peer %v, %v", says, success, r.peer.Err())
			}
			b.peer, b.server, *a = peer, server, users
		}
		r := b.converse(t)
		checkSuccess(t, r)
		if r.server.Resumed() {
			t.Error("resumed what was refused")
		}
	})
}

// TestResumptionAsksAgain resumes nobody who is not there any more, has another
// password, or was authenticated too long ago; nor in another method or after a restart.
func TestResumptionAsksAgain(t *testing.T) {
	forTunnels(t, func(t *testing.T, b *bench, a *accounts) {
		now := time.Now()
		b.server.Time = func() time.Time { return now }
		for name, change := range map[string]func(){
			"another password": func() { a.version = "2" },
			"gone":             func() { a.err = errors.New("gone") },
			"too late":         func() { now = now.Add(time.Hour + time.Second) },
			"restarted":        func() { b.server.Sessions = NewSessions(time.Hour, nil) },
		} {
			server, users, then := b.server, *a, now
			b.peer.TLS.SessionCache = tls.NewLRUClientSessionCache(4)
			checkSuccess(t, b.converse(t))
			if r := b.converse(t); !r.server.Resumed() {
				t.Fatalf("%s: not resumed before", name)
			}
			change()
			r := b.converse(t)
			if _, success, _, _, _ := r.server.Result(); r.server.Resumed() || success != (name != "gone") {
				t.Errorf("%s: resumed %v, success %v, %v", name, r.server.Resumed(), success, r.server.Err())
			}
			b.server, *a, now = server, users, then
			b.server.Time = func() time.Time { return now }
		}
	})
}

// raw runs a script at a peer that keeps to nothing else, and returns what the server
// makes of it.
func raw(t testing.TB, cfg ServerConfig, kind Type, client *tls.Config, run script) *Server {
	t.Helper()
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	var m method
	m.tx.size = MaxFragmentSize
	defer m.close(false)
	request := s.Start(1)
	for range 100 {
		pkt, err := Parse(request)
		if err != nil {
			t.Fatal(err)
		}
		if pkt.Code != CodeRequest {
			return s
		}
		f, err := parseFragment(pkt.Data)
		if err != nil {
			t.Fatal(err)
		}
		var reply fragment
		if f.start {
			m.eng = startEngine(true, kind, client, run)
			m.tx.load(m.eng.conn.take())
			reply = m.tx.next()
		} else {
			reply, _, _ = m.exchange(f) // whatever it thinks of it
		}
		if request, _ = s.Handle(Packet{Code: CodeResponse, ID: pkt.ID, Type: kind, Data: reply.appendBinary(nil)}.bytes()); request == nil {
			t.Fatal("no answer")
		}
	}
	t.Fatal("no end")
	return nil
}

// TestTicketBeforeThePassword takes the ticket that TLS gives before any password, and
// comes back with it: nobody comes in that way.
func TestTicketBeforeThePassword(t *testing.T) {
	forVersions(t, func(t *testing.T, version uint16) {
		for _, kind := range []Type{TypeTTLS, TypePEAP} {
			b := newBench(t, version)
			// Whoever it is would do.
			b.server.Accounts = func(Type, string) (Account, error) { return Account{Name: testClient}, nil }
			b.server.Methods, b.server.Sessions = []Type{kind}, NewSessions(time.Hour, nil)
			client := &tls.Config{
				RootCAs: b.ca.pool, ServerName: testServer, MinVersion: version, MaxVersion: version,
				ClientSessionCache: tls.NewLRUClientSessionCache(4),
			}
			for i := range 3 {
				offered, resumed := false, false
				s := raw(t, b.server, kind, client, func(tu *tunnel) error {
					resumed = tu.resumed()
					_, offered = client.ClientSessionCache.Get(testServer)
					_ = tu.write([]byte("no AVPs, no EAP"))
					_, err := tu.read()
					return err
				})
				if _, success, msk, _, _ := s.Result(); success || msk != nil || resumed {
					t.Errorf("%v, time %d: success %v, resumed %v", kind, i, success, resumed)
				}
				if i > 0 && !offered {
					t.Error("the client has no ticket: this tests nothing")
				}
			}
		}
	})
}

// TestTicketOfAnotherMethod resumes a TTLS session in PEAP, and a password's in EAP-TLS.
func TestTicketOfAnotherMethod(t *testing.T) {
	forVersions(t, func(t *testing.T, version uint16) {
		b := newBench(t, version)
		b.users()
		b.server.Sessions = NewSessions(time.Hour, nil)
		shared := tls.NewLRUClientSessionCache(4)
		cert := b.peer.TLS.Certificate
		client := &tls.Config{
			RootCAs: b.ca.pool, ServerName: testServer, MinVersion: version, MaxVersion: version, ClientSessionCache: shared,
			Certificates: []tls.Certificate{cert},
		}
		login := func(tu *tunnel) error {
			pap := appendAVPs(nil, avp{code: avpUserName, mandatory: true, data: []byte(testClient)},
				avp{code: avpUserPassword, mandatory: true, data: padPassword([]byte(testPassword))})
			if !tu.resumed() {
				_ = tu.write(pap)
			}
			_, err := tu.read()
			return err
		}
		b.server.Methods = []Type{TypeTTLS}
		for i := range 2 {
			s := raw(t, b.server, TypeTTLS, client, login)
			if _, success, _, _, _ := s.Result(); !success || s.Resumed() != (i == 1) {
				t.Fatalf("time %d: success %v, resumed %v, %v", i, success, s.Resumed(), s.Err())
			}
		}
		for _, kind := range []Type{TypePEAP, TypeTLS} {
			b.server.Methods = []Type{kind}
			resumed := false
			if raw(t, b.server, kind, client, func(tu *tunnel) error {
				resumed = tu.resumed()
				_, err := tu.read()
				return err
			}); resumed {
				t.Errorf("resumed in %v", kind)
			}
		}
	})
}

func TestNak(t *testing.T) {
	b := newBench(t, 0)
	b.users()
	for name, c := range map[string]struct {
		methods []Type
		wants   []byte
		takes   Type // 0: refused
		says    string
	}{
		"another one":       {[]Type{TypeTLS, TypeTTLS}, []byte{byte(TypeTTLS)}, TypeTTLS, ""},
		"one of several":    {[]Type{TypeTLS, TypePEAP}, []byte{43, byte(TypePEAP), 4}, TypePEAP, ""},
		"our order counts":  {[]Type{TypeTLS, TypePEAP, TypeTTLS}, []byte{byte(TypeTTLS), byte(TypePEAP)}, TypePEAP, ""},
		"what was offered":  {[]Type{TypeTLS, TypePEAP}, []byte{byte(TypeTLS)}, 0, "the peer refuses EAP-TLS and proposes EAP-TLS"},
		"one not here":      {[]Type{TypeTLS, TypePEAP}, []byte{4}, 0, "proposes Type(4); offered here: [EAP-TLS PEAP]"},
		"none":              {[]Type{TypeTLS}, []byte{0}, 0, "no other method"},
		"nothing":           {[]Type{TypeTLS}, nil, 0, "no other method"},
		"expanded, ignored": {[]Type{TypePEAP}, []byte{254}, 0, "only PEAP is offered"},
	} {
		b.server.Methods = c.methods
		s, err := NewServer(b.server)
		if err != nil {
			t.Fatal(err)
		}
		request := s.Start(7)
		out, err := s.Handle(append([]byte{2, 7, 0, byte(5 + len(c.wants)), 3}, c.wants...))
		if c.takes == 0 {
			if err == nil || !strings.Contains(err.Error(), c.says) || !bytes.Equal(out, []byte{4, 7, 0, 4}) {
				t.Errorf("%s: % x, %v", name, out, err)
			}
			continue
		}
		if err != nil || !bytes.Equal(out, []byte{1, 8, 0, 6, byte(c.takes), 0x20}) || s.Method() != c.takes || request[4] != byte(c.methods[0]) {
			t.Errorf("%s: % x, %v", name, out, err)
		}
		// Once TLS has begun there is no other choice.
		if _, err := s.Handle([]byte{2, 8, 0, 6, byte(c.takes), 0}); err == nil {
			t.Errorf("%s: an empty answer to the start", name)
		}
	}
}

func TestNewServerChecks(t *testing.T) {
	for name, change := range map[string]func(*ServerConfig){
		"passwords without users": func(c *ServerConfig) { c.Methods = []Type{TypePEAP} },
		"unknown method":          func(c *ServerConfig) { c.Methods = []Type{43} },
		"no authority":            func(c *ServerConfig) { c.ClientCAs = nil },
	} {
		b := newBench(t, 0)
		if change(&b.server); name == "unknown method" {
			b.server.Accounts = (&accounts{}).find
		}
		if _, err := NewServer(b.server); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	b := newBench(t, 0)
	b.users()
	b.server.Methods, b.server.ClientCAs = []Type{TypeTTLS}, nil // passwords need no clients' certificates
	if _, err := NewServer(b.server); err != nil {
		t.Error(err)
	}
}

// FuzzServerInside says anything inside the tunnel, in pieces of up to 64 octets, one a
// turn: nobody comes in that way, and each conversation ends.
func FuzzServerInside(f *testing.F) {
	b := newBench(f, 0)
	b.users()
	f.Add(byte(TypeTTLS), appendAVPs([]byte{48}, avp{code: avpUserName, mandatory: true, data: []byte(testClient)}, avp{code: avpUserPassword, data: []byte("x")}))
	f.Add(byte(TypeTTLS), []byte{8, 0, 0, 0, 1, 0x40, 0, 0, 8})
	f.Add(byte(TypePEAP), append([]byte{17, 1}, testClient...))
	f.Add(byte(TypePEAP), append([]byte{16, 1}, testClient+"\x36\x1a\x02\x01\x00\x45\x31"...))
	f.Add(byte(TypePEAP), []byte{11, 2, 1, 0, 11, 33, 0x80, 3, 0, 2, 0, 1})
	f.Add(byte(TypePEAP), []byte{2, 3, 25, 1, 3, 2, 26, 3})
	client := &tls.Config{RootCAs: b.ca.pool, ServerName: testServer}
	f.Fuzz(func(t *testing.T, kind byte, in []byte) {
		if Type(kind) != TypeTTLS && Type(kind) != TypePEAP {
			return
		}
		cfg := b.server
		cfg.Methods = []Type{Type(kind)}
		s := raw(t, cfg, Type(kind), client, func(tu *tunnel) error {
			if Type(kind) == TypePEAP {
				if _, err := tu.read(); err != nil {
					return err
				}
			}
			for rest := in; len(rest) > 0; {
				n := min(1+int(rest[0]%64), len(rest)-1)
				piece := rest[1 : 1+n]
				if rest = rest[1+n:]; len(piece) == 0 {
					piece = []byte{0}
				}
				if err := tu.write(piece); err != nil {
					return err
				}
				if _, err := tu.read(); err != nil {
					return err
				}
			}
			return tu.refuse(nil)
		})
		if _, success, msk, emsk, _ := s.Result(); success || msk != nil || emsk != nil {
			t.Fatalf("success without the password: %x", in)
		}
	})
}

// FuzzParseTTLS reads what a peer says inside EAP-TTLS.
func FuzzParseTTLS(f *testing.F) {
	f.Add(appendAVPs(nil, avp{code: avpUserName, data: []byte("a")}, avp{code: avpUserPassword, data: make([]byte, 16)}))
	f.Add(appendAVPs(nil, avp{code: avpUserName, data: []byte("a")}, avp{vendor: vendorMicrosoft, code: avpMSChallenge, data: make([]byte, 16)},
		avp{vendor: vendorMicrosoft, code: avpMSResponse2, data: make([]byte, avpResponseLen)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		said, err := parseTTLS(b)
		if err == nil && (said.user == "" || len(said.user) > maxIdentity || (said.password == nil) == (said.response == nil)) {
			t.Fatalf("%+v", said)
		}
	})
}

// TestOneTicket: however often a node comes, one session of it is kept, and each ticket
// is good once.
func TestOneTicket(t *testing.T) {
	forVersions(t, func(t *testing.T, version uint16) {
		b := newBench(t, version)
		cache := tls.NewLRUClientSessionCache(4)
		b.peer.TLS.SessionCache = cache
		b.server.Sessions = NewSessions(time.Hour, nil)
		checkSuccess(t, b.converse(t))
		for range 5 {
			again := b.converse(t)
			checkSuccess(t, again)
			if !again.server.Resumed() || len(b.server.Sessions.known) != 1 || len(b.server.Sessions.order) != 1 {
				t.Errorf("resumed %v, %d kept, %d in order", again.server.Resumed(), len(b.server.Sessions.known), len(b.server.Sessions.order))
			}
		}
	})
}
