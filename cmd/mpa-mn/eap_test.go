package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openmpa/internal/config"
)

const eapExample = `  certificate: mn.pem
  key: mn.key
`

// TestEAP: what each method asks for.
func TestEAP(t *testing.T) {
	with := func(method, lines string) (configuration, error) {
		text := strings.NewReplacer("  method: tls  ", "  method: "+method, eapExample, lines).Replace(example)
		return config.Parse[configuration]("mn.yaml", []byte(text))
	}
	for _, ok := range [][2]string{
		{"tls", eapExample},
		{"tls", eapExample + "  anonymous: anonymous@home.example\n"},
		{"ttls", "  password-file: mn.password\n"},
		{"ttls", "  password-file: mn.password\n  inner: pap\n  anonymous: anonymous@home.example\n"},
		{"peap", "  password-file: mn.password\n  inner: mschapv2\n"},
		{"peap", eapExample + "  password-file: mn.password\n"}, // where the server asks for both
	} {
		if _, err := with(ok[0], ok[1]); err != nil {
			t.Errorf("%s, %q: %v", ok[0], ok[1], err)
		}
	}
	for want, bad := range map[string][2]string{
		"expected tls, ttls or peap":     {"md5", eapExample},
		"method ttls shows a password":   {"ttls", eapExample},
		"tls has no password":            {"tls", eapExample + "  password-file: mn.password\n"},
		"leave out password-file and":    {"tls", eapExample + "  inner: pap\n"},
		"expected files for ca":          {"tls", ""},
		"expected both":                  {"peap", "  key: mn.key\n  password-file: mn.password\n"},
		"PEAP has mschapv2 only":         {"peap", "  password-file: mn.password\n  inner: pap\n"},
		"expected mschapv2 or pap":       {"ttls", "  password-file: mn.password\n  inner: chap\n"},
		`"1.1": expected "1.2" or "1.3"`: {"tls", eapExample + "  min-version: '1.1'\n"},
		`"1.0": expected "1.2" or "1.3"`: {"tls", eapExample + "  max-version: '1.0'\n"},
	} {
		if _, err := with(bad[0], bad[1]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, expected %q", err, want)
		}
	}
}

// TestPassword: the file with it has to be private and hold one, and shows in no error.
func TestPassword(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := write("ca.pem", caPEM, 0o644)
	for want, file := range map[string]string{
		"":                write("good", "correct horse\n", 0o600),
		"run chmod 600":   write("open", "correct horse\n", 0o644),
		"holds no secret": write("empty", "\n", 0o600),
		"1 to 128 octets": write("long", strings.Repeat("correct horse", 10), 0o600),
		"of UTF-8":        write("latin", "hex:e9", 0o600),
		"no such file":    filepath.Join(dir, "none"),
	} {
		e := eapConfig{Method: "ttls", Identity: "mn@home.example", CA: config.File(ca), ServerName: "aaa.home.example", PasswordFile: config.SecretFile(file)}.withDefaults()
		if err := e.check(); err != nil {
			t.Fatal(err)
		}
		newEAP, err := e.peer()
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "correct horse") {
				t.Errorf("%v, expected %q", err, want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		p, err := newEAP()
		if err != nil {
			t.Fatal(err)
		}
		out, err := p.Handle([]byte{1, 7, 0, 5, 1})
		if err != nil || string(out[5:]) != "mn@home.example" {
			t.Errorf("%q, %v", out, err)
		}
	}
}

// caPEM is some authority.
const caPEM = `-----BEGIN CERTIFICATE-----
MIIBezCCASGgAwIBAgIUC8GYxyx50qxM5Ip8cSSk/1ayj/UwCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHaG9tZSBDQTAgFw0yNjExMjIxNTA5MDNaGA8yMTI2MTAyOTE1
MDkwM1owEjEQMA4GA1UEAwwHaG9tZSBDQTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABPO6wL54eXE1BNJY1n4EM9RQlO1feZ8jvziRbhL8JDf60VZ9duuS2VEftKp3
6Oi+We9C8OAuBzzOUFelP7/JW7ijUzBRMB0GA1UdDgQWBBRQq1PGgGogjAAfKKQx
uhLBi+B8uzAfBgNVHSMEGDAWgBRQq1PGgGogjAAfKKQxuhLBi+B8uzAPBgNVHRMB
Af8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQDR1ey8LdJ06NIZ83AcMzBIUUoX
ZUiPW4h//zYE6m9aXwIgIqS7N+GuOnlLra869I+GGXnbYIKygUEyDp28ldjU4lw=
-----END CERTIFICATE-----
`
