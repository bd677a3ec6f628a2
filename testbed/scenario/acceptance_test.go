package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestPlaces: what is alone has nobody beside it, there is one virtual machine at a time, and the others make the whole
// shorter; each has its line, and what failed is counted.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		under := make(map[place]int) // way, guarded by mu
		most, played := 0, 0
		var list []check
		for i, p := range []place{beside, alone, emulated, beside, alone, beside, beside, emulated, beside, beside} {
			list = append(list, check{fmt.Sprintf("check %d", i), p, func(context.Context, *Progress) (problems []string, err error) {
				mu.Lock()
				under[p]++
				played++
				most = max(most, under[beside]+under[emulated])
				if under[alone] > 1 || under[alone] == 1 && under[beside]+under[emulated] > 0 || under[beside] > 1 || under[emulated] > 1 {
					t.Errorf("%d alone, %d beside and %d emulated at a time", under[alone], under[beside], under[emulated])
				}
				mu.Unlock()
				time.Sleep(time.Minute)
				mu.Lock()
				under[p]--
				mu.Unlock()
				switch i {
				case 3:
					return []string{"one\ntwo"}, nil
				case 4:
					return nil, errors.New("broken")
				}
				return nil, nil
			}})
		}
		var out bytes.Buffer
		began := time.Now()
		if failed := acceptance(t.Context(), list, Quiet(), &out); failed != 2 || played != len(list) || most != 2 {
			t.Errorf("%d failed of %d, %d at a time; expected 2 of %d, 2 at a time", failed, played, most, len(list))
		}
		if took := time.Since(began); took != 8*time.Minute { // two alone, and six beside two
			t.Errorf("it took %v", took)
		}
		for _, want := range []string{"PASS  check 0 (60.0 s)\n", "FAIL  check 3 (60.0 s)\n      one\n      two\n", "FAIL  check 4 (60.0 s)\n      broken\n", "8 passed, 2 failed\n"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("expected %q in\n%s", want, out.String())
			}
		}
		// Nothing begins after an interrupt, and what was under way has not passed.
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
		defer cancel()
		played = 0
		out.Reset()
		if failed := acceptance(ctx, list, Quiet(), &out); failed != 3 || played != 4 || strings.Count(out.String(), "interrupted") != 2 {
			t.Errorf("%d failed of %d that began:\n%s", failed, played, out.String())
		}
	})
}

// TestChecks: every line of the acceptance set has a name of its own, and the two halves of the delivery matrix are all of it.
func TestChecks(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range checks(Options{}, "") {
		if c.name == "" || seen[c.name] {
			t.Errorf("there are two of %q", c.name)
		}
		seen[c.name] = true
	}
	if a, b := len(deliveryCells(true)), len(deliveryCells(false)); a == 0 || b == 0 || a+b != len(PairwiseDeliveryCells(deliveryMoves)) {
		t.Errorf("%d and %d cells, expected %d together", a, b, len(PairwiseDeliveryCells(deliveryMoves)))
	}
}
