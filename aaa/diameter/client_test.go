package diameter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
)

// network is a Node for tests: peers that answer by functions, in order of priority. A
// nil function is a peer that is away.
type network struct {
	names []string
	peers map[string]func(*diam.Message) *diam.Message
	asked []string // "peer host" of each request sent
}

func (n *network) Send(ctx context.Context, m *diam.Message, to Target) (last *diam.Message, by string, err error) {
	for _, name := range n.names {
		if to.Host != "" && to.Host != name || slices.Contains(to.Not, name) {
			continue
		}
		answer := n.peers[name]
		if answer == nil {
			continue
		}
		n.asked = append(n.asked, name+" "+to.Host)
		a := answer(m)
		if a == nil { // silent
			<-ctx.Done()
			return nil, "", context.Cause(ctx)
		}
		if last, by = a, name; resultCode(a) != uint32(UnableToDeliver) && resultCode(a) != uint32(TooBusy) {
			break
		}
	}
	if last != nil {
		return last, by, nil
	}
	return nil, "", fmt.Errorf("%w for %v", ErrNoPeer, to)
}

func (n *network) Reaches(_ string, not ...string) (string, bool) {
	for _, name := range n.names {
		if n.peers[name] != nil && !slices.Contains(not, name) {
			return name, true
		}
	}
	return "", false
}

// says is a server that answers DERs that way, under a name.
func says(host string, a EAPAnswer) func(*diam.Message) *diam.Message {
	return func(m *diam.Message) *diam.Message {
		return a.message(m, Origin{Host: host, Realm: "home.example"})
	}
}

var (
	question = EAPAnswer{Result: MultiRoundAuth, EAP: []byte{1, 2, 0, 6, 13, 0x20}, State: [][]byte{{9}}}
	response = []byte{2, 1, 0, 5, 1}
)

func testClient(t *testing.T, n *network) *Client {
	t.Helper()
	c, err := newClient(n, router, ClientConfig{NASIdentifier: "ar-a"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestConversationBound says that the second request goes to the server that answered
// the first, with its State and the same Session-Id.
func TestConversationBound(t *testing.T) {
	var first, second *diam.Message
	n := &network{names: []string{"aaa.home.example"}, peers: map[string]func(*diam.Message) *diam.Message{}}
	n.peers["aaa.home.example"] = func(m *diam.Message) *diam.Message {
		first, second = second, m
		return says("aaa.home.example", question)(m)
	}
	v := testClient(t, n).Open(Opening{UserName: "mn@home.example", Realm: "Home.Example"})
	for range 2 {
		if _, err := v.Ask(t.Context(), response); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"aaa.home.example ", "aaa.home.example aaa.home.example"}; !slices.Equal(n.asked, want) {
		t.Errorf("asked %q, want %q", n.asked, want)
	}
	a, b := fields(first.AVP), fields(second.AVP)
	if a.text(avp.SessionID) != b.text(avp.SessionID) || len(a.all(codeState)) != 0 || string(b.octets(codeState)) != "\x09" || b.text(avp.DestinationRealm) != "home.example" {
		t.Errorf("first %v\nsecond %v", first, second)
	}
}

// TestConversationLost says what becomes of a conversation whose server is gone: another
// one is named if there is one, and else there is no answer; at the begin it is no loss.
func TestConversationLost(t *testing.T) {
	const a, b = "aaa.home.example", "aaa2.home.example"
	down := map[string]func(n *network){
		"connection gone": func(n *network) { n.peers[a] = nil },
		"silent":          func(n *network) { n.peers[a] = func(*diam.Message) *diam.Message { return nil } },
		"relay cannot deliver": func(n *network) {
			n.peers[a] = says("relay.visited.example", EAPAnswer{Result: UnableToDeliver})
		},
		"busy":                   func(n *network) { n.peers[a] = says(a, EAPAnswer{Result: TooBusy}) },
		"it has restarted":       func(n *network) { n.peers[a] = says(a, EAPAnswer{Result: UnknownSession}) },
		"the one behind it went": func(n *network) { n.peers[a] = says(a, EAPAnswer{Result: UnableToDeliver}) },
	}
	itself := map[string]bool{"it has restarted": true, "the one behind it went": true}
	for name, goes := range down {
		for _, spare := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, spare %v", name, spare), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := &network{names: []string{a, b}, peers: map[string]func(*diam.Message) *diam.Message{a: says(a, question)}}
					if spare {
						n.peers[b] = says(b, question)
					}
					v := testClient(t, n).Open(Opening{UserName: "mn@home.example", Realm: "home.example"})
					if _, err := v.Ask(t.Context(), response); err != nil {
						t.Fatal(err)
					}
					goes(n)
					_, err := v.Ask(t.Context(), response)
					var again *RestartError
					switch {
					case !errors.Is(err, ErrNoAnswer):
						t.Errorf("%v, want ErrNoAnswer", err)
					case itself[name] && (!errors.As(err, &again) || again.Server != a || again.Next != a):
						t.Errorf("%v, want that it takes a new one itself", err)
					case itself[name]:
					case spare && (!errors.As(err, &again) || again.Server != a || again.Next != b):
						t.Errorf("%v, want that %s takes a new one", err, b)
					case !spare && errors.As(err, &again):
						t.Errorf("%v, and there is nobody else", err)
					}
				})
			})
		}
	}
}

// TestSilentServer says that a server that has fallen silent is waited for shortly where
// another one could begin anew, and that it is not begun with then; and that it is
// where there is nobody else, and when a while has passed.
func TestSilentServer(t *testing.T) {
	const a, b = "aaa.home.example", "aaa2.home.example"
	synctest.Test(t, func(t *testing.T) {
		silent := func(*diam.Message) *diam.Message { return nil }
		n := &network{names: []string{a, b}, peers: map[string]func(*diam.Message) *diam.Message{a: says(a, question), b: says(b, question)}}
		c := testClient(t, n)
		begin := func() (*Conversation, string) {
			t.Helper()
			v := c.Open(Opening{UserName: "mn@home.example", Realm: "home.example"})
			if _, err := v.Ask(t.Context(), response); err != nil {
				t.Fatal(err)
			}
			return v, v.server
		}
		for _, spare := range []bool{false, true} {
			n.peers[a] = says(a, question)
			if n.peers[b] = nil; spare {
				n.peers[b] = says(b, question)
			}
			v, server := begin()
			if server != a {
				t.Fatalf("spare %v: begun with %s", spare, server)
			}
			n.peers[a] = silent
			began := time.Now()
			_, err := v.Ask(t.Context(), response)
			var again *RestartError
			if waited, want := time.Since(began), map[bool]time.Duration{false: defaultTimeout, true: spareTimeout}[spare]; errors.As(err, &again) != spare || waited != want {
				t.Errorf("spare %v: %v after %v, want %v", spare, err, waited, want)
			}
			n.peers[a] = says(a, question) // it is there again, but who knows
			if _, server = begin(); (server == b) != spare {
				t.Errorf("spare %v: the next one is begun with %s", spare, server)
			}
			time.Sleep(shunTime + 1)
			if _, server = begin(); server != a {
				t.Errorf("spare %v: much later one is begun with %s", spare, server)
			}
		}
	})
}

// TestConversationBegins says that at the begin any server will do: the one that has the
// session first.
func TestConversationBegins(t *testing.T) {
	const a, b = "aaa.home.example", "aaa2.home.example"
	n := &network{names: []string{a, b}, peers: map[string]func(*diam.Message) *diam.Message{a: says(a, question), b: says(b, question)}}
	c := testClient(t, n)
	v := c.Open(Opening{UserName: "mn@home.example", Realm: "home.example", Session: "old", Server: b})
	if _, err := v.Ask(t.Context(), response); err != nil || v.Session() != "old" {
		t.Fatal(v.Session(), err)
	}
	n.peers[b] = nil
	v = c.Open(Opening{UserName: "mn@home.example", Realm: "home.example", Session: "old", Server: b})
	if _, err := v.Ask(t.Context(), response); err != nil {
		t.Fatal(err)
	}
	n.peers[b] = says(b, EAPAnswer{Result: UnknownSession})
	v = c.Open(Opening{UserName: "mn@home.example", Realm: "home.example", Session: "old", Server: b})
	if _, err := v.Ask(t.Context(), response); err != nil {
		t.Fatal(err)
	}
	if want := []string{b + " " + b, a + " ", b + " " + b, a + " "}; !slices.Equal(n.asked, want) {
		t.Errorf("asked %q, want %q", n.asked, want)
	}
	n.peers[a], n.peers[b] = nil, nil
	v = c.Open(Opening{UserName: "mn@home.example", Realm: "home.example"})
	var again *RestartError
	if _, err := v.Ask(t.Context(), response); !errors.Is(err, ErrNoAnswer) || !errors.Is(err, ErrNoPeer) || errors.As(err, &again) {
		t.Errorf("nobody is there: %v", err)
	}
}

// TestConversationAnswers says what each kind of answer is.
func TestConversationAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer EAPAnswer
		fails  bool
	}{
		"accept":            {EAPAnswer{Result: Success, EAP: []byte{3, 2, 0, 4}, MSK: secret(64)}, false},
		"reject":            {EAPAnswer{Result: AuthenticationRejected, EAP: []byte{4, 2, 0, 4}}, false},
		"bare reject":       {EAPAnswer{Result: AuthorizationRejected}, false},
		"general with EAP":  {EAPAnswer{Result: UnableToComply, EAP: []byte{4, 2, 0, 4}}, false},
		"our mistake":       {EAPAnswer{Result: MissingAVP}, true},
		"limited":           {EAPAnswer{Result: LimitedSuccess, EAP: []byte{3, 2, 0, 4}, MSK: secret(64)}, true},
		"redirect":          {EAPAnswer{Result: RedirectIndication}, true},
		"informational one": {EAPAnswer{Result: 1002, EAP: []byte{1, 2, 0, 4}}, true},
		"none":              {EAPAnswer{Result: 0}, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := &network{names: []string{"a"}, peers: map[string]func(*diam.Message) *diam.Message{"a": says("a", c.answer)}}
			v := testClient(t, n).Open(Opening{UserName: "mn", Realm: "home.example"})
			a, err := v.Ask(t.Context(), response)
			if c.fails != (err != nil) {
				t.Fatalf("%+v, %v", a, err)
			}
			if err == nil && a.Result != c.answer.Result {
				t.Errorf("%v, want %v", a.Result, c.answer.Result)
			}
		})
	}
	other := &network{names: []string{"a"}, peers: map[string]func(*diam.Message) *diam.Message{"a": func(m *diam.Message) *diam.Message {
		m.AVP[0] = diam.NewAVP(avp.SessionID, avp.Mbit, 0, m.AVP[0].Data)
		m.DeleteAVP(avp.SessionID, 0)
		builder{m}.text(avp.SessionID, "another one")
		return says("a", question)(m)
	}}}
	if _, err := testClient(t, other).Open(Opening{UserName: "mn"}).Ask(t.Context(), response); err == nil {
		t.Error("an answer for another session is taken")
	}
}

// TestReissued says that a response which the server does not take has the request
// before sent again (RFC 4072 section 2.4).
func TestReissued(t *testing.T) {
	n := &network{names: []string{"a"}, peers: map[string]func(*diam.Message) *diam.Message{"a": says("a", question)}}
	v := testClient(t, n).Open(Opening{UserName: "mn"})
	for _, next := range []EAPAnswer{question, {Result: MultiRoundAuth, Reissued: question.EAP}, {Result: MultiRoundAuth}} {
		n.peers["a"] = says("a", next)
		if a, err := v.Ask(t.Context(), response); err != nil || string(a.EAP) != string(question.EAP) {
			t.Errorf("%x, %v: want the request before, %x", a.EAP, err, question.EAP)
		}
	}
}

// takes is a server that takes records and ends, but for those a test has answered.
func takes(host string, result Result) func(*diam.Message) *diam.Message {
	self := Origin{Host: host, Realm: "home.example"}
	return func(m *diam.Message) *diam.Message {
		if r, err := parseRecord(m); m.Header.CommandCode == cmdAccounting && err == nil {
			return r.answer(m, result, self)
		}
		a, _ := answerTo(m, result, self)
		return a
	}
}

func TestAccountAndTerminate(t *testing.T) {
	const a, b = "aaa.home.example", "aaa2.home.example"
	for _, c := range []struct {
		name          string
		a, b          func(*diam.Message) *diam.Message
		account, ends error // nil: taken
		asked         int
	}{
		{name: "taken", a: takes(a, Success), b: takes(b, Success), asked: 1},
		{name: "the server is away, another takes it", b: takes(b, Success), asked: 1},
		{name: "the relay cannot deliver, another takes it", a: takes(a, UnableToDeliver), b: takes(b, Success), asked: 3},
		{name: "nobody is there", account: ErrNoAnswer, ends: ErrNoAnswer},
		{name: "unknown", a: takes(a, UnknownSession), account: ErrRefused, asked: 1},
		{name: "for good", a: takes(a, InvalidAVPValue), account: ErrRefused, ends: ErrRefused, asked: 1},
		{name: "nothing but EAP", a: takes(a, CommandUnsupported), account: ErrRefused, asked: 1},
		{name: "no accounting", a: takes(a, ApplicationUnsupported), account: ErrRefused, ends: ErrRefused, asked: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := &network{names: []string{a, b}, peers: map[string]func(*diam.Message) *diam.Message{a: c.a, b: c.b}}
			client := testClient(t, n)
			_, err := client.Account(t.Context(), Record{Session: "s", Realm: "home.example", Type: StartRecord}, a)
			if !errors.Is(err, c.account) {
				t.Errorf("Account: %v, want %v", err, c.account)
			}
			if len(n.asked) != c.asked {
				t.Errorf("asked %q, want %d", n.asked, c.asked)
			}
			if err := client.Terminate(t.Context(), Ended{Session: "s", Realm: "home.example", Cause: Logout}, a); !errors.Is(err, c.ends) {
				t.Errorf("Terminate: %v, want %v", err, c.ends)
			}
		})
	}
	// Nobody is asked where nobody takes records.
	nobody := &network{}
	quiet, err := newClient(nobody, router, ClientConfig{NoAccounting: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := quiet.Account(t.Context(), Record{Session: "s", Type: StartRecord}, a); err != nil {
		t.Error(err)
	}
	// Out of space is not for good.
	n := &network{names: []string{a}, peers: map[string]func(*diam.Message) *diam.Message{a: takes(a, OutOfSpace)}}
	if _, err := testClient(t, n).Account(t.Context(), Record{Session: "s", Type: StartRecord}, a); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("%v, want an error that passes", err)
	}
	// The answer to another record is none to this one.
	n.peers[a] = func(m *diam.Message) *diam.Message {
		return Record{Session: "s", Type: StartRecord, Number: 8}.answer(m, Success, home)
	}
	if _, err := testClient(t, n).Account(t.Context(), Record{Session: "s", Type: StartRecord, Number: 7}, a); err == nil {
		t.Error("the answer to record 8 is taken for that to record 7")
	}
}

// told records orders.
type told struct {
	list []string
	n    int
}

func (o *told) note(s string) int           { o.list = append(o.list, s); return o.n }
func (o *told) End(session, why string) int { return o.note("end " + session + " " + why) }
func (o *told) Again(session string) int    { return o.note("again " + session) }
func (o *told) Extend(session string, d time.Duration) int {
	return o.note("extend " + session + " " + d.String())
}

func TestClientTakesOrders(t *testing.T) {
	c := testClient(t, &network{})
	o := &told{}
	ask := func(m *diam.Message) Result {
		t.Helper()
		a := wire(t, c.handle("aaa.home.example", wire(t, m)))
		n, _ := fields(a.AVP).number(avp.ResultCode)
		return Result(n)
	}
	order := func(k OrderKind) *diam.Message {
		return Order{Kind: k, Session: "s", Origin: home, Host: router.Host, Realm: router.Realm, Why: "no credit", Life: time.Minute}.message()
	}
	if r := ask(order(Abort)); r != UnableToComply {
		t.Errorf("nobody takes orders: %v", r)
	}
	orders := Orders(o)
	c.orders.Store(&orders)
	for _, n := range []int{0, 1} {
		o.n = n
		for _, k := range []OrderKind{Abort, ReAuth, Extend} {
			if r, want := ask(order(k)), []Result{UnknownSession, Success}[n]; r != want {
				t.Errorf("%v with %d sessions: %v, want %v", k, n, r, want)
			}
		}
	}
	if want := []string{"end s no credit", "again s", "extend s 1m0s"}; !slices.Equal(o.list[3:], want) {
		t.Errorf("told %q, want %q", o.list[3:], want)
	}
	der := EAPRequest{Session: "s", Origin: home, Realm: router.Realm, EAP: []byte{2}}.message()
	if a := c.handle("aaa.home.example", der); resultCode(a) != uint32(CommandUnsupported) {
		t.Errorf("a router answers a DER with %d", resultCode(a))
	}
	bad := order(ReAuth)
	bad.DeleteAVP(avp.AuthApplicationID, 0)
	builder{bad}.number(avp.AuthApplicationID, 1)
	if r := ask(bad); r != InvalidAVPValue {
		t.Errorf("an order of application 1: %v", r)
	}
}
