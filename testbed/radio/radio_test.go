package radio

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"openmpa/internal/wpactrl"
	"openmpa/internal/wpactrl/wpactrltest"
	"openmpa/testbed/peers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ap has a BSS of each mode.
func ap(dir string) AP {
	bss := func(mode Mode, n byte) BSS {
		return BSS{
			SSID: "ess " + mode.String(), BSSID: wpactrl.MAC{2, 0, 0, 0, 1, n}, Interface: "nosuch0_" + mode.String(), Bridge: "lan0",
			Mode: mode, NASID: "ap1." + mode.String(), Own: netip.MustParseAddr("10.0.1.1"),
			Server: netip.MustParseAddrPort("10.0.5.1:1812"), Secret: "00ff",
		}
	}
	first := bss(Installed, 0)
	first.BSSID, first.Interface = wpactrl.MAC{}, ""
	ft := bss(FT, 3)
	ft.Domain = &Domain{ID: 0xa1b2, Key: [32]byte{1, 2}, Holders: []Holder{
		{wpactrl.MAC{2, 0, 0, 0, 1, 3}, "ap1.ft"}, {wpactrl.MAC{2, 0, 0, 0, 2, 3}, "ap2.ft"},
	}}
	return AP{Dir: dir, Name: "ap1", Interface: "nosuch0", Channel: 6, BSSes: []BSS{first, bss(Full, 1), bss(PreAuth, 2), ft}}
}

func station(dir string) Station {
	return Station{
		Dir: dir, Name: "sta", Interface: "nosuch1",
		Networks: []ESS{{SSID: "ess installed", Freqs: []int{Frequency(1), Frequency(6)}}, {SSID: "ess ft", Mode: FT, Disabled: true}},
		Identity: "mn@home.example", CA: "mn/ca.pem", Certificate: "mn/mn.pem", Key: "mn/mn.key", ServerName: "aaa.home.example",
	}
}

// run runs a daemon that cannot work, for want of a radio, to its end, and
// returns what it said.
func run(t *testing.T, command []string, err error) string {
	t.Helper()
	if errors.Is(err, peers.ErrMissing) && os.Getenv("CI") == "" && os.Getenv("OPENMPA_TEST_ALL") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%q: %v, expected it to end for want of nosuch0\n%s", command, err, out)
	}
	return string(out)
}

// TestDaemonsTakeIt: each daemon reads its configuration without a complaint,
// and gets as far as looking for its radio.
func TestDaemonsTakeIt(t *testing.T) {
	dir := t.TempDir()
	a := ap(dir)
	command, err := a.Command()
	if out := run(t, command, err); strings.Contains(out, "Line ") || !strings.Contains(out, "nosuch0") {
		t.Errorf("hostapd:\n%s", out)
	}
	s := station(dir)
	command, err = s.Command()
	if out := run(t, command, err); strings.Contains(out, "Line ") || !strings.Contains(out, "nosuch1") {
		t.Errorf("wpa_supplicant:\n%s", out)
	}
	for _, name := range []string{"ap1.conf", "sta.conf"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v, expected to be its owner's alone", name, st, err)
		}
	}
}

// TestBSSes: what tells the modes apart, and that a BSS has its own part only.
func TestBSSes(t *testing.T) {
	text, err := ap("/run/lab").config()
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(text, "\nbss=")
	if len(parts) != 4 {
		t.Fatalf("%d BSSes, expected 4:\n%s", len(parts), text)
	}
	for i, only := range []string{
		"interface=nosuch0\ndriver=nl80211\nhw_mode=g\nchannel=6\n",
		"disable_pmksa_caching=1\n",
		"rsn_preauth=1\nrsn_preauth_interfaces=lan0\n",
		"mobility_domain=a1b2\nr1_key_holder=020000000103\n",
	} {
		for j, part := range parts {
			if got := strings.Contains(part, only); got != (i == j) {
				t.Errorf("%q in BSS %d: %v\n%s", only, j, got, part)
			}
		}
	}
	for _, want := range []string{
		"r0kh=02:00:00:00:02:03 ap2.ft 0102" + strings.Repeat("00", 30) + "\n",
		"r1kh=02:00:00:00:02:03 02:00:00:00:02:03 0102" + strings.Repeat("00", 30) + "\n",
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q is not once in\n%s", want, parts[3])
		}
	}
	if strings.Contains(text, "r0kh=02:00:00:00:01:03") {
		t.Error("an access point is among its own peers")
	}
}

// TestRefused: what would make another configuration than was meant.
func TestRefused(t *testing.T) {
	for name, spoil := range map[string]func(*AP){
		"line end":  func(a *AP) { a.BSSes[0].SSID = "x\nwpa=0" },
		"quote":     func(a *AP) { a.BSSes[0].SSID = `x"` },
		"long":      func(a *AP) { a.BSSes[0].SSID = strings.Repeat("x", 33) },
		"secret":    func(a *AP) { a.BSSes[1].Secret = "" },
		"channel":   func(a *AP) { a.Channel = 36 },
		"none":      func(a *AP) { a.BSSes = nil },
		"interface": func(a *AP) { a.BSSes[2].Interface = "" },
		"BSSID":     func(a *AP) { a.BSSes[2].BSSID = wpactrl.MAC{} },
		"group":     func(a *AP) { a.BSSes[2].BSSID[0] = 1 },
		"server":    func(a *AP) { a.BSSes[2].Server = netip.AddrPort{} },
		"domain":    func(a *AP) { a.BSSes[3].Domain = nil },
		"bridge":    func(a *AP) { a.BSSes[2].Bridge = "" },
	} {
		a := ap(t.TempDir())
		spoil(&a)
		if text, err := a.config(); err == nil {
			t.Errorf("%s: taken:\n%s", name, text)
		}
	}
	s := station(t.TempDir())
	s.Key = "mn\"\n"
	if _, err := s.config(); err == nil {
		t.Error("a key's path that ends the line is taken")
	}
}

// TestAnswers: an access point answers when all of its BSSes are on the air.
func TestAnswers(t *testing.T) {
	a := ap(t.TempDir())
	var state atomic.Value
	state.Store("state=DFS")
	for i := range a.BSSes {
		if err := a.Answers(t.Context()); err == nil {
			t.Fatalf("%d of %d BSSes answer, and that is enough", i, len(a.BSSes))
		}
		wpactrltest.Start(t, a.Socket(i), func(string) string { return state.Load().(string) })
	}
	if err := a.Answers(t.Context()); err == nil || !strings.Contains(err.Error(), "DFS") {
		t.Errorf("not on the air yet: %v", err)
	}
	state.Store("state=ENABLED")
	if err := a.Answers(t.Context()); err != nil {
		t.Error(err)
	}
	s := station(a.Dir)
	if err := s.Answers(t.Context()); err == nil {
		t.Error("nobody there, and it answers")
	}
	wpactrltest.Start(t, s.Socket(), func(string) string { return "wpa_state=SCANNING" })
	if err := s.Answers(t.Context()); err != nil {
		t.Error(err)
	}
}
