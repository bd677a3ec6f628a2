package main

import (
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"

	"openmpa/testbed/matrix"
)

// commit names the source this program was built from: what the build
// noted, else what git says of the folder it is in.
func commit(self string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		rev, dirty := "", ""
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				rev = s.Value
			case "vcs.modified":
				if s.Value == "true" {
					dirty = "-dirty"
				}
			}
		}
		if rev != "" {
			return rev + dirty
		}
	}
	// Under sudo the folder belongs to somebody else, which git refuses
	// unless it is told that this is meant.
	out, err := exec.Command("git", "-c", "safe.directory=*", "-C", filepath.Dir(self), "describe", "--always", "--dirty", "--abbrev=40").Output()
	if err != nil {
		return matrix.Unknown
	}
	return strings.TrimSpace(string(out))
}
