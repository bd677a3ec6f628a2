package server

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/eap"
	"openmpa/aaa/radius"
	"openmpa/testbed/peers"
)

const nodePassword = "correcthorse7"

// peerMethods are the ways a node may authenticate.
var peerMethods = []struct {
	name   string
	method eap.Type
	inner  eap.Inner
	trips  uint64 // to FreeRADIUS, as many as eapol_test needs
}{
	{"EAP-TLS", eap.TypeTLS, 0, 4},
	{"EAP-TTLS/PAP", eap.TypeTTLS, eap.InnerPAP, 5},
	{"EAP-TTLS/MSCHAPv2", eap.TypeTTLS, eap.InnerMSCHAPv2, 6},
	{"PEAP/MSCHAPv2", eap.TypePEAP, eap.InnerMSCHAPv2, 9},
}

// TestFreeRADIUSMethods lets our peer authenticate at FreeRADIUS by every method, in
// full and resumed, with the wrong password, as somebody unknown.
func TestFreeRADIUSMethods(t *testing.T) {
	stateDir, node, _ := issued(t)
	for _, version := range []string{"1.2", "1.3"} {
		t.Run("TLS "+version, func(t *testing.T) {
			sessions := filepath.Join(t.TempDir(), "sessions")
			if err := os.Mkdir(sessions, 0o700); err != nil {
				t.Fatal(err)
			}
			f := startFreeRADIUS(t, stateDir, func(f *peers.FreeRADIUS) {
				f.MaxTLS, f.Sessions, f.Passwords = version, sessions, map[string]string{nodeName: nodePassword}
			})
			client, backend := f.router(radius.Timing{}, f.Listen)
			for _, m := range peerMethods {
				t.Run(m.name, func(t *testing.T) {
					cfg := node
					cfg.Method, cfg.Inner, cfg.TLS.SessionCache = m.method, m.inner, tls.NewLRUClientSessionCache(4)
					if m.method != eap.TypeTLS {
						cfg.Anonymous, cfg.Password, cfg.TLS.Certificate = "anonymous@home.example", secret(nodePassword), tls.Certificate{}
					}
					// With TLS 1.2 it gives session identifiers, no tickets, and crypto/tls knows
					// tickets only. With 1.3 a ticket is good once, and brings no other.
					for i, resumed := range []bool{false, version == "1.3", false} {
						before := client.Counters().Sent
						p, r, err := authenticate(t, backend, cfg)
						if err != nil || r.Decision != aaa.Accept {
							t.Fatalf("time %d: %v, %v, node: %v", i, r.Decision, err, p.Err())
						}
						_, success, msk := p.Result()
						if !success || msk.Len() != 64 || !msk.Equal(r.MSK) || r.SessionTimeout != time.Hour || p.TLSVersion() != "TLS "+version {
							t.Errorf("time %d: success %v, MSK equal %v, session timeout %v, %s", i, success, msk.Equal(r.MSK), r.SessionTimeout, p.TLSVersion())
						}
						if p.Resumed() != resumed || p.Discarded() != 0 {
							t.Errorf("time %d: resumed %v, expected %v; %d discarded", i, p.Resumed(), resumed, p.Discarded())
						}
						if trips := client.Counters().Sent - before; trips > m.trips || !resumed && trips != m.trips {
							t.Errorf("time %d: %d round trips, expected %d", i, trips, m.trips)
						}
					}
					if m.method == eap.TypeTLS {
						return
					}
					for what, change := range map[string]func(*eap.PeerConfig){
						"wrong password": func(c *eap.PeerConfig) { c.Password = secret("batterystaple") },
						"unknown user":   func(c *eap.PeerConfig) { c.Identity = "nobody@home.example" },
					} {
						bad := cfg
						bad.TLS.SessionCache = nil
						change(&bad)
						p, r, err := authenticate(t, backend, bad)
						var password *eap.PasswordError
						if !errors.As(p.Err(), &password) || r.Decision != aaa.Reject || !strings.HasSuffix(p.Err().Error(), m.name+": wrong password, or no such user") {
							t.Errorf("%s: %v, %v, node: %v", what, r.Decision, err, p.Err())
						}
					}
					bad := cfg
					bad.TLS.ServerName, bad.TLS.SessionCache = "evil.home.example", nil
					if p, r, _ := authenticate(t, backend, bad); !errors.Is(p.Err(), eap.ErrWrongName) || r.Decision != aaa.Reject {
						t.Errorf("server of another name: %v, node: %v", r.Decision, p.Err())
					}
				})
			}
		})
	}
}
