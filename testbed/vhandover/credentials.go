package vhandover

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"openmpa/aaa/server"
)

// Names in certificates.
const (
	Identity   = "mn@home.example"
	ServerName = "aaa.home.example"
)

// Credentials are the certificates of all runs, and a time at which they are valid.
type Credentials struct {
	Roots        *x509.CertPool
	Server, Node tls.Certificate
	Valid        time.Time
}

// NewCredentials makes a certificate authority in dir, and the certificates.
func NewCredentials(dir string) (*Credentials, error) {
	pki, err := server.OpenState(dir)
	if err != nil {
		return nil, err
	}
	c := &Credentials{Roots: pki.Roots(), Valid: time.Now()}
	if c.Server, err = pki.ServerCertificate(ServerName); err != nil {
		return nil, err
	}
	out, err := os.MkdirTemp(dir, "node")
	if err != nil {
		return nil, err
	}
	if _, err := pki.Issue(Identity, out); err != nil {
		return nil, err
	}
	if c.Node, err = tls.LoadX509KeyPair(out+"/mn.pem", out+"/mn.key"); err != nil {
		return nil, fmt.Errorf("vhandover: %w", err)
	}
	return c, nil
}
