package aaa

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"openmpa/aaa/eap"
	"openmpa/aaa/radius"
	"openmpa/paa/keys"
	"openmpa/paa/pana"
)

// The peer is what a PaC drives.
var _ pana.EAPPeer = (*eap.Peer)(nil)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	serverAddr = netip.MustParseAddrPort("10.0.5.1:1812")
	identity   = []byte("mn@home.example")
)

func secret() *keys.Secret { return keys.NewSecret([]byte("testing123")) }

// script is a RADIUS server in memory that answers with what its function says;
// nil: not at all.
type script struct {
	t      *testing.T
	answer func(req *radius.ServerRequest) *radius.Reply
	in     chan []byte
	once   sync.Once
	seen   []*radius.ServerRequest
}

func (s *script) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	p, ok := <-s.in
	if !ok {
		return 0, netip.AddrPort{}, net.ErrClosed
	}
	return copy(b, p), serverAddr, nil
}

func (s *script) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) {
	req, err := radius.ParseRequest(b, secret())
	if err != nil {
		s.t.Error(err)
		return 0, err
	}
	s.seen = append(s.seen, req)
	if reply := s.answer(req); reply != nil {
		out, err := req.Encode(*reply, secret(), bytes.NewReader(make([]byte, 64)))
		if err != nil {
			s.t.Error(err)
		}
		s.in <- out
	}
	return len(b), nil
}

func (s *script) Close() error { s.once.Do(func() { close(s.in) }); return nil }

func newSession(t *testing.T, answer func(req *radius.ServerRequest) *radius.Reply) (Session, *script) {
	t.Helper()
	s := &script{t: t, answer: answer, in: make(chan []byte, 64)}
	c, err := radius.NewClient(radius.Config{
		NASIdentifier: "ar-a", Servers: []radius.Server{{Addr: serverAddr, Secret: secret()}},
		Timeout: 8 * time.Second, Listen: func() (radius.Conn, error) { return s, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	session, err := NewRADIUS(c).Start(t.Context(), SessionInfo{NASPort: "sid-1", CallingStation: "10.1.0.100", CalledStation: "ar.a.example"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	return session, s
}

// respond makes the response to a request.
func respond(request []byte, typ byte, data []byte) []byte {
	return append([]byte{2, request[1], 0, byte(5 + len(data)), typ}, data...)
}

func TestConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		round := 0
		session, s := newSession(t, func(req *radius.ServerRequest) *radius.Reply {
			switch round++; round {
			case 1:
				return &radius.Reply{Code: radius.AccessChallenge, EAP: []byte{1, 50, 0, 6, 13, 0x20}, State: []byte("one")}
			case 2:
				return &radius.Reply{Code: radius.AccessChallenge, EAP: []byte{1, 51, 0, 6, 13, 0}, State: []byte("two")}
			}
			return &radius.Reply{Code: radius.AccessAccept, EAP: []byte{3, 51, 0, 4}, MSK: keys.NewSecret(make([]byte, 64)), SessionTimeout: time.Hour}
		})
		request := session.Identity()
		if len(request) != 5 || request[0] != 1 || request[4] != 1 {
			t.Fatalf("% x", request)
		}
		r, err := session.Exchange(t.Context(), respond(request, 1, identity))
		if err != nil || r.Decision != Continue || r.EAP[1] != 50 {
			t.Fatalf("%+v, %v", r, err)
		}
		if r, err = session.Exchange(t.Context(), respond(r.EAP, 13, []byte{0})); err != nil || r.EAP[1] != 51 {
			t.Fatalf("%+v, %v", r, err)
		}
		if r, err = session.Exchange(t.Context(), respond(r.EAP, 13, []byte{0})); err != nil || r.Decision != Accept {
			t.Fatalf("%+v, %v", r, err)
		}
		if r.MSK.Len() != 64 || r.SessionTimeout != time.Hour || !bytes.Equal(r.EAP, []byte{3, 51, 0, 4}) {
			t.Errorf("%+v", r)
		}
		for i, state := range []string{"", "one", "two"} {
			q := s.seen[i]
			if string(q.State) != state || q.UserName != "mn@home.example" || q.CallingStation != "10.1.0.100" ||
				q.CalledStation != "ar.a.example" || q.NASPort != "sid-1" || q.NASIdentifier != "ar-a" || q.FramedMTU != eap.DefaultFragmentSize {
				t.Errorf("request %d: %+v", i, q)
			}
		}
		if _, err := session.Exchange(t.Context(), respond(r.EAP, 13, []byte{0})); err == nil {
			t.Error("goes on after the end")
		}
	})
}

func TestDecisions(t *testing.T) {
	for name, c := range map[string]struct {
		reply    radius.Reply
		decision Decision
		says     string
		eap      []byte
	}{
		"reject":                  {radius.Reply{Code: radius.AccessReject, EAP: []byte{4, 9, 0, 4}}, Reject, `10.0.5.1:1812 rejected "mn@home.example"; its log`, []byte{4, 9, 0, 4}},
		"reject without EAP":      {radius.Reply{Code: radius.AccessReject}, Reject, `rejected "mn@home.example" without an EAP packet`, nil},
		"reject with success":     {radius.Reply{Code: radius.AccessReject, EAP: []byte{3, 9, 0, 4}}, Reject, "rejected", []byte{3, 9, 0, 4}},
		"accept without keys":     {radius.Reply{Code: radius.AccessAccept, EAP: []byte{3, 9, 0, 4}}, Reject, "without an MSK", nil},
		"challenge without EAP":   {radius.Reply{Code: radius.AccessChallenge}, Reject, "without an EAP request", nil},
		"challenge with success":  {radius.Reply{Code: radius.AccessChallenge, EAP: []byte{3, 9, 0, 4}}, Reject, "without an EAP request", nil},
		"challenge with response": {radius.Reply{Code: radius.AccessChallenge, EAP: []byte{2, 9, 0, 5, 1}}, Reject, "sent a Response", nil},
		"challenge with rubbish":  {radius.Reply{Code: radius.AccessChallenge, EAP: []byte{9, 9}}, Reject, "packet of 2 octets", nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				session, _ := newSession(t, func(*radius.ServerRequest) *radius.Reply { return &c.reply })
				r, err := session.Exchange(t.Context(), respond(session.Identity(), 1, identity))
				if err == nil || r.Decision != c.decision || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%v, %v", r.Decision, err)
				}
				if !bytes.Equal(r.EAP, c.eap) || r.MSK != nil {
					t.Errorf("EAP % x", r.EAP)
				}
				var reject *RejectError
				if errors.As(err, &reject) != (c.reply.Code == radius.AccessReject) {
					t.Errorf("%T", err)
				}
			})
		})
	}
}

// TestInvalidResponses asks again for a response that does not fit, five times in all.
func TestInvalidResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		session, s := newSession(t, func(*radius.ServerRequest) *radius.Reply { return nil })
		first := session.Identity()
		for i := 1; i < maxInvalid; i++ {
			r, err := session.Exchange(t.Context(), []byte{2, first[1] + 1, 0, 6, 1, 'x'})
			if err != nil || r.Decision != Continue || !bytes.Equal(r.EAP, first) {
				t.Errorf("%d: %+v, %v", i, r, err)
			}
		}
		if r, err := session.Exchange(t.Context(), nil); err == nil || r.Decision != Reject {
			t.Errorf("%+v, %v", r, err)
		}
		if len(s.seen) != 0 {
			t.Error("invalid packets went to the server")
		}
	})
}

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		session, _ := newSession(t, func(*radius.ServerRequest) *radius.Reply { return nil })
		_, err := session.Exchange(t.Context(), respond(session.Identity(), 1, identity))
		if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "10.0.5.1:1812") {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err = session.Exchange(ctx, respond(session.Identity(), 1, identity)); !errors.Is(err, context.Canceled) || errors.Is(err, ErrTimeout) {
			t.Errorf("%v", err)
		}
		session.Close()
		if _, err = session.Exchange(t.Context(), respond(session.Identity(), 1, identity)); err == nil {
			t.Error("goes on after Close")
		}
	})
}
