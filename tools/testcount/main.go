// Command testcount reads the output of go test -json, prints what failed or was
// skipped with its output, the slowest tests, and as its last line
//
//	N passed, N failed, N skipped
//
// It counts the tests without subtests, and what fails without a test of its own:
// a package that does not build, a parent that fails by itself. It fails when
// anything failed or was skipped, or nothing ran.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	counts := flag.String("counts", "", "also write \"passed failed skipped\" to `FILE`")
	slowest := flag.Int("slowest", 10, "how many of the slowest tests to name")
	flag.Parse()
	c := newCounter(os.Stdout)
	if err := c.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testcount:", err)
		os.Exit(1)
	}
	passed, failed, skipped := c.finish(*slowest)
	if *counts != "" {
		if err := os.WriteFile(*counts, fmt.Appendf(nil, "%d %d %d\n", passed, failed, skipped), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, "testcount:", err)
			os.Exit(1)
		}
	}
	if failed > 0 || skipped > 0 || passed == 0 {
		os.Exit(1)
	}
}

// event is a line of test2json (go doc test2json) or of go build -json.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build events
	Test       string
	Elapsed    float64
	Output     string
}

// maxOutput bounds what is kept of one test's output, in octets.
const maxOutput = 64 << 10

type key struct{ pkg, test string }

type result struct {
	action  string // pass, fail, skip; "" while it runs
	elapsed time.Duration
	output  strings.Builder
	parent  bool // has subtests
	failed  bool // a subtest failed
}

type counter struct {
	w       io.Writer
	results map[key]*result
	order   []key
	builds  map[string]*strings.Builder // output of the compiler by import path
}

func newCounter(w io.Writer) *counter {
	return &counter{w: w, results: map[key]*result{}, builds: map[string]*strings.Builder{}}
}

// read takes all lines. One that is no JSON is printed: go test says so what it
// cannot say otherwise.
func (c *counter) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Action == "" {
			fmt.Fprintln(c.w, lines.Text())
			continue
		}
		c.add(e)
	}
	return lines.Err()
}

func (c *counter) get(k key) *result {
	r := c.results[k]
	if r == nil {
		r = &result{}
		c.results[k] = r
		c.order = append(c.order, k)
	}
	return r
}

func (c *counter) add(e event) {
	switch e.Action {
	case "build-output":
		b := c.builds[e.ImportPath]
		if b == nil {
			b = &strings.Builder{}
			c.builds[e.ImportPath] = b
		}
		b.WriteString(e.Output)
		return
	case "build-fail", "start", "bench", "pause", "cont", "attr", "artifacts":
		return
	}
	k := key{e.Package, e.Test}
	r := c.get(k)
	switch e.Action {
	case "run":
		c.above(k, func(r *result) { r.parent = true })
	case "output":
		if r.output.Len() < maxOutput {
			r.output.WriteString(e.Output)
		}
	case "pass", "fail", "skip":
		r.action, r.elapsed = e.Action, time.Duration(e.Elapsed*float64(time.Second))
		if e.Action == "fail" {
			c.above(k, func(r *result) { r.failed = true })
		}
		if e.Action == "pass" {
			r.output.Reset()
		}
		if e.Test == "" {
			c.packageLine(e, r)
		}
	}
}

// above visits the package and the tests that a test is part of. A subtest's own
// name may hold slashes: what never ran is not visited.
func (c *counter) above(k key, visit func(*result)) {
	for k.test != "" {
		i := max(strings.LastIndexByte(k.test, '/'), 0)
		k = key{k.pkg, k.test[:i]}
		if r := c.results[k]; r != nil {
			visit(r)
		} else if k.test == "" {
			visit(c.get(k))
		}
	}
}

// packageLine is the progress: a line a package with tests.
func (c *counter) packageLine(e event, r *result) {
	if e.Action == "skip" { // no test files
		return
	}
	n := 0
	for k := range c.results {
		if k.pkg == e.Package && k.test != "" {
			n++
		}
	}
	word := map[string]string{"pass": "ok", "fail": "FAIL"}[e.Action]
	fmt.Fprintf(c.w, "%-5s %7.2fs %5d  %s\n", word, r.elapsed.Seconds(), n, e.Package)
}

// finish prints the rest and returns the counts.
func (c *counter) finish(slowest int) (passed, failed, skipped int) {
	var timed []key
	for _, k := range c.order {
		r := c.results[k]
		if out := r.output.String(); r.failed && (strings.Contains(out, "panic: ") || strings.Contains(out, "fatal error: ")) {
			fmt.Fprint(c.w, out) // of a crash in a test below
		}
		if k.test == "" {
			if r.action == "fail" && !r.failed || r.action == "" {
				failed++
				c.explain("FAIL", k, r)
			}
			continue
		}
		if r.action == "" { // the process ended before the test did
			if r.parent && r.failed {
				continue
			}
			failed++
			c.above(k, func(r *result) { r.failed = true })
			c.explain("DID NOT END", k, r)
			continue
		}
		switch {
		case r.action == "fail" && !r.failed:
			failed++
			c.explain("FAIL", k, r)
		case r.action == "skip":
			skipped++
			c.explain("SKIP", k, r)
		case r.action == "pass" && !r.parent:
			passed++
			timed = append(timed, k)
		}
	}
	slices.SortStableFunc(timed, func(a, b key) int {
		return cmp.Compare(c.results[b].elapsed, c.results[a].elapsed)
	})
	for i, k := range timed[:min(slowest, len(timed))] {
		if i == 0 {
			fmt.Fprintln(c.w, "slowest:")
		}
		fmt.Fprintf(c.w, "  %7.2fs  %s %s\n", c.results[k].elapsed.Seconds(), k.pkg, k.test)
	}
	fmt.Fprintf(c.w, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	return passed, failed, skipped
}

func (c *counter) explain(word string, k key, r *result) {
	fmt.Fprintf(c.w, "--- %s: %s\n", word, strings.TrimSpace(k.pkg+" "+k.test))
	if k.test == "" {
		// The compiler's import path may carry the test it builds: "p [p.test]".
		for path, b := range c.builds {
			if path == k.pkg || strings.HasPrefix(path, k.pkg+" ") || strings.HasPrefix(path, k.pkg+"_test ") {
				fmt.Fprint(c.w, b.String())
			}
		}
	}
	fmt.Fprint(c.w, r.output.String())
}
