package bed

import (
	"os"
	"strings"
	"testing"

	"openmpa/testbed/rundir"
)

// TestEAPMethods: the same password at the node and at each server, and none with a certificate.
func TestEAPMethods(t *testing.T) {
	for _, method := range append([]string{""}, EAPMethods...) {
		b := &Bed{opt: Options{EAP: method}, Run: &rundir.Dir{Path: t.TempDir()}}
		if err := b.opt.checkEAP(); err != nil {
			t.Fatal(err)
		}
		if err := b.users(); err != nil {
			t.Fatal(err)
		}
		text := b.configEAP()
		given, err := b.passwords()
		if err != nil {
			t.Fatal(err)
		}
		if method == "" || method == EAPTLS {
			if !strings.Contains(text, "certificate: mn/mn.pem") || b.configUsers() != "" || given != nil {
				t.Errorf("%q: %s %s", method, text, b.configUsers())
			}
			continue
		}
		password, err := os.ReadFile(b.Run.File(passwordFile))
		if err != nil || given[MNIdentity] != strings.TrimSpace(string(password)) || len(password) < 20 || strings.Contains(text, "certificate") || strings.Contains(text, given[MNIdentity]) {
			t.Errorf("%s: %v, %s", method, err, text)
		}
		if want, _, _ := strings.Cut(method, "-"); !strings.Contains(text, "method: "+want+"\n") || b.configUsers() == "" {
			t.Errorf("%s: %s", method, text)
		}
	}
	if err := (Options{EAP: "md5"}).checkEAP(); err == nil {
		t.Error("md5 is taken")
	}
}
