package paa

import (
	"crypto/rand"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"openmpa/aaa"
	"openmpa/aaa/aaatest"
	"openmpa/internal/event"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second // for what takes milliseconds

var identities = notify.Identities{CA: "ca.a.example", AR: "ar.a.example"}

// handler records what a Service says; it checks that it is called by one
// goroutine at a time.
type handler struct {
	t     *testing.T
	in    sync.Mutex
	calls chan any
}

type (
	opened struct {
		sid     uint32
		from    netip.AddrPort
		preauth bool
		keys    *keys.SessionKeys
	}
	activated struct{ sid uint32 }
	extended  struct {
		sid  uint32
		life time.Duration
	}
	message struct{ m notify.Message }
	closed  struct {
		sid    uint32
		reason error
	}
)

func (h *handler) say(v any) {
	if !h.in.TryLock() {
		h.t.Error("two calls of the handler at once")
		return
	}
	defer h.in.Unlock()
	h.calls <- v
}

func (h *handler) SessionOpened(sid uint32, identity string, from netip.AddrPort, preauth bool, k *keys.SessionKeys, life time.Duration) {
	if identity != aaatest.Identity {
		h.t.Errorf("identity %q, expected %q", identity, aaatest.Identity)
	}
	if life <= 0 {
		h.t.Errorf("a life of %v", life)
	}
	h.say(opened{sid, from, preauth, k})
}
func (h *handler) SessionMoved(uint32, netip.AddrPort)            {}
func (h *handler) SessionExtended(sid uint32, life time.Duration) { h.say(extended{sid, life}) }

func (h *handler) SessionActivated(sid uint32, _ netip.AddrPort) { h.say(activated{sid}) }
func (h *handler) SessionMessage(_ uint32, m notify.Message)     { h.say(message{m}) }
func (h *handler) SessionClosed(sid uint32, reason error)        { h.say(closed{sid, reason}) }
func newHandler(t *testing.T) *handler                           { return &handler{t: t, calls: make(chan any, 100)} }

// next takes the handler's next call, which must be a T.
func next[T any](t *testing.T, h *handler) T {
	t.Helper()
	select {
	case v := <-h.calls:
		got, ok := v.(T)
		if !ok {
			t.Fatalf("the handler was told %T %+v, expected a %T", v, v, got)
		}
		return got
	case <-time.After(patience):
		var none T
		t.Fatalf("the handler was not told a %T", none)
		return none
	}
}

// quiet checks that the handler is not called; what was sent before has been
// dealt with.
func quiet(t *testing.T, s *Service, h *handler) {
	t.Helper()
	if err := s.server.Do(func(time.Time, *pana.PAA) {}); err != nil {
		t.Fatal(err)
	}
	select {
	case v := <-h.calls:
		t.Errorf("the handler was told %T %+v, expected nothing", v, v)
	default:
	}
}

// serve opens a Service on the loopback.
func serve(t *testing.T, b aaa.Backend, edit func(*Config)) (*Service, *handler, netip.AddrPort) {
	t.Helper()
	h := newHandler(t)
	cfg := Config{
		Listen: netip.MustParseAddrPort("127.0.0.1:0"), Identities: identities, Backend: b, Rand: rand.Reader,
		Recorder: event.NewRecorder("a", nil, 100), Log: slog.New(slog.DiscardHandler),
	}
	if edit != nil {
		edit(&cfg)
	}
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(cfg.Listen)) // a port that is free
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen = conn.LocalAddr().(*net.UDPAddr).AddrPort()
	conn.Close()
	s, err := Open(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, h, cfg.Listen
}

// node is a PaC and its end of the sealed channel.
type node struct {
	t       *testing.T
	client  *pana.Client
	outs    chan pana.Output
	channel *notify.Channel
	keys    *keys.SessionKeys
}

func dial(t *testing.T, paa netip.AddrPort, cfg pana.PaCConfig) *node {
	t.Helper()
	here := netip.MustParseAddr("127.0.0.1")
	if paa.Addr().Is6() {
		here = netip.IPv6Loopback()
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(here, 0)))
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, outs: make(chan pana.Output, 100)}
	cfg.NewEAP = func() (pana.EAPPeer, error) { return &aaatest.Peer{}, nil }
	if n.client, err = pana.Dial(t.Context(), conn, paa, cfg, func(o pana.Output) { n.outs <- o }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.client.Close)
	return n
}

// want takes outputs until a T comes.
func want[T pana.Output](n *node) T {
	n.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case o := <-n.outs:
			if o, ok := o.(T); ok {
				return o
			}
		case <-timeout:
			var none T
			n.t.Fatalf("the PaC got no %T", none)
			return none
		}
	}
}

// derive makes the node's keys of a session.
func (n *node) derive(o pana.Opened) {
	n.t.Helper()
	if len(o.AVPs) != 1 || o.AVPs[0].Code != notify.AVPIdentities {
		n.t.Fatalf("PAR[C] carries %+v, expected the identities", o.AVPs)
	}
	names, err := notify.ParseIdentities(o.AVPs[0].Data)
	if err != nil || names != identities {
		n.t.Fatalf("identities %+v, %v", names, err)
	}
	n.keys = keys.DeriveSession(o.PRF, o.MSK.Bytes(), o.SID, o.KeyID, names.CA, names.AR)
	if n.channel, err = notify.NewChannel(o.SID, n.keys, keys.ToRouter); err != nil {
		n.t.Fatal(err)
	}
}

// send sends m as the value of a vendor AVP and waits until the PAA has it.
func (n *node) send(m notify.Message, opt pana.NotifyOptions) {
	n.t.Helper()
	code, value, err := n.channel.Seal(m)
	if err != nil {
		n.t.Fatal(err)
	}
	n.sendAVP(pana.AVP{Code: code, Vendor: pana.VendorID, Data: value}, opt)
}

func (n *node) sendAVP(a pana.AVP, opt pana.NotifyOptions) {
	n.t.Helper()
	n.do(func(now time.Time, p *pana.PaC) {
		if _, err := p.Notify(now, []pana.AVP{a}, opt); err != nil {
			n.t.Error(err)
		}
	})
	if d := want[pana.NotifyDone](n); d.Err != nil {
		n.t.Fatal(d.Err)
	}
}

func (n *node) do(f func(now time.Time, p *pana.PaC)) {
	n.t.Helper()
	if err := n.client.Do(f); err != nil {
		n.t.Fatal(err)
	}
}
