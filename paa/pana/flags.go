package pana

import (
	"fmt"
	"strings"
)

// Port is the UDP port assigned to PANA (RFC 5191 section 6.1).
const Port = 716

// HeaderLen is the length of the PANA header in octets.
const HeaderLen = 16

// MaxMessageLen is the largest message in octets that a UDP datagram over
// IPv4 carries. RFC 5191 section 5.1: PANA does not fragment.
const MaxMessageLen = 65507

// MessageType is the Message Type field of the header (RFC 5191 section 7).
// A request and its answer share a type and differ in FlagR.
type MessageType uint16

// Message types.
const (
	TypePCI  MessageType = 1 // PANA-Client-Initiation
	TypeAuth MessageType = 2 // PANA-Auth-Request, PANA-Auth-Answer
	TypeTerm MessageType = 3 // PANA-Termination-Request, PANA-Termination-Answer
	TypeNtfy MessageType = 4 // PANA-Notification-Request, PANA-Notification-Answer
)

// String returns the abbreviation of RFC 5191 section 7 without the last
// letter, which needs the R bit: use [Message.Name] for the whole.
func (t MessageType) String() string {
	switch t {
	case TypePCI:
		return "PCI"
	case TypeAuth:
		return "PA"
	case TypeTerm:
		return "PT"
	case TypeNtfy:
		return "PN"
	}
	return fmt.Sprintf("type-%d", uint16(t))
}

// Flags is the Flags field of the header (RFC 5191 section 6.2, RFC 5873
// section 4). Bits without a name are sent as zero and ignored.
type Flags uint16

// Header flags.
const (
	FlagR Flags = 0x8000 // request
	FlagS Flags = 0x4000 // start: first PAR/PAN
	FlagC Flags = 0x2000 // complete: last PAR/PAN
	FlagA Flags = 0x1000 // re-authentication
	FlagP Flags = 0x0800 // ping
	FlagI Flags = 0x0400 // IP reconfiguration
	FlagE Flags = 0x0200 // pre-authentication (RFC 5873)

	knownFlags = FlagR | FlagS | FlagC | FlagA | FlagP | FlagI | FlagE
)

// Has reports whether every bit of f is set.
func (g Flags) Has(f Flags) bool { return g&f == f }

// String lists the letters of the bits that are set, as in "RSE".
func (g Flags) String() string {
	const letters = "RSCAPIE"
	var b strings.Builder
	for i := range letters {
		if g&(0x8000>>i) != 0 {
			b.WriteByte(letters[i])
		}
	}
	return b.String()
}
