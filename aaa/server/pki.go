package server

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	caLife    = 10 * 365 * 24 * time.Hour
	leafLife  = 2 * 365 * 24 * time.Hour
	renewal   = 30 * 24 * time.Hour // before the server certificate ends
	clockSkew = time.Hour           // certificates are valid since a little while
)

// Files of the state directory.
const (
	caCertFile     = "ca.pem"
	caKeyFile      = "ca.key"
	serverCertFile = "server.pem"
	serverKeyFile  = "server.key"
)

// State is a state directory with its certificate authority.
type State struct {
	dir   string
	ca    *x509.Certificate
	caPEM []byte
	key   crypto.Signer
}

// OpenState opens the state directory, and makes it and the certificate authority
// if they are not there yet.
func OpenState(dir string) (*State, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("server: state directory: %w", err)
	}
	s := &State{dir: dir}
	err := s.locked(func() error {
		if err := s.loadCA(); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return s.makeCA()
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Roots is the pool that holds the certificate authority.
func (s *State) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.ca)
	return pool
}

// loadCA returns fs.ErrNotExist only if there is no ca.pem: a key alone is what a
// crash between two files leaves, and is replaced.
func (s *State) loadCA() error {
	certPath, keyPath := filepath.Join(s.dir, caCertFile), filepath.Join(s.dir, caKeyFile)
	pair, certPEM, err := loadPair(certPath, keyPath)
	if err != nil {
		if _, statErr := os.Stat(certPath); statErr == nil && errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("server: %s has no key: restore %s, or remove %s and issue every certificate anew", certPath, keyPath, certPath)
		}
		return err
	}
	if !pair.Leaf.IsCA {
		return fmt.Errorf("server: %s is not the certificate of a CA", certPath)
	}
	if time.Now().After(pair.Leaf.NotAfter) {
		return fmt.Errorf("server: %s has expired on %s: remove it and %s, and issue every certificate anew", certPath, pair.Leaf.NotAfter.Format(time.DateOnly), keyPath)
	}
	s.ca, s.caPEM, s.key = pair.Leaf, certPEM, pair.PrivateKey.(crypto.Signer)
	return nil
}

func (s *State) makeCA() error {
	name := pkix.Name{Organization: []string{"openmpa"}, CommonName: "openmpa CA " + time.Now().UTC().Format(time.DateOnly)}
	tmpl := template(name, caLife)
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.MaxPathLenZero = true, true, true
	tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	certPEM, keyPEM, err := create(tmpl, nil, nil)
	if err != nil {
		return err
	}
	if err := writePair(s.dir, caCertFile, caKeyFile, certPEM, keyPEM); err != nil {
		return err
	}
	return s.loadCA()
}

// ServerCertificate returns the certificate for that DNS name, and makes or replaces
// it where needed: none there, another name, another CA, or about to expire.
func (s *State) ServerCertificate(name string) (tls.Certificate, error) {
	if !isDNSName(name) {
		return tls.Certificate{}, fmt.Errorf("server: server name %q, expected a DNS name such as aaa.home.example", name)
	}
	certPath, keyPath := filepath.Join(s.dir, serverCertFile), filepath.Join(s.dir, serverKeyFile)
	var pair tls.Certificate
	err := s.locked(func() error {
		var err error
		pair, _, err = loadPair(certPath, keyPath)
		switch {
		case err == nil && slices.Equal(pair.Leaf.DNSNames, []string{name}) && pair.Leaf.CheckSignatureFrom(s.ca) == nil &&
			time.Until(pair.Leaf.NotAfter) > renewal:
			return nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		}
		tmpl := template(pkix.Name{Organization: []string{"openmpa"}, CommonName: name}, leafLife)
		tmpl.DNSNames = []string{name}
		tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		certPEM, keyPEM, err := create(tmpl, s.ca, s.key)
		if err != nil {
			return err
		}
		if err := writePair(s.dir, serverCertFile, serverKeyFile, certPEM, keyPEM); err != nil {
			return err
		}
		pair, _, err = loadPair(certPath, keyPath)
		return err
	})
	return pair, err
}

// Issue makes a client certificate for a NAI such as mn@home.example and writes
// mn.pem, mn.key and ca.pem into the directory out, which is made if it is not there.
// For a host name such as ar-a.home.example it makes one that is good for both sides of
// TLS between routers and servers: ar-a.pem and ar-a.key. It returns the files' names.
func (s *State) Issue(name, out string) ([]string, error) {
	tmpl, user, err := s.issued(name)
	if err != nil {
		return nil, err
	}
	certPEM, keyPEM, err := create(tmpl, s.ca, s.key)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, fmt.Errorf("server: issue: %w", err)
	}
	if err := writePair(out, user+".pem", user+".key", certPEM, keyPEM); err != nil {
		return nil, err
	}
	if same, err := sameFolder(out, s.dir); err != nil || !same {
		if err := writeFile(out, caCertFile, 0o644, s.caPEM); err != nil {
			return nil, err
		}
	}
	return []string{filepath.Join(out, user+".pem"), filepath.Join(out, user+".key"), filepath.Join(out, caCertFile)}, nil
}

// issued is the certificate of a node or a host, but for its key and serial number, and
// what its files are called.
func (s *State) issued(name string) (tmpl *x509.Certificate, file string, err error) {
	if strings.Contains(name, "@") {
		if file, err = checkNAI(name); err != nil {
			return nil, "", err
		}
		return s.clientTemplate(name), file, nil
	}
	file, domain, _ := strings.Cut(name, ".")
	switch {
	case domain == "" || !isDNSName(name):
		return nil, "", fmt.Errorf("server: name %q, expected user@realm such as mn@home.example, or a host name such as ar-a.home.example", name)
	case file == "ca" || file == "server":
		return nil, "", fmt.Errorf("server: name %q would be written to %s.pem, which is another certificate's file", name, file)
	}
	tmpl = s.clientTemplate(name)
	tmpl.EmailAddresses, tmpl.DNSNames = nil, []string{name}
	tmpl.ExtKeyUsage = append(tmpl.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	return tmpl, file, nil
}

func sameFolder(a, b string) (bool, error) {
	ai, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	bi, err := os.Stat(b)
	if err != nil {
		return false, err
	}
	return os.SameFile(ai, bi), nil
}

// checkNAI checks the form of RFC 7542 as far as files and certificates need it, and
// returns the user part.
func checkNAI(name string) (user string, err error) {
	user, realm, found := strings.Cut(name, "@")
	bad := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-+", r))
	}
	switch {
	case !found || !isDNSName(realm):
		return "", fmt.Errorf("server: name %q, expected user@realm such as mn@home.example", name)
	case user == "" || user[0] == '.' || user[0] == '-' || strings.ContainsFunc(user, bad) || len(name) > 253:
		return "", fmt.Errorf("server: name %q, expected letters, digits, '.', '_', '+' and '-' before the @", name)
	case user == "ca" || user == "server":
		return "", fmt.Errorf("server: name %q would be written to %s.pem, which is another certificate's file", name, user)
	}
	return user, nil
}

// isDNSName checks what crypto/x509 can match: labels of letters, digits and dashes.
func isDNSName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-') {
				return false
			}
		}
	}
	return true
}

func template(subject pkix.Name, life time.Duration) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject: subject, NotBefore: now.Add(-clockSkew), NotAfter: now.Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

// create makes a P-256 key and its certificate; self-signed without a parent.
func create(tmpl, parent *x509.Certificate, signer crypto.Signer) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("server: make a key: %w", err)
	}
	if parent == nil {
		parent, signer = tmpl, key
	}
	if tmpl.SerialNumber, err = serial(); err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		return nil, nil, fmt.Errorf("server: make a certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("server: encode a key: %w", err)
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	clear(keyDER)
	return certPEM, keyPEM, nil
}

// serial is a random serial number: positive, and always of 16 octets.
func serial() (*big.Int, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil, fmt.Errorf("server: make a serial number: %w", err)
	}
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b), nil
}
