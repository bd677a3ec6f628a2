package mn

import (
	"errors"
	"testing"
	"time"

	"openmpa/mn/link"
)

// TestRoam: the link goes within its network, and nothing is lost: also where the binding is at a network that is prepared,
// and where the point is not there and the node returns.
func TestRoam(t *testing.T) {
	b := start(t, nil)
	b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
	stop := b.flow()
	order := func(point string) error {
		for {
			if _, err := b.node.roam(t.Context(), point); !errors.Is(err, ErrBusy) {
				return err
			}
			time.Sleep(time.Millisecond)
		}
	}
	roam := func() {
		t.Helper()
		if err := order("poa-b"); err != nil {
			t.Error(err)
		}
		b.eventually("the link", func(s Status) bool { return s.State == "attached" && s.Network == "b" && s.Standby })
	}
	for range 3 {
		b.eventually("the kernel's way", func(Status) bool { return b.routers["b"].Status().Visitors[0].Mode == "direct" })
		roam()
	}
	b.prepared()
	for range 3 {
		roam()
	}
	b.link.fails["poa-b2"] = &link.AttachError{Point: "poa-b2", Text: "no such access point"}
	err := order("poa-b2")
	if attach := (*link.AttachError)(nil); !errors.As(err, &attach) {
		t.Errorf("a point that is not there: %v", err)
	}
	b.eventually("the link", func(s Status) bool { return s.State == "attached" && s.Network == "b" })
	roam()
	stop()
	b.works()
}
