package levels

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// TestArrowsPointDown is the rule itself.
func TestArrowsPointDown(t *testing.T) {
	module, packages, err := Scan(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) < 10 {
		t.Fatalf("only %d packages were found: the scan looks in the wrong place", len(packages))
	}
	for _, v := range Check(module, packages) {
		t.Error(v)
	}
}

// planted is one file with one import, and a part of what Check says to it;
// nothing said is "".
var planted = []struct{ name, pkg, file, imp, want string }{
	{"down", "mn", "a.go", "m/tunnel", ""},
	{"down to a leaf", "mn/link", "a.go", "m/internal/event", ""},
	{"up", "tunnel/esp", "a.go", "m/tunnel", "does not point down: tunnel/esp is level 1, tunnel is level 4"},
	{"up from a leaf", "internal/event", "a.go", "m/paa/pana", "does not point down"},
	{"sideways", "aaa/radius", "a.go", "m/internal/config", "does not point down"},
	{"daemons", "mn", "a.go", "m/paa", "does not point down"},
	{"within a room", "testbed/topo", "a.go", "m/testbed/space", ""},
	{"below a room", "internal/osnet/sub", "a.go", "m/internal/osnet", ""},
	{"up in a test", "tunnel/esp", "a_test.go", "m/tunnel", ""},
	{"mn and par", "par", "a.go", "m/mn/link", "never import each other"},
	{"par and mn", "mn", "a.go", "m/par/neigh", "never import each other"},
	{"home agent and par", "internal/ha", "a.go", "m/par/neigh", ""},
	{"testbed from a daemon", "internal/ha", "a.go", "m/testbed/topo", "testbed is for"},
	{"testbed from another main", "cmd/mpa-mn", "a.go", "m/testbed/topo", "testbed is for"},
	{"testbed from the lab", "cmd/mpa-lab", "a.go", "m/testbed/topo", ""},
	{"testbed from a test", "mn", "a_test.go", "m/testbed/topo", ""},
	{"a main", "testbed", "a.go", "m/cmd/mpa-mn", "a main is imported by nobody"},
	{"helper from code", "mn", "a.go", "m/internal/osnet/osnettest", "helper for tests"},
	{"helper from a test", "mn", "a_test.go", "m/internal/osnet/osnettest", ""},
	{"helper up", "internal/osnet/osnettest", "a.go", "m/mn", ""},
	{"unknown room imported", "mn", "a.go", "m/cellar", "in no room"},
	{"unknown room", "cellar", "a.go", "fmt", "cellar is in no room"},
	{"unknown room below internal", "internal/attic", "a.go", "fmt", "internal/attic is in no room"},
	{"root", "", "a.go", "fmt", "the module's root is in no room"},
	{"standard library", "paa/pana", "a.go", "encoding/binary", ""},
	{"socket in a core", "paa/pana", "pac.go", "net", "cores have no I/O"},
	{"socket in a runner", "paa/pana", "runner.go", "net", ""},
	{"socket in a core's test", "paa/pana", "a_test.go", "net", ""},
	{"address types in a core", "paa/pana", "pac.go", "net/netip", ""},
	{"socket in an adapter", "aaa/radius", "client.go", "net", ""},
	{"reasoned exception", "internal/levels", "scan.go", "os", ""},
	{"sockets in the excepted room", "internal/levels", "scan.go", "net", "cores have no I/O"},
	{"files in a core", "aaa/eap", "conn.go", "os", "cores have no I/O"},
	{"third party in its room", "internal/osnet", "a.go", "github.com/vishvananda/netlink", ""},
	{"third party below its path", "internal/osnet", "a.go", "github.com/vishvananda/netlink/nl", ""},
	{"third party elsewhere", "par", "a.go", "github.com/vishvananda/netlink", "outside its room: allowed in internal/osnet, testbed"},
	{"third party in a test elsewhere", "par", "a_test.go", "github.com/vishvananda/netlink", "outside its room"},
	{"third party of a similar name", "internal/osnet", "a.go", "github.com/vishvananda/netlink2", "no room is given for it"},
	{"unknown third party", "cmd/mpactl", "a.go", "github.com/spf13/cobra", "no room is given for it"},
	{"third party in a leaf", "internal/event", "a.go", "github.com/goccy/go-yaml", "outside its room"},
	{"extension", "tunnel/bind", "a.go", "golang.org/x/sys/unix", ""},
	{"extension too low", "paa/pana", "a.go", "golang.org/x/sys/unix", "allowed from level 2 on"},
	{"extension by exception", "paa/keys", "a.go", "golang.org/x/crypto/hkdf", ""},
	{"test library in a test", "mn", "a_test.go", "go.uber.org/goleak", ""},
	{"test library in a helper", "internal/osnet/osnettest", "a.go", "go.uber.org/goleak", ""},
	{"test library in code", "mn", "a.go", "go.uber.org/goleak", "it is a library for tests"},
}

func TestPlanted(t *testing.T) {
	for _, tc := range planted {
		t.Run(tc.name, func(t *testing.T) {
			file := File{Name: tc.file, Imports: []string{tc.imp}, Net: []string{"HardwareAddr", "ListenUDP"}}
			got := Check("m", []Package{{Path: tc.pkg, Files: []File{file}}})
			switch {
			case tc.want == "" && len(got) > 0:
				t.Errorf("got %q, want nothing", got)
			case tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)):
				t.Errorf("got %q, want one that says %q", got, tc.want)
			}
		})
	}
}

func TestValuesOfNetInACore(t *testing.T) {
	file := File{Name: "a.go", Imports: []string{"net"}, Net: []string{"HardwareAddr", "Conn"}}
	if got := Check("m", []Package{{Path: "paa/pana", Files: []File{file}}}); len(got) > 0 {
		t.Errorf("got %q, want nothing", got)
	}
}

func TestCheckSorts(t *testing.T) {
	got := Check("m", []Package{
		{Path: "par", Files: []File{{Name: "b.go", Imports: []string{"m/mn", "m/mn"}}, {Name: "a.go", Imports: []string{"m/mn"}}}},
	})
	if len(got) != 2 || !slices.IsSorted(got) {
		t.Errorf("got %q, want two, sorted, none twice", got)
	}
}

// TestTable holds the table against itself.
func TestTable(t *testing.T) {
	for name, list := range thirdParties {
		for _, room := range list {
			if _, ok := rooms[room]; !ok {
				t.Errorf("%s is allowed in %s, which is no room", name, room)
			}
			if rooms[room] < adapter && (rooms[room] < pure || codecLibraries[name] == "") {
				t.Errorf("%s is allowed in %s, whose level imports no third party", name, room)
			}
		}
	}
	for exception, reason := range outsideAllowed {
		room, imp, _ := strings.Cut(exception, " ")
		if _, ok := rooms[room]; !ok || !slices.Contains(outside, imp) || reason == "" {
			t.Errorf("exception %q: want a room, one of %v, and a reason", exception, outside)
		}
	}
}

func TestScan(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":              "// a comment\nmodule m\n\ngo 1.26\n",
		"a/a.go":              "package a\nimport (\n\"fmt\"\n_ `m/b`\n)\n",
		"a/other_plan9.go":    "//go:build plan9\npackage a\nimport \"os\"\n",
		"a/a_test.go":         "package a_test\nimport n \"net\"\nvar _ n.HardwareAddr\nvar _ = n.Listen\n",
		"a/dot.go":            "package a\nimport . \"net\"\n",
		"a/testdata/x.go":     "package x\nimport \"m/none\"\n",
		".hidden/x.go":        "package x\n",
		"_off/x.go":           "package x\n",
		"tools/go.mod":        "module m/tools\n",
		"tools/cmd/x/main.go": "package main\n",
		"b/b.txt":             "no Go",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	module, packages, err := Scan(dir)
	if err != nil {
		t.Fatal(err)
	}
	if module != "m" || len(packages) != 1 || packages[0].Path != "a" || len(packages[0].Files) != 4 {
		t.Fatalf("got %s %+v, want the four files of m/a", module, packages)
	}
	if first := packages[0].Files[0]; first.Name != "a.go" || !slices.Equal(first.Imports, []string{"fmt", "m/b"}) {
		t.Errorf("got %+v", first)
	}
	if test := packages[0].Files[1]; !slices.Equal(test.Net, []string{"HardwareAddr", "Listen"}) {
		t.Errorf("got %+v, want the two names it uses", test)
	}
	if dot := packages[0].Files[2]; !slices.Equal(dot.Net, []string{"*"}) {
		t.Errorf("got %+v, want everything", dot)
	}
	if err := os.WriteFile(filepath.Join(dir, "a/broken.go"), []byte("package"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Scan(dir); err == nil {
		t.Error("a file that cannot be read: no error")
	}
	if _, _, err := Scan(filepath.Join(dir, "a")); err == nil {
		t.Error("a folder without go.mod: no error")
	}
}
