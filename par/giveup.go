package par

import (
	"errors"
	"time"

	"openmpa/internal/event"
	"openmpa/tunnel/flow"
)

// giveUp ends what nobody asks for. A candidate's tunnel goes. A node that was on our link
// before may be here again, and not have said so, or ask from elsewhere yet: its tunnel
// stands by, and the kernel delivers. The caller holds mu.
func (v *visitor) giveUp(why string) {
	if !v.served || !v.standby {
		v.dropTunnel(why)
		return
	}
	if !v.apply(flow.Release) || !v.apply(flow.Serve) {
		return
	}
	v.stopUnused()
	v.room.ended()
	v.spans.hold.EndOutcome(event.Cancelled, why)
	v.undrain(event.Cancelled, why)
	v.guarded, v.left = false, event.HandoverID{}
	v.r.stack(v.inner).proxy.Remove(v.inner)
	if err := errors.Join(v.r.host.DelRoute(v.hostRoute()), v.pin(false)); err != nil {
		v.r.cfg.Log.Error("left in the kernel", "sid", v.sid, "err", err)
	}
	v.r.cfg.Log.Info("nothing is held any more", "sid", v.sid, "addr", v.inner, "why", why)
}

// isHere takes note of a node on our link to whom the kernel delivers already. The caller
// holds mu.
func (v *visitor) isHere() {
	if v.here {
		return
	}
	v.heard.arrived(event.HandoverID{})
	v.here, v.missed, v.appeared = true, false, time.Now()
	v.undefend()
	v.pass(true)
	v.reached(stageArrived)
}
