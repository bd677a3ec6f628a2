package eap

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ca is a certificate authority of a test.
type ca struct {
	cert *x509.Certificate
	key  crypto.Signer
	pool *x509.CertPool
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newCA(t testing.TB, name string) *ca {
	t.Helper()
	key := newKey(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-240 * time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &ca{cert: cert, key: key, pool: pool}
}

// leaf issues a certificate for a server of that DNS name or a client of that e-mail.
func (c *ca) leaf(t testing.TB, server, client string, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key := newKey(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if server != "" {
		tmpl.Subject.CommonName, tmpl.DNSNames = server, []string{server}
		tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	} else {
		tmpl.Subject.CommonName, tmpl.EmailAddresses = client, []string{client}
		tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// bench is one home domain with one mobile node.
type bench struct {
	ca     *ca
	peer   PeerConfig
	server ServerConfig
}

const (
	testServer = "aaa.home.example"
	testClient = "mn@home.example"
)

func newBench(t testing.TB, version uint16) *bench {
	c := newCA(t, "home CA")
	return &bench{
		ca: c,
		peer: PeerConfig{Identity: testClient, TLS: TLSConfig{
			Roots: c.pool, ServerName: testServer, Certificate: c.leaf(t, "", testClient, nil),
			MinVersion: version, MaxVersion: version,
		}},
		server: ServerConfig{
			Certificate: c.leaf(t, testServer, "", nil), ClientCAs: c.pool,
			MinVersion: version, MaxVersion: version,
		},
	}
}

// run is what a conversation ended with.
type run struct {
	peer              *Peer
	server            *Server
	peerErr, srvErr   error
	requests, largest int
}

// converse runs a whole conversation through a pass-through authenticator.
func (b *bench) converse(t testing.TB) *run {
	t.Helper()
	p, err := NewPeer(b.peer)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(b.server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close(); _ = s.Close() })
	r := &run{peer: p, server: s}
	a := NewAuthenticator(200)
	request := a.Start()
	for started := false; ; r.requests++ {
		if r.requests > 2000 {
			t.Fatal("no end")
		}
		r.largest = max(r.largest, len(request))
		response, err := p.Handle(request)
		if err != nil {
			r.peerErr = err
		}
		if done, _, _ := p.Result(); done {
			if response != nil {
				t.Fatal("a response after the end")
			}
			return r
		}
		if response == nil {
			t.Fatalf("no response to % x (peer: %v, server: %v)", request, p.Err(), s.Err())
		}
		r.largest = max(r.largest, len(response))
		if response, err = a.Response(response); err != nil {
			t.Fatal(err)
		}
		if !started {
			started = true
			request = s.Start(response[1] + 1)
		} else {
			if request, err = s.Handle(response); err != nil {
				r.srvErr = err
			}
		}
		if request == nil {
			t.Fatalf("server says nothing: %v", err)
		}
		if request, err = a.Request(request); err != nil {
			t.Fatal(err)
		}
	}
}
