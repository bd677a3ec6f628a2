package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func read(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func mustState(t *testing.T, dir string) *State {
	t.Helper()
	s, err := OpenState(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStateIsMadeOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "state")
	s := mustState(t, dir)
	first, err := s.ServerCertificate(serverName)
	if err != nil {
		t.Fatal(err)
	}
	ca, cert := read(t, dir, "ca.pem"), read(t, dir, "server.pem")
	for name, mode := range map[string]os.FileMode{"ca.key": 0o600, "server.key": 0o600, "ca.pem": 0o644, "server.pem": 0o644, ".lock": 0o600} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 5 {
		t.Errorf("%d files", len(entries))
	}
	leaf := first.Leaf
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: s.Roots(), DNSName: serverName, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
		t.Error(err)
	}
	if _, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || leaf.IsCA {
		t.Errorf("%T, CA %v", leaf.PublicKey, leaf.IsCA)
	}
	again := mustState(t, dir)
	if _, err := again.ServerCertificate(serverName); err != nil {
		t.Fatal(err)
	}
	if read(t, dir, "ca.pem") != ca || read(t, dir, "server.pem") != cert {
		t.Error("certificates were made anew")
	}
	// Another name makes another certificate of the same CA.
	if _, err := again.ServerCertificate("aaa2.home.example"); err != nil {
		t.Fatal(err)
	}
	if read(t, dir, "ca.pem") != ca || read(t, dir, "server.pem") == cert {
		t.Error("server certificate not replaced, or CA replaced")
	}
}

func TestStateRenews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first, err := mustState(t, dir).ServerCertificate(serverName)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(leafLife - renewal - time.Hour)
		second, err := mustState(t, dir).ServerCertificate(serverName)
		if err != nil || !second.Leaf.Equal(first.Leaf) {
			t.Errorf("replaced too early: %v", err)
		}
		time.Sleep(2 * time.Hour)
		if second, err = mustState(t, dir).ServerCertificate(serverName); err != nil || second.Leaf.Equal(first.Leaf) {
			t.Errorf("not replaced: %v", err)
		}
		time.Sleep(caLife)
		if _, err = OpenState(dir); err == nil || !strings.Contains(err.Error(), "expired") {
			t.Errorf("expired CA: %v", err)
		}
	})
}

func TestStateOfTwoAtOnce(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := OpenState(dir)
			if err != nil {
				t.Error(err)
				return
			}
			cert, err := s.ServerCertificate(serverName)
			if err != nil {
				t.Error(err)
				return
			}
			if err := cert.Leaf.CheckSignatureFrom(s.ca); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestStateAfterACrash(t *testing.T) {
	dir := t.TempDir()
	mustState(t, dir)
	if err := os.Remove(filepath.Join(dir, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	mustState(t, dir) // a key alone is what a crash leaves
	read(t, dir, "ca.pem")
}

func TestStateDamaged(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(dir string) error
		says   string
	}{
		"no key":   {func(dir string) error { return os.Remove(filepath.Join(dir, "ca.key")) }, "restore"},
		"open key": {func(dir string) error { return os.Chmod(filepath.Join(dir, "ca.key"), 0o640) }, "chmod 600"},
		"cut":      {func(dir string) error { return os.Truncate(filepath.Join(dir, "ca.pem"), 20) }, "ca.pem"},
		"another key": {func(dir string) error {
			return os.Rename(filepath.Join(dir, "server.key"), filepath.Join(dir, "ca.key"))
		}, "does not match"},
		"not a CA": {func(dir string) error {
			return os.Rename(filepath.Join(dir, "server.pem"), filepath.Join(dir, "ca.pem"))
		}, "does not match"},
		"key unusable": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "ca.key"), []byte("x"), 0o600) }, "ca.key"},
	} {
		dir := t.TempDir()
		if _, err := mustState(t, dir).ServerCertificate(serverName); err != nil {
			t.Fatal(err)
		}
		if err := c.damage(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenState(dir); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIssue(t *testing.T) {
	s := mustState(t, t.TempDir())
	out := filepath.Join(t.TempDir(), "new", "folder")
	files, err := s.Issue(nodeName, out)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(out, "mn.pem"), filepath.Join(out, "mn.key"), filepath.Join(out, "ca.pem")}
	for i, w := range want {
		if files[i] != w {
			t.Errorf("%s, expected %s", files[i], w)
		}
	}
	pair, _, err := loadPair(files[0], files[1]) // checks the key's mode
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: s.Roots(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if got := pair.Leaf.EmailAddresses; len(got) != 1 || got[0] != nodeName {
		t.Errorf("names %v", got)
	}
	if read(t, out, "ca.pem") != string(s.caPEM) {
		t.Error("another CA")
	}
	// Again, and into the state directory itself.
	if _, err := s.Issue(nodeName, out); err != nil {
		t.Error(err)
	}
	if _, err := s.Issue(nodeName, s.dir); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		"", "mn", "@home.example", "mn@", "a/b@home.example", "..@home.example", ".mn@home.example", "mn@home example",
		"mn\n@home.example", "mn@-home.example", "ca@home.example", "server@home.example", "mn@" + strings.Repeat("a", 64), "-mn@home.example",
	} {
		if _, err := s.Issue(bad, out); err == nil {
			t.Errorf("%q issued", bad)
		}
	}
	for _, bad := range []string{"", "aaa home", "aaa..example", "a\nb", strings.Repeat("a.", 130) + "a", "*.example"} {
		if _, err := s.ServerCertificate(bad); err == nil {
			t.Errorf("server name %q accepted", bad)
		}
	}
}

// A request is signed for a node or a host, by which one can be told from the other.
func TestSign(t *testing.T) {
	s := mustState(t, t.TempDir())
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"ar.other.home.example"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct{ server, host bool }{"laptop@home.example": {}, "ar.b.home.example": {true, true}} {
		text, _, err := s.Sign(name, csr)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		for usage, good := range map[x509.ExtKeyUsage]bool{x509.ExtKeyUsageClientAuth: true, x509.ExtKeyUsageServerAuth: want.server} {
			if _, err := cert.Verify(x509.VerifyOptions{Roots: s.Roots(), KeyUsages: []x509.ExtKeyUsage{usage}}); (err == nil) != good {
				t.Errorf("%s: usage %v: %v", name, usage, err)
			}
		}
		if got := cert.VerifyHostname(name) == nil; got != want.host || cert.VerifyHostname("ar.other.home.example") == nil {
			t.Errorf("%s: DNS names %v", name, cert.DNSNames)
		}
	}
	for _, name := range []string{"laptop", "ca.home.example", "*.home.example", ""} {
		if _, _, err := s.Sign(name, csr); err == nil {
			t.Errorf("signed for %q", name)
		}
	}
}
