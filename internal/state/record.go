package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"time"
)

const recordHeader = 4 + 8 + 8 // octets before the value; see doc.go

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord appends the form of r in the file. An end beyond what 64 bits of
// nanoseconds can say (the year 2262) is none.
func appendRecord(b []byte, r Record) []byte {
	var end int64
	if !r.Expires.IsZero() && r.Expires.Before(time.Unix(0, math.MaxInt64)) {
		end = max(r.Expires.UnixNano(), 1)
	}
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, r.Version)
	b = binary.BigEndian.AppendUint64(b, uint64(end)) //nolint:gosec // not negative
	b = append(b, r.Value...)
	binary.BigEndian.PutUint32(b[start:], checksum(r.Key, b[start+4:]))
	return b
}

func checksum(key string, rest []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(key), castagnoli), castagnoli, rest)
}

// decodeRecord reads what appendRecord wrote; k and v are not kept.
func decodeRecord(k, v []byte) (Record, error) {
	r := Record{Key: string(k)}
	switch {
	case len(k) == 0 || len(k) > MaxKey || len(v) < recordHeader || len(v) > recordHeader+MaxValue:
		return r, fmt.Errorf("the record %.40q has a key of %d octets and %d more: not one of this store", r.Key, len(k), len(v))
	case binary.BigEndian.Uint32(v) != checksum(r.Key, v[4:]):
		return r, fmt.Errorf("the checksum of the record %q is wrong", r.Key)
	}
	r.Version = binary.BigEndian.Uint64(v[4:])
	if end := binary.BigEndian.Uint64(v[12:]); end != 0 {
		r.Expires = time.Unix(0, int64(end)) //nolint:gosec // written from a positive one, and checked
	}
	r.Value = bytes.Clone(v[recordHeader:])
	return r, nil
}
