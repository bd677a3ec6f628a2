package link

import (
	"testing"

	"openmpa/internal/wpactrl"
)

// prioritise sets a network's priority behind the adapter's back.
func (a *air) prioritise(network string, p int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.priority[network] = p
}

// TestPreferenceOfOthers: a priority that somebody else has set is theirs, whenever it was.
func TestPreferenceOfOthers(t *testing.T) {
	a := newAir(t)
	s := supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
	is := func(what string, zero, one int) {
		t.Helper()
		eventually(t, what, func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.priority["0"] == zero && a.priority["1"] == one && a.priority["2"] == 0
		})
	}
	eventually(t, "an ear", func() bool { return a.Attached() > 0 })
	a.Emit(connected(bssA1))
	is("raised", 1, 0)
	a.prioritise("1", 100) // a program that wants the node at 1
	a.Emit(connected(bssB1))
	is("theirs is enough", 0, 100)
	a.prioritise("1", 0) // and that has it there
	a.Emit(connected(bssA1))
	is("what they have taken back stays so", 1, 0)
	a.prioritise("0", 7)
	a.Emit(connected(bssB1))
	is("what they have set instead of ours stays so", 7, 8)
	a.prioritise("1", 9)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	is("at the end, too", 7, 9)
}

// TestPreferenceFollows: a network that somebody else goes to is preferred from the association on.
func TestPreferenceFollows(t *testing.T) {
	a := newAir(t)
	_ = supplicant(t, SupplicantConfig{Socket: a.Socket, Points: places})
	is := func(what string, zero, one int) {
		t.Helper()
		eventually(t, what, func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.priority["0"] == zero && a.priority["1"] == one
		})
	}
	eventually(t, "an ear", func() bool { return a.Attached() > 0 })
	a.Emit(connected(bssA1))
	is("preferred", 1, 0)
	a.mu.Lock()
	a.at, a.network = bssB1, 1
	a.mu.Unlock()
	a.Emit("<3>Associated with " + bssB1.String())
	is("the other one, not connected yet", 0, 1)
	a.mu.Lock()
	a.at, a.network = wpactrl.MAC{}, 0 // it did not come to that
	a.mu.Unlock()
	a.Emit(connected(bssA1))
	is("back", 1, 0)
}
