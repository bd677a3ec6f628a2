package peers

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// An EapolTest is eapol_test: the EAP peer of wpa_supplicant with an access point's
// RADIUS client in one process. Every field is required but those with a default.
type EapolTest struct {
	Dir    string // for its configuration
	Name   string // of the file there
	Server netip.AddrPort
	Secret string

	Identity    string
	CA          string // file of the authority of the server's certificate
	ServerName  string // that its certificate must have
	Certificate string // file; with Key for EAP-TLS
	Key         string // file
	// Method is "TLS" by default, or "TTLS" or "PEAP", which take Inner ("auth=PAP",
	// "auth=MSCHAPV2"), Anonymous and Password.
	Method    string
	Inner     string
	Anonymous string
	Password  string

	No13     bool // it does not offer TLS 1.3; without 1.2 it falls back to 1.1
	Fragment int  // octets of an EAP-TLS packet; default 1398, its own
	Again    int  // how often it authenticates once more, in the same process
	Full     bool // it resumes no session, whatever the server lets it
	Timeout  int  // seconds; default 30, its own
}

// Program finds eapol_test, or says what to install.
func (EapolTest) Program() (string, error) { return Program("eapol_test", "eapoltest") }

// Command writes the configuration and returns how it is started. It ends when it has
// authenticated, code 0, or could not.
func (e EapolTest) Command() ([]string, error) {
	path, err := e.Program()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(e.Dir, e.Name+".conf")
	if err := os.WriteFile(file, []byte(e.text()), 0o600); err != nil {
		return nil, fmt.Errorf("peers: %w", err)
	}
	command := []string{path, "-c", file, "-a", e.Server.Addr().String(), "-p", strconv.Itoa(int(e.Server.Port())), "-s", e.Secret}
	if e.Again > 0 {
		command = append(command, "-r", strconv.Itoa(e.Again))
	}
	if e.Timeout > 0 {
		command = append(command, "-t", strconv.Itoa(e.Timeout))
	}
	return command, nil
}

// text is the configuration, in the words of wpa_supplicant.conf.
func (e EapolTest) text() string {
	var b strings.Builder
	if e.Full {
		b.WriteString("fast_reauth=0\n")
	}
	b.WriteString("network={\n key_mgmt=WPA-EAP\n")
	set := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, " %s=%q\n", key, value)
		}
	}
	if e.Method == "" {
		e.Method = "TLS"
	}
	fmt.Fprintf(&b, " eap=%s\n", e.Method)
	set("identity", e.Identity)
	set("anonymous_identity", e.Anonymous)
	set("password", e.Password)
	set("phase2", e.Inner)
	set("ca_cert", e.CA)
	set("domain_match", e.ServerName)
	set("client_cert", e.Certificate)
	set("private_key", e.Key)
	// By itself it takes no tickets of TLS 1.2.
	set("phase1", fmt.Sprintf("tls_disable_tlsv1_3=%d tls_disable_session_ticket=0", number(e.No13)))
	if e.Fragment > 0 {
		fmt.Fprintf(&b, " fragment_size=%d\n", e.Fragment)
	}
	b.WriteString("}\n")
	return b.String()
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
