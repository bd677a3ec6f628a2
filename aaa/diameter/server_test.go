package diameter

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/fiorix/go-diameter/v4/diam"
)

// noted is a Service that notes who asked.
type noted struct {
	anything
	from []string
}

func (n *noted) EAP(ctx context.Context, from string, r EAPRequest) EAPAnswer {
	n.from = append(n.from, from)
	return n.anything.EAP(ctx, from, r)
}

// TestWhoAsks says that a peer speaks for itself, and that nobody can pass for a peer
// by what a message says of its origin.
func TestWhoAsks(t *testing.T) {
	n := &noted{}
	s := &Server{self: home, service: n}
	req := EAPRequest{Session: "s", Origin: router, Realm: home.Realm, UserName: "mn", EAP: []byte{2, 1, 0, 5, 1}}
	for from, want := range map[string]string{
		router.Host:              router.Host,
		"AR-A.visited.example":   router.Host,
		"relay.visited.example":  router.Host + " (relayed)",
		"ar-b.visited.example":   router.Host + " (relayed)",
		"ar-a.visited.example.x": router.Host + " (relayed)",
	} {
		n.from = nil
		if a := s.handle(t.Context(), from, wire(t, req.message())); resultCode(a) != uint32(Success) {
			t.Fatalf("%v", a)
		}
		if len(n.from) != 1 || n.from[0] != want || HostOf(want) != router.Host {
			t.Errorf("%s speaks as %q, want %q", from, n.from, want)
		}
	}
}

// TestServerRefuses says what is not for a server, and what is answered to a request that
// it does not take.
func TestServerRefuses(t *testing.T) {
	s := &Server{self: home, service: anything{}}
	asr := Order{Kind: Abort, Session: "s", Origin: router, Host: home.Host, Realm: home.Realm}.message()
	if a := wire(t, s.handle(t.Context(), router.Host, asr)); resultCode(a) != uint32(CommandUnsupported) {
		t.Errorf("an order: %v", a)
	}
	bad := Record{Session: "s", Origin: router, Realm: home.Realm, Type: 9}.message()
	if a := s.handle(t.Context(), router.Host, bad); resultCode(a) != uint32(InvalidAVPValue) || failedNames(a) != "Accounting-Record-Type" {
		t.Errorf("a record of type 9: %v", a)
	}
}

// TestOrder says what a server hears of its orders.
func TestOrder(t *testing.T) {
	n := &network{names: []string{router.Host}, peers: map[string]func(*diam.Message) *diam.Message{}}
	s := &Server{self: home, service: anything{}, via: n}
	o := Order{Kind: Abort, Session: "s", Host: "AR-A.visited.example", Realm: router.Realm}
	for _, c := range []struct {
		result Result
		want   error
	}{{Success, nil}, {UnknownSession, ErrRefused}, {UnableToDeliver, ErrNoAnswer}, {UnableToComply, ErrRefused}} {
		n.peers[router.Host] = takes(router.Host, c.result)
		if err := s.Order(t.Context(), o); !errors.Is(err, c.want) {
			t.Errorf("%v: %v, want %v", c.result, err, c.want)
		}
	}
	n.peers[router.Host] = nil
	if err := s.Order(t.Context(), o); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("nobody there: %v", err)
	}
}

// TestKeysGo says that a key is cleared out of an answer that is not taken, too.
func TestKeysGo(t *testing.T) {
	req := EAPRequest{Session: "s", Origin: router, Realm: home.Realm, EAP: []byte{2}}.message()
	for name, a := range map[string]EAPAnswer{
		"a reject":         {Result: AuthenticationRejected},
		"a class too long": {Result: Success, Class: [][]byte{make([]byte, maxClass+1)}},
	} {
		m := a.message(req, home)
		secret := key(bytes.Repeat([]byte{7}, 64))
		m.AddAVP(diam.NewAVP(codeEAPMasterSessionKey, 0, 0, secret))
		if got, err := parseEAPAnswer(m); err == nil {
			got.MSK.Clear()
		}
		if !bytes.Equal(secret, make([]byte, 64)) {
			t.Errorf("%s: the key is left", name)
		}
	}
}
