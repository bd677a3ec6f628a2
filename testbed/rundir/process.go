package rundir

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// process identifies a child beyond the reuse of its pid.
type process struct {
	pid     int
	start   uint64 // clock ticks after boot, field 22 of /proc/PID/stat
	command string
}

// Record notes a child of the lab, so that the next lab can end it when this
// one is killed. Call it right after the child has started. Of one that has
// ended by then there is nothing to note: the error is os.ErrProcessDone.
func (d *Dir) Record(name string, pid int, command string) error {
	start, err := startTime(pid)
	if err != nil {
		return fmt.Errorf("rundir: record %s: %w", name, err)
	}
	dir := d.File("pids")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("rundir: %w", err)
	}
	line := fmt.Sprintf("%d %d %s\n", pid, start, command)
	if err := os.WriteFile(filepath.Join(dir, name), []byte(line), 0o644); err != nil {
		return fmt.Errorf("rundir: %w", err)
	}
	return nil
}

// Forget takes the record of a child away that has ended.
func (d *Dir) Forget(name string) error {
	err := os.Remove(d.File("pids", name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("rundir: %w", err)
	}
	return nil
}

func readProcess(file string) (process, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return process{}, err
	}
	return parseProcess(string(b))
}

func parseProcess(line string) (process, error) {
	fields := strings.SplitN(strings.TrimSpace(line), " ", 3)
	if len(fields) != 3 {
		return process{}, fmt.Errorf("rundir: %q is no process record", line)
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil || pid <= 1 {
		return process{}, fmt.Errorf("rundir: %q holds no pid", line)
	}
	start, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return process{}, fmt.Errorf("rundir: %q holds no start time", line)
	}
	return process{pid: pid, start: start, command: fields[2]}, nil
}

// alive reports whether exactly this process is still running.
func (p process) alive() bool {
	start, err := startTime(p.pid)
	return err == nil && start == p.start
}

func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return 0, os.ErrProcessDone
	}
	if err != nil {
		return 0, err
	}
	return parseStartTime(b)
}

// parseStartTime reads field 22 of proc(5)'s stat. The command, field 2, is
// in parentheses and may itself hold spaces and parentheses.
func parseStartTime(stat []byte) (uint64, error) {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, fmt.Errorf("rundir: %q is no /proc stat line", stat)
	}
	fields := bytes.Fields(stat[i+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("rundir: /proc stat line has %d fields after the command, expected 20", len(fields))
	}
	if fields[0][0] == 'Z' {
		return 0, os.ErrProcessDone // nobody has waited for it yet
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// A RecordedProcess is a child that a lab has noted in its run directory.
type RecordedProcess struct{ p process }

// String is its pid and command.
func (r RecordedProcess) String() string { return fmt.Sprintf("%d (%s)", r.p.pid, r.p.command) }

// Recorded are the children noted in a run directory, of whatever lab.
func Recorded(path string) ([]RecordedProcess, error) {
	files, err := filepath.Glob(filepath.Join(path, "pids", "*"))
	if err != nil {
		return nil, fmt.Errorf("rundir: %w", err)
	}
	var all []RecordedProcess
	for _, f := range files {
		p, err := readProcess(f)
		if errors.Is(err, os.ErrNotExist) {
			continue // ended just now
		}
		if err != nil {
			return nil, err
		}
		all = append(all, RecordedProcess{p})
	}
	return all, nil
}

// Alive reports whether exactly that process is still running.
func (r RecordedProcess) Alive() bool { return r.p.alive() }
