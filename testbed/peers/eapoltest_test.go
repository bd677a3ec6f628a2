package peers

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestEapolTestConfiguration(t *testing.T) {
	if _, err := (EapolTest{}).Program(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	e := EapolTest{
		Dir: dir, Name: "eapol", Server: netip.MustParseAddrPort("127.0.0.1:1812"), Secret: "testing123", Identity: "mn@home.example",
		CA: "/pki/ca.pem", ServerName: "aaa.home.example", Certificate: "/pki/mn.pem", Key: "/pki/mn.key", No13: true, Fragment: 1024, Again: 3, Full: true,
	}
	command, err := e.Command()
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.Index(command, "-r"); i < 0 || command[i+1] != "3" || !slices.Contains(command, "1812") {
		t.Errorf("%q", command)
	}
	text, err := os.ReadFile(filepath.Join(dir, "eapol.conf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"fast_reauth=0\nnetwork={\n", " eap=TLS\n", ` identity="mn@home.example"`, ` domain_match="aaa.home.example"`,
		` phase1="tls_disable_tlsv1_3=1 tls_disable_session_ticket=0"`, " fragment_size=1024\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "password") || strings.Contains(string(text), "phase2") {
		t.Errorf("more than was asked for:\n%s", text)
	}
}
