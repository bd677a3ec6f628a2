package radio

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"openmpa/internal/wpactrl"
	"openmpa/testbed/peers"
)

// An AP is one radio as access point, in the 2.4 GHz band.
type AP struct {
	Dir       string // the run directory
	Name      string // of its files there
	Interface string
	Channel   int
	BSSes     []BSS // the first one is on Interface itself
}

// A BSS is one network of an access point.
type BSS struct {
	Interface string      // that hostapd makes for it; not of the first one
	SSID      string      // ESS it belongs to
	BSSID     wpactrl.MAC // zero: the radio's own, of the first one only
	Bridge    string      // that it joins; empty: none
	Mode      Mode
	NASID     string         // as which it asks the server
	Own       netip.Addr     // from where
	Server    netip.AddrPort // RADIUS
	Secret    string
	Domain    *Domain // FT only
}

// Program finds hostapd, or says what to install.
func (AP) Program() (string, error) { return peers.Program("hostapd", "hostapd") }

// Command writes the configuration and returns how hostapd is started.
func (a AP) Command() ([]string, error) {
	path, err := a.Program()
	if err != nil {
		return nil, err
	}
	text, err := a.config()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(a.Dir, a.Name+".conf")
	if err := writeFile(conf, text); err != nil {
		return nil, err
	}
	return []string{path, "-t", conf}, nil
}

func (a AP) control() string { return filepath.Join(a.Dir, a.Name+".ctl") }

// Socket is the path of the control socket of the BSS number i.
func (a AP) Socket(i int) string { return filepath.Join(a.control(), a.ifname(i)) }

func (a AP) ifname(i int) string {
	if i == 0 {
		return a.Interface
	}
	return a.BSSes[i].Interface
}

// Answers asks once whether every BSS is on the air.
func (a AP) Answers(ctx context.Context) error {
	for i := range a.BSSes {
		answer, err := ask(ctx, a.Socket(i), "STATUS")
		if err != nil {
			return err
		}
		if s := wpactrl.Lines(answer)["state"]; s != "ENABLED" {
			return fmt.Errorf("radio: %s is %q, expected ENABLED", a.ifname(i), wpactrl.Printable(s))
		}
	}
	return nil
}

// config is the text of hostapd.conf.
func (a AP) config() (string, error) {
	if a.Channel < 1 || a.Channel > 13 {
		return "", fmt.Errorf("radio: %s: channel %d: expected 1 to 13", a.Name, a.Channel)
	}
	if len(a.BSSes) == 0 {
		return "", fmt.Errorf("radio: %s: no BSS", a.Name)
	}
	var b strings.Builder
	for i, s := range a.BSSes {
		if err := s.check(i); err != nil {
			return "", fmt.Errorf("%w, of %s, BSS %d", err, a.Name, i)
		}
		if i == 0 {
			fmt.Fprintf(&b, "interface=%s\ndriver=nl80211\nhw_mode=g\nchannel=%d\n", a.Interface, a.Channel)
		} else {
			fmt.Fprintf(&b, "\nbss=%s\n", s.Interface)
		}
		fmt.Fprintf(&b, "ctrl_interface=%s\n", a.control())
		s.write(&b)
	}
	return b.String(), nil
}

func (s BSS) check(i int) error {
	if (i == 0) != (s.Interface == "") {
		return errors.New("radio: expected an interface of its own for each BSS but the first")
	}
	if s.BSSID.IsGroup() || i > 0 && s.BSSID.IsZero() {
		return fmt.Errorf("radio: BSSID %v: expected the address of one access point", s.BSSID)
	}
	if !s.Own.IsValid() || !s.Server.IsValid() {
		return fmt.Errorf("radio: RADIUS from %v to %v: expected addresses", s.Own, s.Server)
	}
	if (s.Mode == FT) != (s.Domain != nil) {
		return fmt.Errorf("radio: mode %v with mobility domain %v: expected one with fast transition only", s.Mode, s.Domain != nil)
	}
	if s.Mode == PreAuth && s.Bridge == "" {
		return errors.New("radio: pre-authentication comes over a bridge, and there is none")
	}
	return errors.Join(checkText("SSID", s.SSID, maxSSID), checkText("NAS identifier", s.NASID, maxNAS), checkText("secret", s.Secret, 128))
}

// write adds the part that every BSS has.
func (s BSS) write(b *strings.Builder) {
	if !s.BSSID.IsZero() {
		fmt.Fprintf(b, "bssid=%v\n", s.BSSID)
	}
	if s.Bridge != "" {
		fmt.Fprintf(b, "bridge=%s\n", s.Bridge)
	}
	fmt.Fprintf(b, `ssid2="%s"
auth_algs=1
wpa=2
wpa_key_mgmt=%s
rsn_pairwise=CCMP
logger_syslog=0
ieee8021x=1
eap_reauth_period=0
nas_identifier=%s
own_ip_addr=%v
auth_server_addr=%v
auth_server_port=%d
auth_server_shared_secret=%s
rrm_neighbor_report=1
rrm_beacon_report=1
bss_transition=1
`, s.SSID, s.Mode.keyMgmt(), s.NASID, s.Own, s.Server.Addr(), s.Server.Port(), s.Secret)
	switch s.Mode {
	case Full:
		b.WriteString("disable_pmksa_caching=1\n")
	case PreAuth:
		fmt.Fprintf(b, "rsn_preauth=1\nrsn_preauth_interfaces=%s\n", s.Bridge)
	case FT:
		s.writeDomain(b)
	}
}

// writeDomain adds what fast transition needs: keys are pushed to the other
// access points as soon as there are any.
func (s BSS) writeDomain(b *strings.Builder) {
	fmt.Fprintf(b, `mobility_domain=%04x
r1_key_holder=%x
reassociation_deadline=1000
ft_over_ds=1
pmk_r1_push=1
ft_r0_key_lifetime=10000
`, s.Domain.ID, s.BSSID[:])
	for _, h := range s.Domain.Holders {
		if h.BSSID == s.BSSID {
			continue
		}
		fmt.Fprintf(b, "r0kh=%v %s %s\nr1kh=%v %v %s\n", h.BSSID, h.NASID, hexKey(s.Domain.Key), h.BSSID, h.BSSID, hexKey(s.Domain.Key))
	}
}
