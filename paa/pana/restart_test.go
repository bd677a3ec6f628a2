package pana

import (
	"errors"
	"testing"
	"time"
)

// TestRestart: in a re-authentication EAP may begin anew, wherever the first conversation was
// when its server was lost; the session goes on under the key of the last one.
func TestRestart(t *testing.T) {
	for _, c := range []struct {
		name        string
		at          int // response that nobody answers
		noPiggyback bool
		times       int
		loss        float64
	}{
		{"at the identity", 1, false, 1, 0},
		{"in the middle", 2, false, 1, 0},
		{"at the last response", 4, false, 1, 0},
		{"in PARs of the PaC", 3, true, 1, 0},
		{"three times", 2, false, 3, 0},
		{"on a bad link", 3, false, 2, 0.2},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(20) {
				w := newWorld(t, seed, PAAConfig{Lifetime: time.Hour, AuthTimeout: 5 * time.Minute})
				n := w.node(addrOld, PaCConfig{NoPiggyback: c.noPiggyback, AuthTimeout: 5 * time.Minute})
				w.open(n)
				w.loss = c.loss
				sid, before := n.pac.SID(), n.pac.sa.keyID
				restarts, replies := 0, 0
				w.edit = func(r *EAPReply) {
					if replies++; replies == c.at+1 && restarts < c.times { // the first one is no response's
						restarts, replies = restarts+1, 1
						r.MSK.Clear()
						w.eap[sid] = w.newEAP()
						w.eap[sid].salt = byte(w.rnd.Uint32())
						*r = w.eap[sid].start()
						r.Restart = true
					}
				}
				n.do(func(now time.Time, p *PaC) { p.Reauthenticate(now) })
				w.run(5*time.Minute, func() bool { return count[Opened](w.outs) == 2 && n.pac.State() == PaCOpen })
				theirs, _ := last[Opened](w.outs)
				ours, _ := last[Opened](n.outs)
				switch {
				case restarts != c.times || count[Opened](w.outs) != 2 || count[Opened](n.outs) != 2:
					t.Fatalf("seed %d: begun anew %d times, outputs %v and %v, counters %v and %v", seed, restarts, kinds(n.outs), kinds(w.outs), n.pac.Counters(), w.paa.Counters())
				case !sameSecret(ours.MSK, theirs.MSK) || ours.KeyID != theirs.KeyID || ours.KeyID == before || !ours.Rekeyed || ours.SID != sid:
					t.Fatalf("seed %d: %+v and %+v", seed, ours, theirs)
				}
				if _, err := w.paa.Notify(w.now, sid, vendorAVP("x"), NotifyOptions{}); err != nil {
					t.Fatal(err)
				}
				w.flush()
				if !w.run(time.Minute, func() bool { d, ok := last[NotifyDone](w.outs); return ok && d.Err == nil }) {
					t.Fatalf("seed %d: the ends do not understand each other any more", seed)
				}
			}
		})
	}
}

// TestRestartEnds: a re-authentication that begins anew has no more time for that.
func TestRestartEnds(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{Lifetime: time.Hour})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	replies := 0
	w.edit = func(r *EAPReply) {
		if replies++; replies%3 == 0 {
			w.eap[n.pac.SID()] = w.newEAP()
			*r = w.eap[n.pac.SID()].start()
			r.Restart = true
		}
	}
	w.aaa = time.Second
	began := w.now
	n.do(func(now time.Time, p *PaC) { p.Reauthenticate(now) })
	w.run(time.Hour, func() bool { return n.closed() != nil && count[Closed](w.outs) > 0 })
	var late *ErrAuthTimeout
	if d := w.now.Sub(began); !errors.As(n.closed(), &late) || d > DefaultAuthTimeout+time.Second {
		t.Errorf("after %v: %v", d, n.closed())
	}
}

// TestRestartRefused: EAP begins anew nowhere else.
func TestRestartRefused(t *testing.T) {
	anew := EAPReply{Packet: eapPacket(1, 7, 1), Restart: true}
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	tried := 0
	w.edit = func(*EAPReply) {
		if tried++; w.paa.EAPReply(w.now, n.pac.SID(), anew) == nil {
			t.Errorf("begun anew in a first authentication, at reply %d", tried)
		}
	}
	w.open(n)
	w.edit = nil
	if tried < 3 {
		t.Fatalf("tried %d times", tried)
	}
	if w.paa.EAPReply(w.now, n.pac.SID(), anew) == nil {
		t.Error("begun anew in an open session")
	}
	n.do(func(now time.Time, p *PaC) { p.Reauthenticate(now) })
	for _, r := range []EAPReply{{Packet: anew.Packet, Restart: true, Done: true, Success: true, MSK: fakeMSK(nil)}, {Restart: true, Err: errors.New("x")}, {Restart: true}} {
		if w.paa.EAPReply(w.now, n.pac.SID(), r) == nil {
			t.Errorf("%+v was taken", r)
		}
	}
}
