package mip4

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

var careC = netip.MustParseAddr("10.3.0.100")

// bound is a bench with a client that is bound to careB.
func bound(t *testing.T) *bench {
	t.Helper()
	b := newBench(t, nil)
	b.c.Register(b.now, careB)
	b.accept(b.answer(b.request(), CodeAccepted))
	next[Registered](b)
	return b
}

// is checks the request that was sent last.
func (b *bench) is(what string, flags Flags, offer bool) Request {
	b.Helper()
	q := b.request()
	if _, ok := q.PathMarkers(); q.CareOf.String() != what || b.sent[len(b.sent)-1].From != q.CareOf || q.Flags != flags || ok != offer {
		b.Errorf("%v from %v, %v, markers %v; expected %s, %v, %v", q.CareOf, b.sent[len(b.sent)-1].From, q.Flags, ok, what, flags, offer)
	}
	return q
}

// The flags of a binding alone, and of one beside others.
const (
	one  = FlagD | FlagT
	more = FlagS | one
)

// TestSeveral: the binding that stands is retained by the S bit, further ones are asked for after, from
// their own addresses, and the next registration without others ends it.
func TestSeveral(t *testing.T) {
	b := bound(t)
	b.c.Register(b.now, careA, careB, careC)
	b.accept(b.answer(b.is(careA.String(), more, true), CodeAccepted))
	if got := next[Registered](b); !got.Several || got.CareOf != careA {
		t.Errorf("%+v", got)
	}
	b.is(careC.String(), more, false)
	if s := b.sent[len(b.sent)-1]; s.Path != 0 {
		t.Errorf("%+v", s)
	}
	b.run(1500 * time.Millisecond) // the reply is lost
	q := b.is(careC.String(), more, false)
	if len(b.sent) != 4 {
		t.Errorf("%d requests", len(b.sent))
	}
	r := b.answer(q, CodeAccepted)
	r.Lifetime = 60
	b.accept(r)
	if got := next[Added](b); got != (Added{CareOf: careC, Lifetime: time.Minute}) {
		t.Errorf("%+v", got)
	}
	if at, ok := b.c.CareOf(); b.c.Busy() || !ok || at != careA {
		t.Errorf("%v, %v", at, ok)
	}
	b.run(449 * time.Second) // of 600, less a quarter, since the first request
	b.accept(b.answer(b.is(careA.String(), more, true), CodeAccepted))
	if got := next[Registered](b); !got.Renewal || !got.Several {
		t.Errorf("%+v", got)
	}
	b.c.Register(b.now, careA)
	b.accept(b.answer(b.is(careA.String(), one, true), CodeAccepted))
	if got := next[Registered](b); got.Several || b.c.Busy() {
		t.Errorf("%+v", got)
	}
}

// TestSeveralFromNone: where nothing is known to be bound all are asked for.
func TestSeveralFromNone(t *testing.T) {
	b := newBench(t, nil)
	b.c.Register(b.now, careA, careB, careA)
	b.accept(b.answer(b.is(careA.String(), more, true), CodeAccepted))
	next[Registered](b)
	b.is(careB.String(), more, false)
	b.c.Deregister(b.now, careA)
	q := b.request()
	if q.Lifetime != 0 || q.CareOf != home || q.Flags != one {
		t.Errorf("%+v", q)
	}
	b.accept(b.answer(q, CodeAccepted))
	next[Deregistered](b)
	if b.quiet(); b.c.Busy() {
		t.Error("busy")
	}
}

// TestSeveralRefused: a home agent that binds one says so, and is asked for no more.
func TestSeveralRefused(t *testing.T) {
	b := bound(t)
	b.c.Register(b.now, careA, careB, careC)
	b.accept(b.answer(b.request(), CodeAcceptedOneBinding))
	if got := next[Registered](b); got.Several || b.c.Busy() {
		t.Errorf("%+v", got)
	}

	// Too many of them, or nobody answers there: the others stand.
	b.c.Register(b.now, careB, careA, careC, home)
	b.accept(b.answer(b.request(), CodeAccepted))
	next[Registered](b)
	b.accept(b.answer(b.is(careC.String(), more, false), CodeTooManyBindings))
	var denied *CodeError
	if got := next[Failed](b); !got.Beside || got.CareOf != careC || !errors.As(got.Err, &denied) || denied.Code != CodeTooManyBindings {
		t.Errorf("%+v", got)
	}
	b.is(home.String(), more, false)
	b.run(DefaultGiveUp)
	if got := next[Failed](b); !got.Beside || b.c.Busy() {
		t.Errorf("%+v", got)
	}
	if at, ok := b.c.CareOf(); !ok || at != careB {
		t.Errorf("%v, %v", at, ok)
	}

	// One that has replaced what counts is told of that again.
	b.c.Register(b.now, careA, careB, careC)
	b.accept(b.answer(b.request(), CodeAccepted))
	next[Registered](b)
	b.accept(b.answer(b.is(careC.String(), more, false), CodeAcceptedOneBinding))
	b.quiet()
	b.is(careA.String(), one, true)
}
