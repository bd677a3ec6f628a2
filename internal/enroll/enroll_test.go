package enroll

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"openmpa/internal/wpactrl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func invite(t *testing.T, kind Kind, grant func(Request, netip.Addr) (*Grant, error)) (*Invitation, netip.AddrPort, chan error) {
	t.Helper()
	i, err := Invite(kind)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	ended := make(chan struct{})
	go func() { done <- i.Serve(ctx, l, grant); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	return i, netip.MustParseAddrPort(l.Addr().String()), done
}

func routerGrant(Request, netip.Addr) (*Grant, error) {
	return &Grant{Realm: "home.example", ServerName: "aaa.home.example", RADIUS: &RADIUS{Server: netip.MustParseAddrPort("10.0.0.1:1812"), Secret: []byte("0123456789abcdef0123456789abcdef")}}, nil
}

func routerRequest() Request {
	return Request{Kind: Router, Name: "b", Network: &Network{Name: "b", Router: netip.MustParseAddr("10.2.0.1"), Points: []Point{{Name: "b-1", BSSID: wpactrl.MAC{2, 0, 0, 0, 0, 1}, SSID: "site b", Freq: 2412}}}}
}

func TestCode(t *testing.T) {
	i, err := Invite(Node)
	if err != nil {
		t.Fatal(err)
	}
	text := i.Code().Text()
	got, err := ParseCode(" " + strings.ToLower(text) + "\n")
	if err != nil || got != i.Code() {
		t.Errorf("%v", err)
	}
	wrong := []byte(text)
	wrong[0] = 'A' + (wrong[0]-'A'+1)%26
	for _, s := range []string{"", text[1:], text + "A", string(wrong), strings.Replace(text, text[:1], "1", 1)} {
		if _, err := ParseCode(s); !errors.Is(err, ErrCode) {
			t.Errorf("%d letters: %v", len(s), err)
		}
	}
}

func TestJoinOnce(t *testing.T) {
	var from netip.Addr
	i, at, done := invite(t, Router, func(r Request, a netip.Addr) (*Grant, error) { from = a; return routerGrant(r, a) })
	g, err := Join(t.Context(), at, i.Code(), routerRequest())
	if err != nil || g.RADIUS.Server.Port() != 1812 {
		t.Fatalf("%+v, %v", g, err)
	}
	if err := <-done; err != nil || from != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("%v, from %v", err, from)
	}
	if _, err := Join(t.Context(), at, i.Code(), routerRequest()); err == nil || !strings.Contains(err.Error(), "mpa-ar invite") {
		t.Errorf("the second time: %v", err)
	}
}

func TestRefused(t *testing.T) {
	full := errors.New("all addresses are given away")
	asked := 0
	i, at, done := invite(t, Router, func(Request, netip.Addr) (*Grant, error) { asked++; return nil, full })
	other, err := Invite(Router)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Join(t.Context(), at, other.Code(), routerRequest()); !errors.Is(err, ErrFingerprint) {
		t.Errorf("another router's code: %v", err)
	}
	guess := i.Code()
	guess.secret[0] ^= 1
	begin := time.Now()
	if _, err := Join(t.Context(), at, guess, routerRequest()); err == nil || !strings.Contains(err.Error(), "not the one") || time.Since(begin) < penalty {
		t.Errorf("a guess: %v after %v", err, time.Since(begin))
	}
	for _, r := range []Request{
		{Kind: Node, Name: "mn", CSR: []byte{1}},
		{Kind: Router, Name: "b"},
		{Kind: Router, Name: "../b", Network: routerRequest().Network},
		{Kind: Router, Name: "b", Network: &Network{Name: "b", Router: netip.MustParseAddr("::1"), Points: []Point{{Name: "x"}}}},
		{Kind: Router, Name: "b", Network: &Network{Name: "b", Router: netip.MustParseAddr("10.0.0.1"), Points: []Point{{Name: "x}"}}}},
		{Kind: Router, Name: "b", Network: &Network{Name: "b", Router: netip.MustParseAddr("10.0.0.1"), Points: []Point{{Name: "x", SSID: "y"}}}},
		{Kind: Router, Name: "b", Network: &Network{Name: "b", Router: netip.MustParseAddr("10.0.0.1"), Points: []Point{{Name: "x", BSSID: wpactrl.MAC{2}, SSID: "a\nkey_mgmt=NONE"}}}},
		{Kind: Router, Name: "b", Network: &Network{Name: "b", Router: netip.MustParseAddr("10.0.0.1"), Points: []Point{{Name: "x", BSSID: wpactrl.MAC{1}, SSID: "y"}}}},
	} {
		if _, err := Join(t.Context(), at, i.Code(), r); err == nil {
			t.Errorf("%+v is granted", r)
		}
	}
	if asked != 0 {
		t.Errorf("asked for a grant %d times without a right request", asked)
	}
	if _, err := Join(t.Context(), at, i.Code(), routerRequest()); err == nil || !strings.Contains(err.Error(), full.Error()) {
		t.Errorf("a refusal: %v", err)
	}
	i.mu.Lock()
	i.wrong = maxWrong - 1
	i.mu.Unlock()
	if _, err := Join(t.Context(), at, guess, routerRequest()); err == nil {
		t.Error("a guess is granted")
	}
	if err := <-done; !errors.Is(err, ErrTries) {
		t.Errorf("after too many guesses: %v", err)
	}
}

func TestGrantIsChecked(t *testing.T) {
	for what, g := range map[string]Grant{
		"nothing":                          {},
		"a short key":                      {Realm: "x.example", ServerName: "a.x.example", RADIUS: &RADIUS{Server: netip.MustParseAddrPort("10.0.0.1:1"), Secret: []byte("short")}},
		"a secret in two lines":            {Realm: "x.example", ServerName: "a.x.example", RADIUS: &RADIUS{Server: netip.MustParseAddrPort("10.0.0.1:1"), Secret: []byte("0123456789abcdef\nwpa=0")}},
		"a wild realm":                     {Realm: "x: {", ServerName: "a", RADIUS: &RADIUS{Server: netip.MustParseAddrPort("10.0.0.1:1"), Secret: []byte("0123456789abcdef")}},
		"a router's certificate of nobody": {Realm: "x.example", ServerName: "a.x.example", RADIUS: &RADIUS{Server: netip.MustParseAddrPort("10.0.0.1:1"), Secret: []byte("0123456789abcdef")}, Certificate: []byte("x"), First: "a"},
		"a first network with a brace":     {Realm: "x.example", ServerName: "a.x.example", RADIUS: &RADIUS{Server: netip.MustParseAddrPort("10.0.0.1:1"), Secret: []byte("0123456789abcdef")}, Certificate: []byte("x"), CA: []byte("x"), First: "a}"},
		"a node's part":                    {Realm: "x.example", ServerName: "a.x.example", CA: []byte("x")},
	} {
		i, at, _ := invite(t, Router, func(Request, netip.Addr) (*Grant, error) { return &g, nil })
		if _, err := Join(t.Context(), at, i.Code(), routerRequest()); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

func TestWriteKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	files := []File{{filepath.Join(dir, "d", "a"), []byte("1")}, {filepath.Join(dir, "b"), []byte("2")}}
	if err := Write(files, false); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(files[0].Path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	files[0].Text = []byte("3")
	files = append(files, File{filepath.Join(dir, "c"), nil})
	if err := Write(files, false); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(files[2].Path); err == nil {
		t.Error("a refused Write has written")
	}
	if err := Write(files, true); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(files[0].Path); err != nil || string(text) != "3" {
		t.Errorf("%q, %v", text, err)
	}
}
