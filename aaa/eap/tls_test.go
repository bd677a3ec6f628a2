package eap

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

var tlsVersions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

func forVersions(t *testing.T, f func(t *testing.T, version uint16)) {
	for name, v := range tlsVersions {
		t.Run("TLS "+name, func(t *testing.T) { f(t, v) })
	}
}

func checkSuccess(t *testing.T, r *run) {
	t.Helper()
	pd, ps, pmsk := r.peer.Result()
	sd, ss, smsk, emsk, identity := r.server.Result()
	if !pd || !ps || !sd || !ss {
		t.Fatalf("peer done %v success %v (%v), server done %v success %v (%v)", pd, ps, r.peer.Err(), sd, ss, r.server.Err())
	}
	if pmsk.Len() != 64 || !pmsk.Equal(smsk) {
		t.Error("MSK differs or is not 64 octets")
	}
	if emsk.Len() != 64 || emsk.Equal(smsk) {
		t.Error("EMSK is not 64 octets of its own")
	}
	if identity != testClient {
		t.Errorf("identity %q", identity)
	}
	if r.peer.TLSVersion() == "" || r.peer.TLSVersion() != r.server.TLSVersion() {
		t.Errorf("versions %q and %q", r.peer.TLSVersion(), r.server.TLSVersion())
	}
}

func TestSuccess(t *testing.T) {
	forVersions(t, func(t *testing.T, version uint16) {
		b := newBench(t, version)
		r := b.converse(t)
		checkSuccess(t, r)
		// Identity, start, and two flights, all answered, then Success. The small flights
		// show that no post-quantum share is in them.
		if want := 4; r.requests != want {
			t.Errorf("%d round trips, expected %d", r.requests, want)
		}
		// Keys are fresh every time.
		again := b.converse(t)
		checkSuccess(t, again)
		_, _, one := r.peer.Result()
		_, _, two := again.peer.Result()
		if one.Equal(two) {
			t.Error("two conversations, one MSK")
		}
	})
}

func TestVersionsNegotiate(t *testing.T) {
	b := newBench(t, 0)
	r := b.converse(t)
	checkSuccess(t, r)
	if got := r.peer.TLSVersion(); got != "TLS 1.3" {
		t.Errorf("negotiated %q", got)
	}
	b.peer.TLS.MaxVersion = tls.VersionTLS12
	if got := b.converse(t).peer.TLSVersion(); got != "TLS 1.2" {
		t.Errorf("negotiated %q", got)
	}
}

func TestFragments(t *testing.T) {
	forVersions(t, func(t *testing.T, version uint16) {
		b := newBench(t, version)
		for _, size := range []int{100, 101, 127, 256, 500, 999, 1024, 1200, 1400} {
			b.peer.FragmentSize, b.server.FragmentSize = size, size
			r := b.converse(t)
			checkSuccess(t, r)
			if r.largest > size {
				t.Errorf("size %d: packet of %d octets", size, r.largest)
			}
			if size <= 500 && r.largest != size {
				t.Errorf("size %d: nothing was cut, largest packet %d", size, r.largest)
			}
		}
		b.peer.FragmentSize, b.server.FragmentSize = 100, 1400
		checkSuccess(t, b.converse(t))
		b.peer.FragmentSize, b.server.FragmentSize = 1400, 100
		checkSuccess(t, b.converse(t))
	})
}

func TestHelloRetryRequest(t *testing.T) {
	b := newBench(t, tls.VersionTLS13)
	s, err := NewServer(b.server)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.config.CurvePreferences = []tls.CurveID{tls.CurveP384}
	p, err := NewPeer(b.peer)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r := &run{peer: p, server: s}
	request := s.Start(1)
	for {
		response, err := p.Handle(request)
		if err != nil {
			t.Fatal(err)
		}
		if done, _, _ := p.Result(); done {
			break
		}
		if request, err = s.Handle(response); err != nil {
			t.Fatal(err)
		}
	}
	checkSuccess(t, r)
}

func TestResumption(t *testing.T) {
	forVersions(t, func(t *testing.T, version uint16) {
		b := newBench(t, version)
		b.peer.TLS.SessionCache = tls.NewLRUClientSessionCache(4)
		b.server.Sessions = NewSessions(time.Hour, nil)
		first := b.converse(t)
		checkSuccess(t, first)
		second := b.converse(t)
		checkSuccess(t, second)
		if first.server.Resumed() || !second.server.Resumed() {
			t.Errorf("resumed: first %v, second %v", first.server.Resumed(), second.server.Resumed())
		}
		if second.requests > first.requests || second.largest > 500 {
			t.Errorf("%d round trips after %d, packets of up to %d octets: what should be short is not", second.requests, first.requests, second.largest)
		}
		_, _, one := first.peer.Result()
		_, _, two := second.peer.Result()
		if one.Equal(two) {
			t.Error("the resumed session has the MSK of the first")
		}
		// In fragments too: with 1.2 the client's last flight ends it.
		b.peer.FragmentSize, b.server.FragmentSize = 100, 100
		third := b.converse(t)
		checkSuccess(t, third)
		if !third.server.Resumed() {
			t.Error("third not resumed")
		}
		// A session is not resumed with a server of another name.
		b.peer.TLS.ServerName = "other.home.example"
		if r := b.converse(t); !errors.Is(r.peer.Err(), ErrWrongName) {
			t.Errorf("another name: %v", r.peer.Err())
		}
	})
}

// TestSessionsAreBounded: old ones go, by number and by age, and their secrets with them.
func TestSessionsAreBounded(t *testing.T) {
	s := NewSessions(time.Hour, nil)
	now := time.Now()
	id := func(i int) (id ticketID) { id[0], id[1], id[2] = byte(i), byte(i>>8), byte(i>>16); return id }
	first := []byte{1, 2, 3}
	s.remember(id(0), remembered{at: now, state: first}, now)
	for i := 1; i <= maxRemembered; i++ {
		s.remember(id(i), remembered{at: now, state: []byte{1}}, now)
	}
	if len(s.known) != maxRemembered || len(s.order) != maxRemembered || !bytes.Equal(first, make([]byte, 3)) {
		t.Errorf("%d known, %d in order, the oldest %x", len(s.known), len(s.order), first)
	}
	s.remember(id(maxRemembered+1), remembered{at: now.Add(2 * time.Hour)}, now.Add(2*time.Hour))
	if len(s.known) != 1 || len(s.order) != 1 {
		t.Errorf("%d known, %d in order after two hours", len(s.known), len(s.order))
	}
	if _, _, ok := s.recall([]byte{1, 2}); ok {
		t.Error("a ticket of two octets")
	}
}

// TestRefusals checks that each wrong certificate is refused on the right side,
// that the other side learns it by an alert, and that each says so in one line.
func TestRefusals(t *testing.T) {
	type want struct {
		reason error  // of the side that refuses
		alert  uint8  // the other side's AlertError
		line   string // part of the refusing side's line
	}
	cases := []struct {
		name   string
		change func(t *testing.T, b *bench)
		atPeer bool // the peer refuses the server
		want   want
	}{
		{"server of unknown CA", func(t *testing.T, b *bench) {
			b.server.Certificate = newCA(t, "rogue CA").leaf(t, testServer, "", nil)
		}, true, want{ErrUnknownCA, 42, `issued by "CN=rogue CA"`}},
		{"server expired", func(t *testing.T, b *bench) {
			b.server.Certificate = b.ca.leaf(t, testServer, "", func(c *x509.Certificate) {
				c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
			})
		}, true, want{ErrExpired, 42, "valid until"}},
		{"server not yet valid", func(t *testing.T, b *bench) {
			b.server.Certificate = b.ca.leaf(t, testServer, "", func(c *x509.Certificate) {
				c.NotBefore = time.Now().Add(30 * time.Minute)
			})
		}, true, want{ErrNotYetValid, 42, "is the clock right?"}},
		{"server of another name", func(t *testing.T, b *bench) {
			b.server.Certificate = b.ca.leaf(t, "evil.home.example", "", nil)
		}, true, want{ErrWrongName, 42, `expected "aaa.home.example", it names "evil.home.example"`}},
		{"client certificate as server", func(t *testing.T, b *bench) {
			b.server.Certificate = b.ca.leaf(t, testServer, "", func(c *x509.Certificate) {
				c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			})
		}, true, want{ErrWrongUsage, 42, "server authentication"}},
		{"client of unknown CA", func(t *testing.T, b *bench) {
			b.peer.TLS.Certificate = newCA(t, "rogue CA").leaf(t, "", testClient, nil)
		}, false, want{ErrUnknownCA, 48, `issued by "CN=rogue CA"`}},
		{"client expired", func(t *testing.T, b *bench) {
			b.peer.TLS.Certificate = b.ca.leaf(t, "", testClient, func(c *x509.Certificate) {
				c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
			})
		}, false, want{ErrExpired, 45, "valid until"}},
		{"server certificate as client", func(t *testing.T, b *bench) {
			b.peer.TLS.Certificate = b.ca.leaf(t, "", testClient, func(c *x509.Certificate) {
				c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
			})
		}, false, want{ErrWrongUsage, 42, "client authentication"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			forVersions(t, func(t *testing.T, version uint16) {
				for _, size := range []int{0, 100} {
					b := newBench(t, version)
					b.peer.FragmentSize, b.server.FragmentSize = size, size
					c.change(t, b)
					r := b.converse(t)
					if _, success, msk := r.peer.Result(); success || msk != nil {
						t.Fatal("the peer succeeded")
					}
					if done, success, msk, emsk, _ := r.server.Result(); !done || success || msk != nil || emsk != nil {
						t.Fatal("the server succeeded, or did not end")
					}
					refuser, other := r.server.Err(), r.peer.Err()
					if c.atPeer {
						refuser, other = other, refuser
					}
					var cert *CertificateError
					if !errors.As(refuser, &cert) || !errors.Is(refuser, c.want.reason) || !strings.Contains(refuser.Error(), c.want.line) {
						t.Errorf("refusing side: %v", refuser)
					}
					var alert *AlertError
					if !errors.As(other, &alert) || alert.Code != c.want.alert {
						t.Errorf("other side: %v", other)
					}
					if r.peerErr != r.peer.Err() || r.srvErr != r.server.Err() {
						t.Errorf("Handle returned %v and %v", r.peerErr, r.srvErr)
					}
					for _, err := range []error{refuser, other} {
						if strings.ContainsAny(err.Error(), "\n\r") || strings.Count(err.Error(), "eap:") != 1 {
							t.Errorf("not one line with one prefix: %q", err)
						}
					}
				}
			})
		})
	}
}

func TestNoCommonVersion(t *testing.T) {
	b := newBench(t, tls.VersionTLS12)
	b.peer.TLS.MinVersion, b.peer.TLS.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	r := b.converse(t)
	var alert *AlertError
	if !errors.As(r.peer.Err(), &alert) || alert.Code != 70 {
		t.Errorf("peer: %v", r.peer.Err())
	}
	if r.server.Err() == nil {
		t.Error("server has no reason")
	}
}

func TestNoClientCertificate(t *testing.T) {
	forVersions(t, func(t *testing.T, version uint16) {
		b := newBench(t, version)
		p, _ := NewPeer(b.peer)
		defer p.Close()
		p.config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{}, nil
		}
		s, _ := NewServer(b.server)
		defer s.Close()
		for request := s.Start(1); request != nil; {
			response, _ := p.Handle(request)
			if response == nil {
				break
			}
			request, _ = s.Handle(response)
		}
		if !errors.Is(s.Err(), ErrNoCertificate) {
			t.Errorf("server: %v", s.Err())
		}
		var alert *AlertError
		if !errors.As(p.Err(), &alert) {
			t.Errorf("peer: %v", p.Err())
		}
	})
}

// TestCloseAnywhere drops a conversation after each of its packets; goleak sees
// whether a goroutine stays.
func TestCloseAnywhere(t *testing.T) {
	forVersions(t, func(t *testing.T, version uint16) {
		b := newBench(t, version)
		b.peer.FragmentSize, b.server.FragmentSize = 300, 300
		for stop := 0; ; stop++ {
			p, _ := NewPeer(b.peer)
			s, _ := NewServer(b.server)
			request, response := s.Start(1), []byte(nil)
			ended := false
			for i := 0; i < stop && !ended; i++ {
				response, _ = p.Handle(request)
				if ended, _, _ = p.Result(); ended {
					break
				}
				request, _ = s.Handle(response)
			}
			_ = p.Close()
			_ = s.Close()
			_ = p.Close()
			if done, success, _ := p.Result(); !done || success != ended {
				t.Fatalf("after %d packets: done %v, success %v", stop, done, success)
			}
			if out, _ := p.Handle(request); out != nil {
				t.Fatal("a closed peer answers")
			}
			if ended {
				return
			}
		}
	})
}

// TestForgotten drops both ends without Close: the collector ends their goroutines,
// which goleak sees at the end.
func TestForgotten(t *testing.T) {
	b := newBench(t, tls.VersionTLS13)
	func() {
		p, _ := NewPeer(b.peer)
		s, _ := NewServer(b.server)
		response, _ := p.Handle(s.Start(1))
		if _, err := s.Handle(response); err != nil {
			t.Fatal(err)
		}
		if p.m.eng == nil || s.m.eng == nil {
			t.Fatal("no engines")
		}
	}()
	runtime.GC()
	runtime.GC()
}

// TestAuthorize refuses a client whose certificate is good but not for this
// conversation: before the success indication, and when resuming.
func TestAuthorize(t *testing.T) {
	forVersions(t, func(t *testing.T, version uint16) {
		b := newBench(t, version)
		b.peer.TLS.SessionCache = tls.NewLRUClientSessionCache(4)
		b.server.Sessions = NewSessions(time.Hour, nil)
		allow := true
		b.server.Authorize = func(cert *x509.Certificate) error {
			if !allow || Identities(cert)[0] != testClient {
				return errors.New("not today")
			}
			return nil
		}
		checkSuccess(t, b.converse(t))
		allow = false
		for range 2 {
			r := b.converse(t)
			if !errors.Is(r.server.Err(), ErrNotAuthorized) || !strings.HasSuffix(r.server.Err().Error(), ": not today") {
				t.Errorf("server: %v", r.server.Err())
			}
			var alert *AlertError
			if !errors.As(r.peer.Err(), &alert) {
				t.Errorf("peer: %v", r.peer.Err())
			}
		}
	})
}

func TestServerDropsStrangers(t *testing.T) {
	b := newBench(t, tls.VersionTLS13)
	p, _ := NewPeer(b.peer)
	defer p.Close()
	s, _ := NewServer(b.server)
	defer s.Close()
	hello, _ := p.Handle(s.Start(9))
	for _, stranger := range [][]byte{nil, {2}, {2, 8, 0, 6, 13, 0}, {1, 9, 0, 6, 13, 0}, {3, 9, 0, 4}} {
		if out, err := s.Handle(stranger); out != nil || err == nil {
			t.Errorf("% x: %x, %v", stranger, out, err)
		}
	}
	if out, err := s.Handle(hello); err != nil || out == nil {
		t.Errorf("the right one: %v", err)
	}
}

// TestPlainAlert is how OpenSSL refuses a server of TLS 1.3.
func TestPlainAlert(t *testing.T) {
	forVersions(t, func(t *testing.T, version uint16) {
		b := newBench(t, version)
		p, _ := NewPeer(b.peer)
		defer p.Close()
		s, _ := NewServer(b.server)
		defer s.Close()
		hello, _ := p.Handle(s.Start(1))
		request, err := s.Handle(hello)
		if err != nil {
			t.Fatal(err)
		}
		id := request[1]
		out, err := s.Handle([]byte{2, id, 0, 13, 13, 0, 21, 3, 3, 0, 2, 2, 48})
		var alert *AlertError
		if !bytes.Equal(out, []byte{4, id, 0, 4}) || !errors.As(err, &alert) || alert.Code != 48 || alert.By != "client" {
			t.Errorf("% x, %v", out, err)
		}
	})
}

func TestServerRefusesNak(t *testing.T) {
	b := newBench(t, tls.VersionTLS13)
	s, _ := NewServer(b.server)
	s.Start(4)
	out, err := s.Handle([]byte{2, 4, 0, 6, 3, 21})
	if string(out) != "\x04\x04\x00\x04" || err == nil || !strings.Contains(err.Error(), "proposes EAP-TTLS") {
		t.Errorf("% x, %v", out, err)
	}
}

func TestExplain(t *testing.T) {
	for code, part := range map[uint8]string{42: "client certificate", 48: "CA", 45: "expired", 70: "version", 80: "internal error"} {
		if s := (&AlertError{By: "server", Code: code}).Error(); !strings.Contains(s, part) || !strings.Contains(s, fmt.Sprint(code)) {
			t.Errorf("%d: %s", code, s)
		}
	}
}
