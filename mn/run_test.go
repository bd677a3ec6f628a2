package mn

import (
	"testing"
	"time"

	"openmpa/internal/event"
)

// eventually waits until the node's status is as wanted.
func (b *bed) eventually(what string, ok func(Status) bool) {
	b.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		s := b.node.Status()
		if ok(s) {
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("%s: not reached; status %+v", what, s)
		}
	}
}

// TestUnplannedMove: the link turns up at the other network; the node attaches
// there, and comes back later in the ordinary way.
func TestUnplannedMove(t *testing.T) {
	b := start(t, nil)
	if err := b.link.Attach(t.Context(), "poa-a"); err != nil {
		t.Fatal(err)
	}
	b.eventually("the other network", func(s Status) bool { return s.State == "attached" && s.Network == "a" && s.Bound == "10.2.0.100" })
	b.eventually("leave taken of the old one", func(Status) bool { return len(b.dhcp.Leases()) == 1 && len(b.node.turn) == 0 })
	stop := b.flow()
	time.Sleep(50 * time.Millisecond)
	stop()
	ends := 0
	for _, e := range b.node.cfg.Recorder.Events(event.HandoverID{}) {
		if e.Phase == event.PhaseHandover && e.Kind == event.KindEnd && e.Outcome == event.Completed {
			ends++
		}
	}
	if ends != 1 {
		t.Errorf("%d handovers are recorded", ends)
	}
	if o, err := b.handover("b"); o != event.Completed {
		t.Errorf("%s, %v", o, err)
	}
}

// TestAttachAgain: the network does not give an address at first, and the status
// says so until it does.
func TestAttachAgain(t *testing.T) {
	b := start(t, nil)
	b.dhcp.Mute(true)
	if err := b.link.Attach(t.Context(), "poa-a"); err != nil {
		t.Fatal(err)
	}
	b.eventually("the failure", func(s Status) bool { return s.State == "lost" && s.Problem != "" })
	b.dhcp.Mute(false)
	b.eventually("the attachment", func(s Status) bool { return s.State == "attached" && s.Network == "a" && s.Problem == "" })
}

// TestReturnOfTheLink: a link that was lost in a handover comes up at the old
// point; nothing has to be made anew.
func TestReturnOfTheLink(t *testing.T) {
	b := start(t, func(c *Config) { c.Timers.LinkUp = 200 * time.Millisecond })
	b.link.die(true, "poa-a", "poa-b")
	if o, _ := b.handover("a"); o != event.Failed {
		t.Fatal(o)
	}
	b.link.die(false, "poa-a", "poa-b")
	if err := b.link.Attach(t.Context(), "poa-b"); err != nil {
		t.Fatal(err)
	}
	b.eventually("the old network", func(s Status) bool { return s.State == "attached" && s.Network == "b" && s.Bound == "10.1.0.100" })
	stop := b.flow()
	time.Sleep(50 * time.Millisecond)
	stop()
}
