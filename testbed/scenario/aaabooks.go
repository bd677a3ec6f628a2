package scenario

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"openmpa/aaa"
	"openmpa/testbed/bed"
	"openmpa/testbed/topo"
)

// booked is how often servers have been told of a session's begin and end.
type booked struct{ starts, stops int }

// booksOf has the node leave, and compares what the servers' books have of each session.
func (r *run) booksOf(ctx context.Context, b *bed.Bed, name string) error {
	r.p.Line("%s: the servers' books", name)
	if err := b.StopNode(); err != nil {
		return err
	}
	// With a visited operator each session is in books of either one; relays of Diameter keep none.
	groups := map[string][]string{"home": {topo.AAA, topo.Spare}}
	if r.opt.Roaming && r.opt.AAA != bed.AAAFreeDiameter {
		groups = map[string][]string{"home": {topo.AAA}, "visited": {topo.Visited, topo.Spare}}
	}
	var books map[string]map[string]booked
	read := func() (err error) {
		books = make(map[string]map[string]booked)
		for group, servers := range groups {
			if books[group], err = readBooks(b, servers); err != nil {
				return err
			}
		}
		return nil
	}
	var failed error
	err := await(ctx, booksLimit, func() bool {
		if failed = read(); failed != nil {
			return true
		}
		for _, sessions := range books {
			if len(sessions) == 0 || len(flaws(sessions)) > 0 {
				return false
			}
		}
		return true
	})
	if failed != nil || ctx.Err() != nil {
		return errors.Join(failed, ctx.Err())
	}
	for _, group := range slices.Sorted(maps.Keys(books)) {
		sessions := books[group]
		for _, flaw := range flaws(sessions) {
			r.problem("%s: books of the %s operator, %v: %s", name, group, err, flaw)
		}
		if want := r.authenticated(name); len(sessions) < want {
			r.problem("%s: books of the %s operator have %d sessions, expected %d or more", name, group, len(sessions), want)
		}
	}
	return nil
}

// authenticated is how many handovers of a case have completed, each by a session of its own.
func (r *run) authenticated(name string) (n int) {
	for _, h := range r.res.Handovers {
		if strings.HasPrefix(h.Case, name+",") && h.Outcome == "completed" {
			n++
		}
	}
	return n
}

// flaws are the sessions without one begin and one end.
func flaws(sessions map[string]booked) (list []string) {
	for _, id := range slices.Sorted(maps.Keys(sessions)) {
		if s := sessions[id]; s.starts != 1 || s.stops != 1 {
			list = append(list, fmt.Sprintf("session %s has %d starts and %d stops, expected one each", id, s.starts, s.stops))
		}
	}
	return list
}

// readBooks reads those of several servers together.
func readBooks(b *bed.Bed, servers []string) (map[string]booked, error) {
	sessions := make(map[string]booked)
	for _, name := range servers {
		for file, parse := range map[string]func([]byte, map[string]booked) error{
			name + ".detail": parseDetail, name + "-books.json": parseBooks,
		} {
			text, err := os.ReadFile(b.Run.File(file))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = parse(text, sessions)
			}
			if err != nil {
				return nil, fmt.Errorf("scenario: books %s: %w", file, err)
			}
		}
	}
	return sessions, nil
}

// parseDetail reads FreeRADIUS's: records behind one another, divided by an empty line, of
// indented lines "Attribute = value".
func parseDetail(text []byte, into map[string]booked) error {
	var id, status string
	end := func() error {
		if id == "" && status == "" {
			return nil
		}
		s := into[id]
		switch {
		case id == "":
			return errors.New("a record without Acct-Session-Id")
		case status == "Start":
			s.starts++
		case status == "Stop":
			s.stops++
		}
		into[id], id, status = s, "", ""
		return nil
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		if strings.TrimSpace(line) == "" {
			if err := end(); err != nil {
				return err
			}
			continue
		}
		key, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		switch value = strings.Trim(value, `"`); key {
		case "Acct-Session-Id":
			id = value
		case "Acct-Status-Type":
			status = value
		}
	}
	// What is behind the last empty line is being written.
	return lines.Err()
}

// parseBooks reads those of mpa-aaa: a record a line.
func parseBooks(text []byte, into map[string]booked) error {
	whole := text[:bytes.LastIndexByte(text, '\n')+1]
	for line := range bytes.Lines(whole) {
		var r struct {
			Kind    string `json:"kind"`
			Session string `json:"session"`
		}
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		s := into[r.Session]
		switch {
		case r.Session == "":
			return fmt.Errorf("a record without a session: %s", line)
		case r.Kind == aaa.RecordStart.String():
			s.starts++
		case r.Kind == aaa.RecordStop.String():
			s.stops++
		}
		into[r.Session] = s
	}
	return nil
}
