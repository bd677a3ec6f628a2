package state

import (
	"bufio"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	crashEnv     = "STATE_TEST_CRASH_FILE"
	crashWriters = 4
)

func crashPath() string { return os.Getenv(crashEnv) }

// crashChild writes until it is killed, and says what was acknowledged.
func crashChild(path string) {
	s, err := Open(path, slog.Default())
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for w := range crashWriters {
		go func() {
			key := fmt.Sprint("writer", w)
			for i := 1; ; i++ {
				if _, err := s.Put(key, []byte(strconv.Itoa(i)), time.Time{}); err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				fmt.Println(key, i) // one write each: no line is cut between
			}
		}()
	}
	select {}
}

// What was acknowledged before a kill -9 is there afterwards.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	for round := range 12 {
		said, lines := killedWriter(t, path)
		s, log := openAt(t, path)
		if log != "" {
			t.Errorf("round %d: %s", round, log)
		}
		for key, n := range said {
			r, err := s.Get(key)
			if err != nil {
				t.Fatalf("round %d: %s: %v, acknowledged %d", round, key, err, n)
			}
			// One more may have been written and not yet said.
			if got, _ := strconv.Atoi(string(r.Value)); got != n && got != n+1 {
				t.Errorf("round %d: %s is %d, acknowledged %d", round, key, got, n)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d: %d acknowledged", round, lines)
	}
}

// killedWriter lets a child write for a while, and returns what it said last.
func killedWriter(t *testing.T, path string) (said map[string]int, lines int) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), crashEnv+"="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	end := rand.IntN(60) + 1
	said = map[string]int{}
	for in := bufio.NewScanner(out); in.Scan(); {
		key, n, _ := strings.Cut(in.Text(), " ")
		if said[key], err = strconv.Atoi(n); err != nil {
			t.Errorf("the child said %q", in.Text())
		}
		if lines++; lines == end {
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond) // into the middle of a write
			_ = child.Process.Kill()                                      // what it said before that is read still
		}
	}
	_ = child.Wait() // killed
	if lines < end {
		t.Fatalf("the child ended by itself")
	}
	return said, lines
}
