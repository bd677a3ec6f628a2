package pana

import (
	"net/netip"
	"time"

	"openmpa/paa/keys"
)

// Output is what a machine wants done or has to tell. The concrete types are
// the structs of this file; Poll hands them out in order.
type Output interface{ output() }

// Send asks for a datagram to be sent. To is zero on the PaC, which has one
// peer.
type Send struct {
	To   netip.AddrPort
	Data []byte
}

// EAPStart asks the PAA's owner to begin an EAP conversation and to hand the
// first request to [PAA.EAPReply].
type EAPStart struct {
	SID     uint32
	From    netip.AddrPort
	Preauth bool
	Reauth  bool // an open session authenticates again
}

// EAPResponse carries an EAP response of the PaC to the PAA's owner, who
// answers with [PAA.EAPReply].
type EAPResponse struct {
	SID    uint32
	Packet []byte
}

// Opened tells that authentication succeeded. The receiver owns MSK and
// clears it; it is nil in a session without keys.
type Opened struct {
	SID         uint32
	KeyID       uint32
	PRF         keys.PRF // of the session; 0 without keys
	Preauth     bool     // the PAA is a candidate (RFC 5873)
	Rekeyed     bool     // an open session has authenticated again
	Reconfigure bool     // the PAA set the I bit: another address is needed
	Lifetime    time.Duration
	MSK         *keys.Secret
	AVPs        []AVP          // PaC: what the PAR[C] carried besides the AVPs of RFC 5191
	From        netip.AddrPort // PAA: the PaC's address
}

// Notified delivers the AVPs of a peer's notification, exactly once.
type Notified struct {
	SID      uint32
	AVPs     []AVP
	From     netip.AddrPort // zero on the PaC
	Activate bool           // E bit clear; on the PAA an Activated came before if it was the first
}

// NotifyDone tells how a notification of ours ended: once for every token.
type NotifyDone struct {
	SID   uint32
	Token uint64
	Err   error         // nil: the peer has acknowledged it
	RTT   time.Duration // from first transmission to acknowledgement
	AVPs  []AVP         // what the answer carried
}

// Activated tells that the PAA is now the serving one (RFC 5873 section 3).
// Both sides report it, once.
type Activated struct {
	SID  uint32
	From netip.AddrPort // zero on the PaC
}

// AddressChanged tells that an authenticated message of the PaC came from a
// new address, which the session uses from now on (RFC 5191 section 5.6).
type AddressChanged struct {
	SID  uint32
	From netip.AddrPort
}

// Closed is the last output of a session. Reason is one of the errors of this
// package and never nil.
type Closed struct {
	SID    uint32
	Reason error
}

func (Send) output()           {}
func (EAPStart) output()       {}
func (EAPResponse) output()    {}
func (Opened) output()         {}
func (Notified) output()       {}
func (NotifyDone) output()     {}
func (Activated) output()      {}
func (AddressChanged) output() {}
func (Closed) output()         {}

// outputs is a queue of outputs.
type outputs struct {
	list []Output
	head int
}

func (q *outputs) emit(o Output) { q.list = append(q.list, o) }

func (q *outputs) poll() (Output, bool) {
	if q.head == len(q.list) {
		return nil, false
	}
	o := q.list[q.head]
	q.list[q.head] = nil
	if q.head++; q.head == len(q.list) {
		q.list, q.head = q.list[:0], 0
	}
	return o, true
}

// NotifyOptions changes how a notification is sent.
type NotifyOptions struct {
	// Activate clears the E bit: the candidate PAA becomes the serving one
	// (RFC 5873 section 3). PaC only. It is sent even while a
	// re-authentication runs, because it may be what tells the PAA the new
	// address.
	Activate bool
	// Urgent puts the notification before the others that wait, exempts it
	// from the rate limit, and retransmits first after max(20 ms, 3 RTT).
	Urgent bool
}
