package bed

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"

	"openmpa/aaa/server"
)

// How the mobile node logs in.
const (
	EAPTLS  = "tls"           // with a certificate
	EAPPAP  = "ttls-pap"      // with a password that the server reads
	EAPTTLS = "ttls-mschapv2" // with a password, inside EAP-TTLS
	EAPPEAP = "peap"          // with a password, inside PEAP
)

// EAPMethods are all of them.
var EAPMethods = []string{EAPTLS, EAPPAP, EAPTTLS, EAPPEAP}

// Files of a node with a password, in the run directory.
const (
	usersFile    = "users"
	passwordFile = "mn.password"
)

func (o Options) byPassword() bool { return o.EAP != "" && o.EAP != EAPTLS }

func (o Options) checkEAP() error {
	if o.EAP != "" && !slices.Contains(EAPMethods, o.EAP) {
		return fmt.Errorf("bed: nobody logs in by %q: expected one of %s", o.EAP, strings.Join(EAPMethods, ", "))
	}
	return nil
}

// users draws the node's password, and writes it where node and server look for it.
func (b *Bed) users() error {
	if !b.opt.byPassword() {
		return nil
	}
	raw := make([]byte, 12)
	if _, err := rand.Read(raw); err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	password := hex.EncodeToString(raw)
	p, err := server.HashPassword(password, b.opt.EAP == EAPPAP)
	if err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	if err := server.AddUser(b.Run.File(usersFile), server.User{Name: MNIdentity, Password: p}, true); err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	if err := os.WriteFile(b.Run.File(passwordFile), []byte(password+"\n"), 0o600); err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	return nil
}

// passwords are those that FreeRADIUS is told.
func (b *Bed) passwords() (map[string]string, error) {
	if !b.opt.byPassword() {
		return nil, nil
	}
	text, err := os.ReadFile(b.Run.File(passwordFile))
	if err != nil {
		return nil, fmt.Errorf("bed: %w", err)
	}
	return map[string]string{MNIdentity: strings.TrimSpace(string(text))}, nil
}

// configUsers is what a server of ours is told of them.
func (b *Bed) configUsers() string {
	if !b.opt.byPassword() {
		return ""
	}
	return "users: " + usersFile + "\n"
}

// configEAP is what the node shows.
func (b *Bed) configEAP() string {
	method, inner, _ := strings.Cut(b.opt.EAP, "-")
	if !b.opt.byPassword() {
		return "  certificate: mn/mn.pem\n  key: mn/mn.key\n"
	}
	text := fmt.Sprintf("  method: %s\n  password-file: %s\n  anonymous: anonymous@%s\n", method, passwordFile, homeRealm)
	if inner != "" {
		text += "  inner: " + inner + "\n"
	}
	return text
}
