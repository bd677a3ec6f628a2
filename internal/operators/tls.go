package operators

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"openmpa/internal/config"
)

// Certificates reads what a connection needs where both sides show a certificate.
func Certificates(ca, certificate, key config.File) (tls.Certificate, *x509.CertPool, error) {
	pair, err := tls.LoadX509KeyPair(certificate.String(), key.String())
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("certificate %s with key %s: %w", certificate, key, err)
	}
	text, err := os.ReadFile(ca.String())
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return tls.Certificate{}, nil, fmt.Errorf("%s: expected certificates in PEM, found none", ca)
	}
	return pair, roots, nil
}
