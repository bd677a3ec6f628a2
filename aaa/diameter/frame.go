package diameter

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/fiorix/go-diameter/v4/diam"
)

// Bounds of a message (RFC 6733 section 3; the upper one is ours: its field would hold
// 16 MiB).
const (
	headerLen  = diam.HeaderLength
	maxMessage = 64 << 10
)

// version is the only one there is.
const version = 1

// FrameError says that what comes is no sequence of Diameter messages. Nothing after it
// can be made sense of: the connection ends.
type FrameError struct {
	Version uint8
	Length  int // as the header claims
}

// Error implements error in one line.
func (e *FrameError) Error() string {
	if e.Version != version {
		return fmt.Sprintf("diameter: version %d, expected %d: the other side does not speak Diameter here (TLS on a port without it?)", e.Version, version)
	}
	return fmt.Sprintf("diameter: message of %d octets, expected %d to %d and a multiple of 4", e.Length, headerLen, maxMessage)
}

// readFrame reads one message. It allocates for the body only after the header has been
// found good, and never more than maxMessage.
func readFrame(r io.Reader) ([]byte, error) {
	var head [headerLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head[:]) & 0xffffff)
	if head[0] != version || n < headerLen || n > maxMessage || n%4 != 0 {
		return nil, &FrameError{Version: head[0], Length: n}
	}
	b := make([]byte, n)
	copy(b, head[:])
	if _, err := io.ReadFull(r, b[headerLen:]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return b, nil
}
