package hostapd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
)

const (
	// Dir is where distributions have hostapd put its control sockets, below the root.
	Dir = "run/hostapd"

	timeout = time.Second // for one answer
	maxBSS  = 64          // sockets looked at
)

// Enabled is the state of a radio that is on the air.
const Enabled = "ENABLED"

// BSS is one that hostapd runs.
type BSS struct {
	Interface string // its own: wlan0
	Socket    string // hostapd's, to control it
	BSSID     wpactrl.MAC
	SSID      string // unescaped
	Freq      int    // MHz; 0: not told
	State     string // of the radio
	KeyMgmt   []string
	RADIUS    []netip.AddrPort // servers of 802.1X
}

// Suite is the key management of 802.1X that stations may use with keys from before; zero when there is none.
func (b BSS) Suite() keys.AKM {
	for _, a := range []keys.AKM{keys.AKM8021X, keys.AKM8021XSHA256} {
		if slices.Contains(b.KeyMgmt, a.String()) {
			return a
		}
	}
	return 0
}

// Find asks every hostapd that has a control socket in run/hostapd below root ("/"). own is where to put sockets of ours, see
// wpactrl.Config. A socket that nobody answers on is left out of the list, and said in err, beside those that do.
func Find(ctx context.Context, root, own string) ([]BSS, error) {
	entries, err := os.ReadDir(filepath.Join(root, Dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("hostapd: %w", err)
	}
	var out []BSS
	var failed []error
	for _, e := range entries {
		if e.Type() != fs.ModeSocket || len(out) == maxBSS || strings.Contains(e.Name(), ".") {
			continue
		}
		b, err := Ask(ctx, filepath.Join(root, Dir, e.Name()), own)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		out = append(out, b)
	}
	return out, errors.Join(failed...)
}

// Ask asks the hostapd behind one socket.
func Ask(ctx context.Context, socket, own string) (BSS, error) {
	b := BSS{Socket: socket, Interface: filepath.Base(socket)}
	c, err := wpactrl.Open(wpactrl.Config{Socket: socket, Dir: own, Timeout: timeout})
	if err != nil {
		return b, fmt.Errorf("hostapd: %w", err)
	}
	defer c.Close()
	answers := make(map[string]wpactrl.Fields)
	for _, command := range []string{"STATUS", "GET_CONFIG", "MIB"} {
		text, err := c.Command(ctx, command)
		if err != nil {
			return b, fmt.Errorf("hostapd: %s: %w", socket, err)
		}
		if command == "MIB" {
			b.RADIUS = servers(text)
		}
		answers[command] = wpactrl.Lines(text)
	}
	status, config := answers["STATUS"], answers["GET_CONFIG"]
	b.State = wpactrl.Printable(status["state"])
	b.Freq, _ = status.Int("freq")
	b.BSSID = config.MAC("bssid")
	b.KeyMgmt = strings.Fields(wpactrl.Printable(config["key_mgmt"]))
	ssid, ok := wpactrl.Unescape(config["ssid"])
	if b.SSID = ssid; b.State == "" || !ok {
		return b, fmt.Errorf("hostapd: %s: expected an answer with state and ssid, as hostapd gives", socket)
	}
	return b, nil
}

// servers reads the RADIUS servers' part of MIB.
func servers(answer string) (out []netip.AddrPort) {
	var addr netip.Addr
	for line := range strings.Lines(answer) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "radiusAuthServerAddress":
			addr, _ = netip.ParseAddr(value)
		case "radiusAuthClientServerPortNumber":
			port, err := strconv.ParseUint(value, 10, 16)
			if err == nil && addr.IsValid() && len(out) < maxBSS {
				out = append(out, netip.AddrPortFrom(addr, uint16(port)))
			}
			addr = netip.Addr{}
		}
	}
	return out
}
