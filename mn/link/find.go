package link

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Kind is the adapter that fits an interface.
type Kind string

// The kinds.
const (
	KindEthernet   Kind = "ethernet"
	KindSupplicant Kind = "wpa_supplicant"
)

// Found is what Find found.
type Found struct {
	Kind   Kind
	Socket string // of wpa_supplicant
}

// ErrNoSupplicant: the interface is wireless, and no wpa_supplicant of ours to talk to controls it.
var ErrNoSupplicant = errors.New("no control socket of wpa_supplicant")

// supplicantDirs are where distributions put control sockets.
var supplicantDirs = []string{"run/wpa_supplicant", "var/run/wpa_supplicant"}

// Find looks at an interface and says which adapter fits: wpa_supplicant's for a wireless one, that of a cable for others. The
// wireless ones are those with a phy80211 in /sys. root is the file system's, "/": os.DirFS("/"). Errors wrap fs.ErrNotExist when
// there is no such interface, ErrNoSupplicant when a wireless one cannot be controlled.
func Find(root fs.FS, dev string) (Found, error) {
	if dev == "" || strings.Contains(dev, "/") || dev == "." || dev == ".." {
		return Found{}, fmt.Errorf("link: interface %q: expected a name", dev)
	}
	sys := path.Join("sys/class/net", dev)
	if _, err := fs.Stat(root, sys); err != nil {
		return Found{}, fmt.Errorf("link: interface %s: %w", dev, err)
	}
	if _, err := fs.Stat(root, path.Join(sys, "phy80211")); errors.Is(err, fs.ErrNotExist) {
		return Found{Kind: KindEthernet}, nil
	} else if err != nil {
		return Found{}, fmt.Errorf("link: interface %s: %w", dev, err)
	}
	for _, dir := range supplicantDirs {
		socket := path.Join(dir, dev)
		if st, err := fs.Stat(root, socket); err == nil && st.Mode().Type() == fs.ModeSocket {
			return Found{Kind: KindSupplicant, Socket: "/" + socket}, nil
		}
	}
	return Found{}, fmt.Errorf("link: interface %s is wireless: %w in /%s: start wpa_supplicant with ctrl_interface=/%s, or say link.socket", dev,
		ErrNoSupplicant, supplicantDirs[0], supplicantDirs[0])
}
