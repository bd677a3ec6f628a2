package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

type server struct {
	Address AddrPort   `yaml:"address,required"`
	Secret  SecretFile `yaml:"secret-file"`
}

type timers struct {
	Probe    Duration      `yaml:"probe"`
	Announce time.Duration `yaml:"announce"`
}

func (t *timers) SetDefaults() { t.Probe, t.Announce = Duration(time.Second), 2*time.Second }

func (t *timers) Check() error {
	var errs []error
	if t.Probe > Duration(time.Minute) {
		errs = append(errs, Errorf("probe", "is %v: expected a minute at most", t.Probe))
	}
	if t.Announce > time.Minute {
		errs = append(errs, Errorf("announce", "is %v: expected a minute at most", t.Announce))
	}
	return errors.Join(errs...)
}

// place may be written as its name alone.
type place struct {
	Name string `yaml:"name,required"`
	Size int    `yaml:"size"`
}

func (p *place) Scalar(text string) error {
	if text == "nowhere" {
		return errors.New("nowhere is no place")
	}
	p.Name = text
	return nil
}

type common struct {
	Node    string `yaml:"node,required"`
	Control Path   `yaml:"control"`
}

type sample struct {
	Common  common            `yaml:",inline"`
	Address Addr              `yaml:"address"`
	Allow   []Prefix          `yaml:"allow"`
	Servers []server          `yaml:"servers"`
	DAD     timers            `yaml:"dad"`
	Buffer  Bytes             `yaml:"buffer"`
	ID      HexBytes          `yaml:"id"`
	CA      File              `yaml:"ca"`
	Prepare *bool             `yaml:"prepare"`
	Port    uint16            `yaml:"port"`
	Level   int8              `yaml:"level"`
	Weight  float64           `yaml:"weight"`
	Version string            `yaml:"version"`
	Groups  map[string]timers `yaml:"groups"`
	Hidden  string            `yaml:"-"`
	plain   string
}

var _ = sample{}.plain // exists to be refused

func (s *sample) Check() error {
	if len(s.Servers) == 2 && s.Servers[0].Address == s.Servers[1].Address {
		return Errorf("servers[1].address", "is the same as that of the first server")
	}
	if s.Port == 1 {
		return errors.New("nothing about a key")
	}
	return nil
}

const full = `# a comment
node: a
control: run/a.sock
address: 10.2.0.1
allow: [10.1.0.0/24, "10.3.0.0/24"]
servers:
  - {address: "10.0.5.1:1812", secret-file: radius.secret}
  - address: 10.0.5.2:1812
dad:
  probe: 200ms
buffer: 8MiB
id: 0a:1b-2c 3d
ca: /etc/ca.pem
prepare: false
port: 4500
level: -8
weight: 1.5
version: 1.2
groups:
  x: {announce: 3s}
  y:
`

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a.yaml")
	if err := os.WriteFile(name, []byte(full), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load[sample](name)
	if err != nil {
		t.Fatal(err)
	}
	no := false
	want := sample{
		Common:  common{Node: "a", Control: Path(filepath.Join(dir, "run/a.sock"))},
		Address: netip.MustParseAddr("10.2.0.1"),
		Allow:   []Prefix{netip.MustParsePrefix("10.1.0.0/24"), netip.MustParsePrefix("10.3.0.0/24")},
		Servers: []server{
			{netip.MustParseAddrPort("10.0.5.1:1812"), SecretFile(filepath.Join(dir, "radius.secret"))},
			{netip.MustParseAddrPort("10.0.5.2:1812"), ""},
		},
		DAD:    timers{Duration(200 * time.Millisecond), 2 * time.Second},
		Buffer: 8 << 20, ID: HexBytes{0x0a, 0x1b, 0x2c, 0x3d}, CA: "/etc/ca.pem", Prepare: &no,
		Port: 4500, Level: -8, Weight: 1.5, Version: "1.2",
		Groups: map[string]timers{
			"x": {Duration(time.Second), 3 * time.Second},
			"y": {Duration(time.Second), 2 * time.Second},
		},
	}
	opts := cmp.Options{cmpopts.IgnoreUnexported(sample{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })}
	if d := cmp.Diff(want, got, opts); d != "" {
		t.Error(d)
	}
}

func TestStructAsScalar(t *testing.T) {
	type places struct {
		Places []place `yaml:"places"`
	}
	got, err := Parse[places]("x.yaml", []byte("places: [a, 7, {name: b, size: 2}]\n"))
	if d := cmp.Diff([]place{{Name: "a"}, {Name: "7"}, {Name: "b", Size: 2}}, got.Places); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	for text, want := range map[string]string{
		"places: [nowhere]\n":   "x.yaml:1:10: places[0]: nowhere is no place",
		"places: [{size: 1}]\n": "places[0].name: is missing",
		"places: [[a]]\n":       "places[0]: expected keys with values, found a list",
		"places: [null]\n":      "places[0].name: is missing",
	} {
		if _, err := Parse[places]("x.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s%v\nwant %s", text, err, want)
		}
	}
}

func TestDefaultsOfAnAbsentSection(t *testing.T) {
	got, err := Parse[sample]("x.yaml", []byte("node: a\n"))
	if err != nil || got.DAD.Probe.D() != time.Second {
		t.Errorf("got %+v, %v", got.DAD, err)
	}
}

func TestMistakes(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"unknown key, near", "node: a\nadress: 10.0.0.1\n", `x.yaml:2:1: adress: unknown key: did you mean "address"?`},
		{"unknown key, far", "node: a\ndad: {zzz: 1}\n", "x.yaml:2:7: dad.zzz: unknown key: expected one of announce, probe"},
		{"hidden field", "node: a\nhidden: x\n", "x.yaml:2:1: hidden: unknown key"},
		{"unexported field", "node: a\nplain: x\n", "x.yaml:2:1: plain: unknown key"},
		{"missing", "address: 10.0.0.1\n", "x.yaml:1:1: node: is missing: expected a text"},
		{"missing, null", "node:\n", "x.yaml:1:1: node: is missing: expected a text"},
		{"empty text", "node: ''\n", "x.yaml:1:1: node: is empty: expected a text"},
		{"missing in a list", "node: a\nservers:\n  - {}\n", "x.yaml:3:5: servers[0].address: is missing: expected an address and port"},
		{"address", "node: a\naddress: 10.0.0.300\n", `x.yaml:2:10: address: expected an address such as 192.0.2.1, found "10.0.0.300"`},
		{"address, nothing", "node: a\naddress:\n", "address: expected an address such as 192.0.2.1, found nothing"},
		{"address, list", "node: a\naddress: [a]\n", "x.yaml:2:10: address: expected an address such as 192.0.2.1, found a list"},
		{"prefix", "node: a\nallow:\n- 10.0.0.0\n", `x.yaml:3:3: allow[0]: expected a prefix such as 192.0.2.0/24, found "10.0.0.0"`},
		{"duration", "node: a\ndad:\n  probe: 1\n", `x.yaml:3:10: dad.probe: "1" is no duration`},
		{"duration, negative", "node: a\ndad: {probe: -1s}\n", "is negative"},
		{"standard duration", "node: a\ndad: {announce: x}\n", `dad.announce: "x" is no duration`},
		{"size", "node: a\nbuffer: 8MiBB\n", `x.yaml:2:9: buffer: "8MiBB" is no size`},
		{"size, too large", "node: a\nbuffer: 9000000000GiB\n", "is too large"},
		{"size, negative", "node: a\nbuffer: -1\n", "is no size"},
		{"hex", "node: a\nid: xyz\n", `id: "xyz" is not hexadecimal`},
		{"bool", "node: a\nprepare: maybe\n", `x.yaml:2:10: prepare: expected true or false, found the text "maybe"`},
		{"fraction", "node: a\nport: 4500.5\n", "x.yaml:2:7: port: expected a whole number, found 4500.5"},
		{"unsigned range", "node: a\nport: 65536\n", "x.yaml:2:7: port: 65536 is out of range: expected 0 to 65535"},
		{"unsigned, negative", "node: a\nport: -1\n", "port: -1 is out of range"},
		{"signed range", "node: a\nlevel: -129\n", "level: -129 is out of range: expected -128 to 127"},
		{"huge", "node: a\nlevel: 18446744073709551615\n", "is out of range: expected -128 to 127"},
		{"float", "node: a\nweight: x\n", `weight: expected a number, found the text "x"`},
		{"list wanted", "node: a\nallow: 10.0.0.0/8\n", `x.yaml:2:8: allow: expected a list, found the text "10.0.0.0/8"`},
		{"section wanted", "node: a\ndad: 1s\n", `x.yaml:2:6: dad: expected keys with values, found the text "1s"`},
		{"text wanted", "node: {a: b}\n", "x.yaml:1:7: node: expected a text, found a group of keys"},
		{"top", "- a\n", "x.yaml:1:1: expected keys with values, found a list"},
		{"anchor", "node: &a b\n", "anchors, aliases and merges are not supported"},
		{"merge", "node: a\ndad:\n  <<: {probe: 1s}\n", "anchors, aliases and merges are not supported"},
		{"tag", "node: !!str a\n", "tags are not supported"},
		{"duplicate", "node: a\nnode: b\n", `x.yaml:2:1: mapping key "node" already defined`},
		{"syntax", "node: [a\n", "x.yaml:1:7: sequence end token ']' not found"},
		{"tab", "node: a\ndad:\n\tprobe: 1s\n", "x.yaml:3:"},
		{"two documents", "node: a\n---\nnode: b\n", "x.yaml:3:1: a second document starts here"},
		{"empty", "", "x.yaml: the file is empty"},
		{"comment only", "# nothing\n", "x.yaml: the file is empty"},
		{"hook at a key", "node: a\nservers:\n- address: 1.2.3.4:5\n- address: 1.2.3.4:5\n", "x.yaml:4:12: servers[1].address: is the same as that of the first server"},
		{"hook of the whole", "node: a\nport: 1\n", "x.yaml:1:1: nothing about a key"},
		{"hook in a map", "node: a\ngroups:\n  x:\n    probe: 2h\n", "x.yaml:4:12: groups.x.probe: is 2h0m0s: expected a minute at most"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Parse[sample]("x.yaml", []byte(tc.text))
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got:\n%v\nwant it to contain:\n%s", err, tc.want)
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Errorf("%T is not a located error", err)
			}
			if !reflect.DeepEqual(got, sample{}) {
				t.Errorf("a half-filled value came back: %+v", got)
			}
		})
	}
}

func TestEveryMistakeIsReported(t *testing.T) {
	_, err := Parse[sample]("x.yaml", []byte("nod: a\nport: x\ndad: {probe: 1, announce: 1}\n"))
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 5 {
		t.Fatalf("want unknown key, number, two durations and the missing key, got:\n%v", err)
	}
}

func TestBothComplaintsOfACheck(t *testing.T) {
	_, err := Parse[sample]("x.yaml", []byte("node: a\ndad: {probe: 1h, announce: 1h}\n"))
	if err == nil || strings.Count(err.Error(), "a minute at most") != 2 {
		t.Errorf("got %v", err)
	}
}

func TestExcerpt(t *testing.T) {
	_, err := Parse[sample]("x.yaml", []byte("node: a\ndad:\n  probe: 1\nport: 1\n"))
	var e *Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	if !strings.Contains(e.Excerpt, ">  3 |   probe: 1") || !strings.Contains(e.Excerpt, "^") {
		t.Errorf("excerpt:\n%s", e.Excerpt)
	}
	if e.Line != 3 || e.Column != 10 || e.Key != "dad.probe" {
		t.Errorf("place %d:%d, key %q", e.Line, e.Column, e.Key)
	}
}

func TestLoadWithoutFile(t *testing.T) {
	if _, err := Load[sample](filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestLoadRefusesHugeFiles(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(name, []byte(strings.Repeat("#\n", maxFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load[sample](name); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("got %v", err)
	}
}

func TestCheckFiles(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "x.yaml")
	text := "node: a\ncontrol: none/yet.sock\nca: ca.pem\nservers:\n- {address: '1.2.3.4:5', secret-file: s}\n"
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("x.yaml", text, 0o644)
	err := CheckFiles[sample](name)
	for _, want := range []string{fmt.Sprintf("%s:3:5: ca: ", name), fmt.Sprintf("%s:5:39: servers[0].secret-file: ", name)} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	write("ca.pem", "x", 0o644)
	write("s", "testing123", 0o600)
	if err := CheckFiles[sample](name); err != nil {
		t.Error(err)
	}
}

type shouting string

func (s *shouting) UnmarshalYAML(get func(any) error) error {
	var text string
	if err := get(&text); err != nil {
		return err
	}
	if text == "" {
		return errors.New("nothing to shout")
	}
	*s = shouting(strings.ToUpper(text))
	return nil
}

func TestOwnUnmarshaler(t *testing.T) {
	type conf struct{ A shouting }
	got, err := Parse[conf]("x.yaml", []byte("a: hello\n"))
	if err != nil || got.A != "HELLO" {
		t.Errorf("got %q, %v", got.A, err)
	}
	if _, err := Parse[conf]("x.yaml", []byte("a: ''\n")); err == nil || !strings.Contains(err.Error(), "x.yaml:1:4: a: nothing to shout") {
		t.Errorf("got %v", err)
	}
}

func TestValuesRoundTrip(t *testing.T) {
	for _, v := range []interface {
		MarshalText() ([]byte, error)
	}{Duration(90 * time.Second), Duration(0), Bytes(0), Bytes(8 << 20), Bytes(1000), Bytes(1001), Bytes(3 << 30), HexBytes{1, 255}, BitRate(0), BitRate(54e6), BitRate(1500), BitRate(999)} {
		text, err := v.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		back := reflect.New(reflect.TypeOf(v))
		if err := back.Interface().(interface{ UnmarshalText([]byte) error }).UnmarshalText(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if !reflect.DeepEqual(back.Elem().Interface(), v) {
			t.Errorf("%s became %v", text, back.Elem())
		}
	}
}

func TestBitRate(t *testing.T) {
	for text, want := range map[string]string{"54Mb/s": "54Mb/s", "100000 kb/s": "100Mb/s", "1000": "1kb/s", "54 MB/s": "", "-1b/s": "", "9999999999Gb/s": "", "": ""} {
		var r BitRate
		if err := r.UnmarshalText([]byte(text)); (err != nil) != (want == "") || err == nil && r.String() != want {
			t.Errorf("%q: %v, %v", text, r, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	for _, s := range []string{"", "a: &x [*x]", "? a\n: b", "node: |\n  x", "{", "- - -", "\xff", "a: !!binary x", "node: a\n...\n---\n", "%YAML 1.2\n---\nnode: a"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := Parse[sample]("x.yaml", text)
		if err == nil && got.Common.Node == "" {
			t.Error("a file without the required key was taken")
		}
		if err != nil && err.Error() == "" {
			t.Error("an error without words")
		}
	})
}

func TestPeek(t *testing.T) {
	type part struct {
		B struct {
			C int `yaml:"c"`
		} `yaml:"b"`
	}
	name := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(name, []byte("a: {x: 1}\nb: {c: 2, d: [3]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Peek[part](name)
	if err != nil || got.B.C != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Load[part](name); err == nil {
		t.Error("Load takes keys that are not known")
	}
	if err := os.WriteFile(name, []byte("b: {c: two}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Peek[part](name); err == nil {
		t.Error("Peek takes a text for a number")
	}
}
