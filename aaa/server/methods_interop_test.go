package server

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openmpa/internal/event"
)

// usersOf makes a file of users, of which each has its name up to the @ and a word as
// its password.
func usersOf(t *testing.T, list ...User) *Users {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	for _, u := range list {
		if err := AddUser(path, u, false); err != nil {
			t.Fatal(err)
		}
	}
	users, err := OpenUsers(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return users
}

func hashed(t *testing.T, password string, onlyPAP bool) Password {
	t.Helper()
	p, err := HashPassword(password, onlyPAP)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const anyPassword = "correct horse ü"

// TestEapolTestMethods lets wpa_supplicant's EAP peer authenticate at our server with
// every method, in either version of TLS, in full and resumed.
func TestEapolTestMethods(t *testing.T) {
	e := newEapolTest(t, Config{
		Methods: Methods, Resume: time.Hour,
		Users: usersOf(t, User{Name: nodeName, Password: hashed(t, anyPassword, false)},
			User{Name: "pap@home.example", Password: hashed(t, anyPassword, true)},
			User{Name: "blocked@home.example", Password: hashed(t, anyPassword, false), Blocked: true}),
	})
	for _, version := range []string{"1.2", "1.3"} {
		for _, c := range []struct {
			name, eap, outer, inner string
			phase1, phase2          string
			password                string
			reason                  string // of our server; empty: success
		}{
			{"TLS", "TLS", nodeName, "", "", "", "", ""},
			{"TLS, anonymous", "TLS", "@home.example", "", "", "", "", ""},
			{"TTLS-PAP", "TTLS", "anonymous@home.example", nodeName, "", "auth=PAP", anyPassword, ""},
			{"TTLS-PAP, hard to find", "TTLS", "anonymous@home.example", "pap@home.example", "", "auth=PAP", anyPassword, ""},
			{"TTLS-MSCHAPv2", "TTLS", "anonymous@home.example", nodeName, "", "auth=MSCHAPV2", anyPassword, ""},
			{"TTLS-MSCHAPv2, name not hidden", "TTLS", nodeName, nodeName, "", "auth=MSCHAPV2", anyPassword, ""},
			{"PEAP-MSCHAPv2", "PEAP", "anonymous@home.example", nodeName, "peaplabel=0", "auth=MSCHAPV2", anyPassword, ""},
			{"PEAP-MSCHAPv2 bound", "PEAP", "anonymous@home.example", nodeName, "crypto_binding=2", "auth=MSCHAPV2", anyPassword, ""},
			{"PEAP-MSCHAPv2 not bound", "PEAP", "anonymous@home.example", nodeName, "crypto_binding=0", "auth=MSCHAPV2", anyPassword, ""},
			{"PEAP-MSCHAPv2, name without realm", "PEAP", "anonymous@home.example", "mn", "", "auth=MSCHAPV2", anyPassword, ""},
			{"TTLS-PAP, wrong password", "TTLS", "anonymous@home.example", nodeName, "", "auth=PAP", "x", `user "mn@home.example" refused: wrong password`},
			{"TTLS-MSCHAPv2, wrong password", "TTLS", "anonymous@home.example", nodeName, "", "auth=MSCHAPV2", "x", "wrong password"},
			{"PEAP, wrong password", "PEAP", "anonymous@home.example", nodeName, "", "auth=MSCHAPV2", "x", "wrong password"},
			{"PEAP, unknown user", "PEAP", "anonymous@home.example", "who@home.example", "", "auth=MSCHAPV2", anyPassword, "no such user"},
			{"TTLS, blocked user", "TTLS", "anonymous@home.example", "blocked@home.example", "", "auth=PAP", anyPassword, "blocked"},
			{"TTLS-MSCHAPv2 for a password that is hard to find", "TTLS", "anonymous@home.example", "pap@home.example", "", "auth=MSCHAPV2", anyPassword, "not kept in a way"},
			{"TTLS-CHAP", "TTLS", "anonymous@home.example", nodeName, "", "auth=CHAP", anyPassword, "the peer uses CHAP inside"},
			{"TTLS-EAP", "TTLS", "anonymous@home.example", nodeName, "", "autheap=MSCHAPV2", anyPassword, "expected PAP or MSCHAPv2"},
			{"PEAP-GTC", "PEAP", "anonymous@home.example", nodeName, "", "auth=GTC", anyPassword, "only"},
			{"MD5", "MD5", nodeName, "", "", "", anyPassword, "the peer refuses"},
		} {
			t.Run(c.name+" "+version, func(t *testing.T) {
				off := 0
				if version == "1.2" {
					off = 1
				}
				network := fmt.Sprintf(" eap=%s\n ca_cert=%q\n domain_match=%q\n phase1=\"tls_disable_tlsv1_3=%d tls_disable_session_ticket=0 %s\"\n fragment_size=1200\n", c.eap, e.files[2], serverName, off, c.phase1)
				if c.eap == "TLS" {
					network += fmt.Sprintf(" identity=%q\n client_cert=%q\n private_key=%q\n", c.outer, e.files[0], e.files[1])
				} else {
					inner := c.inner
					if inner == "" {
						inner = c.outer
					}
					network += fmt.Sprintf(" anonymous_identity=%q\n identity=%q\n password=%q\n phase2=%q\n", c.outer, inner, c.password, c.phase2)
				}
				from := len(e.recorder.Events(event.HandoverID{}))
				text, err := e.run(t, network, "-t", "5", "-r", "2")
				var ends []event.Event
				for _, x := range e.recorder.Events(event.HandoverID{})[from:] {
					if x.Kind == event.KindEnd {
						ends = append(ends, x)
					}
				}
				if c.reason != "" {
					if err == nil || len(ends) == 0 || ends[0].Outcome != event.Failed || !strings.Contains(ends[0].Reason, c.reason) {
						t.Errorf("%v, %+v", err, ends)
					}
					return
				}
				if err != nil || !strings.Contains(text, "MPPE keys OK: 3  mismatch: 0") {
					t.Errorf("%v\n%s", err, text)
				}
				if len(ends) != 3 {
					t.Fatalf("%+v", ends)
				}
				for i, x := range ends {
					if x.Outcome != event.OK || !strings.HasSuffix(x.Attrs["method"].(string), c.eap) || x.Attrs["tls"] != "TLS "+version || (x.Attrs["resumed"] == true) != (i > 0) {
						t.Errorf("%d: %+v", i, x)
					}
				}
				// All 64 octets of what it has derived, against what it got from us.
				msk := hexLine(t, text, "EAP-"+c.eap+": Derived key")
				recv, send := hexLine(t, text, "MS-MPPE-Recv-Key (crypt)"), hexLine(t, text, "MS-MPPE-Send-Key (sign)")
				if len(msk) > 0 && !bytes.Equal(msk[:64], append(recv, send...)) {
					t.Errorf("MSK %x at the node, %x and %x from the server", msk, recv, send)
				}
			})
		}
	}
}
