package flow

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// trail carries packets through a delivery and writes down what goes where.
type trail struct {
	t   *testing.T
	d   *Delivery
	now time.Time
	n   uint64
	out []string // "t1": packet 1 to the tunnel, "b2#7" number 7 to both, "m5": mark 5
}

func newTrail(t *testing.T, o Options) *trail {
	return &trail{t: t, d: New(o), now: epoch}
}

func (v *trail) note(o Out, pkt []byte) {
	if pkt == nil {
		v.out = append(v.out, fmt.Sprintf("m%d", o.Mark))
		return
	}
	n, ok := number(pkt)
	if !ok {
		v.t.Fatalf("packet %d is damaged", n)
	}
	s := map[Dest]string{ToTunnel: "t", ToLink: "l", ToBoth: "b"}[o.Dest] + fmt.Sprint(n)
	if o.Numbered {
		s += fmt.Sprintf("#%d", o.Number)
	}
	v.out = append(v.out, s)
}

func (v *trail) packets(n int) {
	for range n {
		v.n++
		pkt := numbered(v.n, 60)
		if o := v.d.Take(v.now, pkt); o.Dest != Held && o.Dest != Dropped {
			v.note(o, pkt)
		}
	}
}

func (v *trail) apply(events ...Event) {
	v.t.Helper()
	for _, e := range events {
		if err := v.d.Apply(v.now, e); err != nil {
			v.t.Fatal(err)
		}
	}
}

func (v *trail) fetch() {
	for {
		o, ok := v.d.Fetch(v.now)
		if !ok {
			return
		}
		v.note(o, o.Pkt)
		v.d.Recycle(o.Pkt)
	}
}

// want checks what went out since the last time, and the account.
func (v *trail) want(out string) Stats {
	v.t.Helper()
	if got := strings.Join(v.out, " "); got != out {
		v.t.Errorf("want %s\n got %s", out, got)
	}
	v.out = nil
	s := v.d.Stats()
	if s.In != s.Tunneled+s.Linked+s.Bicast+s.Queued+total(s.Dropped) {
		v.t.Errorf("the account is %+v", s)
	}
	return s
}

// The old router of a node that it never prepared for, RFC 6252 section 7.6.1: holds
// on the node's signal, forwards to the new place, and says where that ends.
func TestPreviousRouterHolds(t *testing.T) {
	v := newTrail(t, Options{Limits: Limits{Packets: 100}})
	v.apply(Serve)
	v.packets(1)
	v.apply(Disable)
	v.packets(3)
	v.fetch()
	v.want("l1")
	v.apply(Create) // it asks from the new place
	if !v.d.Mark(v.now, 9) {
		t.Fatal("no mark")
	}
	v.packets(1) // behind the mark
	v.fetch()
	v.packets(1)
	v.want("t2 t3 t4 m9 t5 t6")

	v.apply(Arrival) // it returns
	v.packets(1)
	v.apply(Gone) // again
	v.packets(1)
	v.apply(Arrival)
	v.fetch()
	v.want("l7 l8")
}

// The new router keeps its own until the old one's mark; doc.go draws it.
func TestNextRouterWaitsForThePreviousOne(t *testing.T) {
	for _, c := range []struct {
		name   string
		end    func(v *trail)
		waited uint64
	}{
		{"marker", func(v *trail) { v.apply(Ended) }, 0},
		{"deadline", func(v *trail) {
			at, ok := v.d.Deadline()
			if !ok || !at.Equal(epoch.Add(time.Second)) {
				t.Fatalf("deadline %v %v", at, ok)
			}
			v.now = at
			v.d.OnDeadline(at)
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newTrail(t, Options{Limits: Limits{Packets: 100}, Wait: time.Second})
			v.apply(Create, Disable)
			v.packets(2)
			v.apply(Behind)
			v.packets(1)
			forwarded := numbered(90, 60)
			v.note(v.d.Previous(v.now, forwarded), forwarded)
			v.fetch()
			v.want("l90")
			c.end(v)
			if o := v.d.Previous(v.now, numbered(91, 60)); o.Dest != Held {
				t.Errorf("late from the previous router: %+v", o)
			}
			v.fetch()
			v.apply(Flip)
			s := v.want("l1 l2 l3 l91")
			if s.WaitedOut != c.waited {
				t.Errorf("got %+v", s)
			}
			if _, ok := v.d.Deadline(); ok {
				t.Error("a deadline is left")
			}
		})
	}
}

// A link cut without warning, RFC 6252 section 7.6.2: what the node has not
// confirmed is sent again, once, before what was held.
func TestCopyAndForward(t *testing.T) {
	v := newTrail(t, Options{Limits: Limits{Packets: 100}, Copies: Limits{Packets: 3}})
	v.apply(Serve, Guard)
	v.packets(2)
	v.d.Confirm(Report{Epoch: 1, Top: 1})
	v.packets(4)
	v.apply(Gone)
	v.packets(1)
	s := v.want("t1#1 t2#2 t3#3 t4#4 t5#5 t6#6")
	if s.Copied != 6 || s.Confirmed != 1 || s.Forgotten != 2 {
		t.Errorf("got %+v", s)
	}
	v.d.Confirm(Report{Epoch: 7, Top: 6}) // of another numbering
	v.d.Confirm(Report{Epoch: 1, Top: 5, Words: 1, Mask: [ReportWords]uint64{0b11}})
	v.apply(Create)
	v.d.Mark(v.now, 4)
	v.packets(1)
	v.fetch()
	if s := v.want("t6#6 t7#7 m4 t8#8"); s.Recovered != 1 || s.Confirmed != 3 || s.Tunneled != 8 {
		t.Errorf("got %+v", s)
	}
}

// Copies that are not needed any more are given up, and age while packets go.
func TestCopiesAreForgotten(t *testing.T) {
	v := newTrail(t, Options{Limits: Limits{Packets: 9}, Copies: Limits{Packets: 9, MaxAge: 100 * time.Millisecond}})
	v.apply(Create, Guard)
	v.packets(2)
	v.now = v.now.Add(100 * time.Millisecond)
	v.packets(1)
	if s := v.d.Stats(); s.Forgotten != 2 {
		t.Errorf("got %+v", s)
	}
	v.now = v.now.Add(time.Hour) // nothing is sent: nothing ages
	v.apply(SwitchBack, Unguard)
	v.packets(1)
	if s := v.want("t1#1 t2#2 t3#3 t4#4"); s.Forgotten != 3 || s.Recovered != 0 {
		t.Errorf("got %+v", s)
	}
	v.apply(Guard)
	v.packets(1)
	v.apply(Release)
	if s := v.want("t5#5"); s.Forgotten != 4 || s.Copied != 4 {
		t.Errorf("got %+v", s)
	}
}

// Copies are given up also where nothing is sent any more, and their room is for others; what is held
// with them is not touched.
func TestCopiesOfTheSilentAreForgotten(t *testing.T) {
	bank := NewBank(10, 1<<20)
	account, err := bank.Open(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	v := newTrail(t, Options{Limits: Limits{Packets: 9}, Copies: Limits{Packets: 9, MaxAge: time.Hour}, Account: account})
	v.apply(Create, Guard)
	v.packets(2)
	early := v.now
	v.now = v.now.Add(time.Minute)
	v.packets(1)
	v.d.Forget(early)
	if s := v.d.Stats(); s.Forgotten != 0 {
		t.Errorf("of none that is older: %+v", s)
	}
	v.d.Forget(v.now)
	if s := v.d.Stats(); s.Forgotten != 2 || bank.Stats().Packets != 1 {
		t.Errorf("of the two that are older: %+v, in the bank %+v", s, bank.Stats())
	}
	v.apply(Gone)
	v.packets(1)
	v.d.Forget(v.now.Add(time.Hour))
	v.apply(Create)
	v.fetch()
	if s := v.want("t1#1 t2#2 t3#3 t3#3 t4#4"); s.Recovered != 1 || bank.Stats().Packets != 0 {
		t.Errorf("%+v, in the bank %+v", s, bank.Stats())
	}
}

// A packet that could not be sent, of which a copy is kept, is delivered yet, or dropped
// when the copy is given up.
func TestFailedCopies(t *testing.T) {
	v := newTrail(t, Options{Limits: Limits{Packets: 9}, Copies: Limits{Packets: 2}})
	v.apply(Create, Guard)
	failed := func(number uint32) {
		t.Helper()
		v.d.FailedOut(Out{Dest: ToTunnel, Numbered: true, Epoch: v.d.numbers.epoch, Number: number})
	}
	v.packets(4)
	failed(1) // whose copy is forgotten already
	failed(3)
	failed(4)
	if s := v.want("t1#1 t2#2 t3#3 t4#4"); s.Dropped[ReasonSend] != 1 || s.Tunneled != 3 {
		t.Errorf("got %+v", s)
	}
	v.packets(1)
	if s := v.want("t5#5"); s.Dropped[ReasonSend] != 2 || s.Tunneled != 3 {
		t.Errorf("the copy of the third is given up: %+v", s)
	}
	v.apply(Gone, Create)
	v.fetch()
	if s := v.want("t4#4 t5#5"); s.Dropped[ReasonSend] != 2 || s.Tunneled != 3 || s.Recovered != 2 {
		t.Errorf("got %+v", s)
	}
	v.apply(Guard)
	v.packets(2)
	failed(6)
	failed(7)
	v.d.Confirm(Report{Epoch: v.d.numbers.epoch, Top: 7})
	if s := v.want("t6#6 t7#7"); s.Dropped[ReasonSend] != 4 || s.Tunneled != 3 {
		t.Errorf("the node has given up what never left: %+v", s)
	}
}

// Both ways, then one; what goes natively ends the numbering.
func TestBicast(t *testing.T) {
	v := newTrail(t, Options{Limits: Limits{Packets: 9}, Epoch: 0xFFFF})
	v.apply(Create)
	v.packets(1)
	v.apply(Both)
	v.packets(2)
	v.d.Failed(ToBoth)
	v.apply(Arrival)
	v.packets(1)
	v.apply(Guard)
	v.packets(1)
	o := v.d.Take(v.now, numbered(9, 60))
	if o.Epoch != 1 || !o.Numbered || o.Number != 2 {
		t.Errorf("second numbering: %+v", o)
	}
	if s := v.want("t1 b2#1 b3#2 l4 t5#1"); s.Bicast != 1 || s.Dropped[ReasonSend] != 1 {
		t.Errorf("got %+v", s)
	}
}

// What was taken back and is for the link natively has no number any more: another
// numbering gives it one of its own.
func TestRecoveredIsNumberedAnew(t *testing.T) {
	v := newTrail(t, Options{Limits: Limits{Packets: 9}, Copies: Limits{Packets: 9}})
	v.apply(Create, Guard)
	v.packets(3)
	v.d.Confirm(Report{Epoch: 1, Top: 1})
	v.apply(Gone, Arrival, Guard)
	v.packets(1)
	v.fetch()
	v.want("t1#1 t2#2 t3#3 t2#1 t3#2 t4#3")
}

func TestMarksAreBounded(t *testing.T) {
	v := newTrail(t, Options{Limits: Limits{Packets: 2}})
	if v.d.Mark(v.now, 1) {
		t.Error("a mark where nobody is")
	}
	v.apply(Create)
	for i := range maxMarks {
		if !v.d.Mark(v.now, uint64(i)) {
			t.Fatalf("mark %d refused", i)
		}
	}
	if v.d.Mark(v.now, 99) {
		t.Error("one mark too many")
	}
	v.apply(Arrival)
	if err := v.d.Apply(v.now, Flip); err == nil {
		t.Error("flipped over marks")
	}
	v.packets(1)
	if pkt, _, ok := v.d.Next(v.now); !ok || pkt == nil { // passes over them
		t.Error("no packet")
	}
	v.apply(Flip)
	v.want("")
}

func TestPassIsNotHeld(t *testing.T) {
	v := newTrail(t, Options{Limits: Limits{Packets: 9}, Pass: true})
	v.apply(Create)
	v.packets(1)
	v.apply(Disable)
	v.packets(2)
	v.apply(Arrival)
	v.packets(1)
	if s := v.want("t1 l4"); s.Dropped[ReasonPolicy] != 2 {
		t.Errorf("got %+v", s)
	}
}

func TestSetLimits(t *testing.T) {
	v := newTrail(t, Options{Limits: Limits{Packets: 1}})
	v.apply(Create, Disable)
	v.packets(2)
	v.d.SetLimits(Limits{Packets: 3})
	v.packets(1)
	v.d.SetLimits(Limits{Packets: 1})
	v.packets(1)
	v.apply(Arrival)
	v.fetch()
	if s := v.want("l1 l3"); s.Dropped[ReasonPackets] != 2 {
		t.Errorf("got %+v", s)
	}
}
