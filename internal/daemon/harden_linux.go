package daemon

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// harden keeps keys out of core files and out of reach of other processes of
// the same user.
func harden() error {
	var errs []error
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		errs = append(errs, fmt.Errorf("daemon: RLIMIT_CORE: %w", err))
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		errs = append(errs, fmt.Errorf("daemon: PR_SET_DUMPABLE: %w", err))
	}
	return errors.Join(errs...)
}
