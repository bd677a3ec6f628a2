package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/eap"
	"openmpa/aaa/radius"
	"openmpa/testbed/peers"
)

// startHostapd runs hostapd's authentication server with the certificates of
// stateDir, and returns where it listens.
func startHostapd(t *testing.T, stateDir, version string) netip.AddrPort {
	t.Helper()
	path := program(t, "hostapd", "hostapd")
	probe, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	addr := probe.LocalAddr().(*net.UDPAddr).AddrPort()
	_ = probe.Close()
	dir := t.TempDir()
	flag := "ENABLE"
	if version == "1.2" {
		flag = "DISABLE"
	}
	for name, text := range map[string]string{
		"clients": "127.0.0.0/8 testing123\n",
		"users": `"` + nodeName + `" TLS` + "\n" +
			`"21@home.example" TTLS` + "\n" + `"25@home.example" PEAP` + "\n" +
			`"` + nodeName + `" MSCHAPV2,TTLS-MSCHAPV2,TTLS-PAP "` + nodePassword + `" [2]` + "\n",
		"conf": fmt.Sprintf("driver=none\nradius_server_clients=%[1]s/clients\nradius_server_auth_port=%[2]d\neap_server=1\neap_user_file=%[1]s/users\n"+
			"ca_cert=%[3]s/ca.pem\nserver_cert=%[3]s/server.pem\nprivate_key=%[3]s/server.key\nserver_id=%[4]s\ntls_session_lifetime=3600\ntls_flags=[%[5]s-TLSv1.3]\n",
			dir, addr.Port(), stateDir, serverName, flag),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-dd", filepath.Join(dir, "conf"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = log.Close()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if text, err := os.ReadFile(filepath.Join(dir, "log")); t.Failed() && err == nil {
			t.Logf("hostapd's last words:\n%s", text[max(0, len(text)-4000):])
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ready := peers.FreeRADIUS{Listen: addr, Secret: "testing123"}
	for ready.Answers(ctx, nodeName, nil) != nil {
		select {
		case <-ctx.Done():
			text, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatalf("hostapd does not answer:\n%s", text)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return addr
}

// TestHostapdMethods lets our peer authenticate at hostapd by every method. It binds
// PEAP's tunnel to the password cryptographically, which FreeRADIUS does not. With TLS
// 1.3 hostapd 2.10 takes other keys for that than RFC 9427 section 2.1 says and than
// its own peer, eapol_test, has: both refuse it.
func TestHostapdMethods(t *testing.T) {
	stateDir, node, _ := issued(t)
	for _, version := range []string{"1.2", "1.3"} {
		t.Run("TLS "+version, func(t *testing.T) {
			addr := startHostapd(t, stateDir, version)
			client, err := radius.NewClient(radius.Config{NASIdentifier: "ar-a", Servers: []radius.Server{{Addr: addr, Secret: secret("testing123")}}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = client.Close() })
			backend := aaa.NewRADIUS(client)
			for _, m := range peerMethods {
				t.Run(m.name, func(t *testing.T) {
					cfg := node
					cfg.Method, cfg.Inner, cfg.TLS.SessionCache = m.method, m.inner, tls.NewLRUClientSessionCache(4)
					if m.method != eap.TypeTLS {
						cfg.Anonymous, cfg.Password, cfg.TLS.Certificate = fmt.Sprintf("%d@home.example", m.method), secret(nodePassword), tls.Certificate{}
					}
					if version == "1.3" && m.method == eap.TypePEAP {
						p, r, err := authenticate(t, backend, cfg)
						if r.Decision != aaa.Reject || p.Err() == nil || !strings.Contains(p.Err().Error(), "Crypto-Binding with a wrong MAC") {
							t.Errorf("%v, %v, node: %v", r.Decision, err, p.Err())
						}
						return
					}
					// It gives tickets with TLS 1.3 only, and resumes without the indication that
					// has to come, so the node does not a second time.
					unconfirmed := version == "1.3"
					for i, want := range []bool{true, !unconfirmed, true, true} {
						p, r, err := authenticate(t, backend, cfg)
						if err != nil || r.Decision != aaa.Accept {
							t.Fatalf("time %d: %v, %v, node: %v", i, r.Decision, err, p.Err())
						}
						_, success, msk := p.Result()
						if success != want || success && (msk.Len() != 64 || !msk.Equal(r.MSK) || p.TLSVersion() != "TLS "+version || p.Discarded() != 0) {
							t.Errorf("time %d: success %v, MSK equal %v, %s, %d discarded", i, success, msk.Equal(r.MSK), p.TLSVersion(), p.Discarded())
						}
						if p.Resumed() {
							t.Errorf("time %d: resumed", i)
						}
						if p.AltReject(); !want && (p.Err() == nil || !strings.Contains(p.Err().Error(), "RFC 9190 section 2.5")) {
							t.Errorf("time %d: %v", i, p.Err())
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
						clear := "wrong password, or no such user"
						if m.method == eap.TypePEAP && what == "unknown user" {
							clear = `is "nobody@home.example" known there?`
						}
						if r.Decision != aaa.Reject || p.Err() == nil || !strings.Contains(p.Err().Error(), clear) || strings.Contains(p.Err().Error(), "\n") {
							t.Errorf("%s: %v, %v, node: %v", what, r.Decision, err, p.Err())
						}
					}
				})
			}
		})
	}
}
