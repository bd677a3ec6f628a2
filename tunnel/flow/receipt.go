package flow

import (
	"encoding/binary"
	"fmt"
)

// Receipt is what a receiver has of one class.
type Receipt struct {
	Class  uint8 // up to MaxClass
	Report Report
}

// Bounds of the receipts in one message.
const (
	MaxReceipts    = 8
	MaxReceiptsLen = 1200 // octets
)

// AppendReceipts appends receipts, each class once:
//
//	+---------+  +---------+-------------------+----------------+
//	| count   |  | class   | length            | report         |  ... count times
//	| 1 octet |  | 1 octet | 2 octets          | length octets  |
//	+---------+  +---------+-------------------+----------------+
func AppendReceipts(b []byte, list []Receipt) ([]byte, error) {
	if len(list) > MaxReceipts {
		return b, fmt.Errorf("%w: %d receipts, expected at most %d", ErrFormat, len(list), MaxReceipts)
	}
	out := append(b, byte(len(list)))
	var seen [MaxClass + 1]bool
	for _, r := range list {
		if r.Class > MaxClass || seen[r.Class] {
			return b, fmt.Errorf("%w: receipt of class %d, expected each class up to %d once", ErrFormat, r.Class, MaxClass)
		}
		seen[r.Class] = true
		at := len(out)
		out = append(out, r.Class, 0, 0)
		var err error
		if out, err = r.Report.AppendBinary(out); err != nil {
			return b, err
		}
		binary.BigEndian.PutUint16(out[at+1:], uint16(len(out)-at-3))
	}
	return out, nil
}

// ParseReceipts reads what AppendReceipts wrote, and returns what is behind it.
func ParseReceipts(b []byte) (list []Receipt, rest []byte, err error) {
	if len(b) < 1 || b[0] > MaxReceipts {
		return nil, nil, fmt.Errorf("%w: number of receipts missing, or more than %d", ErrFormat, MaxReceipts)
	}
	all, n := len(b), int(b[0])
	b = b[1:]
	var seen [MaxClass + 1]bool
	for range n {
		if len(b) < 3 {
			return nil, nil, fmt.Errorf("%w: receipt of %d octets, expected 3 or more", ErrFormat, len(b))
		}
		class, size := b[0], int(binary.BigEndian.Uint16(b[1:]))
		if class > MaxClass || seen[class] {
			return nil, nil, fmt.Errorf("%w: receipt of class %d, expected each class up to %d once", ErrFormat, class, MaxClass)
		}
		seen[class] = true
		if len(b) < 3+size || all-len(b)+3+size > MaxReceiptsLen {
			return nil, nil, fmt.Errorf("%w: receipt of %d octets, %d are left and %d fit", ErrFormat, size, len(b)-3, MaxReceiptsLen)
		}
		report, err := ParseReport(b[3 : 3+size])
		if err != nil {
			return nil, nil, err
		}
		list, b = append(list, Receipt{Class: class, Report: report}), b[3+size:]
	}
	return list, b, nil
}
