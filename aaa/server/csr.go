package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
)

// Sign issues a certificate to a key that this side never sees, for a NAI or a host name as Issue does. Of the request (PKCS #10, DER)
// only the key counts, which must be of P-256. It returns the certificate and that of the authority, in PEM.
func (s *State) Sign(name string, csr []byte) (certPEM, caPEM []byte, err error) {
	tmpl, _, err := s.issued(name)
	if err != nil {
		return nil, nil, err
	}
	req, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, nil, fmt.Errorf("server: certificate request: %w", err)
	}
	if err := req.CheckSignature(); err != nil {
		return nil, nil, fmt.Errorf("server: certificate request: %w", err)
	}
	key, ok := req.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, nil, fmt.Errorf("server: certificate request: expected an ECDSA key of P-256, found %v", req.PublicKeyAlgorithm)
	}
	if tmpl.SerialNumber, err = serial(); err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, s.ca, key, s.key)
	if err != nil {
		return nil, nil, fmt.Errorf("server: make a certificate: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), s.caPEM, nil
}

// clientTemplate is a node's certificate, but for its key and serial number.
func (s *State) clientTemplate(name string) *x509.Certificate {
	tmpl := template(pkix.Name{Organization: []string{"openmpa"}, CommonName: name}, leafLife)
	tmpl.EmailAddresses = []string{name}
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if until := s.ca.NotAfter; tmpl.NotAfter.After(until) {
		tmpl.NotAfter = until
	}
	return tmpl
}
