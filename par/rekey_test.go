package par

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/tunnel/esp"
)

// TestRekey: a request whose answer was lost is made good by the next one; packets go
// on by whatever the node uses; what makes no sense is refused, and changes nothing.
func TestRekey(t *testing.T) {
	b := start(t, func(c *Config) {
		c.Suites = []esp.Transform{esp.AES256GCM, esp.ChaCha20}
		c.Rekey = esp.RekeyLimits{Linger: 100 * time.Millisecond}
	})
	conf := b.open(2, append(bytes.Clone(b.mac[:5]), 9))
	if conf.Reason != "" {
		t.Fatal(conf.Reason)
	}
	nonce := bytes.Repeat([]byte{9}, 32)
	ask := func(sid, old, spi uint32, suites ...uint8) *notify.RekeyReply {
		b.r.SessionMessage(sid, &notify.RekeyRequest{Header: header, Old: old, SPI: spi, Nonce: nonce, Suites: suites})
		return got[*notify.RekeyReply](b, sid)
	}
	n := b.prepare(1, elsewhere)
	refused := func(r *notify.RekeyReply, why string) {
		t.Helper()
		if !strings.Contains(r.Reason, why) {
			t.Errorf("got %+v, expected a refusal: %s", r, why)
		}
	}
	refused(ask(2, 0x999, 0x3000), "there is no tunnel")
	refused(ask(1, 0x999, 0x3000), "the association in use is not 0x00000999")
	refused(ask(1, n.routerSPI, 0x3000, 1, 77), "none of the suites")

	lost := ask(1, n.routerSPI, 0x3001)
	b.send(n.inner, 1)
	if got := n.next(); got != 1 {
		t.Fatalf("packet %d came by the old association", got)
	}
	r := ask(1, n.routerSPI, 0x3002, 77, 3, 2)
	if lost.Reason != "" || lost.Suite != uint8(esp.AES256GCM) || r.Reason != "" || r.Suite != uint8(esp.ChaCha20) || r.SPI == lost.SPI || r.Old != n.routerSPI {
		t.Fatalf("%+v, then %+v", lost, r)
	}
	k := keys.DeriveESP(sessionKeys(1).MNAR.Bytes(), nonce, r.Nonce, r.SPI, 0x3002, esp.ChaCha20.MaterialLen())
	pair, err := esp.ChaCha20.NewPair(0x3002, k.ToNode, r.SPI, k.ToRouter)
	if err == nil {
		err = n.t.Offer(pair)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.send(n.inner, 2)
	if got := n.next(); got != 2 {
		t.Fatalf("packet %d came while the successor stands ready", got)
	}
	if err := n.t.Confirm(); err != nil {
		t.Fatal(err)
	}
	b.await("the router to use the successor", func() bool { return n.t.Stats().DroppedIn["dummy"] > 0 })
	b.send(n.inner, 3)
	if got := n.next(); got != 3 {
		t.Fatalf("packet %d came by the successor", got)
	}
	refused(ask(1, n.routerSPI, 0x3003), "the association in use is not")
	b.await("the old association to be forgotten", func() bool { return ask(1, r.SPI, 0x3004).Reason == "" })
}

// TestRekeyDue: the router says when a limit of its own is near, and what is in use then.
func TestRekeyDue(t *testing.T) {
	b := start(t, func(c *Config) { c.Rekey = esp.RekeyLimits{Packets: 3} })
	n := b.prepare(1, elsewhere)
	b.send(n.inner, 1, 2, 3)
	if due := got[*notify.RekeyDue](b, 1); due.Old != n.routerSPI {
		t.Errorf("due is %#x, in use %#x", due.Old, n.routerSPI)
	}
}
