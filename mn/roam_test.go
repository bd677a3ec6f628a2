package mn

import (
	"errors"
	"testing"
	"time"

	"openmpa/mn/link"
)

// roamTo has the link go to a point of the network that serves, as soon as nobody looks where it is.
func (b *bed) roamTo(point string) error {
	for {
		if _, err := b.node.roam(b.t.Context(), point); !errors.Is(err, ErrBusy) {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// TestRoam: the link goes within its network, and nothing is lost: also where the binding is at a network that is prepared,
// where the point is not there and the node returns, where the router hears of it late, and where nobody says where the link is.
func TestRoam(t *testing.T) {
	b := start(t, nil)
	b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
	stop := b.flow()
	roam := func() {
		t.Helper()
		if err := b.roamTo("poa-b"); err != nil {
			t.Error(err)
		}
		b.eventually("the link", func(s Status) bool { return s.State == "attached" && s.Network == "b" && s.Standby })
	}
	for range 2 {
		b.eventually("the kernel's way", func(Status) bool { return b.routers["b"].Status().Visitors[0].Mode == "direct" })
		roam()
	}
	b.roamUnheard()
	b.roamUnseen()
	b.prepared()
	for range 3 {
		roam()
	}
	b.link.fails["poa-b2"] = &link.AttachError{Point: "poa-b2", Text: "no such access point"}
	err := b.roamTo("poa-b2")
	if attach := (*link.AttachError)(nil); !errors.As(err, &attach) {
		t.Errorf("a point that is not there: %v", err)
	}
	b.eventually("the link", func(s Status) bool { return s.State == "attached" && s.Network == "b" })
	roam()
	stop()
	b.works()
	b.roamAstray()
	b.works()
}

// roamUnheard: the router hears late that the node is there again, which leaves once more at once. That it has come must not
// undo that it has gone.
func (b *bed) roamUnheard() {
	b.link.onLeave(func(string) { b.closes("b", "716") })
	if err := b.roamTo("poa-b"); err != nil {
		b.t.Error(err)
	}
	time.AfterFunc(30*time.Millisecond, func() { b.reopens("b") })
	b.link.onLeave(func(string) { time.Sleep(200 * time.Millisecond) }) // in which what was said before comes
	if err := b.roamTo("poa-b"); err != nil {
		b.t.Error(err)
	}
	b.link.onLeave(nil)
}

// roamUnseen: nobody says where the link is before what waited has gone out.
func (b *bed) roamUnseen() {
	sent := func() uint64 { return b.node.Status().Uplink.Linked }
	b.link.onLeave(func(string) {
		before := sent()
		b.link.looks = func() { // whose lock is held
			for end := time.Now().Add(patience); sent() == before; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					b.t.Error("the uplink waits for the look")
					return
				}
			}
		}
	})
	if err := b.roamTo("poa-b"); err != nil {
		b.t.Error(err)
	}
	b.link.onLeave(nil)
	b.link.mu.Lock()
	b.link.looks = nil
	b.link.mu.Unlock()
}

// roamAstray: the link comes up in another network. The node goes on there, though what waited has gone out already.
func (b *bed) roamAstray() {
	b.link.mu.Lock()
	b.link.astray = map[string]string{"poa-b": "poa-a"}
	b.link.mu.Unlock()
	if err := b.roamTo("poa-b"); !errors.Is(err, errRoamed) {
		b.t.Errorf("%v", err)
	}
	b.eventually("the link elsewhere", func(s Status) bool { return s.State == "attached" && s.Network == "a" })
}
