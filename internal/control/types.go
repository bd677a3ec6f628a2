package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"openmpa/internal/event"
)

// Command is a task a daemon offers. args is the request's body, nil when it is
// empty; the result is encoded as JSON. The context ends when the client goes
// away.
type Command func(ctx context.Context, args json.RawMessage) (any, error)

// The names of mpa-mn's commands: CommandHandover moves to another network,
// CommandPrepare does what can be done before, and keeps it for the move;
// CommandGuard has a router keep copies against a cut of the link, or no longer;
// CommandDecisions tells what the node has decided by itself lately, and why;
// CommandNetworks what is known of the networks around.
const (
	CommandHandover = "handover"
	CommandPrepare  = "prepare"
	CommandGuard    = "guard"

	CommandDecisions = "decisions"
	CommandNetworks  = "networks"
)

// GuardArgs are the arguments of [CommandGuard].
type GuardArgs struct {
	Guard string `json:"guard"` // "on", "off", or "auto": as the configuration says
}

// HandoverArgs are the arguments of [CommandHandover] and [CommandPrepare].
type HandoverArgs struct {
	Network string `json:"network"` // as named in the configuration
	Wait    bool   `json:"wait"`    // answer at the end, and cancel when the client goes away; else answer at once
	// Depth is as far as a preparation goes: authenticate, configure, tunnel or bind; empty: bind.
	Depth string `json:"depth,omitempty"`
	// Now: a handover takes what stands, and does the rest behind the link.
	Now bool `json:"now,omitempty"`
}

// HandoverResult is the answer to both. Without Wait only ID is set. A preparation
// and the move after it have the same ID.
type HandoverResult struct {
	ID      event.HandoverID `json:"id,omitzero"`
	Outcome event.Outcome    `json:"outcome,omitempty"`
	Reason  string           `json:"reason,omitempty"`
}

// Handover sums one handover up, as this daemon saw it.
type Handover struct {
	ID         event.HandoverID `json:"id"`
	Start      time.Time        `json:"start"`
	DurationMS float64          `json:"duration_ms,omitempty"` // absent while it goes on
	From       string           `json:"from,omitempty"`
	To         string           `json:"to,omitempty"`
	Outcome    event.Outcome    `json:"outcome,omitempty"` // absent while it goes on
	Reason     string           `json:"reason,omitempty"`
	Events     int              `json:"events"` // records kept
}

// HandoverDetail is a handover with its records, the oldest first.
type HandoverDetail struct {
	Handover
	Records []event.Event `json:"records"`
}

// Summarize groups records by handover, in the order in which the handovers
// began. Records without a handover are left out.
func Summarize(records []event.Event) []Handover {
	byID := map[event.HandoverID]*Handover{}
	for _, e := range records {
		if e.Handover.IsZero() {
			continue
		}
		h := byID[e.Handover]
		if h == nil {
			h = &Handover{ID: e.Handover, Start: e.Time}
			byID[e.Handover] = h
		}
		h.Events++
		start := e.Time.Add(-e.Duration)
		if start.Before(h.Start) {
			h.Start = start
		}
		if e.Phase != event.PhaseHandover {
			continue
		}
		h.From = cmp.Or(attr(e, "from"), h.From)
		h.To = cmp.Or(attr(e, "to"), h.To)
		if e.Kind == event.KindEnd {
			h.Outcome, h.Reason = e.Outcome, e.Reason
			h.DurationMS = float64(e.Duration) / float64(time.Millisecond)
		}
	}
	out := make([]Handover, 0, len(byID))
	for _, h := range byID {
		out = append(out, *h)
	}
	slices.SortFunc(out, func(a, b Handover) int {
		return cmp.Or(a.Start.Compare(b.Start), slices.Compare(a.ID[:], b.ID[:]))
	})
	return out
}

func attr(e event.Event, key string) string {
	v, ok := e.Attrs[key]
	if !ok || v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// Error is a failure that the daemon reported.
type Error struct {
	Status  int    // of HTTP
	Message string // of the daemon
}

// Error returns the daemon's words.
func (e *Error) Error() string { return e.Message }

var (
	// ErrInUse says that a live daemon has the socket.
	ErrInUse = errors.New("another daemon answers on this socket: stop it, or give this one another socket path (key control)")
	// ErrNoDaemon says that nothing listens on the socket, or something else does.
	ErrNoDaemon = errors.New("no daemon answers on this socket: is it running, and is this its socket?")
)
