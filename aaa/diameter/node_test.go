package diameter

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
)

// world joins nodes by pipes, by address, under virtual time.
type world struct {
	t     *testing.T
	mu    sync.Mutex
	doors map[string]chan net.Conn
	open  map[string][]net.Conn // both ends of what was dialled, by address
}

func newWorld(t *testing.T) *world {
	return &world{t: t, doors: make(map[string]chan net.Conn), open: make(map[string][]net.Conn)}
}

// door is the listener of an address.
type door struct {
	w    *world
	addr string
	in   chan net.Conn
	done chan struct{}
	once sync.Once
}

func (w *world) listen(addr string) *door {
	d := &door{w: w, addr: addr, in: make(chan net.Conn), done: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.doors[addr] = d.in
	return d
}

func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.in:
		return c, nil
	case <-d.done:
		return nil, net.ErrClosed
	}
}

func (d *door) Addr() net.Addr { return &net.UnixAddr{Name: d.addr, Net: "pipe"} }

func (d *door) Close() error {
	d.once.Do(func() {
		d.w.mu.Lock()
		if d.w.doors[d.addr] == d.in {
			delete(d.w.doors, d.addr)
		}
		d.w.mu.Unlock()
		close(d.done)
	})
	return nil
}

func (w *world) dial(ctx context.Context, addr string) (net.Conn, error) {
	w.mu.Lock()
	in := w.doors[addr]
	w.mu.Unlock()
	if in == nil {
		return nil, errors.New("connection refused")
	}
	a, b := net.Pipe()
	select {
	case in <- b:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w.mu.Lock()
	w.open[addr] = append(w.open[addr], a, b)
	w.mu.Unlock()
	return a, nil
}

// cut closes every connection to an address, as a process that dies does.
func (w *world) cut(addr string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.open[addr] {
		c.Close()
	}
	delete(w.open, addr)
}

// start runs a node until the test ends, or stop is called.
func (w *world) start(cfg Config, listen string) (n *Node, stop func()) {
	w.t.Helper()
	if cfg.Realm == "" {
		_, cfg.Realm, _ = strings.Cut(cfg.Identity, ".")
	}
	cfg.Dial = w.dial
	if listen != "" {
		cfg.Listeners = append(cfg.Listeners, Listener{Listener: w.listen(listen)})
	}
	n, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := n.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	w.t.Cleanup(stop)
	return n, stop
}

// der is a request of the EAP application with what its rules want.
func der(session string) *diam.Message {
	m := diam.NewMessage(cmdEAP, diam.RequestFlag|diam.ProxiableFlag, appEAP, 1, 1, dictionary())
	b := builder{m}
	b.text(avp.SessionID, session)
	b.number(avp.AuthApplicationID, appEAP)
	b.enum(avp.AuthRequestType, 3)
	b.octets(codeEAPPayload, []byte{2, 1, 0, 4})
	return m
}

// success answers a request with DIAMETER_SUCCESS and what the rules of its command want.
func success(n *atomic.Int64) func(context.Context, string, *diam.Message) *diam.Message {
	return func(_ context.Context, _ string, req *diam.Message) *diam.Message {
		n.Add(1)
		return reply(req, diam.Success)
	}
}

func reply(req *diam.Message, code uint32) *diam.Message {
	a := req.Answer(0)
	b, f := builder{a}, fields(req.AVP)
	b.text(avp.SessionID, f.text(avp.SessionID))
	b.number(avp.AuthApplicationID, appEAP)
	b.enum(avp.AuthRequestType, 3)
	b.number(avp.ResultCode, code)
	return a
}

const homeRealm = "home.example"

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestRequestAndAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var served atomic.Int64
		var from string
		w.start(Config{
			Identity: "aaa.home.example", Peers: []Peer{{Identity: "*.visited.example"}},
			Handler: func(ctx context.Context, f string, req *diam.Message) *diam.Message {
				from = f
				return success(&served)(ctx, f, req)
			},
		}, "home:1")
		ar, _ := w.start(Config{Identity: "ar-a.visited.example", Peers: []Peer{{Identity: "aaa.home.example", Addr: "home:1"}}}, "")
		a, peer, err := ar.Send(within(t, 5*time.Second), der("s;1"), Target{Realm: homeRealm})
		if err != nil {
			t.Fatal(err)
		}
		f := fields(a.AVP)
		if peer != "aaa.home.example" || from != "ar-a.visited.example" || resultCode(a) != diam.Success ||
			f.text(avp.OriginHost) != "aaa.home.example" || f.text(avp.SessionID) != "s;1" || a.Header.CommandFlags != diam.ProxiableFlag {
			t.Errorf("answer of %s to %s: %v", peer, from, a)
		}
		if s := ar.Peers(); len(s) != 1 || s[0].State != "okay" || s[0].Product != productName {
			t.Errorf("peers %+v", s)
		}
	})
}

// The connection of the first server ends while it works: the second one gets the
// request with the T bit.
func TestFailOverOfWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		never := make(chan struct{})
		defer close(never)
		stuck := func(ctx context.Context, _ string, _ *diam.Message) *diam.Message {
			select {
			case <-never:
			case <-ctx.Done():
			}
			return nil
		}
		w.start(Config{Identity: "aaa1.home.example", Peers: []Peer{{Identity: "ar-a.visited.example"}}, Handler: stuck}, "one:1")
		var flags uint8
		w.start(Config{Identity: "aaa2.home.example", Peers: []Peer{{Identity: "ar-a.visited.example"}}, Handler: func(_ context.Context, _ string, m *diam.Message) *diam.Message {
			flags = m.Header.CommandFlags
			return reply(m, diam.Success)
		}}, "two:1")
		ar, _ := w.start(Config{Identity: "ar-a.visited.example", Patience: time.Hour, Peers: []Peer{
			{Identity: "aaa2.home.example", Addr: "two:1", Priority: 2}, {Identity: "aaa1.home.example", Addr: "one:1", Priority: 1},
		}}, "")
		time.Sleep(time.Second)
		go func() {
			time.Sleep(time.Second)
			w.cut("one:1")
		}()
		began := time.Now()
		_, peer, err := ar.Send(within(t, 20*time.Second), der("s;2"), Target{Realm: homeRealm})
		if err != nil || peer != "aaa2.home.example" {
			t.Fatal(peer, err)
		}
		if flags&diam.RetransmittedFlag == 0 {
			t.Error("sent to the second server without the T bit")
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("took %v after a connection that closed at 1 s", d)
		}
		// For the first server only, there is nobody else.
		w.start(Config{Identity: "x.home.example"}, "")
		var lost *LostError
		time.Sleep(3 * time.Second) // connected again, on probation
		go func() {
			time.Sleep(time.Second)
			w.cut("one:1")
		}()
		_, _, err = ar.Send(within(t, 20*time.Second), der("s;2"), Target{Realm: homeRealm, Host: "aaa1.home.example"})
		if !errors.As(err, &lost) || lost.Peer != "aaa1.home.example" {
			t.Errorf("got %v, expected a LostError", err)
		}
	})
}

func TestNobodyThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ar, stop := w.start(Config{Identity: "ar-a.visited.example", Peers: []Peer{{Identity: "aaa.home.example", Addr: "home:1", Realms: []string{homeRealm}}}}, "")
		_, _, err := ar.Send(within(t, 20*time.Second), der("s;3"), Target{Realm: homeRealm})
		if !errors.Is(err, ErrNoPeer) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("got %v", err)
		}
		if _, _, err = ar.Send(within(t, time.Second), der("s;3"), Target{Realm: "other.example"}); !errors.Is(err, ErrNoPeer) {
			t.Errorf("got %v", err)
		}
		// A server that comes up is found by the next request, not by the back-off's end.
		time.Sleep(10 * time.Minute)
		var served atomic.Int64
		w.start(Config{Identity: "aaa.home.example", Peers: []Peer{{Identity: "ar-a.visited.example"}}, Handler: success(&served)}, "home:1")
		if _, _, err = ar.Send(within(t, 5*time.Second), der("s;3"), Target{Realm: homeRealm}); err != nil {
			t.Error(err)
		}
		stop()
		if _, _, err = ar.Send(within(t, time.Second), der("s;3"), Target{Realm: homeRealm}); !errors.Is(err, ErrNoPeer) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// Over TCP, with a listener of the node's own.
func TestOverTCP(t *testing.T) {
	var served atomic.Int64
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.start(Config{Identity: "aaa.home.example", Peers: []Peer{{Identity: "ar-a.visited.example"}}, Listeners: []Listener{{Listener: l}}, Handler: success(&served)}, "")
	cfg := Config{Identity: "ar-a.visited.example", Realm: "visited.example", Patience: time.Minute, Peers: []Peer{{Identity: "aaa.home.example", Addr: l.Addr().String()}}}
	ar, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- ar.Run(ctx) }()
	for range 100 {
		if _, _, err := ar.Send(within(t, time.Minute), der("s;4"), Target{Realm: homeRealm}); err != nil {
			t.Fatal(err)
		}
	}
	if served.Load() != 100 {
		t.Errorf("served %d of 100", served.Load())
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
