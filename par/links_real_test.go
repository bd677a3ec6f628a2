package par

import (
	"crypto/x509"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/internal/catest"
	"openmpa/internal/osnet/osnettest"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/par/apctl"
	"openmpa/par/apctl/apctltest"
)

// TestLinkKeysHostapd: two real hostapds, one behind an agent, through what happens to them.
func TestLinkKeysHostapd(t *testing.T) {
	osnettest.NeedRoot(t)
	osnettest.IP(t, "link set lo up")
	far := apctl.Info{Name: "far", BSSID: poa2.BSSID, AKM: keys.AKM8021X}
	h1, h2 := apctltest.Start(t, "ap1", poa1.BSSID), apctltest.Start(t, "ap2", far.BSSID)
	local := func(i apctl.Info, h *apctltest.Hostapd) *apctl.Local {
		l, err := apctl.OpenLocal(t.Context(), apctl.LocalConfig{Info: i, Socket: h.Socket, Dir: t.TempDir(), Ping: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	ca := catest.NewAuthority(t)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	agent, err := apctl.Serve(apctl.AgentConfig{
		Listener: listener, Certificate: ca.Issue("ap2.a.example", x509.ExtKeyUsageServerAuth), Roots: ca.Roots(),
		PAAs: []string{"ar.a.example"}, Points: []*apctl.Local{local(far, h2)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = agent.Close() })
	remote, err := apctl.OpenRemote(apctl.RemoteConfig{
		Info: far, Address: agent.Addr().String(), Agent: "ap2.a.example", Keepalive: 20 * time.Millisecond,
		Certificate: ca.Issue("ar.a.example", x509.ExtKeyUsageClientAuth), Roots: ca.Roots(),
	})
	if err != nil {
		t.Fatal(err)
	}
	points, err := apctl.NewController(local(poa1, h1), remote)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = points.Close() })
	l := newLinked(t, points)
	defer l.end()
	has := func(k *keys.SessionKeys, hs ...*apctltest.Hostapd) bool {
		for _, h := range hs {
			bssid := poa1.BSSID
			if h == h2 {
				bssid = far.BSSID
			}
			pmk, err := k.PMK(bssid)
			if err != nil {
				t.Fatal(err)
			}
			if !h.HasKey(laptop, pmk) {
				return false
			}
		}
		return true
	}
	up := func(want ...bool) func() bool {
		return func() bool {
			return slices.EqualFunc(points.Status(), want, func(s apctl.Status, up bool) bool { return s.Up == up && (!up || !s.Pending) })
		}
	}
	apctltest.Eventually(t, "both are reached", up(true, true))

	k := l.open(1, "mn@home.example", 1)
	l.ask(1, laptop)
	both := []notify.LinkPoint{{BSSID: poa1.BSSID, AKM: 1}, {BSSID: far.BSSID, AKM: 1}}
	if r := l.reply(t, 1); !slices.Equal(r.Points, both) || r.Lifetime < 59*time.Minute || !has(k, h1, h2) {
		t.Errorf("%+v", r)
	}
	k = l.open(1, "mn@home.example", 2)
	apctltest.Eventually(t, "both have the keys of the re-authentication", func() bool { return has(k, h1, h2) })

	// A hostapd is killed. Its key is left out, and there again when hostapd is.
	h2.Kill()
	apctltest.Eventually(t, "it is missed", up(true, false))
	l.ask(1, laptop)
	if r := l.reply(t, 1); !slices.Equal(r.Points, both[:1]) {
		t.Errorf("%+v", r)
	}
	h2.Again()
	apctltest.Eventually(t, "its key is there again", func() bool { return up(true, true)() && has(k, h1, h2) })

	// One comes back with another suite: it is told, and gets no key.
	h1.Stop()
	apctltest.Eventually(t, "it is missed", up(false, true))
	before := h1.Config
	h1.Config = strings.Replace(before, "wpa_key_mgmt=WPA-EAP WPA-EAP-SHA256", "wpa_key_mgmt=WPA-EAP-SHA256", 1)
	h1.Again()
	apctltest.Eventually(t, "the suite is told", func() bool { return strings.Contains(points.Status()[0].Why, "add it to wpa_key_mgmt") })
	l.ask(1, laptop)
	if r := l.reply(t, 1); !slices.Equal(r.Points, both[1:]) || len(h1.Has()) != 0 {
		t.Errorf("%+v, and it has %v", r, h1.Has())
	}
	h1.Stop()
	h1.Config = before
	h1.Again()
	apctltest.Eventually(t, "it has its key again", func() bool { return up(true, true)() && has(k, h1, h2) })

	// The session ends while one hangs: neither has the key in the end.
	h2.Pause()
	apctltest.Eventually(t, "it is missed", up(true, false))
	l.SessionClosed(1, gone)
	apctltest.Eventually(t, "the key is gone", func() bool { return len(h1.Has()) == 0 })
	h2.Resume()
	apctltest.Eventually(t, "it is gone there, too", func() bool { return up(true, true)() && len(h2.Has()) == 0 })

	// A router that was killed: its successor takes what it has left.
	l.open(2, "mn@home.example", 3)
	l.ask(2, laptop)
	if r := l.reply(t, 2); len(r.Points) != 2 {
		t.Errorf("%+v", r)
	}
	next := local(poa1, h1)
	t.Cleanup(func() { _ = next.Close() })
	apctltest.Eventually(t, "nothing is left", func() bool { return len(h1.Has()) == 0 && next.Status().Up })
}
