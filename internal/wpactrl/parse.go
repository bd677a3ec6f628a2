package wpactrl

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"openmpa/paa/keys"
)

const (
	maxFields = 512 // of one answer or event
	maxRows   = 256 // of one list
	maxSSID   = 32  // octets, IEEE 802.11-2020 section 9.4.2.2
)

// Fields are the name=value pairs of an answer, one a line, or of an event's words.
type Fields map[string]string

// Lines reads name=value lines; what is no such line is left out, and all behind 512.
func Lines(answer string) Fields { return fields(strings.Split(answer, "\n")) }

// Words reads the name=value words of an event. A value in double quotes may have spaces; it stays escaped and keeps its
// quotes.
func Words(rest string) Fields {
	var words []string
	for rest != "" && len(words) < maxFields {
		end, quoted := 0, false
		for ; end < len(rest) && (quoted || rest[end] != ' '); end++ {
			switch {
			case rest[end] == '\\' && quoted:
				end++
			case rest[end] == '"':
				quoted = !quoted
			}
		}
		end = min(end, len(rest))
		words = append(words, strings.Trim(rest[:end], "[]"))
		rest = strings.TrimPrefix(rest[end:], " ")
	}
	return fields(words)
}

func fields(parts []string) Fields {
	f := make(Fields)
	for _, p := range parts {
		if name, value, ok := strings.Cut(p, "="); ok && name != "" && len(f) < maxFields {
			f[name] = value
		}
	}
	return f
}

// MAC returns the named address, the zero one if it is not there or is none.
func (f Fields) MAC(name string) MAC {
	m, err := ParseMAC(f[name])
	if err != nil {
		return MAC{}
	}
	return m
}

// Int returns the named number, decimal or with 0x, and whether it is there and is one.
func (f Fields) Int(name string) (int, bool) {
	n, err := strconv.ParseInt(f[name], 0, 32)
	return int(n), err == nil
}

func (f Fields) number(name string) int { n, _ := f.Int(name); return n }

// Status is wpa_supplicant's STATUS.
type Status struct {
	State   string // COMPLETED: associated, and the keys are set
	BSSID   MAC    // zero: not associated
	SSID    string // unescaped
	Network int    // id of the network block; -1: none
	Freq    int    // MHz
	KeyMgmt string
	Address MAC // our own
}

// States that matter here.
const (
	StateCompleted  = "COMPLETED"  // data may flow
	StateAssociated = "ASSOCIATED" // nothing has come from the access point since
	StateHandshake  = "4WAY_HANDSHAKE"
	StateGroup      = "GROUP_HANDSHAKE"
)

// Associated says that the interface is with an access point, whether its keys are set or are being made: at first, or anew while
// it stays.
func (s Status) Associated() bool {
	switch s.State {
	case StateCompleted, StateAssociated, StateHandshake, StateGroup:
		return !s.BSSID.IsZero()
	}
	return false
}

// ParseStatus reads STATUS.
func ParseStatus(answer string) (Status, error) {
	f := Lines(answer)
	s := Status{
		State: f["wpa_state"], BSSID: f.MAC("bssid"), Network: -1, Freq: f.number("freq"), KeyMgmt: f["key_mgmt"],
		Address: f.MAC("address"),
	}
	if s.State == "" {
		return s, malformed("STATUS", "wpa_state=...", answer)
	}
	if id, ok := f.Int("id"); ok {
		s.Network = id
	}
	s.SSID, _ = Unescape(f["ssid"])
	return s, nil
}

// BSS is one network that was seen.
type BSS struct {
	BSSID  MAC
	Freq   int // MHz
	Signal int // dBm
	Flags  []string
	SSID   string        // unescaped
	Age    time.Duration // since it was seen last; 0 from SCAN_RESULTS, which does not tell
}

// ParseScanResults reads SCAN_RESULTS, at most 256 rows; rows that are none are left out.
func ParseScanResults(answer string) ([]BSS, error) {
	rows, err := table("SCAN_RESULTS", "bssid / frequency / signal level / flags / ssid", answer)
	var out []BSS
	for _, row := range rows {
		col := strings.SplitN(row, "\t", 5)
		if len(col) != 5 {
			continue
		}
		mac, err1 := ParseMAC(col[0])
		freq, err2 := strconv.Atoi(col[1])
		signal, err3 := strconv.Atoi(col[2])
		ssid, ok := Unescape(col[4])
		if err1 == nil && err2 == nil && err3 == nil && ok {
			out = append(out, BSS{BSSID: mac, Freq: freq, Signal: signal, Flags: flags(col[3]), SSID: ssid})
		}
	}
	return out, err
}

// ParseBSS reads BSS <BSSID>. The answer is empty, and ok false, when it is not known.
func ParseBSS(answer string) (b BSS, ok bool) {
	f := Lines(answer)
	ssid, good := Unescape(f["ssid"])
	b = BSS{
		BSSID: f.MAC("bssid"), Freq: f.number("freq"), Signal: f.number("level"), Flags: flags(f["flags"]), SSID: ssid,
		Age: time.Duration(f.number("age")) * time.Second,
	}
	return b, good && !b.BSSID.IsZero()
}

// flags splits [WPA2-EAP-CCMP][ESS].
func flags(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == '[' || r == ']' })
}

// Signal is SIGNAL_POLL, about the access point we are at.
type Signal struct {
	RSSI    int // dBm
	Average int // dBm; 0: not told
	Noise   int // dBm; 9999: not known
	Freq    int // MHz
	Speed   int // Mb/s
}

// ParseSignalPoll reads SIGNAL_POLL.
func ParseSignalPoll(answer string) (Signal, error) {
	f := Lines(answer)
	rssi, ok := f.Int("RSSI")
	if !ok {
		return Signal{}, malformed("SIGNAL_POLL", "RSSI=...", answer)
	}
	return Signal{RSSI: rssi, Average: f.number("AVG_RSSI"), Noise: f.number("NOISE"), Freq: f.number("FREQUENCY"), Speed: f.number("LINKSPEED")}, nil
}

// Network is a network block of wpa_supplicant.
type Network struct {
	ID    int
	SSID  string // unescaped
	BSSID MAC    // zero: any
	Flags []string
}

// ParseNetworks reads LIST_NETWORKS.
func ParseNetworks(answer string) ([]Network, error) {
	rows, err := table("LIST_NETWORKS", "network id / ssid / bssid / flags", answer)
	var out []Network
	for _, row := range rows {
		col := strings.SplitN(row, "\t", 4)
		if len(col) != 4 {
			continue
		}
		id, err := strconv.Atoi(col[0])
		ssid, ok := Unescape(col[1])
		if err != nil || !ok || id < 0 {
			continue
		}
		n := Network{ID: id, SSID: ssid, Flags: flags(col[3])}
		if col[2] != "any" {
			if n.BSSID, err = ParseMAC(col[2]); err != nil {
				continue
			}
		}
		out = append(out, n)
	}
	return out, err
}

// PMKSA is one entry of a daemon's cache: Addr is the access point's BSSID at wpa_supplicant, the station's at hostapd.
type PMKSA struct {
	Addr          MAC
	PMKID         [16]byte
	Expires       time.Duration // from now
	Opportunistic bool
}

// ParsePMKSA reads PMKSA of either daemon. hostapd without WPA answers nothing: no entries.
func ParsePMKSA(answer string) ([]PMKSA, error) {
	if answer == "" {
		return nil, nil
	}
	rows, err := table("PMKSA", "Index / ", answer)
	var out []PMKSA
	for _, row := range rows {
		col := strings.Fields(row)
		if len(col) != 5 || len(col[2]) != 32 {
			continue // the last one may be cut
		}
		p := PMKSA{Opportunistic: col[4] != "0"}
		var seconds int
		var err error
		if p.Addr, err = ParseMAC(col[1]); err != nil {
			continue
		}
		if _, err := hex.Decode(p.PMKID[:], []byte(col[2])); err != nil {
			continue
		}
		if seconds, err = strconv.Atoi(col[3]); err != nil || seconds < 0 || seconds > 1<<31-1 {
			continue
		}
		p.Expires = time.Duration(seconds) * time.Second
		out = append(out, p)
	}
	return out, err
}

// Station is hostapd's STA.
type Station struct {
	MAC       MAC
	Flags     []string // AUTH, ASSOC, AUTHORIZED
	Signal    int      // dBm; 0: not told
	Connected time.Duration
	Inactive  time.Duration // since the last frame that came from it; below 0: not told
	EAP       int           // number of the EAP method by which it authenticated here, or for the key it came with; 0: not by EAP
}

// ParseStation reads STA <address>.
func ParseStation(answer string) (Station, error) {
	first, rest, _ := strings.Cut(answer, "\n")
	mac, err := ParseMAC(first)
	if err != nil {
		return Station{}, malformed("STA", "an address", answer)
	}
	f := Lines(rest)
	method, _, _ := strings.Cut(f["last_eap_type_as"], " ") // "13 (TLS)"
	eap, _ := strconv.Atoi(method)
	inactive := time.Duration(-1)
	if ms, ok := f.Int("inactive_msec"); ok && ms >= 0 {
		inactive = time.Duration(ms) * time.Millisecond
	}
	return Station{
		MAC: mac, Flags: flags(f["flags"]), Signal: f.number("signal"), Connected: time.Duration(f.number("connected_time")) * time.Second,
		Inactive: inactive, EAP: eap,
	}, nil
}

// table checks a list's heading and returns its rows, at most 256.
func table(command, heading, answer string) ([]string, error) {
	first, rest, _ := strings.Cut(answer, "\n")
	if !strings.HasPrefix(first, heading) {
		return nil, malformed(command, heading, answer)
	}
	if rest == "" {
		return nil, nil
	}
	rows := strings.SplitN(rest, "\n", maxRows+1)
	return rows[:min(len(rows), maxRows)], nil
}

func malformed(command, want, answer string) error {
	return fmt.Errorf("wpactrl: %s: %w: expected %q, came %q", command, ErrAnswer, want, Printable(answer))
}

// Unescape reads an SSID as the daemons print it: \" \\ \e \n \r \t and \xNN. It says false for what they would not print.
func Unescape(s string) (string, bool) {
	if len(s) > 4*maxSSID {
		return "", false
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out = append(out, s[i])
			continue
		}
		i++
		if i == len(s) {
			return "", false
		}
		switch s[i] {
		case '"', '\\':
			out = append(out, s[i])
		case 'e':
			out = append(out, 0x1b)
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'x':
			if i+2 >= len(s) {
				return "", false
			}
			b, err := hex.DecodeString(s[i+1 : i+3])
			if err != nil {
				return "", false
			}
			out = append(out, b[0])
			i += 2
		default:
			return "", false
		}
	}
	if len(out) > maxSSID {
		return "", false
	}
	return string(out), true
}

// KeyMgmt is the number PMKSA_ADD takes for a suite (WPA_KEY_MGMT_* of the hostap project); 0: it has none here.
func KeyMgmt(a keys.AKM) int {
	switch a {
	case keys.AKM8021X:
		return 1
	case keys.AKM8021XSHA256:
		return 128
	}
	return 0
}
