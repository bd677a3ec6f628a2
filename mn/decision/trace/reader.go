package trace

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"openmpa/mn/decision"
)

// Bounds of a trace that is read.
const (
	maxLine    = 1 << 20 // octets: 1024 points and 64 networks with their names
	MaxRecords = 8 << 20
	maxAt      = 400 * 24 * time.Hour
	maxName    = 256 // octets
)

// Reader reads a trace that may come from anybody.
type Reader struct {
	header  Header
	in      *bufio.Scanner
	at      time.Duration
	number  int // of the line
	cut     bool
	strange uint64
}

// NewReader reads the header.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{in: bufio.NewScanner(in)}
	r.in.Buffer(make([]byte, 0, 64<<10), maxLine)
	r.in.Split(r.split)
	text, err := r.line()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("trace: it is empty: expected a header")
		}
		return nil, err
	}
	var h headerLine
	if err := json.Unmarshal(text, &h); err != nil {
		return nil, fmt.Errorf("trace: line 1: %w: expected a header as mpa-mn --record writes it", err)
	}
	if h.Trace != Version {
		return nil, fmt.Errorf("trace: line 1: version %d: expected a header of version %d, as mpa-mn --record writes it", h.Trace, Version)
	}
	if len(h.Node) > maxName {
		return nil, fmt.Errorf("trace: line 1: the node's name has %d octets: expected at most %d", len(h.Node), maxName)
	}
	r.header = Header{Node: h.Node, Began: h.Began, Policy: h.Policy.policy()}
	if err := r.header.Policy.Check(); err != nil {
		return nil, fmt.Errorf("trace: line 1: policy: %w", err)
	}
	return r, nil
}

// Header is the first line.
func (r *Reader) Header() Header { return r.header }

// Cut says whether the last line was cut off, as a kill leaves it.
func (r *Reader) Cut() bool { return r.cut }

// Strange is how many records were of a kind that this reader does not know.
func (r *Reader) Strange() uint64 { return r.strange }

// split is bufio.ScanLines, but a last line that has no end is none.
func (r *Reader) split(data []byte, atEnd bool) (int, []byte, error) {
	n, text, err := bufio.ScanLines(data, atEnd)
	if atEnd && n == len(data) && n > 0 && data[n-1] != '\n' {
		r.cut = true
		return n, nil, err
	}
	return n, text, err
}

func (r *Reader) line() ([]byte, error) {
	if !r.in.Scan() {
		if err := r.in.Err(); err != nil {
			if errors.Is(err, bufio.ErrTooLong) {
				return nil, fmt.Errorf("trace: line %d has more than %d octets", r.number+1, maxLine)
			}
			return nil, fmt.Errorf("trace: %w", err)
		}
		return nil, io.EOF
	}
	r.number++
	if r.number > MaxRecords {
		return nil, fmt.Errorf("trace: more than %d records", MaxRecords)
	}
	return r.in.Bytes(), nil
}

// Next returns the next record; io.EOF after the last one. Other errors name the line.
func (r *Reader) Next() (Record, error) {
	for {
		text, err := r.line()
		if err != nil {
			return Record{}, err
		}
		rec, err := r.parse(text)
		if err != nil {
			return Record{}, fmt.Errorf("trace: line %d: %w", r.number, err)
		}
		if rec != (Record{At: rec.At}) {
			return rec, nil
		}
		r.strange++
	}
}

func (r *Reader) parse(text []byte) (Record, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return Record{}, err
	}
	rec := Record{At: time.Duration(l.At), Lost: l.Lost}
	if rec.At < 0 || rec.At > maxAt {
		return rec, fmt.Errorf("at_ns %d: expected 0 to %d", l.At, int64(maxAt))
	}
	kinds := 0
	var err error
	add := func(e error) {
		kinds++
		err = errors.Join(err, e)
	}
	if l.Know != nil {
		k, e := l.Know.known()
		rec.Know = k
		add(e)
	}
	if l.Sample != nil {
		s, e := l.Sample.sample(rec.At)
		rec.Sample = s
		if add(e); rec.At < r.at {
			err = errors.Join(err, fmt.Errorf("a sample at %v: expected it not before the one at %v", rec.At, r.at))
		}
		r.at = max(r.at, rec.At)
	}
	if l.Decided != nil {
		d, e := l.Decided.decision()
		rec.Decided, rec.Words = d, l.Words
		add(e)
	}
	if l.Moved != nil {
		m, e := l.Moved.move()
		rec.Moved = m
		add(e)
	}
	if l.Failed != nil {
		d, e := l.Failed.decision()
		rec.Failed = d
		add(e)
	}
	if l.Took != nil {
		d, e := depthOf(l.Took.Depth)
		rec.Took = &Took{decision.NetworkID(l.Took.Network), d, time.Duration(l.Took.Took), l.Took.OK}
		add(e)
	}
	if l.RTT != nil {
		rec.RTT = &RTT{decision.NetworkID(l.RTT.Network), time.Duration(l.RTT.RTT)}
		add(nil)
	}
	if err == nil && kinds > 1 {
		err = errors.New("a record of several kinds: expected one")
	}
	return rec, err
}
