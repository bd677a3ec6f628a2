package eap

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestClock: a clock that is plainly wrong is the reason, not the certificate.
func TestClock(t *testing.T) {
	from := made().Add(30 * 24 * time.Hour)
	until := from.Add(30 * 24 * time.Hour)
	dates := func(from, until time.Time) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = from, until }
	}
	for name, c := range map[string]struct {
		clock  time.Time
		server [2]time.Time // validity; ours is from and until
		clocky bool
		reason error
		says   string
	}{
		"1970":                       {time.Unix(7, 0), [2]time.Time{from, until}, true, ErrNotYetValid, "it says 1970-01-01 00:00:07 UTC, which is before this program was made"},
		"a week slow":                {from.Add(-7 * 24 * time.Hour), [2]time.Time{from, until}, true, ErrNotYetValid, "before any certificate at hand is valid"},
		"ten years fast":             {until.AddDate(10, 0, 0), [2]time.Time{from, until}, true, ErrExpired, "long after every certificate at hand has ended"},
		"an hour slow":               {from.Add(-time.Hour), [2]time.Time{from, until}, false, ErrNotYetValid, "the clock here says"},
		"a month after both":         {until.AddDate(0, 1, 0), [2]time.Time{from, until}, false, ErrExpired, "the clock here says"},
		"server's ended long ago":    {from.Add(time.Hour), [2]time.Time{from.AddDate(-9, 0, 0), from.AddDate(-8, 0, 0)}, false, ErrExpired, "the clock here says"},
		"server's begins next month": {from.Add(time.Hour), [2]time.Time{until, until.AddDate(1, 0, 0)}, false, ErrNotYetValid, "the clock here says"},
	} {
		t.Run(name, func(t *testing.T) {
			forVersions(t, func(t *testing.T, version uint16) {
				b := newBench(t, version)
				b.peer.TLS.Certificate = b.ca.leaf(t, "", testClient, dates(from, until))
				b.server.Certificate = b.ca.leaf(t, testServer, "", dates(c.server[0], c.server[1]))
				b.peer.TLS.Time = func() time.Time { return c.clock }
				err := b.converse(t).peer.Err()
				if errors.Is(err, ErrClock) != c.clocky || !errors.Is(err, c.reason) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// TestCAEnded: the authority's own certificate is out of date, the server's is not.
func TestCAEnded(t *testing.T) {
	b := newBench(t, tls.VersionTLS13)
	at := b.ca.cert.NotAfter.Add(time.Hour)
	b.server.Certificate = b.ca.leaf(t, testServer, "", func(c *x509.Certificate) { c.NotAfter = at.Add(time.Hour) })
	b.peer.TLS.Time = func() time.Time { return at }
	if err := b.converse(t).peer.Err(); !errors.Is(err, ErrExpired) || !strings.Contains(fmt.Sprint(err), `that of its CA, "CN=home CA", is valid until`) {
		t.Error(err)
	}
}

// TestOwnCertificateEnded: the server says nothing, as FreeRADIUS does; the node knows.
func TestOwnCertificateEnded(t *testing.T) {
	b := newBench(t, tls.VersionTLS13)
	b.peer.TLS.Certificate = b.ca.leaf(t, "", testClient, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	})
	p, err := NewPeer(b.peer)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(b.server)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	request := s.Start(1)
	for range 2 {
		response, err := p.Handle(request)
		if err != nil {
			t.Fatal(err)
		}
		if !*p.shown {
			request, _ = s.Handle(response)
			continue
		}
		p.Handle([]byte{4, request[1], 0, 4})
	}
	if !strings.Contains(fmt.Sprint(p.Err()), "our client certificate was valid until") {
		t.Error(p.Err())
	}
}
