package report

import "testing"

func TestMachine(t *testing.T) {
	if m := Here(); m == nil || m.CPUs < 1 || m.Load < 0 {
		t.Errorf("got %+v", m)
	}
	if Kernel() == "" {
		t.Error("no release of the kernel")
	}
}
