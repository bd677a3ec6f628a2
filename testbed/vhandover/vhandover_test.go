package vhandover

import (
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inCI is how many handovers a plain run of the tests does: less than a minute on two
// processors.
func inCI() uint64 {
	if raceEnabled {
		return 30
	}
	return 400
}

// setting reads a number from the environment.
func setting(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		t.Fatalf("%s: expected a number: %v", name, err)
	}
	return n
}

// TestHandovers runs random plans, until they have had enough handovers:
//
//	OPENMPA_HANDOVERS=20000  how many
//	OPENMPA_FIRST=1          the first seed; the others follow it
//	OPENMPA_SEED=17          this seed only, with all that is logged and the trace
//	OPENMPA_TRACES=DIR       where to write the trace of each seed that fails
func TestHandovers(t *testing.T) {
	creds, err := NewCredentials(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if seed := setting(t, "OPENMPA_SEED", 0); seed != 0 {
		plan := NewPlan(seed)
		t.Log(plan)
		check(t, plan, creds, os.Stdout, nil)
		return
	}
	want, seed := setting(t, "OPENMPA_HANDOVERS", inCI()), setting(t, "OPENMPA_FIRST", 1)
	sum := &summary{want: want, outcomes: map[string]int{}}
	t.Cleanup(func() { t.Log(sum) })
	for planned := uint64(0); planned < want; seed++ {
		plan := NewPlan(seed)
		planned += uint64(len(plan.Moves))
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			check(t, plan, creds, nil, sum)
		})
	}
}

func check(t *testing.T, plan Plan, creds *Credentials, log io.Writer, sum *summary) {
	defer func() { // a goroutine that nobody ended: it is this seed's failure, not that of all
		if r := recover(); r != nil {
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			t.Errorf("%v\nagain with: ./testbed/lab virtual --seed %d\n%v\n%s", plan, plan.Seed, r, bubbles(string(stacks)))
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		r := Run(plan, creds, log)
		sum.add(r)
		for _, o := range r.Outcomes {
			if log != nil {
				t.Logf("%s: %s %s", o.Kind, o.Ended, o.Reason)
			}
		}
		if log != nil {
			t.Logf("up %+v, down %+v, %v of virtual time", r.Up, r.Down, r.Virtual)
		}
		if len(r.Wrong) == 0 {
			return
		}
		t.Errorf("%v\nagain with: ./testbed/lab virtual --seed %d\n%s", plan, plan.Seed, strings.Join(r.Wrong, "\n"))
		if dir := os.Getenv("OPENMPA_TRACES"); dir != "" {
			name := fmt.Sprintf("%s/seed-%d.txt", dir, plan.Seed)
			text := plan.String() + "\n" + strings.Join(r.Trace, "\n") + "\nWRONG:\n" + strings.Join(r.Wrong, "\n") + "\n"
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				t.Error(err)
			}
		}
	})
}

// bubbles are those of stacks that belong to goroutines of virtual time.
func bubbles(stacks string) string {
	var found []string
	for _, s := range strings.Split(stacks, "\n\n") {
		if first, _, _ := strings.Cut(s, "\n"); strings.Contains(first, "synctest bubble") {
			found = append(found, s)
		}
	}
	return strings.Join(found, "\n\n")
}

// summary adds up the results of all plans.
type summary struct {
	want uint64

	mu       sync.Mutex
	plans    int
	done     int
	failed   int
	clean    int
	virtual  time.Duration
	outcomes map[string]int
	packets  [2]Flow
}

func (s *summary) add(r Result) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plans++
	s.virtual += r.Virtual
	if len(r.Wrong) > 0 {
		s.failed++
	}
	if r.Plan.Clean() {
		s.clean++
	}
	for i, f := range []Flow{r.Up, r.Down} {
		s.packets[i].Sent += f.Sent
		s.packets[i].Delivered += f.Delivered
		s.packets[i].Doubled += f.Doubled
		s.packets[i].Late += f.Late
	}
	for _, o := range r.Outcomes {
		s.outcomes[fmt.Sprintf("%-22s %s", o.Kind, o.Ended)]++
		if s.done++; s.done%1000 == 0 {
			fmt.Printf("%d of %d handovers, %d plans failed\n", s.done, s.want, s.failed)
		}
	}
}

// String is a table of what came of the handovers.
func (s *summary) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := fmt.Sprintf("%d handovers in %d plans, %d of them without any loss, %d failed, %v of virtual time\n", s.done, s.plans, s.clean, s.failed, s.virtual.Round(time.Second))
	for _, k := range slices.Sorted(maps.Keys(s.outcomes)) {
		t += fmt.Sprintf("  %6d %s\n", s.outcomes[k], k)
	}
	return t + fmt.Sprintf("  up %+v, down %+v", s.packets[0], s.packets[1])
}
