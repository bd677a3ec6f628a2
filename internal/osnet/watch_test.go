package osnet

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/internal/osnet/osnettest"
)

func next(t *testing.T, ch <-chan LinkState) LinkState {
	t.Helper()
	select {
	case s, ok := <-ch:
		if !ok {
			t.Fatal("watch ended")
		}
		return s
	case <-time.After(10 * time.Second):
		t.Fatal("no report")
	}
	return LinkState{}
}

func TestWatchLink(t *testing.T) {
	osnettest.Enter(t)
	other := osnettest.Other(t)
	osnettest.VethTo(t, "v0", "v1", other)
	n := open(t, OwnerMobileNode)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ch, err := n.WatchLink(ctx, "v0")
	must(t, err)
	first := next(t, ch)
	for !first.Up { // the pair has just been made: carrier may still be on its way
		first = next(t, ch)
	}
	for range 3 {
		other(func() { osnettest.IP(t, "link set v1 down") })
		if s := next(t, ch); s.Up || s.Gone || s.Missed {
			t.Errorf("after loss of carrier: %+v", s)
		}
		before := time.Now()
		other(func() { osnettest.IP(t, "link set v1 up") })
		if s := next(t, ch); !s.Up || s.Missed || s.At.Before(before) {
			t.Errorf("after return of carrier: %+v, not before %v", s, before)
		}
	}
	osnettest.IP(t, "link set v0 mtu 1400") // no transition
	osnettest.IP(t, "link set v0 down")
	if s := next(t, ch); s.Up {
		t.Errorf("after down: %+v", s)
	}
	osnettest.IP(t, "link del v0")
	if s := next(t, ch); s.Up || !s.Gone {
		t.Errorf("after removal: %+v", s)
	}
	osnettest.IP(t, "link add v0 type veth peer name v2")
	osnettest.IP(t, "link set v2 up")
	if s := next(t, ch); s.Up || s.Gone {
		t.Errorf("after return: %+v", s)
	}
	osnettest.IP(t, "link set v0 up")
	if s := next(t, ch); !s.Up {
		t.Errorf("after up: %+v", s)
	}
	cancel()
	for range ch { // closed soon
	}
	if _, err := n.WatchLink(t.Context(), "nosuch"); err == nil {
		t.Error("watch of no interface: want an error")
	}
	ch, err = n.WatchLink(t.Context(), "lo")
	must(t, err)
	must(t, n.Close())
	for range ch { // Close ends it too
	}
}

// newLink is an RTM_NEWLINK body.
func newLink(name string, index int, up bool, changes uint32) []byte {
	m := make(message, sizeofIfInfomsg)
	putU32(m[4:], uint32(index))
	if up {
		putU32(m[8:], unix.IFF_UP|unix.IFF_LOWER_UP|unix.IFF_RUNNING)
	}
	return m.text(unix.IFLA_IFNAME, name).u32(iflaCarrierChange, changes)
}

func TestLinkWatchMachine(t *testing.T) {
	w := &linkWatch{name: "v0", out: make(chan LinkState, 4), seq: 7, waiting: true}
	at := time.Unix(1000, 0)
	step := func(typ uint16, seq uint32, body []byte, want ...LinkState) {
		t.Helper()
		w.message(at, typ, seq, body)
		for _, s := range want {
			s.At = at
			select {
			case got := <-w.out:
				if got != s {
					t.Errorf("got %+v, want %+v", got, s)
				}
			default:
				t.Errorf("no report, want %+v", s)
			}
		}
		select {
		case got := <-w.out:
			t.Errorf("unexpected report %+v", got)
		default:
		}
	}
	step(unix.RTM_NEWLINK, 0, newLink("v0", 5, false, 9))                                   // older than the answer
	step(unix.RTM_NEWLINK, 7, newLink("v0", 5, true, 2), LinkState{Up: true})               // the answer
	step(unix.RTM_NEWLINK, 0, newLink("v0", 5, true, 2))                                    // nothing new
	step(unix.RTM_NEWLINK, 0, newLink("v0", 5, false, 0)[:sizeofIfInfomsg+8])               // a wireless event
	step(unix.RTM_NEWLINK, 0, newLink("v1", 6, false, 3))                                   // another interface
	step(unix.RTM_NEWLINK, 0, newLink("v0", 5, false, 3), LinkState{})                      // down
	step(unix.RTM_NEWLINK, 0, newLink("v0", 5, false, 4))                                   // carrier, not operational yet
	step(unix.RTM_NEWLINK, 0, newLink("v0", 5, true, 4), LinkState{Up: true})               // operational
	step(unix.RTM_NEWLINK, 0, newLink("v0", 5, true, 6), LinkState{Up: true, Missed: true}) // down and up merged
	step(unix.RTM_DELLINK, 0, newLink("v1", 6, false, 3))
	step(unix.RTM_DELLINK, 0, newLink("v0", 5, false, 7), LinkState{Gone: true})
	step(unix.RTM_NEWLINK, 0, newLink("v0", 9, true, 1), LinkState{Up: true})     // made again
	step(unix.RTM_NEWLINK, 0, newLink("eth0", 9, true, 1), LinkState{Gone: true}) // renamed
	step(unix.RTM_NEWLINK, 0, newLink("v0", 9, true, 1), LinkState{Up: true})

	// The queue overflowed: ask again, ignore what is older, report even an equal state.
	w.seq, w.waiting, w.missed = 8, true, true
	step(unix.RTM_NEWLINK, 0, newLink("v0", 9, false, 2))
	step(unix.RTM_NEWLINK, 8, newLink("v0", 9, true, 3), LinkState{Up: true, Missed: true})
	w.seq, w.waiting = 9, true
	step(unix.NLMSG_ERROR, 9, binary.NativeEndian.AppendUint32(nil, ^uint32(unix.ENODEV)+1), LinkState{Gone: true})

	// A slow reader loses the oldest and learns it.
	up := false
	for i := range uint32(10) {
		up = !up
		w.message(at, unix.RTM_NEWLINK, 0, newLink("v0", 9, up, 3+i))
	}
	if len(w.out) != cap(w.out) {
		t.Fatalf("%d reports queued, want %d", len(w.out), cap(w.out))
	}
	var last LinkState
	missed := false
	for len(w.out) > 0 {
		last = <-w.out
		missed = missed || last.Missed
	}
	if last.Up != up || !missed {
		t.Errorf("last report %+v, some missed %v; want up %v and missed", last, missed, up)
	}
}

// TestParsersCut feeds every parser of kernel messages each prefix of a message.
func TestParsersCut(t *testing.T) {
	l := newLink("v0", 5, true, 9)
	for i := range l {
		parseLink(l[:i])
	}
	a := addressMessage(3, prefix("10.0.0.1/24"), 0).u8(ifaProto, 162)
	for i := range a {
		parseAddress(a[:i])
	}
	nb := neighbourMessage(3, addr("10.0.0.1"), 2, 0)
	for i := range nb {
		parseNeighbour(nb[:i])
	}
	f := netlinkFrame(unix.RTM_NEWLINK, 0, 1, l)
	calls := 0
	for i := range f {
		eachMessage(f[:i], func(uint16, uint32, []byte) { calls++ })
	}
	if calls != 0 {
		t.Errorf("a cut frame was taken as whole %d times", calls)
	}
	eachMessage(append(f, f...), func(typ uint16, seq uint32, body []byte) {
		if got, ok := parseLink(body); typ != unix.RTM_NEWLINK || seq != 1 || !ok || got.name != "v0" || got.changes != 9 {
			t.Errorf("parsed %v %d %d %+v", ok, typ, seq, got)
		}
		calls++
	})
	if calls != 2 {
		t.Errorf("%d messages, want 2", calls)
	}
}
