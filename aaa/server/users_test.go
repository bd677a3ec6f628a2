package server

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/aaa/eap"
)

func TestPasswords(t *testing.T) {
	for _, onlyPAP := range []bool{false, true} {
		p, err := HashPassword(anyPassword, onlyPAP)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(p), anyPassword) || strings.Contains(fmt.Sprintf("%v %+v %s", p, p, p), strings.Split(string(p), ":")[1]) {
			t.Errorf("%s shows it", string(p))
		}
		a := p.account()
		if !a.Check([]byte(anyPassword)) || a.Check([]byte(anyPassword+" ")) || a.Check(nil) || (a.NTHash == nil) != onlyPAP {
			t.Errorf("only PAP %v: wrong", onlyPAP)
		}
		other, err := HashPassword("another", onlyPAP)
		if err != nil || other.version() == p.version() {
			t.Errorf("the same version, %v", err)
		}
	}
	// Of RFC 2759 section 9.2.
	if p, err := HashPassword("clientPass", false); err != nil || p != "nt:44ebba8d5312b8d611474411f56989ae" {
		t.Errorf("%s, %v", string(p), err)
	}
	for _, bad := range []Password{"x", "nt:", "nt:00", "nt:zz", "pbkdf2:1:00", "pbkdf2:0:0011223344556677:00", "pbkdf2:99999999999:0011223344556677:00", "pbkdf2:1:00:00"} {
		if err := bad.check(); err == nil || strings.Contains(err.Error(), string(bad)+" ") {
			t.Errorf("%q: %v", string(bad), err)
		}
	}
	for _, bad := range []string{"", strings.Repeat("x", 257), "\xff"} {
		if _, err := HashPassword(bad, false); err == nil {
			t.Errorf("%q hashed", bad)
		}
	}
}

func TestUsersFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	mustWrite(t, path, "# people\n\n{\"name\":\"a@home.example\",\"blocked\":true}\n")
	if err := AddUser(path, User{Name: "b@Home.example", Methods: []string{"ttls"}, Password: hashed(t, "x", false), Session: "30m"}, false); err != nil {
		t.Fatal(err)
	}
	if err := AddUser(path, User{Name: "b@home.EXAMPLE"}, false); err == nil || !strings.Contains(err.Error(), "--replace") {
		t.Errorf("twice: %v", err)
	}
	if err := RemoveUser(path, "who@home.example"); err == nil {
		t.Error("removed nobody")
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(text), "# people\n\n{") || strings.Contains(string(text), `"x"`) {
		t.Errorf("%s, %v", text, err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	u, err := OpenUsers(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, ok := u.Find("b@HOME.example"); !ok || !b.allows("ttls") || b.allows("tls") || b.life() != 30*time.Minute {
		t.Errorf("%+v, %v", b, ok)
	}
	if _, ok := u.Find("B@home.example"); ok {
		t.Error("names before the @ are as they are")
	}
	if _, ok := (*Users)(nil).Find("b@home.example"); ok {
		t.Error("nobody's file has somebody")
	}
	if err := AddUser(path, User{Name: "b@home.example", Blocked: true}, true); err != nil {
		t.Fatal(err)
	}
	if list, err := ListUsers(path); err != nil || len(list) != 2 || !list[1].Blocked || list[1].Password != "" {
		t.Errorf("%+v, %v", list, err)
	}
	if err := RemoveUser(path, "b@home.example"); err != nil {
		t.Fatal(err)
	}
	if list, err := ListUsers(path); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestUsersMistakes(t *testing.T) {
	good, err := json.Marshal(User{Name: "a@home.example", Password: hashed(t, "x", false)})
	if err != nil {
		t.Fatal(err)
	}
	for says, line := range map[string]string{
		":1: expected a JSON object": "a@home.example x",
		"found more":                 string(good) + string(good),
		"in line 1, too":             string(good) + "\n" + string(good),
		"unknown field":              `{"name":"a","pass":"x"}`,
		"expected 1 to 253":          `{"name":""}`,
		"method \"md5\"":             `{"name":"a","methods":["md5"]}`,
		"session \"1\"":              `{"name":"a","session":"1"}`,
		"form that is not known":     `{"name":"a","password":"geheim"}`,
		"too long":                   `{"name":"` + strings.Repeat("a", maxUserLine) + `"}`,
	} {
		path := filepath.Join(t.TempDir(), "users")
		mustWrite(t, path, line+"\n")
		if _, err := OpenUsers(path, nil); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", says, err)
		}
	}
	path := filepath.Join(t.TempDir(), "users")
	mustWrite(t, path, string(good)+"\n")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenUsers(path, nil); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("open to others: %v", err)
	}
}

// TestUsersChange adds, blocks and spoils while the server runs.
func TestUsersChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	synctest.Test(t, func(t *testing.T) {
		u, err := OpenUsers(path, nil) // not there yet
		if err != nil {
			t.Fatal(err)
		}
		if err := AddUser(path, User{Name: "a"}, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * usersLook)
		if a, ok := u.Find("a"); !ok || a.Blocked {
			t.Errorf("%+v, %v", a, ok)
		}
		if err := AddUser(path, User{Name: "a", Blocked: true}, true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * usersLook)
		if a, ok := u.Find("a"); !ok || !a.Blocked {
			t.Errorf("%+v, %v", a, ok)
		}
		mustWrite(t, path, "spoilt\n")
		time.Sleep(2 * usersLook)
		if a, ok := u.Find("a"); !ok || !a.Blocked {
			t.Errorf("what was there does not count: %+v, %v", a, ok)
		}
	})
}

// TestBlockedCertificate refuses who is blocked in the file, in full and resumed.
func TestBlockedCertificate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	synctest.Test(t, func(t *testing.T) {
		users, err := OpenUsers(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := newSite(t, func(c *Config) { c.Users, c.Resume = users, time.Hour })
		s.node.TLS.SessionCache = newTLSCache()
		for range 2 {
			if p, _, err := authenticate(t, s.backend, s.node); err != nil {
				t.Fatalf("%v, %v", err, p.Err())
			}
		}
		if e := s.lastEvent(); e.Attrs["resumed"] != true {
			t.Fatalf("not resumed: %+v", e)
		}
		if err := AddUser(path, User{Name: nodeName, Blocked: true}, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * usersLook)
		for range 2 {
			if _, _, err := authenticate(t, s.backend, s.node); err == nil {
				t.Fatal("a blocked node is in")
			}
			if e := s.lastEvent(); !strings.Contains(e.Reason, "blocked") {
				t.Errorf("%+v", e)
			}
		}
	})
}

// TestMethodsOfUsers offers what a user may have, first what it is likely to want.
func TestMethodsOfUsers(t *testing.T) {
	s := &Server{cfg: Config{Methods: Methods, Users: usersOf(t,
		User{Name: "cert"}, User{Name: "password", Password: hashed(t, "x", false)},
		User{Name: "one", Methods: []string{"peap"}, Password: hashed(t, "x", false)}, User{Name: "none", Methods: []string{"peap"}, Blocked: true})}}
	for name, want := range map[string]string{
		"cert": "[EAP-TLS EAP-TTLS PEAP]", "password": "[EAP-TTLS PEAP EAP-TLS]", "one": "[PEAP]",
		"who": "[EAP-TLS EAP-TTLS PEAP]", "none": "[EAP-TLS EAP-TTLS PEAP]",
	} {
		if got := fmt.Sprint(s.methods(name)); got != want {
			t.Errorf("%s: %s, expected %s", name, got, want)
		}
	}
	for user, want := range map[string]string{"who": "no such user", "cert": "no password", "none": "blocked", "one": "may not use EAP-TTLS"} {
		if _, err := s.account("x@y", eap.TypeTTLS, user); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", user, err)
		}
	}
}

func newTLSCache() tls.ClientSessionCache { return tls.NewLRUClientSessionCache(4) }
