package diameter

import (
	"context"
	"testing"

	"github.com/fiorix/go-diameter/v4/diam"

	"openmpa/paa/keys"
)

// anything is a Service that accepts everybody and everything.
type anything struct{}

func (anything) EAP(_ context.Context, _ string, r EAPRequest) EAPAnswer {
	return EAPAnswer{Result: Success, EAP: r.EAP, State: r.State, MSK: keys.NewSecret(make([]byte, 64)), UserName: r.UserName}
}
func (anything) Account(context.Context, string, Record) Result { return Success }
func (anything) Ended(context.Context, string, Ended) Result    { return Success }

// FuzzApplication gives what a peer sends to a router and to a server, as the Node
// does when the message is well-formed: whatever it is, there is an answer that can be
// read, and nothing grows with what a header claims.
func FuzzApplication(f *testing.F) {
	req := EAPRequest{Session: "s", Origin: router, Realm: "home.example", UserName: "mn", EAP: []byte{2, 1, 0, 5, 1}, State: [][]byte{{1}}, MTU: 1200, Access: access}.message()
	for _, m := range []*diam.Message{
		req,
		Record{Session: "s", Origin: router, Realm: "home.example", Type: StopRecord, UserName: "mn", Access: access}.message(),
		Ended{Session: "s", Origin: router, Realm: "home.example", Cause: Logout}.message(),
		Order{Kind: Abort, Session: "s", Origin: home, Host: router.Host, Realm: router.Realm}.message(),
		Order{Kind: Extend, Session: "s", Origin: home, Host: router.Host, Realm: router.Realm, Life: 1e9}.message(),
		EAPAnswer{Result: Success, EAP: []byte{3, 1, 0, 4}, MSK: secret(64), Class: [][]byte{{1}}, Lifetime: 1e9}.message(req, home),
		refuseBy(req, faulty(InvalidAVPValue, req.AVP, codeEAPPayload, "no"), home),
	} {
		b, err := m.Serialize()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	s := &Server{self: home, service: anything{}}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 20 || len(b)%4 != 0 || len(b) > 1<<16 {
			return
		}
		read := func() *diam.Message {
			m, fault := parse(b, dictionary())
			if fault != nil {
				return nil
			}
			return m
		}
		m := read()
		if m == nil {
			return
		}
		if m.Header.CommandFlags&diam.RequestFlag == 0 {
			if a, err := parseEAPAnswer(m); err == nil {
				a.MSK.Clear()
			}
			_ = failedNames(m)
			return
		}
		c, err := newClient(&network{}, router, ClientConfig{})
		if err != nil {
			t.Fatal(err)
		}
		orders := Orders(&told{n: 1})
		c.orders.Store(&orders)
		for _, answer := range []*diam.Message{s.handle(t.Context(), "ar-a.visited.example", m), c.handle("aaa.home.example", read())} {
			out, err := answer.Serialize()
			if err != nil {
				t.Fatal(err)
			}
			if len(out) > 2*len(b)+1024 {
				t.Errorf("%d octets are answered with %d", len(b), len(out))
			}
			if _, fault := parse(out, dictionary()); fault != nil && len(out) <= 1<<16 {
				t.Errorf("the answer cannot be read: %v", fault)
			}
		}
	})
}
