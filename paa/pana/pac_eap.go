package pana

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrEAPPending is what [EAPPeer.Handle] returns when the response takes time,
// because a person is asked, say. [PaC.EAPResponse] hands it in.
var ErrEAPPending = errors.New("pana: the EAP response comes later")

// Codes of EAP packets (RFC 3748 section 4).
const (
	eapRequest = 1
	eapSuccess = 3
)

// newEAP starts an EAP conversation from the beginning (EAP_Restart of RFC
// 5609).
func (c *PaC) newEAP() error {
	c.dropEAP()
	c.eapOver, c.eapOK, c.eapErr = false, false, nil
	c.failAt = time.Time{}
	p, err := c.cfg.NewEAP()
	if err != nil {
		return &ErrEAP{Err: err}
	}
	c.eap = p
	return nil
}

// dropEAP lets go of the EAP peer and of an MSK that nobody took.
func (c *PaC) dropEAP() {
	if p, ok := c.eap.(io.Closer); ok {
		_ = p.Close() // its conversation is over, nothing depends on it
	}
	c.eap = nil
	c.eapWait, c.eapResp, c.eapAt = false, nil, time.Time{}
	c.msk.Clear()
	c.msk = nil
}

// noteEAP keeps the first failure that the EAP peer knows of.
func (c *PaC) noteEAP(err error) {
	if err == nil {
		if p, ok := c.eap.(interface{ Err() error }); ok {
			err = p.Err()
		}
	}
	if c.eapErr == nil {
		c.eapErr = err
	}
}

// converse gives an EAP request to the peer and returns the response, nil when
// a PAR brings it. With false there is none: the message has been counted, or
// the session closed.
//
// RFC 5609 takes an EAP packet that the peer discards for fatal; here the
// message that carried it is discarded, so that one forged packet ends nothing.
func (c *PaC) converse(now time.Time, packet []byte) ([]byte, bool) {
	resp, err := c.eap.Handle(append([]byte(nil), packet...))
	if errors.Is(err, ErrEAPPending) {
		c.eapID = packet[1]
		c.eapWait, c.eapResp = true, nil
		if c.cfg.EAPTimeout > 0 {
			c.eapAt = now.Add(c.cfg.EAPTimeout)
		}
		return nil, true
	}
	c.noteEAP(err)
	switch {
	case len(resp) >= 4 && len(resp) <= maxEAP:
		if c.eapErr != nil && c.failAt.IsZero() {
			// The peer has given up, and its last words are on the way. The
			// PAA should end this; it gets a little time to.
			c.failAt = now.Add(eapErrorLinger)
		}
		c.eapID = packet[1]
		c.eapWait, c.eapAt = false, time.Time{} // the request it belonged to is over
		if c.cfg.NoPiggyback {
			c.eapResp = bytes.Clone(resp)
			return nil, true
		}
		return resp, true
	case c.eapErr != nil:
		c.close(&ErrEAP{Err: c.eapErr})
	default:
		c.drop(DiscardEAP)
	}
	return nil, false
}

// EAPResponse hands in the response that [EAPPeer.Handle] announced with
// [ErrEAPPending]. With err EAP has failed; a packet that comes with it is still
// sent. The error says that no response is awaited, or that this is no EAP packet.
func (c *PaC) EAPResponse(now time.Time, packet []byte, err error) error {
	switch {
	case !c.eapWait:
		return fmt.Errorf("pana: no EAP response is pending (PaC is in state %v)", c.state)
	case (packet != nil || err == nil) && (len(packet) < 4 || len(packet) > maxEAP):
		return fmt.Errorf("pana: EAP response of %d octets, expected 4 to %d", len(packet), maxEAP)
	}
	c.eapWait, c.eapAt = false, time.Time{}
	if err != nil {
		c.noteEAP(err)
		if packet == nil {
			c.close(&ErrEAP{Err: c.eapErr})
			return nil
		}
		c.failAt = now.Add(eapErrorLinger)
	}
	c.eapResp = bytes.Clone(packet)
	c.proceed(now)
	return nil
}

// heardFrom: a PAR that follows ours answers it, since EAP goes in lock-step, and
// the PAN may be lost.
func (c *PaC) heardFrom() {
	if c.out != nil && c.out.msg.Type == TypeAuth {
		c.out = nil
	}
}

// conclude gives the EAP packet of a PAR[C] to the peer, once: a forged PAR[C]
// may have brought the same EAP-Success before, and its AUTH failed.
func (c *PaC) conclude(packet []byte) {
	if c.eapOver || c.eap == nil {
		return
	}
	var err error
	if packet != nil {
		_, err = c.eap.Handle(append([]byte(nil), packet...))
	} else if p, ok := c.eap.(interface{ AltReject() }); ok {
		p.AltReject()
	}
	done, success, msk := c.eap.Result()
	if !done && err == nil {
		return
	}
	if !success {
		c.noteEAP(err)
	}
	c.eapOver, c.eapOK, c.msk = true, success, msk
}
