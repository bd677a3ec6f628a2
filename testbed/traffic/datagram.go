package traffic

import "encoding/binary"

const (
	magic     = 0x6d706154 // "mpaT"
	headerLen = 24
)

// putHeader writes the header into the first octets of b.
func putHeader(b []byte, flow uint32, seq uint64, sent int64) {
	binary.BigEndian.PutUint32(b, magic)
	binary.BigEndian.PutUint32(b[4:], flow)
	binary.BigEndian.PutUint64(b[8:], seq)
	binary.BigEndian.PutUint64(b[16:], uint64(sent))
}

// parseHeader reads it; ok is false for what is not of this flow.
func parseHeader(b []byte, flow uint32) (seq uint64, sent int64, ok bool) {
	if len(b) < headerLen || binary.BigEndian.Uint32(b) != magic || binary.BigEndian.Uint32(b[4:]) != flow {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(b[8:]), int64(binary.BigEndian.Uint64(b[16:])), true
}
