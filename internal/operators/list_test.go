package operators

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"openmpa/aaa"
	"openmpa/internal/config"
)

type file struct {
	AAA    List   `yaml:"aaa"`
	RADIUS Former `yaml:"radius"`
}

const server = `{address: "10.0.5.1:1812", secret-file: radius.secret}`

func TestList(t *testing.T) {
	c, err := config.Parse[file]("ar.yaml", []byte(`aaa:
  - name: home
    realms: [home.example, "*.home.example", ""]
    radius: {nas-identifier: me, retransmit: 100ms, timeout: 3s, servers: [{address: "10.0.5.2:1812", secret-file: radius.secret, priority: 1}, `+server+`]}
  - radius: {servers: [`+server+`]}
`))
	if err != nil {
		t.Fatal(err)
	}
	home, rest := c.AAA[0], c.AAA[1]
	if home.RADIUS.Retransmit.D() != 100*time.Millisecond || home.RADIUS.Servers[0].Address.String() != "10.0.5.1:1812" {
		t.Errorf("%+v", home.RADIUS)
	}
	if rest.Name != "radius" || rest.RADIUS.Timeout.D() != 8*time.Second || rest.RADIUS.Retransmit.D() != 2*time.Second {
		t.Errorf("%+v, %+v", rest, rest.RADIUS)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	text := []byte("aaa: [{radius: {servers: [" + server + "]}}]")
	c, err := config.Parse[file](filepath.Join(dir, "ar.yaml"), text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(c.AAA, Options{Node: "a"}); err == nil || !strings.Contains(err.Error(), "radius.secret") {
		t.Errorf("without a secret: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "radius.secret"), []byte("testing123\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(c.AAA, Options{Node: "a"})
	if err != nil {
		t.Fatal(err)
	}
	s.Start(func(err error) { t.Error(err) })
	m := aaa.Match{Session: "s"}
	if n := s.End(m, "") + s.Again(m) + s.Extend(m, time.Hour); n != 0 {
		t.Errorf("%d sessions before there are any", n)
	}
	s.Bind(one{})
	if n := s.End(m, "") + s.Again(m) + s.Extend(m, time.Hour); n != 3 {
		t.Errorf("%d orders were handed on, expected 3", n)
	}
	if st := s.Status(); len(st.Servers) == 0 || st.Servers[0].Operator != "radius" || st.Books != nil {
		t.Errorf("%+v", st)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestOpenDiameter says that a list with Diameter peers makes a client, whose peers are
// known by priority.
func TestOpenDiameter(t *testing.T) {
	c, err := config.Parse[file]("ar.yaml", []byte(`aaa:
  - diameter:
      identity: ar-a.visited.example
      peers:
        - {address: "10.0.8.1:3868", identity: aaa2.home.example, tls: false, priority: 1}
        - {address: "10.0.5.1:3868", identity: aaa.home.example, tls: false}
`))
	if err != nil {
		t.Fatal(err)
	}
	if d := c.AAA[0].Diameter; d.Realm != "visited.example" || d.Watchdog.D() != 30*time.Second || c.AAA[0].Name != "diameter" {
		t.Errorf("%+v", d)
	}
	s, err := Open(c.AAA, Options{Node: "a"})
	if err != nil {
		t.Fatal(err)
	}
	list := s.Realms.Servers()
	if len(list) != 2 || list[0].Server != "aaa.home.example at 10.0.5.1:3868" || list[0].Protocol != "diameter" || list[0].Alive {
		t.Errorf("%+v", list)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// one has every session once.
type one struct{}

func (one) End(aaa.Match, string) int           { return 1 }
func (one) Again(aaa.Match) int                 { return 1 }
func (one) Extend(aaa.Match, time.Duration) int { return 1 }

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"aaa: []":                                                         "aaa: expected at least one operator",
		"aaa: [{name: x}]":                                                "aaa[0]: expected the protocol",
		"radius: {servers: [" + server + "]}":                             "radius: is now in the list aaa:",
		"aaa: [{radius: {}}]":                                             "aaa[0].radius.servers: missing",
		"aaa: [{radius: {servers: []}}]":                                  "aaa[0].radius.servers: missing",
		"aaa: [{radius: {servers: [{}]}}]":                                "aaa[0].radius.servers[0]: expected address",
		"aaa: [{realms: [a@b], R}]":                                       "aaa[0].realms[0]: \"a@b\": expected a realm",
		"aaa: [{realms: [\"a*\"], R}]":                                    "aaa[0].realms[0]: \"a*\": expected a realm",
		"aaa: [{R}, {R}]":                                                 "aaa[1].name: \"radius\" is another one's",
		"aaa: [{R}, {name: b, R}]":                                        "aaa[1]: serves every realm that no other one has, as radius does",
		"aaa: [{realms: [a, A], R}]":                                      "aaa[0].realms[1]: \"a\" is served by radius, too",
		"aaa: [{radsec: {servers: []}}]":                                  "aaa[0].radsec.servers: missing",
		"aaa: [{radsec: {servers: [{address: \"10.0.5.1:2083\"}]}}]":      "aaa[0].radsec: expected ca, certificate and key",
		"aaa: [{radsec: {servers: [{}], ca: a, certificate: a, key: a}}]": "aaa[0].radsec.servers[0]: expected address",
		"aaa: [{radsec: {servers: [{address: \"10.0.5.1:2083\", accounting: \"10.0.5.1:1\"}], ca: a, certificate: a, key: a}}]": "aaa[0].radsec.servers[0].accounting: \"10.0.5.1:1\": expected none",
		"aaa: [{radsec: {servers: [{address: \"10.0.5.1:2083\"}], ca: a, certificate: a, key: a}, R}]":                          "aaa[0]: expected the protocol and its servers: one of",
		"aaa: [{radius: {servers: [{address: \"10.0.5.1:1812\", accounting: \"1813\", secret-file: x}]}}]":                      "aaa[0].radius.servers[0].accounting: \"1813\": expected an address",
		"aaa: [{diameter: {peers: [{address: \"10.0.5.1:3868\", identity: aaa.home.example}]}}]":                                "aaa[0].diameter.identity: \"\": expected a host name",
		"aaa: [{diameter: {identity: ar-a.b.example, accounting: \"10.0.5.1:1\"}}]":                                             "aaa[0].diameter.accounting: \"10.0.5.1:1\": expected none",
		"aaa: [{diameter: {identity: ar-a.b.example}}]":                                                                         "aaa[0].diameter.peers: missing",
		"aaa: [{diameter: {identity: ar-a.b.example, watchdog: 1s, peers: []}}]":                                                "aaa[0].diameter.watchdog: expected 6s at least",
		"aaa: [{diameter: {identity: ar-a.b.example, peers: [{address: \"10.0.5.1:3868\"}]}}]":                                  "aaa[0].diameter.peers[0]: expected address",
		"aaa: [{diameter: {identity: ar-a.b.example, peers: [{address: \"10.0.5.1:3868\", identity: aaa.home.example}]}}]":      "aaa[0].diameter: expected ca, certificate and key",
		"aaa: [{radius: {retransmit: 1ms, S}}]":                                                                                 "aaa[0].radius.retransmit: expected 20ms at least",
	} {
		s := "servers: [" + server + "]"
		_, err := config.Parse[file]("ar.yaml", []byte(strings.NewReplacer("R}", "radius: {"+s+"}}", "S}", s+"}").Replace(text)))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "ar.yaml:1:") {
			t.Errorf("%s: %v, expected %q", text, err, want)
		}
	}
}

// TestDocumented: what docs/aaa.md shows is right.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/aaa.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	text, _, ok := strings.Cut(rest, "```")
	c, err := config.Parse[file]("ar.yaml", []byte(text))
	if !ok || err != nil {
		t.Fatal(err)
	}
	if len(c.AAA) != 3 || c.AAA[2].Diameter.Peers[0].TLS == c.AAA[2].Diameter.Peers[1].TLS || c.AAA[1].RadSec == nil {
		t.Errorf("%+v", c.AAA)
	}
}
