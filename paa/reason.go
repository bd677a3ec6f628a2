package paa

import (
	"context"
	"errors"

	"openmpa/aaa"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
)

// reason tells the node what it cannot learn by EAP: that the AAA server could
// not be asked, or has refused without an EAP packet. What EAP has decided is
// that server's own to tell.
func reason(err error) []pana.AVP {
	text := "the router could not finish the authentication: " + err.Error()
	var (
		rejected *aaa.RejectError
		silent   *aaa.SilentError
		lost     *aaa.LostError
		again    bool
	)
	switch {
	case errors.As(err, &rejected) && !rejected.Bare:
		return nil
	case errors.As(err, &rejected):
		text = "the AAA server " + rejected.Server + " refused, but not by EAP: was it restarted just now, or does its policy refuse this node?"
	case errors.As(err, &lost):
		again = true
		text = "the AAA server " + lost.Server + " was lost in the middle of the authentication; " + lost.Next + " takes another one, from the start"
	case errors.As(err, &silent):
		text = silent.Told()
	case errors.Is(err, aaa.ErrTimeout):
		text = "the router could not reach its AAA server: " + err.Error()
	}
	avps := []pana.AVP{{Code: notify.AVPReason, Vendor: pana.VendorID, Data: notify.ReasonAVP(text)}}
	if again {
		avps = append(avps, pana.AVP{Code: notify.AVPAgain, Vendor: pana.VendorID})
	}
	return avps
}

// causeOf is why a session is over, by how PANA has closed it.
func causeOf(err error) aaa.Cause {
	var (
		told     *pana.ErrPeerTerminated
		over     *pana.ErrLifetime
		silent   *pana.ErrSilent
		deaf     *pana.ErrRetransmissions
		late     *pana.ErrAuthTimeout
		rejected *aaa.RejectError
	)
	switch {
	case errors.As(err, &told):
		return aaa.CauseUser
	case errors.As(err, &over):
		return aaa.CauseExpired
	case errors.As(err, &silent), errors.As(err, &deaf), errors.As(err, &late):
		return aaa.CauseLost
	case errors.As(err, &rejected): // it has authenticated again, and was refused
		return aaa.CauseAdmin
	case errors.Is(err, pana.ErrSuperseded):
		return aaa.CauseMoved
	case errors.Is(err, context.Canceled):
		return aaa.CauseShutdown
	}
	return aaa.CauseError
}
