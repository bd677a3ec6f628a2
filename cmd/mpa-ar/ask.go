package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// questions asks who sits at the terminal. The nil value asks nobody, and takes what was proposed.
type questions struct {
	in  io.Reader
	out io.Writer
}

// newQuestions returns nil when in is no terminal.
func newQuestions(in *os.File, out io.Writer) *questions {
	if _, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	return &questions{in: in, out: out}
}

const maxAnswer = 256 // octets

// text asks for a text; an empty answer takes the proposal.
func (q *questions) text(question, proposal string) string {
	if q == nil {
		return proposal
	}
	fmt.Fprintf(q.out, "%s [%s]: ", question, proposal)
	if answer := q.line(); answer != "" {
		return answer
	}
	return proposal
}

// yes asks whether to go on; nobody to ask means yes.
func (q *questions) yes(question string) bool {
	answer := strings.ToLower(q.text(question+" (yes or no)", "yes"))
	return answer == "yes" || answer == "y"
}

// line reads octet by octet: what comes after it is for others, such as a code.
func (q *questions) line() string {
	var line []byte
	b := make([]byte, 1)
	for len(line) < maxAnswer {
		if _, err := io.ReadFull(q.in, b); err != nil || b[0] == '\n' {
			break
		}
		line = append(line, b[0])
	}
	return strings.TrimSpace(string(line))
}
