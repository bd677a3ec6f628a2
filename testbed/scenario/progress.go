package scenario

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Progress tells on standard error what goes on: one line that is redrawn
// on a terminal, one line after another elsewhere.
type Progress struct {
	w        io.Writer
	terminal bool
	prefix   string

	mu    sync.Mutex
	last  string // guarded by mu
	drawn bool   // guarded by mu: the line on the terminal is ours
}

// NewProgress writes to f.
func NewProgress(f *os.File) *Progress {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return &Progress{w: f, terminal: err == nil}
}

// Quiet tells nobody.
func Quiet() *Progress { return &Progress{w: io.Discard} }

// With returns a progress that starts each line with a word, when several
// labs run beside one another.
func (p *Progress) With(prefix string) *Progress {
	return &Progress{w: p.w, prefix: prefix}
}

// Line replaces the line.
func (p *Progress) Line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := p.prefix + fmt.Sprintf(format, args...)
	if line == p.last {
		return
	}
	p.last = line
	if p.terminal {
		const width = 100
		if len(line) > width {
			line = line[:width]
		}
		fmt.Fprintf(p.w, "\r\033[K%s", line)
		p.drawn = true
		return
	}
	fmt.Fprintln(p.w, line)
}

// Done takes the line away.
func (p *Progress) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		fmt.Fprint(p.w, "\r\033[K")
		p.drawn = false
	}
	p.last = ""
}
