package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/internal/event"
)

// screen is what is known of where the output goes.
type screen struct {
	terminal      bool
	width, height int
}

// screenOf asks the kernel whether f is a terminal, and how large.
func screenOf(f *os.File) screen {
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil || os.Getenv("TERM") == "dumb" {
		return screen{}
	}
	s := screen{terminal: true, width: 80, height: 24}
	if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 && size.Row > 0 {
		s.width, s.height = int(size.Col), int(size.Row)
	}
	return s
}

// progress shows a handover while it goes on. update gets all records so far.
type progress interface {
	update(events []event.Event)
	end()
}

type silent struct{}

func (silent) update([]event.Event) {}
func (silent) end()                 {}

// lines prints a line whenever a phase ends and at each moment.
type lines struct{ w io.Writer }

func (l *lines) update(events []event.Event) {
	e := events[len(events)-1]
	r := row{Phase: e.Phase, Name: e.Name, Took: e.Duration, Outcome: e.Outcome, Reason: e.Reason, Attrs: e.Attrs}
	switch {
	case e.Kind == event.KindEnd && e.Phase != event.PhaseHandover, e.Kind == event.KindPoint:
		fmt.Fprintln(l.w, strings.TrimRight(fmt.Sprintf("%-12s %-8s %-9s %8s ms  %s",
			clean(string(r.Phase)), clean(e.Node), r.verdict(), r.took(), r.detail()), " "))
	}
}

func (l *lines) end() {}

// block is the table, drawn over its former self.
type block struct {
	w     io.Writer
	s     screen
	now   func() time.Time
	drawn int // lines on the screen
}

func newBlock(w io.Writer, s screen) *block { return &block{w: w, s: s, now: time.Now} }

func (b *block) update(events []event.Event) {
	var table bytes.Buffer
	if err := writeTable(&table, rowsOf(events, b.now())); err != nil {
		return // a bytes.Buffer takes everything
	}
	text := strings.Split(strings.TrimRight(table.String(), "\n"), "\n")
	if room := max(b.s.height-2, 2); len(text) > room {
		// The head stays, what is oldest goes: the cursor cannot climb off the screen.
		text = append(text[:1:1], text[len(text)-room+1:]...)
	}
	var out strings.Builder
	if b.drawn > 0 {
		fmt.Fprintf(&out, "\x1b[%dA", b.drawn)
	}
	out.WriteString("\x1b[J")
	for _, line := range text {
		out.WriteString(cut(strings.TrimRight(line, " "), b.s.width-1) + "\n")
	}
	b.drawn = len(text)
	fmt.Fprint(b.w, out.String())
}

func (b *block) end() {}

// cut keeps a line from being wrapped.
func cut(line string, width int) string {
	r := []rune(line)
	if width > 0 && len(r) > width {
		return string(r[:width])
	}
	return line
}
