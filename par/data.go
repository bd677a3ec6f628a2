package par

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/tunnel/ipip"
)

// readTUN takes what the host routes brought.
func (r *Router) readTUN() {
	buf := make([]byte, 65536)
	for {
		n, err := r.dev.Read(buf)
		if err != nil {
			if r.ctx.Err() == nil {
				r.cfg.Log.Error("TUN gone", "err", err)
			}
			return
		}
		r.endpoint.Cork()
		c := r.take(buf[:n])
		for c == nil && r.dev.Buffered() > 0 {
			if n, err = r.dev.Read(buf); err != nil {
				break // as the next Read will say
			}
			c = r.take(buf[:n])
		}
		r.endpoint.Uncork()
		switch {
		case c == nil:
		case c.late:
			c.done <- forced // it is out
		default:
			c.done <- r.flip(c, buf)
		}
	}
}

// cork has what one read of a tunnel's socket brings leave together, at uncork.
func (r *Router) cork() {
	r.dev.Cork()
	r.endpoint.Cork() // visitors speak to one another, too
}

func (r *Router) uncork() {
	if err := r.dev.Uncork(); err != nil {
		r.cfg.Log.Debug("TUN write", "err", err)
	}
	r.endpoint.Uncork()
}

// take delivers one packet that came out of the TUN. When it is a fence, it
// returns whose.
func (r *Router) take(pkt []byte) *crossing {
	_, dst, _, _, err := ipip.Parse(pkt)
	if err != nil {
		r.stray.Add(1)
		return nil
	}
	if dst == r.fence.far {
		return r.fence.crossed(pkt)
	}
	if v := (*r.byAddr.Load())[dst]; v != nil {
		v.down(time.Now(), pkt)
	} else {
		r.stray.Add(1)
	}
	return nil
}

// cameFrom says whether a packet is UDP from an address and port; fragments but the first have no
// port.
func cameFrom(pkt []byte, from netip.AddrPort) bool {
	src, _, proto, totalLen, err := ipip.Parse(pkt)
	if err != nil || src != from.Addr() {
		return false
	}
	payload, later := ipip.HeaderLen6, false
	if src.Is4() {
		payload = int(pkt[0]&0x0F) * 4
		later = binary.BigEndian.Uint16(pkt[6:])&0x1FFF != 0
	} else if proto == unix.IPPROTO_FRAGMENT && totalLen >= payload+fragmentHeader {
		proto, later = pkt[payload], binary.BigEndian.Uint16(pkt[payload+2:])>>3 != 0
		payload += fragmentHeader
	}
	switch {
	case proto != unix.IPPROTO_UDP:
		return false
	case later:
		return true
	}
	return totalLen >= payload+8 && binary.BigEndian.Uint16(pkt[payload:]) == from.Port()
}

const fragmentHeader = 8 // octets (RFC 8200 section 4.5)

// up takes a packet out of a visitor's tunnel.
func (r *Router) up(inner []byte) {
	_, dst, _, _, err := ipip.Parse(inner)
	if err != nil {
		r.stray.Add(1)
		return
	}
	if v := (*r.byAddr.Load())[dst]; v != nil {
		v.down(time.Now(), inner) // from visitor to visitor: the access link knows neither
		return
	}
	if _, err := r.dev.Queue(inner); err != nil {
		r.cfg.Log.Debug("TUN write", "err", err)
	}
}
