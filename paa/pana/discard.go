package pana

import "fmt"

// Discard says why a message was dropped. RFC 5191 section 5.5: invalid
// messages are discarded silently, so counters are all there is to see.
type Discard uint8

// Reasons.
const (
	DiscardMalformed      Discard = iota // no PANA message
	DiscardInvalid                       // flags, occurrence, position or length of AVPs
	DiscardUnexpected                    // type or flags not expected in the state
	DiscardSID                           // no such session
	DiscardSequence                      // sequence number
	DiscardNoRequest                     // answer without an outstanding request
	DiscardAUTH                          // AUTH missing, wrong, or without a PANA SA
	DiscardPreauth                       // E bit differs from what the session negotiated
	DiscardPreauthRefused                // pre-authentication from an address that is not allowed
	DiscardStartRefused                  // session without pre-authentication from an address that is not allowed
	DiscardAlgorithms                    // no common algorithm, or one that was not offered
	DiscardNonce                         // nonce missing or where none belongs
	DiscardKeyID                         // Key-Id missing, wrong or where none belongs
	DiscardEAP                           // EAP has nothing to answer
	DiscardResult                        // Result-Code missing or contradicting EAP
	DiscardAddress                       // another source address before there is a PANA SA
	DiscardCookie                        // PAN[S] that answers no PAR[S] of ours, or too late
	DiscardEncap                         // Encryption-Encap that cannot be read, or not expected
	DiscardRate                          // rate limit on PCI, notifications, or what has to be verified
	DiscardLimit                         // as many sessions as configured, in all or of one address
	discards
)

var discardNames = [discards]string{
	"malformed", "invalid", "unexpected", "unknown session", "sequence number", "no request outstanding",
	"AUTH", "E bit", "pre-authentication not allowed", "start not allowed", "algorithms", "nonce", "Key-Id", "EAP", "Result-Code",
	"source address", "unsolicited PAN[S]", "encryption", "rate limit", "session limit",
}

// String names the reason.
func (d Discard) String() string {
	if d < discards {
		return discardNames[d]
	}
	return fmt.Sprintf("discard %d", uint8(d))
}

// discardCounts counts discarded messages by reason.
type discardCounts [discards]uint64

func (c *discardCounts) add(d Discard) { c[d]++ }

// snapshot returns the counters that are not zero.
func (c *discardCounts) snapshot() map[Discard]uint64 {
	m := make(map[Discard]uint64)
	for d, n := range c {
		if n != 0 {
			m[Discard(d)] = n
		}
	}
	return m
}
