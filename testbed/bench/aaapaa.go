package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/internal/config"
	"openmpa/internal/event"
	"openmpa/internal/operators"
	"openmpa/paa"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
)

// An AAAPAA is an access router's PAA in a process of its own, with its AAA client: what
// mpa-ar runs, without what it does for nodes that are authenticated.
//
//	mpa-lab aaa-paa '{...}'   stdout: {"ready": true}, then an AAAState for each line of stdin
type AAAPAA struct {
	Listen netip.AddrPort `json:"listen"`
	Config string         `json:"config"` // file with the key aaa: of mpa-ar
}

// aaaPAAConfig is what that file has.
type aaaPAAConfig struct {
	AAA operators.List `yaml:"aaa"`
}

// AAAState is what a PAA tells of itself.
type AAAState struct {
	Ready  bool          `json:"ready"`
	Opened uint64        `json:"opened"` // sessions, so far
	CPU    time.Duration `json:"cpu"`    // user and system, of the process
	Kernel time.Duration `json:"kernel"` // the system's part of it
}

// openings counts sessions, and does nothing for them.
type openings struct{ n atomic.Uint64 }

func (o *openings) SessionOpened(_ uint32, _ string, _ netip.AddrPort, _ bool, k *keys.SessionKeys, _ time.Duration) {
	k.Clear()
	o.n.Add(1)
}
func (*openings) SessionActivated(uint32, netip.AddrPort) {}
func (*openings) SessionMoved(uint32, netip.AddrPort)     {}
func (*openings) SessionExtended(uint32, time.Duration)   {}
func (*openings) SessionMessage(uint32, notify.Message)   {}
func (*openings) SessionClosed(uint32, error)             {}

// aaaMost is how many sessions a PAA of a bench may have.
const aaaMost = 1 << 20

// Run serves until in ends.
func (e *AAAPAA) Run(_ context.Context, in io.Reader, out io.Writer) error {
	c, err := config.Load[aaaPAAConfig](e.Config)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	backend, err := operators.Open(c.AAA, operators.Options{Node: "ar-a", Log: log})
	if err != nil {
		return err
	}
	defer backend.Close()
	var opened openings
	s, err := paa.Open(paa.Config{
		Listen: e.Listen, Identities: notify.Identities{CA: "ca.a.example", AR: "ar.a.example"},
		Lifetime: time.Hour, AuthTimeout: 30 * time.Second, MaxSessions: aaaMost,
		Backend: backend.Realms, Recorder: event.NewRecorder("ar-a", log, 0), Log: log,
	}, &opened)
	if err != nil {
		return err
	}
	defer s.Close()
	enc := json.NewEncoder(out)
	if err := enc.Encode(AAAState{Ready: true}); err != nil {
		return fmt.Errorf("bench: PAA: %w", err)
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			return fmt.Errorf("bench: PAA: %w", err)
		}
		state := AAAState{Ready: true, Opened: opened.n.Load(), CPU: used(u), Kernel: time.Duration(u.Stime.Nano())}
		if err := enc.Encode(state); err != nil {
			return fmt.Errorf("bench: PAA: %w", err)
		}
	}
	return nil
}

// helper is a process of the lab's own program, in a namespace, that answers by lines.
type helper struct {
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

// startHelper starts one by the end of a command; what it is to be is its argument, as JSON. It
// is killed when ctx ends.
func (s side) startHelper(ctx context.Context, log string, what any, command ...string) (*helper, error) {
	name := filepath.Base(command[0])
	arg, err := json.Marshal(what)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	h := &helper{name: name, cmd: exec.CommandContext(ctx, command[0], append(command[1:], string(arg))...)}
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer file.Close()
	h.cmd.Stderr = file
	h.lines = bufio.NewScanner(out)
	h.lines.Buffer(nil, 1<<26)
	if err := s.Do(h.cmd.Start); err != nil {
		return nil, fmt.Errorf("bench: %s: %w", name, err)
	}
	return h, nil
}

// read takes a line.
func (h *helper) read(into any) error {
	if !h.lines.Scan() {
		return fmt.Errorf("bench: %s says nothing: %w", h.name, errors.Join(h.lines.Err(), io.ErrUnexpectedEOF))
	}
	if err := json.Unmarshal(h.lines.Bytes(), into); err != nil {
		return fmt.Errorf("bench: %s: %w", h.name, err)
	}
	return nil
}

// ask has it answer.
func (h *helper) ask(into any) error {
	if _, err := io.WriteString(h.in, "\n"); err != nil {
		return fmt.Errorf("bench: %s: %w", h.name, err)
	}
	return h.read(into)
}

// opened asks until the last answers of nodes have arrived at the PAA.
func (h *helper) opened(s *AAAState, sessions uint64) error {
	for end := time.Now().Add(startWait); ; time.Sleep(time.Millisecond) {
		switch err := h.ask(s); {
		case err != nil || s.Opened >= sessions:
			return err
		case time.Now().After(end):
			return fmt.Errorf("bench: the PAA has opened %d sessions, expected %d", s.Opened, sessions)
		}
	}
}

// stop ends it, and waits.
func (h *helper) stop() error {
	if err := errors.Join(h.in.Close(), h.cmd.Wait()); err != nil {
		return fmt.Errorf("bench: %s: %w", h.name, err)
	}
	return nil
}
