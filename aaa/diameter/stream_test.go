package diameter

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
)

// FuzzStream: a peer may say what it likes after a good beginning, and before it. The
// node goes on, and keeps nothing of it.
func FuzzStream(f *testing.F) {
	them := self{identity: "ar-a.visited.example", realm: "visited.example", auth: []uint32{appEAP}, dict: dictionary()}
	full := withDestination(der("s"))
	them.origin(full)
	request := serialized(f, full)
	f.Add(false, serialized(f, them.cer(netipLoopback)))
	f.Add(true, append(bytes.Clone(request), serialized(f, them.dwr())...))
	f.Add(true, serialized(f, them.dpr(causeBusy)))
	f.Add(true, serialized(f, reply(full, diam.Success)))
	f.Add(true, []byte{1, 0, 0, 4})
	f.Add(false, serialized(f, them.dwr()))

	l := &pipes{in: make(chan net.Conn), done: make(chan struct{})}
	n, err := New(Config{
		Identity: "aaa.home.example", Realm: homeRealm, Peers: []Peer{{Identity: "*.visited.example"}}, Listeners: []Listener{{Listener: l}},
		Handler: func(_ context.Context, _ string, m *diam.Message) *diam.Message { return reply(m, diam.Success) },
	})
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = n.Run(ctx) })
	f.Cleanup(func() { cancel(); wg.Wait() })

	f.Fuzz(func(t *testing.T, known bool, b []byte) {
		a, theirs := net.Pipe()
		l.in <- theirs
		var reader sync.WaitGroup
		reader.Go(func() { _, _ = io.Copy(io.Discard, a) })
		a.SetWriteDeadline(time.Now().Add(time.Minute))
		if known {
			if _, err := a.Write(serialized(t, them.cer(netipLoopback))); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = a.Write(b) // it may hang up in the middle
		a.Close()
		reader.Wait()
		for began := time.Now(); len(n.Peers()) > 0; time.Sleep(100 * time.Microsecond) {
			if time.Since(began) > time.Minute {
				t.Fatalf("left behind: %+v", n.Peers())
			}
		}
	})
}

// pipes is a listener of what it is given.
type pipes struct {
	in   chan net.Conn
	done chan struct{}
	once sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.in:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// FuzzAnswer: a server may answer what it likes.
func FuzzAnswer(f *testing.F) {
	f.Add(uint8(0), serialized(f, reply(der("s"), diam.Success))[headerLen:])
	f.Add(uint8(diam.ErrorFlag), serialized(f, reply(der("s"), diam.TooBusy))[headerLen:])
	f.Add(uint8(0), serialized(f, (&self{identity: "a.b", realm: "b", dict: dictionary()}).refusal(der("s"), &Fault{Code: diam.AVPUnsupported, Failed: emptyAVP(1, 0, 0, nil)}))[headerLen:])
	all := newRules(dictionary())
	f.Fuzz(func(t *testing.T, flags uint8, b []byte) {
		h := diam.Header{Version: 1, MessageLength: uint32(headerLen + len(b)), CommandFlags: flags &^ diam.RequestFlag, CommandCode: cmdEAP, ApplicationID: appEAP, HopByHopID: 1, EndToEndID: 2}
		m, fault := parse(append(h.Serialize(), b...), dictionary())
		c := &conn{n: &Node{rules: all}, peer: &peer{name: "aaa.home.example"}}
		p := &pending{cmd: cmdEAP, app: appEAP, end: 2, done: make(chan result, 1)}
		c.pending = map[uint32]*pending{1: p}
		c.deliver(m, fault)
		r := <-p.done
		if (r.m == nil) == (r.err == nil) {
			t.Errorf("%v, %v", r.m, r.err)
		}
		if r.m != nil && resultCode(r.m) == 0 {
			t.Error("an answer without a result")
		}
	})
}

// What waits for a peer that does not answer is bounded, and so is what waits to be written.
func TestBounds(t *testing.T) {
	for name, c := range map[string]struct{ requests, octets int }{
		"pending": {maxPending + 10, 10},
		"queue":   {maxPending, 60000}, // the kernel holds some of them, too
	} {
		t.Run(name, func(t *testing.T) {
			l := listenLoopback(t)
			silent := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() { // takes the CER, and never reads again
				defer l.Close()
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				s := &stranger{t, conn, self{identity: "aaa.home.example", realm: homeRealm, auth: []uint32{appEAP}, dict: dictionary()}}
				a := s.self.answer(s.next(time.Minute), diam.Success)
				s.self.capabilities(a, netipLoopback)
				s.send(a)
				<-silent
			})
			n := play(t, Config{Identity: "ar-a.visited.example", Peers: []Peer{{Identity: "aaa.home.example", Addr: l.Addr().String()}}})
			ctx, cancel := context.WithCancel(context.Background())
			var senders sync.WaitGroup
			var refused atomic.Int64
			for i := range c.requests {
				for name == "pending" && n.Peers()[0].Pending < min(i, maxPending) { // the queue is not to fill
					time.Sleep(10 * time.Microsecond)
				}
				senders.Go(func() {
					m := der("s")
					builder{m}.octets(avp.ProxyState, make([]byte, c.octets))
					if _, _, err := n.Send(ctx, m, Target{Realm: homeRealm}); err != nil && ctx.Err() == nil {
						refused.Add(1)
					}
				})
			}
			for began := time.Now(); refused.Load() == 0; time.Sleep(time.Millisecond) {
				if time.Since(began) > 2*time.Minute {
					t.Fatalf("nothing was refused: %+v", n.Peers())
				}
			}
			if p := n.Peers()[0].Pending; p > maxPending || name == "pending" && (p != maxPending || n.Counters().QueueFull != 0) {
				t.Errorf("%d pending, %+v", p, n.Counters())
			}
			cancel()
			senders.Wait()
			close(silent)
			wg.Wait()
		})
	}
}

func BenchmarkSend(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	start := func(cfg Config) *Node {
		n, err := New(cfg)
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() { _ = n.Run(ctx) })
		return n
	}
	start(Config{
		Identity: "aaa.home.example", Realm: homeRealm, Peers: arPeer, Listeners: []Listener{{Listener: l}},
		Handler: func(_ context.Context, _ string, m *diam.Message) *diam.Message { return reply(m, diam.Success) },
	})
	n := start(Config{Identity: "ar-a.visited.example", Realm: "visited.example", Peers: []Peer{{Identity: "aaa.home.example", Addr: l.Addr().String()}}})
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, _, err := n.Send(ctx, der("s"), Target{Realm: homeRealm}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
