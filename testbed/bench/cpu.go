package bench

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"openmpa/testbed/proc"
)

// tick is the unit of the kernel's processor times (USER_HZ, 100 on all that Go runs on).
const tick = 10 * time.Millisecond

// cpu is the processor time that the subject's processes have used.
func (s *subject) cpu() (sum time.Duration, err error) {
	for _, c := range s.ends {
		t, err := childCPU(c)
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}

// childCPU is the processor time that a process has used.
func childCPU(c *proc.Child) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.PID()))
	if err != nil {
		return 0, fmt.Errorf("bench: %s: %w", c.Name(), err)
	}
	return processTicks(string(b))
}

// processTicks reads utime and stime, fields 14 and 15 of proc(5)'s stat, whose second is
// a name in parentheses that may hold anything.
func processTicks(stat string) (time.Duration, error) {
	after := stat[strings.LastIndex(stat, ")")+1:]
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0, fmt.Errorf("bench: %q is no /proc/PID/stat", stat)
	}
	return ticks(fields[11:13])
}

func ticks(fields []string) (sum time.Duration, err error) {
	for _, f := range fields {
		n, err := strconv.ParseUint(f, 10, 62)
		if err != nil {
			return 0, fmt.Errorf("bench: processor times: %w", err)
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// machineCPU is how long all processors of the machine were busy.
func machineCPU() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0, errors.New("bench: /proc/stat does not begin with the processors' times")
	}
	// user, nice, system, (idle, iowait), irq, softirq
	return ticks(append(fields[1:4:4], fields[6:8]...))
}
