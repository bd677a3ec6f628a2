package radio

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"openmpa/internal/wpactrl"
)

// A Mode is a way to authenticate stations.
type Mode uint8

// The modes; see the package comment.
const (
	Installed Mode = iota
	Full
	PreAuth
	FT
)

// String names the mode.
func (m Mode) String() string {
	switch m {
	case Installed:
		return "installed"
	case Full:
		return "full"
	case PreAuth:
		return "preauth"
	case FT:
		return "ft"
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// keyMgmt is what both daemons call the authentication suite.
func (m Mode) keyMgmt() string {
	if m == FT {
		return "FT-EAP"
	}
	return "WPA-EAP"
}

// A Domain is a mobility domain of fast transition: its access points hand
// on keys to one another over the bridge they share.
type Domain struct {
	ID      uint16
	Key     [32]byte // between the access points
	Holders []Holder // all of them, the one itself, too
}

// A Holder is one access point of a domain.
type Holder struct {
	BSSID wpactrl.MAC
	NASID string
}

// Frequency is the middle of a 2.4 GHz channel in MHz.
func Frequency(channel int) int { return 2407 + 5*channel }

const (
	maxSSID = 32 // octets, IEEE 802.11-2020 section 9.4.2.2
	maxNAS  = 48 // octets of an R0KH-ID, section 13.2.2
)

// checkText refuses what would not stay one value on one line of a
// configuration.
func checkText(what, s string, limit int) error {
	if s == "" || len(s) > limit {
		return fmt.Errorf("radio: %s %q: expected 1 to %d characters", what, s, limit)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return fmt.Errorf("radio: %s %q: expected printable ASCII without quotes", what, s)
	}
	return nil
}

func writeFile(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("radio: %w", err)
	}
	return nil
}

// askLimit bounds one command; an emulated machine is slow.
const askLimit = 20 * time.Second

// ask sends one command to a daemon.
func ask(ctx context.Context, socket, command string) (answer string, err error) {
	c, err := wpactrl.Open(wpactrl.Config{Socket: socket, Timeout: askLimit})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return c.Command(ctx, command)
}

func hexKey(k [32]byte) string { return hex.EncodeToString(k[:]) }
