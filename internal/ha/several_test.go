package ha

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"openmpa/internal/ha/path"
	"openmpa/mn/mobility/mip4"
	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// numbering writes down packets with numbers as such.
type numbering struct {
	*fakeWorld
	epochs []uint16
}

func (w *numbering) To(careOf netip.Addr, inner []byte) error {
	b, ok := ipip.Unwrap(inner, agent, home)
	if !ok {
		return w.fakeWorld.To(careOf, inner)
	}
	s, pkt, err := flow.ParseShim(b)
	if err != nil {
		return err
	}
	w.epochs = append(w.epochs, s.Epoch)
	if m, ok := mip4.ParseMarkerPacket(pkt, sa); ok {
		w.note("to %v #%d marker %x", careOf, s.Number, m.ID)
		return nil
	}
	w.note("to %v #%d %s", careOf, s.Number, pkt[20:])
	return nil
}

// newSeveral is a rig with a node that is bound to careB, and whose copies are written down.
func newSeveral(t *testing.T) (*rig, *numbering) {
	t.Helper()
	r := newRig(t)
	w := &numbering{fakeWorld: r.w}
	r.c.world = w
	r.bind(markers(r.request(careB), 1))
	r.did("bound 10.9.0.2")
	return r, w
}

// beside is a request with the S bit.
func (r *rig) beside(careOf netip.Addr) mip4.Request {
	q := r.request(careOf)
	q.Flags |= mip4.FlagS
	return q
}

// expect asks and checks the code and what the reply says of the path.
func (r *rig) expect(q mip4.Request, code mip4.Code, want mip4.PathMarkers) Answer {
	r.Helper()
	p, a := r.ask(q)
	if pm, _ := p.PathMarkers(); p.Code != code || pm != want {
		r.Errorf("%v with %+v, %s; expected %v with %+v", p.Code, pm, a.Notice.Reason, code, want)
	}
	return a
}

// bound checks the care-of addresses, in their order.
func (r *rig) bound(list ...netip.Addr) {
	r.Helper()
	b := r.c.Bindings()[0]
	if fmt.Sprint(append([]netip.Addr{*b.CareOf}, b.Also...)) != fmt.Sprint(list) {
		r.Errorf("bound to %v and %v, expected %v", *b.CareOf, b.Also, list)
	}
}

// TestSeveral: with the S bit bindings are retained and get copies with one number; without it the
// new one replaces all.
func TestSeveral(t *testing.T) {
	r, _ := newSeveral(t)
	if a := r.expect(markers(r.beside(careA), 2), mip4.CodeAccepted, mip4.PathMarkers{Path: 2, OldPath: true}); a.Notice.What != NoticeMoved || len(a.Notice.Also) != 1 {
		t.Errorf("%+v", a.Notice)
	}
	if a := r.expect(r.beside(careC), mip4.CodeAccepted, mip4.PathMarkers{}); a.Notice.What != NoticeBeside || len(a.Notice.Also) != 2 {
		t.Errorf("%+v", a.Notice)
	}
	r.bound(careA, careB, careC)
	r.down("d")
	r.down("e")
	r.did("to 10.1.0.100 marker 2 down=true",
		"to 10.2.0.100 #1 d", "to 10.1.0.100 #1 d", "to 10.3.0.100 #1 d",
		"to 10.2.0.100 #2 e", "to 10.1.0.100 #2 e", "to 10.3.0.100 #2 e")
	r.counted("down_sent", 2)
	r.counted("down_copies", 4)

	// Up: the path from which the node has moved ends with its marker, as always.
	r.up(careA, "u2")
	r.up(careB, "u1")
	r.upMarker(careB, 2)
	r.did("from u1", "from u2")

	// The same requests again, with other identifications: nothing changes.
	r.expect(markers(r.beside(careA), 2), mip4.CodeAccepted, mip4.PathMarkers{Path: 2, OldPath: true})
	r.expect(r.beside(careC), mip4.CodeAccepted, mip4.PathMarkers{})
	r.bound(careA, careB, careC)
	r.did()

	// Arrived.
	r.expect(markers(r.request(careA), 3), mip4.CodeAccepted, mip4.PathMarkers{Path: 3, OldPath: true})
	r.expect(markers(r.request(careA), 3), mip4.CodeAccepted, mip4.PathMarkers{Path: 3, OldPath: true})
	r.bound(careA)
	r.down("f")
	r.did("to 10.2.0.100 #3 marker 3", "to 10.1.0.100 #3 marker 3", "to 10.3.0.100 #3 marker 3", "to 10.2.0.100 f")
	r.balance()
}

// TestSeveralRefused: who does not offer markers does not know copies; and one binding is enough where
// no more are allowed. The new one replaces all.
func TestSeveralRefused(t *testing.T) {
	r := newRig(t)
	r.bind(r.request(careB))
	r.expect(r.beside(careA), mip4.CodeAcceptedOneBinding, mip4.PathMarkers{})
	r.bound(careA)
	r.c.cfg.MaxBindings = 1
	r.expect(markers(r.beside(careC), 7), mip4.CodeAcceptedOneBinding, mip4.PathMarkers{Path: 7, OldPath: true})
	r.bound(careC)
	r.down("d")
	r.did("bound 10.9.0.2", "to 10.2.0.100 marker 7 down=true", "to 10.3.0.100 d")

	// As many as are allowed, each once.
	r.c.cfg.MaxBindings = 2
	r.expect(markers(r.beside(careB), 8), mip4.CodeAccepted, mip4.PathMarkers{Path: 8, OldPath: true})
	r.expect(r.beside(careA), mip4.CodeTooManyBindings, mip4.PathMarkers{})
	r.expect(markers(r.beside(careA), 9), mip4.CodeTooManyBindings, mip4.PathMarkers{})
	r.expect(markers(r.beside(careC), 9), mip4.CodeAccepted, mip4.PathMarkers{Path: 9})
	r.bound(careC, careB)
	r.balance()
}

// TestSeveralDeregister: one care-of address, or all.
func TestSeveralDeregister(t *testing.T) {
	r, _ := newSeveral(t)
	r.bind(markers(r.beside(careA), 2))
	r.bind(r.beside(careC))
	r.did("to 10.1.0.100 marker 2 down=true")
	bye := func(careOf netip.Addr) {
		q := r.request(careOf)
		q.Lifetime = 0
		r.expect(q, mip4.CodeAccepted, mip4.PathMarkers{})
	}
	bye(careB)
	r.bound(careA, careC)
	r.down("d")
	r.did("to 10.2.0.100 #1 d", "to 10.3.0.100 #1 d")
	bye(careB) // which is none
	bye(careA) // where it was: the next is
	r.bound(careC)
	r.bind(markers(r.beside(careA), 3))
	r.did("to 10.3.0.100 marker 3 down=true")
	bye(home)
	r.down("nobody's")
	r.did("unbound 10.9.0.2")
	if r.c.Bindings()[0].Bound {
		t.Error("bound")
	}
	r.balance()
}

// TestSeveralExpire: each has a lifetime of its own.
func TestSeveralExpire(t *testing.T) {
	r, _ := newSeveral(t)
	q := markers(r.beside(careA), 2)
	q.Lifetime = 300
	r.bind(q)
	first := r.now
	q = r.beside(careC)
	q.Lifetime = 100
	r.bind(q)
	over := func(at time.Time, want string) {
		t.Helper()
		r.now = at
		var got []string
		for _, n := range r.c.OnDeadline(at) {
			if n.What == NoticeExpired {
				got = append(got, n.CareOf.String())
			}
		}
		if fmt.Sprint(got) != want {
			t.Errorf("after %v: %v, expected %s", at.Sub(epoch), got, want)
		}
	}
	over(first.Add(90*time.Second), "[]")
	over(first.Add(101*time.Second), "[10.3.0.100]")
	r.bound(careA, careB)
	over(first.Add(300*time.Second), "[10.2.0.100]")
	r.bound(careB)
	r.w.log = nil
	r.down("d")
	over(first.Add(600*time.Second), "[10.1.0.100]")
	r.did("to 10.1.0.100 d", "unbound 10.9.0.2")
	r.balance()
}

// TestSeveralCopiesEnd: copies are sent for a bounded time only.
func TestSeveralCopiesEnd(t *testing.T) {
	r, _ := newSeveral(t)
	r.bind(markers(r.beside(careA), 2))
	r.repeated()
	r.now = r.now.Add(path.DefaultCopies)
	r.c.OnDeadline(r.now)
	r.w.log = nil
	r.down("d")
	r.did("to 10.2.0.100 #1 d")
	r.bound(careA, careB)
}

// TestSeveralRestart: after a crash all stand again, each for what is left of it, with other numbers.
func TestSeveralRestart(t *testing.T) {
	r, w := newSeveral(t)
	r.bind(markers(r.beside(careA), 2))
	short := r.beside(careC)
	short.Lifetime = 2
	r.bind(short)
	r.down("d")
	r.now = r.now.Add(time.Second)
	if got := r.restart(); len(got) != 1 || got[0].CareOf != careA || fmt.Sprint(got[0].Also) != "[10.1.0.100 10.3.0.100]" {
		t.Errorf("%+v", got)
	}
	again := &numbering{fakeWorld: r.w}
	r.c.world = again
	r.down("d")
	r.did("bound 10.9.0.2", "to 10.2.0.100 #1 d", "to 10.1.0.100 #1 d", "to 10.3.0.100 #1 d")
	if again.epochs[0] == w.epochs[0] {
		t.Errorf("epoch %d, before the crash %d", again.epochs[0], w.epochs[0])
	}
	// The request that stands is answered again, each of them.
	if p, _ := r.askOctets(r.octets(short, sa)); p.Code != mip4.CodeAccepted || p.Lifetime > 1 {
		t.Errorf("%+v", p)
	}
	r.now = r.now.Add(2 * time.Second)
	if got := r.restart(); len(got) != 1 || fmt.Sprint(got[0].Also) != "[10.1.0.100]" {
		t.Errorf("%+v", got)
	}
	r.balance()
}
