package flow

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// ErrFormat is matched by every error of the parsers of this package.
var ErrFormat = errors.New("flow: malformed")

// ReportWords bounds how far back a report tells: 64 numbers a word.
const ReportWords = 16

const (
	reportVersion = 1
	reportHead    = 8
)

// Report says what a receiver has of a numbering; doc.go draws it. Numbers before
// those that Words tell of are not to be sent again: the receiver has them, or has
// given them up.
type Report struct {
	Epoch uint16
	Top   uint32              // highest number received; a report of nothing has Top 0 and no words
	Words int                 // of Mask, that apply
	Mask  [ReportWords]uint64 // bit i of word w: number Top-(64*w+i) was received
}

// Has says whether a packet need not be sent again.
func (r *Report) Has(number uint32) bool {
	back := r.Top - number
	switch {
	case int32(back) < 0:
		return false
	case back >= uint32(r.Words)*64:
		return true
	}
	return r.Mask[back/64]&(1<<(back%64)) != 0
}

// Missing counts the numbers below Top that were not received, as far as Mask tells.
func (r *Report) Missing() int {
	n := 0
	for _, w := range r.Mask[:r.Words] {
		n += 64 - bits.OnesCount64(w)
	}
	return n
}

// AppendBinary appends the report as doc.go draws it.
func (r Report) AppendBinary(b []byte) ([]byte, error) {
	if r.Words < 0 || r.Words > ReportWords {
		return b, fmt.Errorf("%w: report of %d words, expected 0 to %d", ErrFormat, r.Words, ReportWords)
	}
	b = append(b, reportVersion, byte(r.Words))
	b = binary.BigEndian.AppendUint16(b, r.Epoch)
	b = binary.BigEndian.AppendUint32(b, r.Top)
	for _, w := range r.Mask[:r.Words] {
		b = binary.BigEndian.AppendUint64(b, w)
	}
	return b, nil
}

// ParseReport reads what AppendBinary wrote; nothing may be behind it.
func ParseReport(b []byte) (Report, error) {
	if len(b) < reportHead {
		return Report{}, fmt.Errorf("%w: report of %d octets, expected %d or more", ErrFormat, len(b), reportHead)
	}
	r := Report{Words: int(b[1]), Epoch: binary.BigEndian.Uint16(b[2:]), Top: binary.BigEndian.Uint32(b[4:])}
	switch {
	case b[0] != reportVersion:
		return Report{}, fmt.Errorf("%w: report of version %d, expected %d", ErrFormat, b[0], reportVersion)
	case r.Words > ReportWords:
		return Report{}, fmt.Errorf("%w: report of %d words, expected at most %d", ErrFormat, r.Words, ReportWords)
	case len(b) != reportHead+8*r.Words:
		return Report{}, fmt.Errorf("%w: report of %d words in %d octets, expected %d", ErrFormat, r.Words, len(b), reportHead+8*r.Words)
	}
	for i := range r.Words {
		r.Mask[i] = binary.BigEndian.Uint64(b[reportHead+8*i:])
	}
	return r, nil
}
