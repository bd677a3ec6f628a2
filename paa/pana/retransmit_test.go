package pana

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// alone is a PaC whose PAA never answers; sends lists when it sent.
func alone(t *testing.T, cfg PaCConfig) (n *node, w *world, sends *[]time.Duration) {
	w = newWorld(t, 1, PAAConfig{})
	sends = new([]time.Duration)
	start := w.now
	w.tap = func(_, _ netip.AddrPort, _ []byte) bool {
		*sends = append(*sends, w.now.Sub(start))
		return false
	}
	n = w.node(addrOld, cfg)
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	return n, w, sends
}

// checkTimeouts compares the gaps between transmissions with RFC 5191 section
// 9: each within ten percent of the rule applied to the one before.
func checkTimeouts(t *testing.T, sends []time.Duration, irt, mrt time.Duration) {
	t.Helper()
	var rt time.Duration
	for i := 1; i < len(sends); i++ {
		least, most := 2*rt-rt/10, 2*rt+rt/10
		if i == 1 {
			least, most = irt-irt/10, irt+irt/10
		}
		if most > mrt {
			least, most = min(least, mrt-mrt/10), mrt+mrt/10
		}
		rt = sends[i] - sends[i-1]
		if rt < least || rt > most {
			t.Errorf("timeout %d is %v, expected %v to %v; sent at %v", i, rt, least, most, sends)
			return
		}
	}
}

func TestPCIRetransmission(t *testing.T) {
	n, w, sends := alone(t, PaCConfig{AuthTimeout: time.Hour})
	w.pass(59 * time.Minute)
	checkTimeouts(t, *sends, time.Second, 120*time.Second)
	if len(*sends) < 30 {
		t.Errorf("%d PCIs in an hour; RFC 5191 knows no limit", len(*sends))
	}
	if n.closed() != nil {
		t.Errorf("closed with %v", n.closed())
	}
}

func TestPaCNoAnswer(t *testing.T) {
	n, w, sends := alone(t, PaCConfig{AuthTimeout: 10 * time.Second, Preauth: true})
	socket := errors.New("sendto: network is unreachable")
	n.pac.SendFailed(socket)
	w.pass(time.Minute)
	var e *ErrAuthTimeout
	if !errors.As(n.closed(), &e) || e.After != 10*time.Second || e.PCIs != len(*sends) || e.State != "" || !errors.Is(n.closed(), socket) {
		t.Fatalf("closed with %v", n.closed())
	}
	if want := "pana: no answer from PAA 10.2.0.1:716 after 10s, 4 PCIs sent"; !strings.HasPrefix(e.Error(), want) {
		t.Errorf("text %q, expected %q", e.Error(), want)
	}
	if _, ok := n.pac.Deadline(); ok {
		t.Error("a closed PaC has a deadline")
	}
}

// TestRequestRetransmission: ten transmissions, then the session ends.
func TestRequestRetransmission(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{Lifetime: 24 * time.Hour})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	var sends []time.Duration
	start := w.now
	w.tap = func(from, _ netip.AddrPort, _ []byte) bool {
		if from == addrOld {
			sends = append(sends, w.now.Sub(start))
		}
		return false
	}
	n.do(func(now time.Time, p *PaC) { _, _ = p.Notify(now, vendorAVP("x"), NotifyOptions{}) })
	w.pass(10 * time.Minute)
	checkTimeouts(t, sends, time.Second, 30*time.Second)
	var e *ErrRetransmissions
	if len(sends) != 10 || !errors.As(n.closed(), &e) || e.Sent != 10 || e.Request != "PNR[P]" {
		t.Errorf("%d transmissions, closed with %v", len(sends), n.closed())
	}
	if d, ok := last[NotifyDone](n.outs); !ok || !errors.As(d.Err, &e) {
		t.Errorf("the notification ended with %+v", d)
	}
}

// TestUrgentRetransmission: the first timeout is max(20 ms, 3 RTT), and the
// impatience does not make the session end earlier.
func TestUrgentRetransmission(t *testing.T) {
	for _, delay := range []time.Duration{time.Millisecond, 20 * time.Millisecond} {
		w := newWorld(t, 1, PAAConfig{Lifetime: 24 * time.Hour})
		w.delay = delay
		n := w.node(addrOld, PaCConfig{})
		w.open(n)
		var sends []time.Duration
		start := w.now
		w.tap = func(from, _ netip.AddrPort, _ []byte) bool {
			if from == addrOld {
				sends = append(sends, w.now.Sub(start))
			}
			return false
		}
		n.do(func(now time.Time, p *PaC) { _, _ = p.Notify(now, vendorAVP("x"), NotifyOptions{Urgent: true}) })
		w.pass(10 * time.Minute)
		checkTimeouts(t, sends, max(20*time.Millisecond, 6*delay), 30*time.Second)
		if n.closed() == nil || sends[len(sends)-1] < 90*time.Second {
			t.Errorf("RTT %v: last transmission after %v, closed with %v", 2*delay, sends[len(sends)-1], n.closed())
		}
	}
}

// TestUrgentBehindOutstanding: what an urgent notification waits for becomes
// urgent itself.
func TestUrgentBehindOutstanding(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	drop := 1
	w.tap = func(from, _ netip.AddrPort, _ []byte) bool {
		drop--
		return drop < 0
	}
	n.do(func(now time.Time, p *PaC) {
		_, _ = p.Notify(now, vendorAVP("slow"), NotifyOptions{})
		_, _ = p.Notify(now, vendorAVP("fast"), NotifyOptions{Urgent: true})
	})
	w.pass(100 * time.Millisecond)
	if got := texts(w.outs); len(got) != 2 || got[0] != "slow" || got[1] != "fast" {
		t.Errorf("after 100 ms the PAA has been told %v", got)
	}
}

// TestNotifyRateLimit: RFC 5191 section 4.2; urgent ones are exempt.
func TestNotifyRateLimit(t *testing.T) {
	for _, urgent := range []bool{false, true} {
		w := newWorld(t, 1, PAAConfig{})
		w.delay = 0
		n := w.node(addrOld, PaCConfig{})
		w.open(n)
		start := w.now
		for range maxQueued {
			n.do(func(now time.Time, p *PaC) {
				if _, err := p.Notify(now, vendorAVP("x"), NotifyOptions{Urgent: urgent}); err != nil {
					t.Fatal(err)
				}
			})
		}
		if !w.run(time.Minute, func() bool { return count[Notified](w.outs) == maxQueued }) {
			t.Fatal("not every notification arrived")
		}
		took := w.now.Sub(start)
		least := time.Duration(float64(maxQueued-notifyBurst-1) / notifyRate * float64(time.Second))
		if urgent && took > 0 || !urgent && took < least {
			t.Errorf("urgent %v: %d notifications in %v, expected at least %v", urgent, maxQueued, took, least)
		}
	}
}
