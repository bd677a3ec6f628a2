package paa

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/aaatest"
	"openmpa/aaa/radius"
	"openmpa/internal/event"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
)

var header = notify.Header{Handover: event.HandoverID{1, 2, 3}}

// open makes a pre-authenticated session.
func open(t *testing.T, b *aaatest.Backend, edit func(*Config)) (*Service, *handler, *node, opened) {
	t.Helper()
	s, h, addr := serve(t, b, edit)
	n := dial(t, addr, pana.PaCConfig{Preauth: true})
	n.derive(want[pana.Opened](n))
	o := next[opened](t, h)
	return s, h, n, o
}

// pmk is an access point's key in a session.
func pmk(t *testing.T, k *keys.SessionKeys) *keys.Secret {
	t.Helper()
	pmk, err := k.PMK([6]byte{2, 0, 0, 0, 1, 0})
	if err != nil {
		t.Fatal(err)
	}
	return pmk
}

// TestSession: authentication, messages both ways, arrival, the end.
func TestSession(t *testing.T) {
	b := &aaatest.Backend{Infos: make(chan aaa.SessionInfo, 1)}
	s, h, n, o := open(t, b, nil)
	if !o.preauth || !o.keys.MNCA.Equal(n.keys.MNCA) || !o.keys.MNAR.Equal(n.keys.MNAR) {
		t.Errorf("opened with %+v, and the keys are not the node's", o)
	}
	if ours, theirs := pmk(t, o.keys), pmk(t, n.keys); !ours.Equal(theirs) {
		t.Error("the node makes another PMK of the session")
	}
	if info := <-b.Infos; info.CallingStation != "127.0.0.1" || info.CalledStation != identities.AR {
		t.Errorf("AAA was told %+v", info)
	}
	if b.Open() != 0 {
		t.Error("the conversation with AAA was not closed")
	}
	n.send(&notify.TunnelDelete{Header: header}, pana.NotifyOptions{})
	if m := next[message](t, h); m.m.Kind() != notify.KindTunnelDelete || m.m.ID() != header.Handover {
		t.Errorf("told %+v", m.m)
	}
	if err := s.Send(o.sid, &notify.ConfigReply{Header: header, Reason: "no address left"}); err != nil {
		t.Fatal(err)
	}
	got := want[pana.Notified](n)
	m, err := n.channel.Open(got.AVPs[0].Code, got.AVPs[0].Data)
	if err != nil || m.(*notify.ConfigReply).Reason != "no address left" {
		t.Errorf("the node got %+v, %v", m, err)
	}

	n.send(&notify.Arrival{Header: header}, pana.NotifyOptions{})
	quiet(t, s, h) // it came outside the activating ping
	n.send(&notify.Arrival{Header: header}, pana.NotifyOptions{Activate: true})
	if a := next[activated](t, h); a.sid != o.sid {
		t.Errorf("activated %+v", a)
	}
	if m := next[message](t, h); m.m.Kind() != notify.KindArrival {
		t.Errorf("told %+v", m.m)
	}

	if err := s.Terminate(o.sid); err != nil {
		t.Fatal(err)
	}
	if c := next[closed](t, h); c.sid != o.sid || !errors.Is(c.reason, pana.ErrTerminated) {
		t.Errorf("closed with %+v", c)
	}
	if err := s.Send(o.sid, &notify.SwitchBack{Header: header}); err != nil {
		t.Errorf("to a session that is gone: %v", err)
	}
	quiet(t, s, h)
}

// TestDropped: what is not sealed under this session's keys, or is no message,
// goes no further.
func TestDropped(t *testing.T) {
	s, h, n, o := open(t, &aaatest.Backend{}, nil)
	foreign, err := notify.NewChannel(o.sid, keys.DeriveSession(keys.PRFHMACSHA256, bytes.Repeat([]byte{9}, 64), o.sid, 1, "ca", "ar"), keys.ToRouter)
	if err != nil {
		t.Fatal(err)
	}
	code, value, _ := foreign.Seal(&notify.TunnelDelete{Header: header})
	own, sealed, _ := n.channel.Seal(&notify.TunnelDelete{Header: header})
	for name, a := range map[string]pana.AVP{
		"another key":    {Code: code, Vendor: pana.VendorID, Data: value},
		"another vendor": {Code: own, Vendor: pana.VendorID + 1, Data: sealed},
		"another code":   {Code: notify.AVPIdentities, Vendor: pana.VendorID, Data: sealed},
		"the CA's code":  {Code: notify.AVPForCA, Vendor: pana.VendorID, Data: sealed},
		"empty":          {Code: own, Vendor: pana.VendorID},
	} {
		n.sendAVP(a, pana.NotifyOptions{})
		t.Run(name, func(t *testing.T) { quiet(t, s, h) })
	}
	n.sendAVP(pana.AVP{Code: own, Vendor: pana.VendorID, Data: sealed}, pana.NotifyOptions{})
	next[message](t, h)
	n.sendAVP(pana.AVP{Code: own, Vendor: pana.VendorID, Data: sealed}, pana.NotifyOptions{})
	quiet(t, s, h)                                                             // replayed
	if err := s.Send(o.sid, &notify.ConfigReply{Header: header}); err != nil { // incomplete: logged
		t.Fatal(err)
	}
	quiet(t, s, h)
}

// TestNodeLeaves: the node's own end of the session reaches the handler.
func TestNodeLeaves(t *testing.T) {
	_, h, n, o := open(t, &aaatest.Backend{}, nil)
	n.do(func(now time.Time, p *pana.PaC) { p.Terminate(now) })
	var e *pana.ErrPeerTerminated
	if c := next[closed](t, h); c.sid != o.sid || !errors.As(c.reason, &e) {
		t.Errorf("closed with %+v", c)
	}
}

// TestAgain: a re-authentication has new keys for both ends, and the old ones
// open nothing any more.
func TestAgain(t *testing.T) {
	b := &aaatest.Backend{}
	s, h, n, first := open(t, b, nil)
	_, old, _ := n.channel.Seal(&notify.TunnelDelete{Header: header})
	n.do(func(now time.Time, p *pana.PaC) { p.Reauthenticate(now) })
	again := want[pana.Opened](n)
	if !again.Rekeyed {
		t.Error("the node was not rekeyed")
	}
	n.derive(again)
	second := next[opened](t, h)
	if second.sid != first.sid || second.keys.MNAR.Equal(first.keys.MNAR) || !second.keys.MNAR.Equal(n.keys.MNAR) {
		t.Error("no new keys, or not the node's")
	}
	if fresh := pmk(t, second.keys); fresh.Equal(pmk(t, first.keys)) || !fresh.Equal(pmk(t, n.keys)) {
		t.Error("no new PMK, or not the node's")
	}
	n.sendAVP(pana.AVP{Code: notify.AVPForAR, Vendor: pana.VendorID, Data: old}, pana.NotifyOptions{})
	quiet(t, s, h)
	n.send(&notify.SwitchBack{Header: header}, pana.NotifyOptions{})
	next[message](t, h)
	if b.Open() != 0 {
		t.Errorf("%d conversations with AAA were not closed", b.Open())
	}
}

// TestRefused: what the AAA server decides is told by EAP alone.
func TestRefused(t *testing.T) {
	for name, verdict := range map[string]func(context.Context) (aaa.Result, error){
		"typed": func(context.Context) (aaa.Result, error) {
			return aaa.Result{EAP: aaatest.Packet(4, 2), Decision: aaa.Reject}, &aaa.RejectError{Server: "x", Identity: "mn", Message: "secret policy"}
		},
		"by decision": func(context.Context) (aaa.Result, error) {
			return aaa.Result{EAP: aaatest.Packet(4, 2), Decision: aaa.Reject}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := &aaatest.Backend{Verdict: verdict}
			_, h, addr := serve(t, b, nil)
			n := dial(t, addr, pana.PaCConfig{Preauth: true})
			var e *pana.ErrAuthRejected
			if c := want[pana.Closed](n); !errors.As(c.Reason, &e) || len(e.AVPs) != 0 {
				t.Errorf("closed with %v", c.Reason)
			}
			if c := next[closed](t, h); !errors.As(c.reason, &e) {
				t.Errorf("the handler was told %v", c.reason)
			}
			if b.Open() != 0 {
				t.Error("the conversation with AAA was not closed")
			}
		})
	}
}

// TestSilent: the node is told in words when the router could not ask, with a
// RADIUS client that nobody answers.
func TestSilent(t *testing.T) {
	nobody, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	server := nobody.LocalAddr().(*net.UDPAddr).AddrPort()
	client, err := radius.NewClient(radius.Config{
		NASIdentifier: "ar-a", Timeout: 300 * time.Millisecond,
		Servers: []radius.Server{{Addr: server, Secret: keys.NewSecret([]byte("testing123"))}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s, h, addr := serve(t, aaa.NewRADIUS(client), nil)
	n := dial(t, addr, pana.PaCConfig{Preauth: true})
	c := want[pana.Closed](n)
	var e *pana.ErrAuthRejected
	if !errors.As(c.Reason, &e) || len(e.AVPs) != 1 || e.AVPs[0].Code != notify.AVPReason || e.AVPs[0].Vendor != pana.VendorID {
		t.Fatalf("closed with %v", c.Reason)
	}
	text, err := notify.ParseReasonAVP(e.AVPs[0].Data)
	if err != nil || !strings.HasPrefix(text, "the router could not reach its AAA server ("+server.String()+" silent for ") {
		t.Errorf("the node was told %q, %v", text, err)
	}
	next[closed](t, h)
	quiet(t, s, h)
}

func TestReason(t *testing.T) {
	two := &aaa.SilentError{Servers: []string{"10.0.5.1:1812", "10.0.5.2:1812"}, Waited: 8012 * time.Millisecond, Err: errors.New("radius: silent")}
	for _, c := range []struct {
		err  error
		want string
	}{
		{two, "the router could not reach its AAA server (10.0.5.1:1812, 10.0.5.2:1812 silent for 8s)"},
		{aaa.ErrTimeout, "the router could not reach its AAA server: aaa: no answer"},
		{errors.New("aaa: 5 invalid\nresponses"), "the router could not finish the authentication: aaa: 5 invalid?responses"},
		{&aaa.RejectError{}, ""},
		{&aaa.RejectError{Server: "10.0.5.1:1812", Bare: true}, "the AAA server 10.0.5.1:1812 refused, but not by EAP: was it restarted just now, or does its policy refuse this node?"},
		{
			&aaa.SilentError{Servers: two.Servers[:1], Waited: two.Waited, Refused: radius.ErrNoMessageAuthenticator, Err: two.Err},
			"the router could not trust what its AAA server answered (10.0.5.1:1812, for 8s): packet without a Message-Authenticator",
		},
	} {
		avps := reason(c.err)
		got := ""
		for _, a := range avps {
			got += string(a.Data)
		}
		if got != c.want {
			t.Errorf("%v: %q, expected %q", c.err, got, c.want)
		}
	}
}

// TestNoConversation: a backend that cannot even begin ends the session.
func TestNoConversation(t *testing.T) {
	down := errors.New("no backend")
	_, h, addr := serve(t, &aaatest.Backend{Refuse: down}, nil)
	dial(t, addr, pana.PaCConfig{Preauth: true})
	if c := next[closed](t, h); !errors.Is(c.reason, down) {
		t.Errorf("closed with %v", c.reason)
	}
}

// TestCloseDuringExchange: nothing is left of a conversation that hangs.
func TestCloseDuringExchange(t *testing.T) {
	waits := make(chan struct{})
	b := &aaatest.Backend{Verdict: func(ctx context.Context) (aaa.Result, error) {
		close(waits)
		<-ctx.Done()
		return aaa.Result{}, ctx.Err()
	}}
	s, h, addr := serve(t, b, nil)
	dial(t, addr, pana.PaCConfig{Preauth: true})
	<-waits
	s.Close()
	next[closed](t, h)
	if b.Open() != 0 {
		t.Error("the conversation with AAA was not closed")
	}
	if err := s.Send(1, &notify.SwitchBack{}); !errors.Is(err, pana.ErrRunnerClosed) {
		t.Errorf("Send after Close: %v", err)
	}
	s.Close() // again is harmless
}

// TestGivenUp: a session that ends takes its exchange along, and its result is
// nobody's.
func TestGivenUp(t *testing.T) {
	waits, ended := make(chan struct{}), make(chan struct{})
	key := aaatest.MSK([]byte("late"))
	b := &aaatest.Backend{Verdict: func(ctx context.Context) (aaa.Result, error) {
		close(waits)
		<-ctx.Done()
		defer close(ended)
		return aaa.Result{EAP: aaatest.Packet(3, 2), Decision: aaa.Accept, MSK: key}, nil
	}}
	s, h, addr := serve(t, b, func(c *Config) { c.AuthTimeout = 500 * time.Millisecond })
	dial(t, addr, pana.PaCConfig{Preauth: true})
	<-waits
	var e *pana.ErrAuthTimeout
	if c := next[closed](t, h); !errors.As(c.reason, &e) {
		t.Errorf("closed with %v", c.reason)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the exchange went on without a session")
	}
	s.Close()
	if key.Len() != 0 {
		t.Error("the key of a session that has ended was not cleared")
	}
}

// TestStaleReply: what an earlier conversation of a session had to say does not
// end the present one.
func TestStaleReply(t *testing.T) {
	waits, goOn := make(chan struct{}), make(chan struct{})
	b := &aaatest.Backend{Verdict: func(context.Context) (aaa.Result, error) {
		close(waits)
		<-goOn
		return aaa.Result{EAP: aaatest.Packet(3, 2), Decision: aaa.Accept, MSK: aaatest.MSK([]byte{7, 1}), Identity: aaatest.Identity}, nil
	}}
	s, h, addr := serve(t, b, nil)
	n := dial(t, addr, pana.PaCConfig{Preauth: true})
	<-waits
	earlier, err := b.Start(t.Context(), aaa.SessionInfo{})
	if err != nil {
		t.Fatal(err)
	}
	key := aaatest.MSK([]byte("stale"))
	if err := s.server.Do(func(time.Time, *pana.PAA) {
		for sid := range s.sessions {
			s.reply(sid, earlier, nil, pana.EAPReply{Done: true, Success: true, Packet: aaatest.Packet(3, 2), MSK: key})
		}
	}); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	want[pana.Opened](n)
	next[opened](t, h)
	if key.Len() != 0 {
		t.Error("the key of the earlier conversation was not cleared")
	}
}

// TestAllow: who is not in the list gets no pre-authentication.
func TestAllow(t *testing.T) {
	_, h, addr := serve(t, &aaatest.Backend{}, func(c *Config) {
		c.Allow, c.Links = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	n := dial(t, addr, pana.PaCConfig{Preauth: true, AuthTimeout: 300 * time.Millisecond})
	var e *pana.ErrAuthTimeout
	if c := want[pana.Closed](n); !errors.As(c.Reason, &e) {
		t.Errorf("closed with %v", c.Reason)
	}
	if len(h.calls) != 0 {
		t.Errorf("the handler was told %+v", <-h.calls)
	}
	n = dial(t, addr, pana.PaCConfig{}) // on the link it is not forbidden
	want[pana.Opened](n)
	if o := next[opened](t, h); o.preauth {
		t.Error("opened as pre-authentication")
	}
}

func TestOpenFails(t *testing.T) {
	s, _, addr := serve(t, &aaatest.Backend{}, nil)
	taken := s.cfg
	taken.Listen = addr
	nameless := s.cfg
	nameless.Listen, nameless.Identities = netip.MustParseAddrPort("127.0.0.1:0"), notify.Identities{}
	negative := s.cfg
	negative.Listen, negative.Lifetime = netip.MustParseAddrPort("127.0.0.1:0"), -1
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"port":       {taken, "port free?"},
		"identities": {nameless, "identity of 0 octets"},
		"lifetime":   {negative, "must not be negative"},
	} {
		c.cfg.Rand = rand.Reader
		if s, err := Open(c.cfg, nil); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "paa: ") {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

// TestAllowed: whoever is neither on the link nor on the list does not get in by leaving out the E bit.
func TestAllowed(t *testing.T) {
	here, elsewhere := netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/24")
	for _, c := range []struct {
		name    string
		allow   []netip.Prefix
		link    netip.Prefix
		preauth bool
		gets    bool
	}{
		{"everybody", nil, elsewhere, false, true},
		{"everybody, from elsewhere", nil, elsewhere, true, true},
		{"on the link", []netip.Prefix{elsewhere}, here, false, true},
		{"on the list", []netip.Prefix{here}, elsewhere, true, true},
		{"on the list, as if on the link", []netip.Prefix{here}, elsewhere, false, true},
		{"stranger", []netip.Prefix{elsewhere}, elsewhere, true, false},
		{"stranger, as if on the link", []netip.Prefix{elsewhere}, elsewhere, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, _, addr := serve(t, &aaatest.Backend{}, func(cfg *Config) { cfg.Allow, cfg.Links = c.allow, []netip.Prefix{c.link} })
			n := dial(t, addr, pana.PaCConfig{Preauth: c.preauth, AuthTimeout: patience})
			if c.gets {
				want[pana.Opened](n)
				return
			}
			reason := pana.DiscardStartRefused
			if c.preauth {
				reason = pana.DiscardPreauthRefused
			}
			for began := time.Now(); ; time.Sleep(time.Millisecond) {
				var refused uint64
				if err := s.server.Do(func(_ time.Time, p *pana.PAA) {
					if refused = p.Counters()[reason]; p.Sessions() > 0 {
						t.Errorf("there is a session")
					}
				}); err != nil {
					t.Fatal(err)
				}
				if refused > 0 || t.Failed() {
					return
				}
				if time.Since(began) > patience {
					t.Fatalf("nothing is counted as %v", reason)
				}
			}
		})
	}
}

// TestBothFamilies: a PAA that listens by both families answers by that of who asks.
func TestBothFamilies(t *testing.T) {
	six, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Fatal(err)
	}
	at := six.LocalAddr().(*net.UDPAddr).AddrPort()
	six.Close()
	s, h, four := serve(t, &aaatest.Backend{}, func(c *Config) { c.Listen6 = at })
	for _, addr := range []netip.AddrPort{at, four} {
		n := dial(t, addr, pana.PaCConfig{Preauth: true})
		n.derive(want[pana.Opened](n))
		o := next[opened](t, h)
		if o.from.Addr().Is6() != addr.Addr().Is6() {
			t.Errorf("a node at %v spoke to %v", o.from, addr)
		}
		if err := s.Send(o.sid, &notify.ConfigReply{Header: header, Reason: "no address left"}); err != nil {
			t.Fatal(err)
		}
		want[pana.Notified](n)
	}
	if _, err := Open(s.cfg, h); err == nil || !strings.Contains(err.Error(), "is the address on this machine and the port free?") {
		t.Errorf("a second one: %v", err)
	}
}
