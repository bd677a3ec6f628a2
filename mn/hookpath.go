package mn

import (
	"errors"
	"fmt"

	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/tunnel/bind"
)

// hookWire is a path on which packets of the care-of address are what they are.
type hookWire struct {
	h     *hooked
	raw   host.Raw      // on the link
	rules []osnet.Rule  // that departed made
	heard chan struct{} // something came by the tunnel
	had   bool          // it was bound once; guarded by h.mu
}

func (h *hooked) newPath(c *candidate) (*path, error) {
	p := h.uplink.newPath(c)
	raw, err := h.n.net.OpenRaw(p.coa, bind.Options{Device: c.port.name})
	if err != nil {
		return nil, fmt.Errorf("path from %s: %w", p.coa, err)
	}
	p.wire = &hookWire{h: h, raw: raw, heard: make(chan struct{}, 1)}
	h.n.guest(p.coa, p) // what comes by the TUN from an address that is not bound any more goes its own way, too
	return p, nil
}

func (w *hookWire) close() error {
	err := w.raw.Close()
	for _, r := range w.rules {
		err = errors.Join(err, w.h.n.net.DelRule(r))
	}
	return err
}

func (w *hookWire) inner(buf, pkt []byte) ([]byte, error) { return append(buf, pkt...), nil }

func (w *hookWire) toLink(pkt []byte) error { return w.raw.Send(pkt) }

func (w *hookWire) fromTunnel(pkt []byte) {
	w.h.write(pkt)
	select {
	case w.heard <- struct{}{}:
	default:
	}
}

// listen forgets what was heard so far.
func (w *hookWire) listen() {
	select {
	case <-w.heard:
	default:
	}
}
