package bench

import (
	"testing"
	"time"
)

func TestProcessTicks(t *testing.T) {
	// A name may hold spaces and parentheses, proc(5).
	const stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 123 45 6 7 20 0 1 0 99 1000 10"
	got, err := processTicks(stat)
	if err != nil || got != 168*tick {
		t.Errorf("%v, %v; expected 168 ticks", got, err)
	}
	for _, bad := range []string{"", "42 (a) S 1", "42 (a) S 1 42 42 0 -1 4194560 100 0 0 0 x 45 6"} {
		if _, err := processTicks(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestMachineCPU: the machine was busy while this ran.
func TestMachineCPU(t *testing.T) {
	before, err := machineCPU()
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		after, err := machineCPU()
		if err != nil {
			t.Fatal(err)
		}
		if after >= before+3*tick {
			return
		}
	}
	t.Error("a loop of ten seconds took no processor time")
}
