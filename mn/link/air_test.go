package link

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"openmpa/internal/wpactrl"
	"openmpa/internal/wpactrl/wpactrltest"
)

var (
	bssA1 = wpactrl.MAC{2, 0, 0, 0, 0, 0}
	bssA2 = wpactrl.MAC{2, 0, 0, 0, 1, 0}
	bssB1 = wpactrl.MAC{2, 0, 0, 0, 9, 0}
)

// air is a fake wpa_supplicant: two networks, mpa (0) and other (1), and what comes of a move as the test says.
type air struct {
	*wpactrltest.Daemon

	mu       sync.Mutex
	at       wpactrl.MAC // zero: nowhere
	network  int
	pinned   wpactrl.MAC // bssid of network 1
	keyless  wpactrl.MAC // associated with it, and nothing more
	state    string      // then
	slow     bool        // a scan does not end
	scanning func()      // is called before the answer to SCAN
	scans    int
	gone     map[string]int // BSSIDs that are not heard any more, and the last scan in which they were
	pmksa    []cached
	priority map[string]int
	listed   string          // of LIST_NETWORKS, without the heading
	unseen   map[string]bool // BSSIDs a ROAM fails for until a scan
	outcome  func(bssid wpactrl.MAC) (events []string, connected bool)
}

// cached is a PMKSA of wpa_supplicant.
type cached struct{ network, bssid, id, expires string }

func newAir(t *testing.T) *air {
	a := &air{at: bssA1, listed: "0\tmpa\tany\t[CURRENT]\n1\tother\tany\t[DISABLED]\n2\tthird\tany\t", unseen: make(map[string]bool), priority: make(map[string]int)}
	a.outcome = connects
	a.mu.Lock() // what is asked waits until Daemon is set
	defer a.mu.Unlock()
	a.Daemon = wpactrltest.Start(t, filepath.Join(t.TempDir(), "wlan0"), a.answer)
	return a
}

func connects(wpactrl.MAC) ([]string, bool) { return nil, true }
func nothing(wpactrl.MAC) ([]string, bool)  { return nil, false }

// associates is a driver that goes to an access point by itself and forgets the keys.
func (a *air) associates(b wpactrl.MAC) {
	a.mu.Lock()
	a.keyless, a.state = b, wpactrl.StateAssociated
	a.mu.Unlock()
	a.Emit("<3>Associated with " + b.String())
}

func connected(b wpactrl.MAC) string {
	return fmt.Sprintf("<3>CTRL-EVENT-CONNECTED - Connection to %v completed [id=%d id_str=]", b, map[wpactrl.MAC]int{bssB1: 1}[b])
}

func (a *air) answer(c string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	word, rest, _ := strings.Cut(c, " ")
	switch {
	case word == "STATUS" && a.at.IsZero():
		return "wpa_state=SCANNING\naddress=02:00:00:00:02:00"
	case word == "STATUS" && !a.keyless.IsZero():
		return fmt.Sprintf("bssid=%v\nssid=mpa\nid=0\nwpa_state=%s\naddress=02:00:00:00:02:00", a.keyless, a.state)
	case word == "STATUS":
		return fmt.Sprintf("bssid=%v\nssid=%s\nid=%d\nwpa_state=COMPLETED\naddress=02:00:00:00:02:00", a.at, []string{"mpa", "other"}[a.network], a.network)
	case word == "LIST_NETWORKS":
		return "network id / ssid / bssid / flags\n" + a.listed
	case word == "SCAN" && a.slow:
		if a.scanning != nil {
			a.scanning()
		}
	case word == "ABORT_SCAN":
		defer a.Emit("<3>CTRL-EVENT-SCAN-FAILED ret=-125")
	case word == "NEIGHBOR_REP_REQUEST":
		defer a.Emit("<3>RRM-NEIGHBOR-REP-RECEIVED bssid=02:00:00:00:00:00 info=0x0 op_class=200 chan=1 phy_type=7")
		defer a.Emit("<3>RRM-NEIGHBOR-REP-RECEIVED bssid=02:00:00:00:09:00 info=0x0 op_class=115 chan=36 phy_type=7")
	case word == "SCAN":
		a.scans++
		clear(a.unseen)
		defer a.Emit("<3>CTRL-EVENT-SCAN-RESULTS ")
	case word == "BSS" && strings.HasSuffix(rest, " MASK=0x400000"):
		heard, gone := a.gone[strings.Fields(rest)[0]]
		switch {
		case gone && heard == 0:
			return "FAIL"
		case !gone:
			heard = a.scans
		}
		return fmt.Sprintf("update_idx=%d", heard)
	case strings.HasPrefix(c, "BSS RANGE=0-"): // as if an answer held one
		return "id=3\nbssid=02:00:00:00:01:00\nfreq=2437\nlevel=-50\nage=1\nflags=[ESS]\nssid=mpa\n====\nid=4\nbssid=02:00"
	case strings.HasPrefix(c, "BSS RANGE=4-"):
		return "id=4\nbssid=02:00:00:00:07:00\nfreq=2412\nlevel=-60\nage=40\nflags=[ESS]\nssid=mpa\n####\n"
	case word == "PMKSA":
		text := "Index / AA / PMKID / expiration (in seconds) / opportunistic\n"
		for i, k := range a.pmksa {
			text += fmt.Sprintf("%d %s %s %s 0\n", i+1, k.bssid, k.id, k.expires)
		}
		return text
	case strings.HasPrefix(c, "GET_NETWORK ") && strings.HasSuffix(c, " priority"):
		return strconv.Itoa(a.priority[strings.Fields(rest)[0]])
	case word == "SET_NETWORK" && strings.Contains(rest, " priority "):
		f := strings.Fields(rest)
		a.priority[f[0]], _ = strconv.Atoi(f[2])
	case strings.HasPrefix(c, "GET_NETWORK ") && strings.HasSuffix(c, " id_str"):
		return "FAIL"
	case word == "SET_NETWORK" && strings.Contains(rest, " id_str "): // takes the network's keys
		network, _, _ := strings.Cut(rest, " ")
		a.pmksa = slices.DeleteFunc(a.pmksa, func(k cached) bool { return k.network == network })
	case word == "SIGNAL_POLL":
		return "RSSI=-42\nFREQUENCY=2437"
	case word == "ROAM" && a.unseen[rest]:
		return "FAIL"
	case word == "ROAM":
		b, err := wpactrl.ParseMAC(rest)
		if err != nil {
			return "FAIL"
		}
		a.move(b, 0)
	case c == "SELECT_NETWORK 1":
		a.move(a.pinned, 1)
	case c == "SELECT_NETWORK 0":
		a.at, a.network = bssA1, 0
	case strings.HasPrefix(c, "SET_NETWORK 1 bssid "):
		if a.pinned, _ = wpactrl.ParseMAC(strings.TrimPrefix(c, "SET_NETWORK 1 bssid ")); a.pinned.IsZero() && !strings.HasSuffix(c, "any") {
			return "FAIL"
		}
	case word == "PMKSA_ADD":
		f := strings.Fields(rest)
		a.pmksa = slices.DeleteFunc(a.pmksa, func(k cached) bool { return k.bssid == f[1] })
		a.pmksa = append(a.pmksa, cached{network: f[0], bssid: f[1], id: f[2], expires: f[5]})
	case word == "ENABLE_NETWORK", word == "REAUTHENTICATE":
	default:
		return ""
	}
	return "OK"
}

// move goes to an access point, or does what the test wants. The caller holds mu.
func (a *air) move(b wpactrl.MAC, network int) {
	old := a.at
	events, ok := a.outcome(b)
	a.Emit(fmt.Sprintf("<3>CTRL-EVENT-DISCONNECTED bssid=%v reason=3 locally_generated=1", old))
	for _, e := range events {
		a.Emit(e)
	}
	if ok {
		a.at, a.network, a.keyless = b, network, wpactrl.MAC{}
		a.Emit(connected(b))
	}
}

func supplicant(t *testing.T, cfg SupplicantConfig) *Supplicant {
	t.Helper()
	cfg.Dir = t.TempDir()
	s, err := NewSupplicant(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

var places = map[string]Place{
	"poa-a1": {BSSID: bssA1, Network: AnyNetwork, Freq: 2412},
	"poa-a2": {BSSID: bssA2, Network: AnyNetwork, SSID: "mpa"},
	"poa-b1": {BSSID: bssB1, Network: AnyNetwork, SSID: "other"},
	"poa-x":  {BSSID: wpactrl.MAC{2, 0, 0, 0, 8, 0}, Network: AnyNetwork, SSID: "nosuch"},
}
