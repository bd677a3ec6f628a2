package aaa

import (
	"fmt"
	"time"
)

// Grant is an access session as its AAA server knows it: accounting, termination and
// the server's own orders name the session by it. It has no secrets, and is stored.
type Grant struct {
	Operator string        `json:"operator"`          // by whose servers, as configured; set by Realms
	Session  string        `json:"session"`           // Acct-Session-Id, Session-Id of Diameter: no other session ever has it
	Identity string        `json:"identity"`          // User-Name that the server wants, else what the node called itself
	Realm    string        `json:"realm,omitzero"`    // of that node, in lower case
	Server   string        `json:"server,omitzero"`   // that accepted: an address, or a DiameterIdentity
	Station  string        `json:"station,omitzero"`  // SessionInfo.CallingStation
	Called   string        `json:"called,omitzero"`   // SessionInfo.CalledStation
	NASPort  string        `json:"nas_port,omitzero"` // SessionInfo.NASPort
	Class    [][]byte      `json:"class,omitempty"`   // of the accept, in that order: goes with every record
	Handle   []byte        `json:"handle,omitempty"`  // Chargeable-User-Identity (RFC 4372)
	Interim  time.Duration `json:"interim,omitzero"`  // between records, as the server wants it; 0: none
	Stateful bool          `json:"stateful,omitzero"` // Diameter: the server keeps it, and wants to hear of its end
	Began    time.Time     `json:"began,omitzero"`    // of the first accept
	Expires  time.Time     `json:"expires,omitzero"`  // Session-Timeout from then; zero: never
}

// Usage is what a session has had, from its begin.
type Usage struct {
	Time       time.Duration `json:"time"`
	OctetsIn   uint64        `json:"octets_in,omitzero"` // from the node
	OctetsOut  uint64        `json:"octets_out,omitzero"`
	PacketsIn  uint64        `json:"packets_in,omitzero"`
	PacketsOut uint64        `json:"packets_out,omitzero"`
}

// RecordKind is what an accounting record reports.
type RecordKind uint8

// The kinds.
const (
	RecordStart RecordKind = iota + 1
	RecordInterim
	RecordStop
)

// String implements fmt.Stringer.
func (k RecordKind) String() string {
	switch k {
	case RecordStart:
		return "start"
	case RecordInterim:
		return "interim"
	case RecordStop:
		return "stop"
	}
	return fmt.Sprintf("RecordKind(%d)", uint8(k))
}

// Record is one accounting record (RFC 2866 section 4, RFC 6733 section 9). A Carrier
// may be given the same one again, after a restart too: Grant.Session, Kind and Number
// stay the same. A stop with Number 0 had no start: a Stateful session that was accepted
// and never in use.
type Record struct {
	Grant  Grant      `json:"grant"`
	Kind   RecordKind `json:"kind"`
	Number uint32     `json:"number"` // 0 of the start, then one more each
	Time   time.Time  `json:"time"`   // of what it reports
	Cause  Cause      `json:"cause,omitzero"`
	Usage  Usage      `json:"usage"`

	Passed [][]byte `json:"-"` // as SessionInfo.Passed
}

// Cause is why a session has ended. RADIUS and Diameter have numbers of their own for
// each (RFC 2866 section 5.10, RFC 6733 section 8.15).
type Cause uint8

// The causes.
const (
	CauseNone     Cause = iota
	CauseUser           // the node has said so
	CauseMoved          // the node has it elsewhere now
	CauseLost           // the node has gone silent
	CauseExpired        // its time is over
	CauseAdmin          // an operator, or the AAA server, has ended it
	CauseShutdown       // the router ends
	CauseCrash          // the router has ended before it could say so
	CauseError          // the router could not go on with it
)

// String implements fmt.Stringer.
func (c Cause) String() string {
	switch c {
	case CauseNone:
		return "none"
	case CauseUser:
		return "user"
	case CauseMoved:
		return "moved"
	case CauseLost:
		return "lost"
	case CauseExpired:
		return "expired"
	case CauseAdmin:
		return "administrative"
	case CauseShutdown:
		return "shutdown"
	case CauseCrash:
		return "crash"
	case CauseError:
		return "error"
	}
	return fmt.Sprintf("Cause(%d)", uint8(c))
}

// Match chooses sessions: every field that is not empty must be as the Grant has it,
// and one at least must be given.
type Match struct {
	Operator string // set by Realms: servers choose among their own
	Session  string
	Identity string
	Station  string
	Called   string
	NASPort  string
	Handle   []byte
	Class    []byte // one of the Grant's
}

// Orders is what AAA servers may want of sessions after the accept (RFC 5176, RFC 6733
// section 8.3 and 8.5). Each returns how many sessions matched; none waits.
type Orders interface {
	// End ends them: the enforcement point is closed, tunnel and lease are gone.
	End(m Match, why string) int
	// Again has the nodes authenticate again at once.
	Again(m Match) int
	// Extend sets how long they last from now on, longer or shorter.
	Extend(m Match, life time.Duration) int
}
