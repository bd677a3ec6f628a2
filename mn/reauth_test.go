package mn

import (
	"context"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
)

// TestReauthentication: a session that is authenticated again has new keys at
// both ends, for sealed messages too, and goes on.
func TestReauthentication(t *testing.T) {
	b := start(t, nil)
	c := b.serving().session.Load()
	current := func() (k *keys.SessionKeys) {
		if err := c.client.Do(func(time.Time, *pana.PaC) { k = c.keys }); err != nil {
			t.Fatal(err)
		}
		return k
	}
	before := current()
	if err := c.client.Do(func(now time.Time, p *pana.PaC) { p.Reauthenticate(now) }); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); current() == before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the keys stayed")
		}
	}
	if before.MNAR.Len() != 0 {
		t.Error("the old keys are not cleared")
	}
	id := event.HandoverID{1}
	m, err := c.ask(context.Background(), b.node.ports[0].ip.request(notify.Header{Handover: id}), notify.KindConfigReply, 20*time.Second)
	if err != nil || m.ID() != id {
		t.Fatalf("the router does not understand the new keys: %v, %v", m, err)
	}
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Errorf("%s, %v", o, err)
	}
}
