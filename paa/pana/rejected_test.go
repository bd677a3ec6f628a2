package pana

import (
	"errors"
	"testing"
	"time"
)

// TestRejectionCarriesAVPs: what the owner of the PAA has to say about a failure
// reaches the owner of the PaC, whether EAP was over or not.
func TestRejectionCarriesAVPs(t *testing.T) {
	for name, early := range map[string]bool{"after EAP": false, "instead of EAP": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{})
			w.newEAP = func() *fakeServer { return &fakeServer{rounds: 1, reject: true} }
			n := w.node(addrOld, PaCConfig{Preauth: true})
			w.edit = func(r *EAPReply) {
				if n.pac.State() == PaCAuth && early {
					*r = EAPReply{Done: true, Err: errors.New("AAA is silent")}
				}
				if r.Done {
					r.AVPs = vendorAVP("why not")
				}
			}
			n.do(func(now time.Time, p *PaC) { p.Start(now) })
			w.pass(5 * time.Second)
			var e *ErrAuthRejected
			if !errors.As(n.closed(), &e) || len(e.AVPs) != 1 || string(e.AVPs[0].Data) != "why not" || e.AVPs[0].Vendor != VendorID {
				t.Fatalf("closed with %v, %+v", n.closed(), e)
			}
		})
	}
}

// TestEAPReplyRefusesAVPs: codes of RFC 5191 are the PAA's own.
func TestEAPReplyRefusesAVPs(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	var refused error
	w.edit = func(r *EAPReply) {
		if r.Success {
			return
		}
		bad := *r
		bad.AVPs = []AVP{{Code: CodeResult, Data: make([]byte, 4)}}
		refused = w.paa.EAPReply(w.now, n.pac.sid, bad)
	}
	w.open(n)
	if !errors.Is(refused, ErrAVP) {
		t.Errorf("got %v, expected %v", refused, ErrAVP)
	}
}
