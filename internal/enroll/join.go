package enroll

import (
	"bufio"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
)

// ErrFingerprint says that the machine that answered is not the one that made the code.
var ErrFingerprint = errors.New("enroll: whoever answers there did not make this code: is the address right? If it is, somebody stands between")

// Join asks a router for a grant. The secret of the code is not sent before the router has proved that it made it.
func Join(ctx context.Context, router netip.AddrPort, code Code, req Request) (*Grant, error) {
	ctx, cancel := context.WithTimeout(ctx, connLimit)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{
		MinVersion: tls.VersionTLS13,
		// The key is pinned: no name and no authority are asked.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			got := fingerprint(s.PeerCertificates[0])
			if subtle.ConstantTimeCompare(got[:], code.fingerprint[:]) != 1 {
				return ErrFingerprint
			}
			return nil
		},
	}}
	conn, err := dialer.DialContext(ctx, "tcp", router.String())
	if err != nil {
		if errors.Is(err, ErrFingerprint) {
			return nil, ErrFingerprint
		}
		var refused *net.OpError
		if errors.As(err, &refused) && refused.Op == "dial" {
			return nil, fmt.Errorf("enroll: %w: does \"mpa-ar invite\" still run there, and may TCP port %d pass?", err, router.Port())
		}
		return nil, fmt.Errorf("enroll: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	req.Secret = code.secret[:]
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		return nil, fmt.Errorf("enroll: %w", err)
	}
	var g Grant
	if err := receive(conn, &g); err != nil {
		return nil, err
	}
	if g.Error != "" {
		return nil, fmt.Errorf("enroll: the router refuses: %q", g.Error)
	}
	if err := g.check(req.Kind); err != nil {
		return nil, err
	}
	return &g, nil
}

// Ask is Join as an operator asks for it: a router by its address, with a port where it is not Port, and a code as a text,
// read from in where it is empty.
func Ask(ctx context.Context, router, code string, in io.Reader, req Request) (*Grant, error) {
	at, err := netip.ParseAddrPort(router)
	if err != nil {
		a, err := netip.ParseAddr(router)
		if err != nil {
			return nil, fmt.Errorf("enroll: router %q: expected its address, such as 192.0.2.1", router)
		}
		at = netip.AddrPortFrom(a, Port)
	}
	if code == "" {
		fmt.Fprint(os.Stderr, "Code: ")
		if code, err = bufio.NewReader(io.LimitReader(in, maxTyped)).ReadString('\n'); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("enroll: read the code: %w", err)
		}
	}
	c, err := ParseCode(code)
	if err != nil {
		return nil, err
	}
	return Join(ctx, at, c, req)
}

const maxTyped = 1024 // octets of a code with all its spaces
