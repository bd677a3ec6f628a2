package par

import (
	"net/netip"

	"openmpa/paa/notify"
)

// Information is what the router needs of its information service, package info.
type Information interface {
	// Begin gives it a way to send to sessions, the number of visitors at any time, and the prefixes of the access link.
	Begin(send func(sid uint32, m notify.Message), visitors func() int, prefixes []netip.Prefix)
	// Answer is what a node is told that asks in a session. It does not wait.
	Answer(sid uint32, m *notify.NeighboursRequest) *notify.NeighboursReply
	// Ended says that a session is gone.
	Ended(sid uint32)
}

// neighbours answers a node that asks which networks are around.
func (r *Router) neighbours(sid uint32, m *notify.NeighboursRequest) {
	if r.cfg.Information == nil {
		r.send(sid, &notify.NeighboursReply{Header: m.Header, Reason: "this router tells nothing about networks around: its operator has turned that off"})
		return
	}
	r.send(sid, r.cfg.Information.Answer(sid, m))
}
