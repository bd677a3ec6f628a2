package enroll

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// Port is where a router listens, on TCP, while it invites.
	Port = 7160
	// Life is how long a code works.
	Life = 15 * time.Minute

	maxConns  = 8                // at once
	maxWrong  = 10               // secrets, until the code is void
	connLimit = 15 * time.Second // for one connection
	penalty   = time.Second      // until a wrong secret is answered
)

// Errors of an invitation.
var (
	ErrExpired = errors.New("enroll: nobody has used the code in its time: make another")
	ErrTries   = errors.New("enroll: too many wrong codes came: make another, and look who tries")
)

// Invitation is a code that waits to be used.
type Invitation struct {
	code Code
	kind Kind
	cert tls.Certificate

	mu    sync.Mutex
	wrong int
	used  bool
}

// Invite makes a code for one machine of a kind.
func Invite(kind Kind) (*Invitation, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("enroll: make a key: %w", err)
	}
	now := time.Now()
	// The code pins the key; name and times of the certificate mean nothing.
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "openmpa"},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("enroll: make a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("enroll: %w", err)
	}
	i := &Invitation{kind: kind, cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}
	i.code.fingerprint = fingerprint(leaf)
	if _, err := rand.Read(i.code.secret[:]); err != nil {
		return nil, fmt.Errorf("enroll: randomness: %w", err)
	}
	return i, nil
}

func fingerprint(c *x509.Certificate) (f [fingerprintLen]byte) {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	copy(f[:], sum[:])
	return f
}

// Code is what the other machine needs.
func (i *Invitation) Code() Code { return i.code }

// Serve answers on l until the code has been used (nil), is void or ctx ends, and closes l. grant decides about a
// request with the right secret, from an address; its error is told to the other side and leaves the code good.
func (i *Invitation) Serve(ctx context.Context, l net.Listener, grant func(Request, netip.Addr) (*Grant, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, Life, ErrExpired)
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	room := make(chan struct{}, maxConns)
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			if cause := context.Cause(ctx); !errors.Is(cause, errUsed) {
				return cause
			}
			return nil
		case err != nil:
			l.Close()
			return fmt.Errorf("enroll: %w", err)
		}
		select {
		case room <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-room }()
			defer conn.Close()
			if err := i.answer(ctx, conn, grant); err != nil {
				end(err)
			}
		})
	}
}

var errUsed = errors.New("used")

// answer serves one connection; an error ends the invitation.
func (i *Invitation) answer(ctx context.Context, raw net.Conn, grant func(Request, netip.Addr) (*Grant, error)) error {
	ctx, cancel := context.WithTimeout(ctx, connLimit)
	defer cancel()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	conn := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{i.cert}, MinVersion: tls.VersionTLS13})
	if conn.HandshakeContext(ctx) != nil {
		return nil // somebody without the code, or somebody lost
	}
	var req Request
	if receive(conn, &req) != nil {
		return nil
	}
	g, verdict := i.judge(req, raw, grant)
	if g.Error == errSecret.Error() {
		select {
		case <-time.After(penalty):
		case <-ctx.Done():
		}
	}
	if err := json.NewEncoder(conn).Encode(g); err == nil {
		_ = conn.CloseWrite() // who has got the answer does not need the end of it
	}
	return verdict
}

var errSecret = errors.New("the code is not the one that this router waits for, or it has been used")

// judge decides about a request, one at a time.
func (i *Invitation) judge(req Request, raw net.Conn, grant func(Request, netip.Addr) (*Grant, error)) (*Grant, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	refuse := func(err error) *Grant { return &Grant{Error: err.Error()} }
	if i.used || subtle.ConstantTimeCompare(req.Secret, i.code.secret[:]) != 1 {
		if i.wrong++; i.wrong >= maxWrong {
			return refuse(errSecret), ErrTries
		}
		return refuse(errSecret), nil
	}
	if req.Kind != i.kind {
		return refuse(fmt.Errorf("enroll: the code is for a %s", i.kind)), nil
	}
	if err := req.check(); err != nil {
		return refuse(err), nil
	}
	from, err := netip.ParseAddrPort(raw.RemoteAddr().String())
	if err != nil {
		return refuse(err), nil
	}
	g, err := grant(req, from.Addr().Unmap())
	if err != nil {
		return refuse(err), nil
	}
	i.used = true
	return g, errUsed
}
