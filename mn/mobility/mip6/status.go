package mip6

import (
	"fmt"
	"net/netip"
)

// Status is the result in a Binding Acknowledgement (RFC 6275 section 6.1.8, RFC 4285
// section 8, RFC 5648 section 4.4).
type Status uint8

// The values this project uses or meets.
const (
	StatusAccepted            Status = 0
	StatusPrefixDiscovery     Status = 1
	StatusNotComplete         Status = 4
	StatusReturnHomeNoND      Status = 5
	StatusReason              Status = 128
	StatusProhibited          Status = 129
	StatusResources           Status = 130
	StatusNoHomeRegistration  Status = 131
	StatusNotHomeSubnet       Status = 132
	StatusNotHomeAgent        Status = 133
	StatusDuplicate           Status = 134
	StatusSequence            Status = 135
	StatusHomeNonce           Status = 136
	StatusCareOfNonce         Status = 137
	StatusNonces              Status = 138
	StatusTypeChange          Status = 139
	StatusIdentification      Status = 144 // RFC 4285: the time stamp
	StatusNoIdentification    Status = 145 // RFC 4285: no time stamp
	StatusAuthentication      Status = 146 // RFC 4285
	StatusBindingMalformed    Status = 164 // RFC 5648
	StatusPlainBindingExists  Status = 165
	StatusSeveralProhibited   Status = 166
	StatusUnknownCareOf       Status = 167
	StatusBulkProhibited      Status = 168
	StatusHomeAndAwayRefused  Status = 169
	StatusInvalidCareOf       Status = 174
	statusFirstThatIsRejected Status = 128
)

// Accepted reports whether the Update was accepted; with StatusNotComplete not for all
// of its binding identifiers.
func (s Status) Accepted() bool { return s < statusFirstThatIsRejected }

var statusText = map[Status]string{
	StatusAccepted:           "binding update accepted",
	StatusPrefixDiscovery:    "accepted, but prefix discovery necessary",
	StatusNotComplete:        "accepted, but not for all care-of addresses",
	StatusReturnHomeNoND:     "accepted, but no neighbor discovery for the home address at home",
	StatusReason:             "reason unspecified",
	StatusProhibited:         "administratively prohibited",
	StatusResources:          "insufficient resources",
	StatusNoHomeRegistration: "home registration not supported",
	StatusNotHomeSubnet:      "not home subnet",
	StatusNotHomeAgent:       "not home agent for this mobile node",
	StatusDuplicate:          "duplicate address detection failed",
	StatusSequence:           "sequence number out of window",
	StatusHomeNonce:          "expired home nonce index",
	StatusCareOfNonce:        "expired care-of nonce index",
	StatusNonces:             "expired nonces",
	StatusTypeChange:         "registration type change disallowed",
	StatusIdentification:     "time stamp mismatch",
	StatusNoIdentification:   "time stamp required",
	StatusAuthentication:     "authentication failed",
	StatusBindingMalformed:   "malformed binding identifier",
	StatusPlainBindingExists: "a binding without identifier exists",
	StatusSeveralProhibited:  "several care-of addresses prohibited",
	StatusUnknownCareOf:      "binding identifier without a known care-of address",
	StatusBulkProhibited:     "several care-of addresses in one binding update prohibited",
	StatusHomeAndAwayRefused: "home and foreign link at the same time prohibited",
	StatusInvalidCareOf:      "invalid care-of address",
}

// String is the meaning in words.
func (s Status) String() string {
	if t, ok := statusText[s]; ok {
		return t
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// statusRemedy says what to look at, where something can be done.
var statusRemedy = map[Status]string{
	StatusProhibited:       "look whether the home agent's configuration lists this home address",
	StatusNotHomeSubnet:    "look whether the home address lies in a prefix of the home agent",
	StatusDuplicate:        "another node on the home link uses the home address: find it, or choose another",
	StatusIdentification:   "compare the clocks of both sides",
	StatusNoIdentification: "set the same replay protection on both sides",
	StatusAuthentication:   "compare spi and key of both sides",
}

// StatusError is a denial: the peer answered, and said no.
type StatusError struct {
	Status Status
	Peer   netip.Addr
}

// Error implements error.
func (e *StatusError) Error() string {
	s := fmt.Sprintf("mip6: %v denied the binding: %v (status %d)", e.Peer, e.Status, uint8(e.Status))
	if r, ok := statusRemedy[e.Status]; ok {
		s += ": " + r
	}
	return s
}

// ErrorStatus is the reason of a Binding Error (RFC 6275 section 6.1.9).
type ErrorStatus uint8

// The values of ErrorStatus.
const (
	ErrorUnknownBinding ErrorStatus = 1
	ErrorUnknownType    ErrorStatus = 2
)

// String is the meaning in words.
func (s ErrorStatus) String() string {
	switch s {
	case ErrorUnknownBinding:
		return "unknown binding for Home Address destination option"
	case ErrorUnknownType:
		return "unrecognized mobility header type"
	}
	return fmt.Sprintf("binding error status %d", uint8(s))
}

// Denials makes what a count of denials is shown as: by number and meaning.
func Denials(denied map[Status]uint64) map[string]uint64 {
	out := make(map[string]uint64, len(denied))
	for s, n := range denied {
		out[fmt.Sprintf("%d %v", s, s)] = n
	}
	return out
}
