package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// goTest runs go test -json on a module of these files.
func goTest(t *testing.T, files map[string]string) []byte {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module m\n\ngo 1.26\n"
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "test", "-json", "-vet=off", "./...")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	return out
}

const head = "package p\nimport \"testing\"\n"

func TestCounts(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		last  string
		says  []string
	}{
		{"passes", map[string]string{
			"a/a_test.go": head + `func TestA(t *testing.T) {}
func TestB(t *testing.T) { for _, n := range []string{"x", "y/z", "y/w"} { t.Run(n, func(t *testing.T) {}) } }`,
			"b/b.go": "package b\n",
		}, "4 passed, 0 failed, 0 skipped", []string{"slowest:", "m/a TestB/y/z"}},
		{"a failure and a skip", map[string]string{
			"a_test.go": head + `func TestA(t *testing.T) { t.Run("x", func(t *testing.T) { t.Error("not well") }) }
func TestB(t *testing.T) { t.Skip("no root") }
func TestC(t *testing.T) {}`,
		}, "1 passed, 1 failed, 1 skipped", []string{"--- FAIL: m TestA/x", "not well", "--- SKIP: m TestB", "no root"}},
		{"a parent fails by itself", map[string]string{
			"a_test.go": head + `func TestA(t *testing.T) { t.Run("x", func(t *testing.T) {}); t.Error("after all") }`,
		}, "1 passed, 1 failed, 0 skipped", []string{"--- FAIL: m TestA", "after all"}},
		{"a panic", map[string]string{
			"a_test.go": head + `func TestA(t *testing.T) {}
func TestB(t *testing.T) { t.Run("x", func(t *testing.T) { panic("a bug") }) }`,
		}, "1 passed, 1 failed, 0 skipped", []string{"a bug"}},
		{"an exit", map[string]string{
			"a_test.go": "package p\nimport (\"os\"; \"testing\")\nfunc TestA(t *testing.T) { os.Exit(3) }",
		}, "0 passed, 1 failed, 0 skipped", []string{"TestA"}},
		{"after the tests", map[string]string{
			"a_test.go": "package p\nimport (\"os\"; \"testing\")\nfunc TestA(t *testing.T) {}\nfunc TestMain(m *testing.M) { m.Run(); println(\"leaks\"); os.Exit(1) }",
		}, "1 passed, 1 failed, 0 skipped", []string{"--- FAIL: m\n", "leaks"}},
		{"does not build", map[string]string{
			"a/a_test.go": head + "func TestA(t *testing.T) { nonsense() }",
			"b/b_test.go": head + "func TestB(t *testing.T) {}",
		}, "1 passed, 1 failed, 0 skipped", []string{"--- FAIL: m/a", "undefined: nonsense"}},
		{"nothing to test", map[string]string{"a.go": "package p\n"}, "0 passed, 0 failed, 0 skipped", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			c := newCounter(&out)
			if err := c.read(bytes.NewReader(goTest(t, tc.files))); err != nil {
				t.Fatal(err)
			}
			c.finish(10)
			text := out.String()
			if !strings.HasSuffix(text, "\n"+tc.last+"\n") && text != tc.last+"\n" {
				t.Errorf("got:\n%s\nwant it to end with %q", text, tc.last)
			}
			for _, want := range tc.says {
				if !strings.Contains(text, want) {
					t.Errorf("got:\n%s\nwant it to say %q", text, want)
				}
			}
		})
	}
}

func TestCutShort(t *testing.T) {
	var out bytes.Buffer
	c := newCounter(&out)
	in := `{"Action":"start","Package":"m"}
{"Action":"run","Package":"m","Test":"TestA"}
{"Action":"output","Package":"m","Test":"TestA","Output":"working\n"}
go: killed
`
	if err := c.read(strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	if p, f, s := c.finish(1); p != 0 || f == 0 || s != 0 {
		t.Errorf("got %d, %d, %d, want a failure", p, f, s)
	}
	for _, want := range []string{"go: killed", "DID NOT END: m TestA", "working"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got:\n%s\nwant it to say %q", out.String(), want)
		}
	}
}
