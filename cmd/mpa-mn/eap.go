package main

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"os"

	"openmpa/aaa/eap"
	"openmpa/internal/config"
	"openmpa/paa/pana"
)

// eapConfig says who the node is, and how it shows that.
type eapConfig struct {
	Method       string            `yaml:"method"`
	Identity     string            `yaml:"identity"`
	Anonymous    string            `yaml:"anonymous"`
	CA           config.File       `yaml:"ca"`
	ServerName   string            `yaml:"server-name"`
	Certificate  config.File       `yaml:"certificate"`
	Key          config.File       `yaml:"key"`
	PasswordFile config.SecretFile `yaml:"password-file"`
	Inner        string            `yaml:"inner"`
	MinVersion   string            `yaml:"min-version"`
	MaxVersion   string            `yaml:"max-version"`
	Resume       *bool             `yaml:"resume"`
}

// eapMethods and eapInner are the words for them.
var (
	eapMethods = map[string]eap.Type{"tls": eap.TypeTLS, "ttls": eap.TypeTTLS, "peap": eap.TypePEAP}
	eapInner   = map[string]eap.Inner{"mschapv2": eap.InnerMSCHAPv2, "pap": eap.InnerPAP}
)

// heldSessions is how many TLS sessions are held for resumption: one is used, since a
// node has one identity and one server's name.
const heldSessions = 4

func (e eapConfig) withDefaults() eapConfig {
	config.Default(&e.Method, "tls")
	config.Default(&e.MinVersion, "1.2")
	config.Default(&e.MaxVersion, "1.3")
	if e.password() {
		config.Default(&e.Inner, "mschapv2")
	}
	return e
}

// password says that the node shows one.
func (e eapConfig) password() bool { return e.Method == "ttls" || e.Method == "peap" }

// check says what is wrong, or nil. The defaults are filled in.
func (e eapConfig) check() error {
	_, method := eapMethods[e.Method]
	_, inner := eapInner[e.Inner]
	switch {
	case !method:
		return config.Errorf("eap.method", "%q: expected tls, ttls or peap", e.Method)
	case e.Identity == "":
		return config.Errorf("eap.identity", "missing: user@realm")
	case e.CA == "":
		return config.Errorf("eap.ca", "missing: the certificate of who signs the server's")
	case e.ServerName == "":
		return config.Errorf("eap.server-name", "missing: the name in the server's certificate; without it any server of that CA would do")
	case !e.password() && (e.Certificate == "" || e.Key == ""):
		return config.Errorf("eap", "method tls: expected files for ca, certificate and key")
	case !e.password() && (e.PasswordFile != "" || e.Inner != ""):
		return config.Errorf("eap.method", "tls has no password: leave out password-file and inner, or expected ttls or peap")
	case (e.Certificate == "") != (e.Key == ""):
		return config.Errorf("eap", "expected both of certificate and key")
	case e.password() && e.PasswordFile == "":
		return config.Errorf("eap.password-file", "missing: method %s shows a password", e.Method)
	case e.password() && !inner:
		return config.Errorf("eap.inner", "%q: expected mschapv2 or pap", e.Inner)
	case e.Method == "peap" && e.Inner != "mschapv2":
		return config.Errorf("eap.inner", "%q: PEAP has mschapv2 only", e.Inner)
	}
	for key, v := range map[string]string{"min-version": e.MinVersion, "max-version": e.MaxVersion} {
		if tlsVersion(v) == 0 {
			return config.Errorf("eap."+key, "%q: expected \"1.2\" or \"1.3\"", v)
		}
	}
	return nil
}

func tlsVersion(s string) uint16 {
	switch s {
	case "1.2":
		return tls.VersionTLS12
	case "1.3":
		return tls.VersionTLS13
	}
	return 0
}

// peer reads what EAP needs and returns what makes a peer for each conversation. They
// share the TLS sessions: the one of one network is resumed at the next.
func (e eapConfig) peer() (func() (pana.EAPPeer, error), error) {
	pem, err := os.ReadFile(e.CA.String())
	if err != nil {
		return nil, config.At("eap.ca", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, config.Errorf("eap.ca", "%s has no certificate in PEM form", e.CA)
	}
	c := eap.PeerConfig{
		Identity: e.Identity, Anonymous: e.Anonymous, Method: eapMethods[e.Method], Inner: eapInner[e.Inner], Rand: rand.Reader,
		TLS: eap.TLSConfig{
			Roots: roots, ServerName: e.ServerName, MinVersion: tlsVersion(e.MinVersion), MaxVersion: tlsVersion(e.MaxVersion),
		},
	}
	if e.Certificate != "" {
		if c.TLS.Certificate, err = tls.LoadX509KeyPair(e.Certificate.String(), e.Key.String()); err != nil {
			return nil, config.At("eap.certificate", err)
		}
	}
	if e.PasswordFile != "" {
		if c.Password, err = e.PasswordFile.Load(); err != nil {
			return nil, config.At("eap.password-file", err)
		}
	}
	if e.Resume == nil || *e.Resume {
		c.TLS.SessionCache = tls.NewLRUClientSessionCache(heldSessions)
	}
	first, err := eap.NewPeer(c) // what it finds wrong is found at once
	if err != nil {
		return nil, config.At("eap", err)
	}
	_ = first.Close()
	return func() (pana.EAPPeer, error) { return eap.NewPeer(c) }, nil
}
