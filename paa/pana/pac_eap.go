package pana

import (
	"io"
	"time"
)

// eapSuccess is the code of an EAP-Success (RFC 3748 section 4.2).
const eapSuccess = 3

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

// converse gives an EAP request to the peer and returns the response. With
// false there is none: the message has been counted, or the session closed.
//
// RFC 5609 takes an EAP packet that the peer discards for fatal; here the
// message that carried it is discarded, so that one forged packet ends nothing.
func (c *PaC) converse(now time.Time, packet []byte) ([]byte, bool) {
	resp, err := c.eap.Handle(append([]byte(nil), packet...))
	c.noteEAP(err)
	switch {
	case len(resp) >= 4 && len(resp) <= maxEAP:
		if c.eapErr != nil && c.failAt.IsZero() {
			// The peer has given up, and its last words are on the way. The
			// PAA should end this; it gets a little time to.
			c.failAt = now.Add(eapErrorLinger)
		}
		return resp, true
	case c.eapErr != nil:
		c.close(&ErrEAP{Err: c.eapErr})
	default:
		c.drop(DiscardEAP)
	}
	return nil, false
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
