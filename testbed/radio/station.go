package radio

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"openmpa/testbed/peers"
)

// A Station is one radio as station. It goes where it is told to: it looks
// for other access points by itself only when it has none.
type Station struct {
	Dir       string // the run directory
	Name      string // of its files there
	Interface string
	Networks  []ESS // wpa_supplicant's numbers are their places in the list

	// EAP-TLS, for all of them; paths.
	Identity, CA, Certificate, Key string
	ServerName                     string // expected in the server's certificate
}

// An ESS is a network the station may join.
type ESS struct {
	SSID     string
	Mode     Mode
	Freqs    []int // MHz: where it is looked for
	Disabled bool  // until it is selected
}

// Program finds wpa_supplicant, or says what to install.
func (Station) Program() (string, error) { return peers.Program("wpa_supplicant", "wpasupplicant") }

// Command writes the configuration and returns how wpa_supplicant is started.
func (s Station) Command() ([]string, error) {
	path, err := s.Program()
	if err != nil {
		return nil, err
	}
	text, err := s.config()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(s.Dir, s.Name+".conf")
	if err := writeFile(conf, text); err != nil {
		return nil, err
	}
	return []string{path, "-t", "-D", "nl80211", "-i", s.Interface, "-c", conf}, nil
}

func (s Station) control() string { return filepath.Join(s.Dir, s.Name+".ctl") }

// Socket is the path of the control socket.
func (s Station) Socket() string { return filepath.Join(s.control(), s.Interface) }

// Answers asks once whether it listens to commands; it need not be attached.
func (s Station) Answers(ctx context.Context) error {
	_, err := ask(ctx, s.Socket(), "STATUS")
	return err
}

// config is the text of wpa_supplicant.conf.
func (s Station) config() (string, error) {
	err := errors.Join(checkText("identity", s.Identity, 253), checkText("server name", s.ServerName, 253))
	for _, path := range []string{s.CA, s.Certificate, s.Key} {
		err = errors.Join(err, checkText("path", path, 4096))
	}
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "ctrl_interface=%s\nupdate_config=0\nap_scan=1\nfast_reauth=0\nokc=0\n", s.control())
	for _, n := range s.Networks {
		if err := checkText("SSID", n.SSID, maxSSID); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "\nnetwork={\n ssid=\"%s\"\n key_mgmt=%s\n proactive_key_caching=0\n", n.SSID, n.Mode.keyMgmt())
		if len(n.Freqs) > 0 {
			list := strings.Trim(fmt.Sprint(n.Freqs), "[]")
			fmt.Fprintf(&b, " scan_freq=%s\n freq_list=%s\n", list, list)
		}
		if n.Disabled {
			b.WriteString(" disabled=1\n")
		}
		fmt.Fprintf(&b, ` eap=TLS
 identity="%s"
 ca_cert="%s"
 client_cert="%s"
 private_key="%s"
 domain_match="%s"
}
`, s.Identity, s.CA, s.Certificate, s.Key, s.ServerName)
	}
	return b.String(), nil
}
