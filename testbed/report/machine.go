package report

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Kernel is the release of the running one.
func Kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// Here describes the one this runs on, nil when its load is not known.
func Here() *Machine {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return nil
	}
	m := Machine{CPUs: runtime.NumCPU()}
	if _, err := fmt.Sscan(string(b), &m.Load); err != nil {
		return nil
	}
	return &m
}
