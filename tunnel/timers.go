package tunnel

import (
	"time"

	"openmpa/tunnel/esp"
)

// started is the zero of now; time is monotonic from here.
var started = time.Now()

func now() int64 { return int64(time.Since(started)) }

// keepalivePacket is the whole payload (RFC 3948 section 2.3).
var keepalivePacket = []byte{esp.Keepalive}

// sentNow remembers when the NAT on the path last saw a packet.
func (t *Tunnel) sentNow() {
	if t.cfg.Keepalive != 0 {
		t.lastSent.Store(now())
	}
}

// startTimers begins keepalives and lifetime; Add calls it once.
func (t *Tunnel) startTimers() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastSent.Store(now())
	if t.cfg.Keepalive != 0 {
		t.keepalive = time.AfterFunc(t.cfg.Keepalive, t.onKeepalive)
	}
	if t.cfg.Lifetime != 0 {
		t.lifetime = time.AfterFunc(t.cfg.Lifetime, t.onLifetime)
	}
	t.schedule()
}

// stopTimers is called under mu by whoever has set closed.
func (t *Tunnel) stopTimers() {
	if t.keepalive != nil {
		t.keepalive.Stop()
	}
	if t.lifetime != nil {
		t.lifetime.Stop()
	}
	if t.rotate != nil {
		t.rotate.Stop()
	}
}

// keepaliveDue tells whether a keepalive is to be sent now, and when to look
// again: as long after the last packet as the interval says (RFC 3948 section 4).
func keepaliveDue(now, lastSent int64, interval time.Duration) (due bool, next time.Duration) {
	idle := time.Duration(now - lastSent)
	if idle >= interval {
		return true, interval
	}
	return false, interval - max(idle, 0)
}

// enter begins the work of a timer; false: the tunnel is closed. After true
// comes t.e.wg.Done.
func (t *Tunnel) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed.Load() {
		return false
	}
	t.e.wg.Add(1) // before closed can be set, hence before Endpoint.Close waits
	return true
}

func (t *Tunnel) onKeepalive() {
	if !t.enter() {
		return
	}
	defer t.e.wg.Done()
	due, next := keepaliveDue(now(), t.lastSent.Load(), t.cfg.Keepalive)
	if p := t.path.Load(); due && p.peer.IsValid() {
		if err := p.socket.udp.Send(p.peer, keepalivePacket, 0); err != nil {
			t.e.log.Debug("keepalive not sent", "spi", t.SPI(), "peer", p.peer, "error", err)
		} else {
			t.counters.keepalivesOut.Add(1)
		}
		t.lastSent.Store(now())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed.Load() {
		t.keepalive.Reset(next)
	}
}

func (t *Tunnel) onLifetime() {
	if !t.enter() {
		return
	}
	defer t.e.wg.Done()
	t.mu.Lock()
	current := t.rotation.Current()
	t.mu.Unlock()
	current.In.Expire()
	current.Out.Expire()
	t.e.log.Info("lifetime of the tunnel's security association ended", "spi", t.SPI())
	if t.cfg.Expired != nil {
		t.cfg.Expired()
	}
}
