package hostapd

import (
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"openmpa/internal/wpactrl/wpactrltest"
	"openmpa/paa/keys"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFind(t *testing.T) {
	root := t.TempDir()
	if list, err := Find(t.Context(), root, root); len(list) != 0 || err != nil {
		t.Errorf("nothing there: %+v, %v", list, err)
	}
	answers := map[string]string{
		"STATUS":     "state=ENABLED\nfreq=2437\nchannel=6\nbss[0]=wlan0\n",
		"GET_CONFIG": "bssid=02:00:00:00:0a:01\nssid=caf\\xc3\\xa9\nwpa=2\nkey_mgmt=FT-EAP WPA-EAP-SHA256\n",
		"MIB": "radiusAuthServerIndex=1\nradiusAuthServerAddress=10.0.0.1\nradiusAuthClientServerPortNumber=1812\n" +
			"radiusAuthServerIndex=2\nradiusAuthServerAddress=nonsense\nradiusAuthClientServerPortNumber=1812\n",
	}
	d := wpactrltest.Start(t, filepath.Join(root, Dir, "wlan0"), func(c string) string { return answers[c] })
	list, err := Find(t.Context(), root, root)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	b := list[0]
	if b.Interface != "wlan0" || b.BSSID.String() != "02:00:00:00:0a:01" || b.SSID != "café" || b.Freq != 2437 || b.State != Enabled ||
		b.Suite() != keys.AKM8021XSHA256 || len(b.RADIUS) != 1 || b.RADIUS[0].String() != "10.0.0.1:1812" {
		t.Errorf("%+v", b)
	}
	wpactrltest.Start(t, filepath.Join(root, Dir, "wlan1"), func(string) string { return "" }) // something else
	if list, err := Find(t.Context(), root, root); len(list) != 1 || err == nil || !strings.Contains(err.Error(), "wlan1") {
		t.Errorf("beside a stranger: %+v, %v", list, err)
	}
	d.Mute(true)
	if list, err := Find(t.Context(), root, root); len(list) != 0 || err == nil {
		t.Errorf("that hangs: %+v, %v", list, err)
	}
}

// TestReal asks the real one, without a radio.
func TestReal(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "ap0")
	wpactrltest.Hostapd(t, wpactrltest.HostapdConfig("ap0", "none", dir), socket)
	b, err := Ask(t.Context(), socket, dir)
	if err != nil {
		t.Fatal(err)
	}
	if b.Interface != "ap0" || b.SSID != "mpa" || b.State != Enabled || b.Suite() != keys.AKM8021X || len(b.RADIUS) != 1 || b.RADIUS[0].String() != "127.0.0.1:1812" {
		t.Errorf("%+v", b)
	}
}
