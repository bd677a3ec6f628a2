package eap

import (
	"encoding/binary"
	"fmt"
)

// Flags of an EAP-TLS packet (RFC 5216 section 3.1).
const (
	flagLength = 0x80
	flagMore   = 0x40
	flagStart  = 0x20
)

const (
	// maxMessage bounds one reassembled flight (RFC 5216 section 2.1.5 suggests 64 KB).
	maxMessage = 64 << 10

	// MinFragmentSize and MaxFragmentSize bound the configured size of the EAP
	// packets this side sends, in octets. A RADIUS packet ends at 4096.
	MinFragmentSize = 100
	MaxFragmentSize = 3600

	// DefaultFragmentSize leaves room for PANA with its AUTH AVP (64 octets), UDP and IPv6
	// in the 1280 octets that every link of IPv6 has, a tunnel's, too.
	DefaultFragmentSize = 1160
)

// fragment is what follows the type of an EAP-TLS packet.
type fragment struct {
	hasLength bool
	more      bool
	start     bool
	length    uint32 // of the whole message, when hasLength
	data      []byte
}

// isAck says that the fragment acknowledges one of ours, or says nothing.
func (f fragment) isAck() bool { return !f.more && !f.start && !f.hasLength && len(f.data) == 0 }

// parseFragment reads flags, length and data. Reserved flags are ignored (RFC 5216
// section 3.1). data is a part of b.
func parseFragment(b []byte) (fragment, error) {
	if len(b) == 0 {
		return fragment{}, &ProtocolError{Detail: "EAP-TLS packet without its flags octet"}
	}
	f := fragment{
		hasLength: b[0]&flagLength != 0,
		more:      b[0]&flagMore != 0,
		start:     b[0]&flagStart != 0,
		data:      b[1:],
	}
	if f.hasLength {
		if len(f.data) < 4 {
			return fragment{}, &ProtocolError{Detail: fmt.Sprintf("EAP-TLS packet with %d octets where its message length has 4", len(f.data))}
		}
		f.length = binary.BigEndian.Uint32(f.data)
		f.data = f.data[4:]
	}
	return f, nil
}

func (f fragment) appendBinary(dst []byte) []byte {
	var flags byte
	if f.hasLength {
		flags |= flagLength
	}
	if f.more {
		flags |= flagMore
	}
	if f.start {
		flags |= flagStart
	}
	dst = append(dst, flags)
	if f.hasLength {
		dst = binary.BigEndian.AppendUint32(dst, f.length)
	}
	return append(dst, f.data...)
}

// reassembler joins the fragments of one message.
type reassembler struct {
	buf   []byte
	total int // what L said; -1 when it did not
	busy  bool
}

// add takes the next fragment and returns the message when it is whole. The
// message is valid until the next add.
func (r *reassembler) add(f fragment) (msg []byte, whole bool, err error) {
	if !r.busy {
		r.buf, r.total = r.buf[:0], -1
		if f.more && !f.hasLength {
			return nil, false, &ProtocolError{Detail: "first fragment of a message without its total length (L)"}
		}
		if f.hasLength {
			if f.length > maxMessage {
				return nil, false, &ProtocolError{Detail: fmt.Sprintf("message of %d octets announced, at most %d are taken", f.length, maxMessage)}
			}
			r.total = int(f.length)
		}
		r.busy = true
	} else if f.hasLength && int64(f.length) != int64(r.total) {
		return nil, false, &ProtocolError{Detail: fmt.Sprintf("total length changed from %d to %d between fragments", r.total, f.length)}
	}
	if f.more && len(f.data) == 0 {
		return nil, false, &ProtocolError{Detail: "fragment without data"}
	}
	limit := r.total
	if limit < 0 {
		limit = maxMessage
	}
	if len(r.buf)+len(f.data) > limit {
		return nil, false, &ProtocolError{Detail: fmt.Sprintf("fragments of more than the %d octets announced", limit)}
	}
	r.buf = append(r.buf, f.data...)
	if f.more {
		return nil, false, nil
	}
	r.busy = false
	if r.total >= 0 && len(r.buf) != r.total {
		return nil, false, &ProtocolError{Detail: fmt.Sprintf("message of %d octets, %d were announced", len(r.buf), r.total)}
	}
	return r.buf, true, nil
}

// fragmenter cuts messages into packets of at most size octets, EAP header included.
type fragmenter struct {
	size  int
	rest  []byte
	total int
}

// load sets the next message, which is kept until it is sent.
func (f *fragmenter) load(msg []byte) { f.rest, f.total = msg, len(msg) }

// pending says that a fragment waits for the acknowledgement of the one before.
func (f *fragmenter) pending() bool { return len(f.rest) > 0 }

// next returns the next fragment; one without data when there is none. L is only
// set on the first of several (RFC 9190 section 2.1.9).
func (f *fragmenter) next() fragment {
	room := f.size - headerLen - 2
	var out fragment
	if len(f.rest) == f.total && f.total > room {
		out.hasLength, out.length = true, uint32(f.total)
		room -= 4
	}
	n := min(room, len(f.rest))
	out.data, f.rest = f.rest[:n:n], f.rest[n:]
	out.more = len(f.rest) > 0
	return out
}
