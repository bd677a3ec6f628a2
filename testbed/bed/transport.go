package bed

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"time"

	"openmpa/testbed/peers"
	"openmpa/testbed/topo"
)

// transportDir has the certificates by which routers and servers are known to one another. Their
// authority is not that of the mobile nodes: who has a node's certificate is no router.
const transportDir = "transport"

// routerIdentity is the name of a network's router in them.
func routerIdentity(n topo.Network) string { return fmt.Sprintf("ar-%s.%s", n.Name, visitedRealm) }

// transportFiles are those of a name.
func (b *Bed) transportFiles(identity string) peers.Transport {
	return peers.Transport{
		CA: b.Run.File(transportDir, "ca.pem"), Certificate: b.Run.File(transportDir, identity+".pem"), Key: b.Run.File(transportDir, identity+".key"),
	}
}

// transportCertificates makes them all.
func (b *Bed) transportCertificates() error {
	if err := os.Mkdir(b.Run.File(transportDir), 0o700); err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	var names [][]string // of each the first one names its files
	for _, n := range b.opt.networks() {
		names = append(names, []string{routerIdentity(n), siteName(n)})
	}
	for _, s := range append(b.opt.homes(), b.opt.between()...) {
		names = append(names, []string{s.identity})
	}
	ca := &x509.Certificate{
		Subject: pkix.Name{CommonName: "AAA servers and routers of a lab"}, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	caKey, err := b.certify(ca, nil, nil, "ca")
	if err != nil {
		return err
	}
	for _, all := range names {
		leaf := &x509.Certificate{
			Subject: pkix.Name{CommonName: all[0]}, DNSNames: all, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		if _, err := b.certify(leaf, ca, caKey, all[0]); err != nil {
			return err
		}
	}
	return nil
}

// certify makes a key and its certificate, and writes both; self-signed without an authority.
func (b *Bed) certify(c, ca *x509.Certificate, caKey *ecdsa.PrivateKey, name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("bed: %w", err)
	}
	if c.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, fmt.Errorf("bed: %w", err)
	}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	if ca == nil {
		ca, caKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, ca, key.Public(), caKey)
	if err != nil {
		return nil, fmt.Errorf("bed: certificate of %s: %w", name, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("bed: key of %s: %w", name, err)
	}
	for path, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(b.Run.File(transportDir, path), pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, fmt.Errorf("bed: %w", err)
		}
	}
	return key, nil
}
