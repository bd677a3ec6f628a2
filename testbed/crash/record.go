package crash

import (
	"fmt"
	"time"
)

// A Record is what became of a cell. A field that does not apply is absent.
type Record struct {
	Commit  string `json:"commit"`
	Victim  Party  `json:"victim"`
	Point   Point  `json:"point"`
	DelayMS int64  `json:"delay_ms"`
	Hasty   bool   `json:"hasty,omitempty"`
	AAA     string `json:"aaa"`
	DHCP    string `json:"dhcp"`
	Guard   string `json:"guard,omitempty"`
	Enforce bool   `json:"enforce,omitempty"`
	IP      int    `json:"ip,omitempty"`
	// Addresses is how nodes get theirs with IPv6.
	Addresses string `json:"addresses,omitempty"`
	// Passed says that there are no problems.
	Passed   bool      `json:"passed"`
	Problems []string  `json:"problems,omitempty"`
	At       time.Time `json:"at"`
	TookS    float64   `json:"took_s"`

	// HitMS is how long after the point's record the victim got the signal and
	// did nothing any more, GoneMS when the kernel had ended it.
	HitMS  *float64 `json:"hit_ms,omitempty"`
	GoneMS *float64 `json:"gone_ms,omitempty"`
	// Outcome of the handover in which it died; absent when it was the mobile
	// node that did.
	Outcome string `json:"outcome,omitempty"`
	Reason  string `json:"reason,omitempty"`
	// RecoveryMS runs from the death until everything stands and no packet is
	// lost any more, SettledMS until there is no lease but the one in use and
	// the kernel holds what it held before.
	RecoveryMS *float64 `json:"recovery_ms,omitempty"`
	SettledMS  *float64 `json:"settled_ms,omitempty"`
	// Network is where the node was after the recovery.
	Network string `json:"network,omitempty"`
	// Second is the outcome of the handover after the recovery.
	Second string `json:"second,omitempty"`

	Down *Flow `json:"down,omitempty"`
	Up   *Flow `json:"up,omitempty"`
}

// A Flow is one direction of the traffic over the whole cell.
type Flow struct {
	Sent       int     `json:"sent"`
	Lost       int     `json:"lost"`
	Duplicated int     `json:"duplicated"`
	Reordered  int     `json:"reordered"`
	SilenceMS  float64 `json:"silence_ms"`  // the longest at the receiver
	LostSecond int     `json:"lost_second"` // of Lost: during the handover after the recovery
}

// Cell is the cell of the record.
func (r Record) Cell() Cell {
	return Cell{Victim: r.Victim, Point: r.Point, How: How{
		Delay: time.Duration(r.DelayMS) * time.Millisecond, Hasty: r.Hasty, AAA: r.AAA, DHCP: r.DHCP, Guard: r.Guard, Enforce: r.Enforce, IP: r.IP, Addresses: r.Addresses,
	}}
}

// Built is the commit of the record.
func (r Record) Built() string { return r.Commit }

// Verdict is whether the cell passed.
func (r Record) Verdict() bool { return r.Passed }

func (r *Record) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}
