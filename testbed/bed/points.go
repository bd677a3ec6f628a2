package bed

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"openmpa/testbed/proc"
	"openmpa/testbed/topo"
)

// AgentName is the daemon beside the access point that is a machine of its own.
const AgentName = "ap-agent"

const (
	agentPort   = 7160
	agentDNS    = "apa2.a.example"
	agentRouter = "ar.a.example"
)

// configPoints is the router's part of the configuration about its access points; empty by cable.
func (b *Bed) configPoints(n topo.Network) string {
	if b.Radio == nil {
		return ""
	}
	var text strings.Builder
	text.WriteString("access-points:\n")
	for _, name := range n.Points {
		p := b.Radio.AP(name)
		if p.Node == n.Router {
			fmt.Fprintf(&text, "  - {name: %s, bssid: \"%v\", akm: WPA-EAP, socket: %s}\n", name, p.BSSID, p.AP.Socket(0))
			continue
		}
		fmt.Fprintf(&text, "  - {name: %s, bssid: \"%v\", akm: WPA-EAP, agent: \"%v:%d\", identity: %s, ca: agent.pem, certificate: router.pem, key: router.key}\n",
			name, p.BSSID, p.Address, agentPort, agentDNS)
	}
	return text.String()
}

// startAgent starts the daemon beside the access point that is a machine of its own.
func (b *Bed) startAgent(ctx context.Context) error {
	if b.Radio == nil {
		return nil
	}
	for name, dns := range map[string]string{"agent": agentDNS, "router": agentRouter} {
		if err := b.selfSigned(name, dns); err != nil {
			return err
		}
	}
	text := fmt.Sprintf(`control: %s
listen: %v:%d
ca: router.pem
certificate: agent.pem
key: agent.key
routers: [%s]
access-points:
`, b.Run.File(AgentName+".sock"), topo.AP2Address, agentPort, agentRouter)
	for _, p := range b.Radio.APs {
		if p.Node == topo.AP2 {
			text += fmt.Sprintf("  - {name: %s, bssid: \"%v\", akm: WPA-EAP, socket: %s}\n", p.Point, p.BSSID, p.AP.Socket(0))
		}
	}
	path, err := b.writeConfig(AgentName, text)
	if err != nil {
		return err
	}
	return b.run(ctx, proc.Spec{
		Name: AgentName, Space: b.Top.Space(topo.AP2), Control: b.Run.File(AgentName + ".sock"),
		Command: []string{filepath.Join(b.opt.Bin, "mpa-ar"), "ap-agent", "--config", path, "--log-level", b.logLevel()},
	})
}

// selfSigned makes NAME.pem and NAME.key. The certificate is its own authority: the other side trusts just this one.
func (b *Bed) selfSigned(name, dns string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: dns}, DNSNames: []string{dns},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		return fmt.Errorf("bed: certificate of %s: %w", dns, err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("bed: key of %s: %w", dns, err)
	}
	for file, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(b.Run.File(name+file), pem.EncodeToMemory(block), 0o600); err != nil {
			return fmt.Errorf("bed: %w", err)
		}
	}
	return nil
}
