package mn

import (
	"net"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/osnet/osnettest"
	"openmpa/mn/decision"
)

// startWatched is start with a node that finds dead links, and has something to send all
// the time, by which they are found.
func startWatched(t *testing.T) *bed {
	t.Helper()
	return startWatchedOf(t, nil)
}

// startWatchedOf is startWatched for a node of IPv6, if six is there.
func startWatchedOf(t *testing.T, six *bed6) *bed {
	t.Helper()
	b := startOf(t, six, nil, func(*bed) {}, func(c *Config) {
		c.Watch = decision.WatchLimits{Quiet: 200 * time.Millisecond, Wait: 200 * time.Millisecond, Asks: 3}
	})
	home, peer := b.addresses()
	conn, err := net.DialUDP("udp", &net.UDPAddr{IP: home.AsSlice()}, &net.UDPAddr{IP: peer.AsSlice(), Port: 7001})
	if err != nil {
		t.Fatal(err)
	}
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ended:
				return
			case <-time.After(20 * time.Millisecond):
				_, _ = conn.Write([]byte("anybody there?")) // that nobody listens is told
			}
		}
	}()
	t.Cleanup(func() {
		close(ended)
		<-done
		_ = conn.Close()
	})
	return b
}

// silence has the link carry nothing, with its carrier up, or carry again.
func (a *adapter) silence(silent bool) {
	a.air(func() {
		if silent {
			osnettest.IP(a.t, "link set "+a.far+" nomaster")
		} else {
			osnettest.IP(a.t, "link set "+a.far+" master "+a.at())
		}
	})
}

// found waits until the watchdog has said that the link is "dead", or "alive".
func (b *bed) found(what string) {
	b.t.Helper()
	began := time.Now()
	b.eventually("a link that is "+what, func(Status) bool { return b.said(what) })
	b.t.Logf("found %s after %v", what, time.Since(began))
}

// TestDeadWhileBusy: somebody else has the turn when the link is found dead. The node
// leaves for what is prepared as soon as it may.
func TestDeadWhileBusy(t *testing.T) {
	b := startWatched(t)
	b.prepare("a")
	b.node.turn <- struct{}{}
	b.link.silence(true)
	b.found("dead")
	b.node.endTurn()
	b.eventually("the move", func(s Status) bool { return s.Network == "a" && s.State == "attached" && len(b.node.turn) == 0 })
	b.works()
}

// TestAliveWhileBusy: somebody else has the turn when the link is found alive again. What
// was kept is sent as soon as it may, and what comes after it.
func TestAliveWhileBusy(t *testing.T) {
	b := startWatched(t)
	b.link.silence(true)
	b.found("dead")
	b.node.turn <- struct{}{}
	b.link.silence(false)
	b.found("alive")
	time.Sleep(100 * time.Millisecond) // it has looked since
	b.node.endTurn()
	b.works()
}

// TestDeadKeeps: what is to be sent while the link is known to be dead is kept, and comes when it is
// not any more.
func TestDeadKeeps(t *testing.T) {
	b := startWatched(t)
	up, err := net.DialUDP("udp4", &net.UDPAddr{IP: homeAddress.AsSlice()}, &net.UDPAddr{IP: agentAddr.AsSlice(), Port: 7000})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	b.link.silence(true)
	b.found("dead")
	b.eventually("the turn to be free", func(Status) bool { return len(b.node.turn) == 0 })
	for k := range byte(5) {
		if _, err := up.Write([]byte{k}); err != nil {
			t.Fatal(err)
		}
	}
	b.eventually("packets to be kept", func(s Status) bool { return s.Uplink.Queued >= 5 })
	b.link.silence(false)
	for k := range byte(5) {
		buf := make([]byte, 10)
		_ = b.cn.SetReadDeadline(time.Now().Add(patience))
		if n, err := b.cn.Read(buf); err != nil || n != 1 || buf[0] != k {
			t.Fatalf("packet %d: %v, %v", k, buf[:n], err)
		}
	}
}

// TestDeadFlaps: a link that was dead goes and comes, and carries again: the next move
// waits for markers, which a dead link gets none by.
func TestDeadFlaps(t *testing.T) {
	b := startWatched(t)
	b.link.silence(true)
	b.found("dead")
	b.link.cut(true)
	time.Sleep(2 * idleLook) // which the watchdog sees
	b.link.silence(false)
	b.link.cut(false)
	b.eventually("its return", func(s Status) bool {
		return s.State == "attached" && b.node.dead.Load() == nil && len(b.node.turn) == 0
	})
	stop := b.flow()
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Errorf("%s, %v", o, err)
	}
	stop()
}

// TestDead6: a link of IPv6 is found dead and alive, and one that is neither is left alone.
func TestDead6(t *testing.T) {
	b := startWatchedOf(t, &bed6{})
	time.Sleep(time.Second) // in which the router is asked
	if b.said("dead") {
		t.Fatal("a link that carries packets is found dead")
	}
	b.link.silence(true)
	b.found("dead")
	b.link.silence(false)
	b.found("alive")
	b.works()
}
