package radius

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2866"
	"layeh.com/radius/rfc2869"
	"layeh.com/radius/rfc3162"
	"layeh.com/radius/rfc3576"
)

// goldenDisconnect ends the session "s-1" of mn@home.example, at 1700000000, identifier 5,
// secret "testing123"; goldenDisconnectACK answers it. Both sums of each were computed
// apart, with Python's hmac and hashlib.
const (
	goldenDisconnect = `
	28 05 0042 e29838d338434d5f8833a33ee0efe45e
	50 12 9f8cb8e2f48b3bfd244c002f0c443a16
	2c 05 732d31
	01 11 6d6e40686f6d652e6578616d706c65
	37 06 6553f100`
	goldenDisconnectACK = `
	29 05 0026 a09bf26f001186ab1cf328c2d736f5ed
	50 12 81a319764d8550b7f6e9ade6bbab87b7`
)

var routerA = router{"ar-a", netip.MustParseAddr("10.2.0.1")}

func disconnect() Order {
	return Order{Code: DisconnectRequest, Session: "s-1", UserName: "mn@home.example"}
}

func TestOrderGolden(t *testing.T) {
	wire := unhex(t, goldenDisconnect)
	o := disconnect()
	got, err := o.Encode(5, time.Unix(1700000000, 0), secret("testing123"))
	if err != nil || !bytes.Equal(got, wire) {
		t.Fatalf("got\n%x, expected\n%x, %v", got, wire, err)
	}
	r, err := parseOrder(wire, secret("testing123"), routerA, true)
	if err != nil || r.cause != CauseNone || !r.time.Equal(time.Unix(1700000000, 0)) {
		t.Fatalf("%+v, %v", r, err)
	}
	if d := cmp.Diff(o, r.Order, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
		t.Error(d)
	}
	ack, err := r.answer(CauseNone, secret("testing123"))
	if want := unhex(t, goldenDisconnectACK); err != nil || !bytes.Equal(ack, want) {
		t.Fatalf("got\n%x, expected\n%x, %v", ack, want, err)
	}
	if done, err := ParseOrderAnswer(ack, wire, secret("testing123")); done != nil || err != nil {
		t.Errorf("%v, %v", done, err)
	}
	for i := range wire {
		bad := bytes.Clone(wire)
		bad[i] ^= 1
		if _, err := parseOrder(bad, secret("testing123"), routerA, true); err == nil {
			t.Errorf("octet %d changed, and it counts", i)
		}
		if _, err := parseOrder(wire[:i], secret("testing123"), routerA, true); err == nil {
			t.Errorf("%d octets of it count", i)
		}
	}
	for i := range ack {
		bad := bytes.Clone(ack)
		bad[i] ^= 1
		if done, err := ParseOrderAnswer(bad, wire, secret("testing123")); err == nil {
			t.Errorf("octet %d of the answer changed: %v", i, done)
		}
	}
}

// order seals attributes as an order, with the Event-Timestamp of now.
func order(t testing.TB, code Code, avps ...radius.AVP) []byte {
	var a attributes
	a.addInt(rfc2869.EventTimestamp_Type, uint32(time.Now().Unix()))
	for _, avp := range avps {
		a.add(avp.Type, avp.Attribute)
	}
	b, err := a.seal(code, 1, [authLen]byte{}, []byte("testing123"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func avp(typ radius.Type, value string) radius.AVP {
	return radius.AVP{Type: typ, Attribute: []byte(value)}
}

var (
	bySession   = avp(rfc2866.AcctSessionID_Type, "s-1")
	onlyAgain   = avp(rfc2865.ServiceType_Type, "\x00\x00\x00\x11")
	anHour      = avp(rfc2865.SessionTimeout_Type, "\x00\x00\x0e\x10")
	orderState  = avp(rfc2865.State_Type, "state")
	proxyStateA = avp(rfc2865.ProxyState_Type, "a")
	proxyStateB = avp(rfc2865.ProxyState_Type, "b")
)

// TestOrderCauses: what is authentic and not for us, or not what we can do, is refused
// with its cause.
func TestOrderCauses(t *testing.T) {
	for name, c := range map[string]struct {
		b     []byte
		cause Cause
	}{
		"end":                       {order(t, DisconnectRequest, bySession), CauseNone},
		"end, with a reason":        {order(t, DisconnectRequest, bySession, avp(rfc2866.AcctTerminateCause_Type, "\x00\x00\x00\x06"), avp(rfc2865.ReplyMessage_Type, "bye")), CauseNone},
		"extend":                    {order(t, CoARequest, bySession, anHour), CauseNone},
		"again":                     {order(t, CoARequest, bySession, onlyAgain, orderState), CauseNone},
		"names nothing":             {order(t, DisconnectRequest), CauseMissingAttribute},
		"changes nothing":           {order(t, CoARequest, bySession), CauseMissingAttribute},
		"again without State":       {order(t, CoARequest, bySession, onlyAgain), CauseMissingAttribute},
		"again and something else":  {order(t, CoARequest, bySession, onlyAgain, orderState, anHour), CauseUnsupportedAttribute},
		"another service":           {order(t, CoARequest, bySession, avp(rfc2865.ServiceType_Type, "\x00\x00\x00\x02")), CauseUnsupportedService},
		"service of the end":        {order(t, DisconnectRequest, bySession, onlyAgain), CauseUnsupportedAttribute},
		"time of the end":           {order(t, DisconnectRequest, bySession, anHour), CauseUnsupportedAttribute},
		"no time":                   {order(t, CoARequest, bySession, avp(rfc2865.SessionTimeout_Type, "\x00\x00\x00\x00")), CauseInvalidValue},
		"time of three octets":      {order(t, CoARequest, bySession, avp(rfc2865.SessionTimeout_Type, "\x00\x00\x01")), CauseInvalidRequest},
		"vendor":                    {order(t, CoARequest, bySession, anHour, avp(rfc2865.VendorSpecific_Type, "\x00\x00\x00\x09\x01\x03x")), CauseUnsupportedAttribute},
		"filter":                    {order(t, CoARequest, bySession, anHour, avp(rfc2865.FilterID_Type, "x")), CauseUnsupportedAttribute},
		"our name":                  {order(t, DisconnectRequest, bySession, avp(rfc2865.NASIdentifier_Type, "ar-a")), CauseNone},
		"another's name":            {order(t, DisconnectRequest, bySession, avp(rfc2865.NASIdentifier_Type, "ar-b")), CauseOtherNAS},
		"our address":               {order(t, DisconnectRequest, bySession, avp(rfc2865.NASIPAddress_Type, "\x0a\x02\x00\x01")), CauseNone},
		"another's address":         {order(t, DisconnectRequest, bySession, avp(rfc2865.NASIPAddress_Type, "\x0a\x02\x00\x02")), CauseOtherNAS},
		"another's IPv6 address":    {order(t, DisconnectRequest, bySession, avp(rfc3162.NASIPv6Address_Type, strings.Repeat("\x20", 16))), CauseOtherNAS},
		"two sessions":              {order(t, DisconnectRequest, bySession, avp(rfc2866.AcctSessionID_Type, "s-2")), CauseInvalidRequest},
		"the first mistake is told": {order(t, CoARequest, avp(rfc2865.NASIdentifier_Type, "ar-b"), avp(rfc2865.FilterID_Type, "x")), CauseOtherNAS},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parseOrder(c.b, secret("testing123"), routerA, true)
			if err != nil || r.cause != c.cause {
				t.Errorf("%v, %v, expected %v", r, err, c.cause)
			}
		})
	}
}

// TestOrderAnswers: State and Proxy-State come back, and what a router has not done has
// its cause.
func TestOrderAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		code   Code
		avps   []radius.AVP
		cause  Cause
		answer Code
		done   string
	}{
		"ended":         {DisconnectRequest, []radius.AVP{bySession, proxyStateA, proxyStateB}, CauseNone, DisconnectACK, ""},
		"extended":      {CoARequest, []radius.AVP{bySession, anHour, proxyStateA, orderState, proxyStateB}, CauseNone, CoAACK, ""},
		"again":         {CoARequest, []radius.AVP{bySession, onlyAgain, orderState}, CauseInitiated, CoANAK, ""},
		"not found":     {DisconnectRequest, []radius.AVP{bySession, proxyStateA}, CauseNotFound, DisconnectNAK, "knows no such session"},
		"cannot":        {CoARequest, []radius.AVP{bySession, anHour}, CauseUnsupportedAttribute, CoANAK, "Unsupported-Attribute"},
		"a mere extend": {CoARequest, []radius.AVP{bySession, anHour}, CauseInitiated, CoANAK, "Request-Initiated"},
	} {
		t.Run(name, func(t *testing.T) {
			wire := order(t, c.code, c.avps...)
			r, err := parseOrder(wire, secret("testing123"), routerA, true)
			if err != nil {
				t.Fatal(err)
			}
			out, err := r.answer(c.cause, secret("testing123"))
			if err != nil {
				t.Fatal(err)
			}
			p, err := open(out, (*[authLen]byte)(wire[4:20]), []byte("testing123"))
			if err != nil || Code(p.Code) != c.answer || p.Identifier != 1 {
				t.Fatalf("%+v, %v", p, err)
			}
			var states, wants [][]byte
			for _, a := range c.avps {
				if a.Type == rfc2865.ProxyState_Type || a.Type == rfc2865.State_Type {
					wants = append(wants, a.Attribute)
				}
			}
			states = append(all(p.Attributes, rfc2865.State_Type), all(p.Attributes, rfc2865.ProxyState_Type)...)
			if len(states) != len(wants) {
				t.Errorf("%q come back of %q", states, wants)
			}
			if got := all(p.Attributes, rfc2865.ProxyState_Type); len(got) == 2 && (string(got[0]) != "a" || string(got[1]) != "b") {
				t.Errorf("in another order: %q", got)
			}
			if v, _ := radius.Integer(p.Get(rfc3576.ErrorCause_Type)); Cause(v) != c.cause {
				t.Errorf("cause %d", v)
			}
			if again := p.Get(rfc2865.ServiceType_Type) != nil; again != (c.cause == CauseInitiated && c.done == "") {
				t.Errorf("Service-Type: %v", again)
			}
			done, err := ParseOrderAnswer(out, wire, secret("testing123"))
			if err != nil || (done == nil) != (c.done == "") || done != nil && !strings.Contains(done.Error(), c.done) {
				t.Errorf("%v, %v", done, err)
			}
		})
	}
	if _, err := (&Order{Code: DisconnectRequest}).Encode(1, time.Now(), secret("x")); err == nil {
		t.Error("an order for everybody")
	}
}

// receiver is a client that takes orders at a socket in memory.
func receiver(t *testing.T, handle func(Order) Cause) (*Client, *fakeConn, chan []byte) {
	answers := make(chan []byte, 64)
	conn := newFakeConn(func(_ *fakeConn, b []byte, _ netip.AddrPort) { answers <- b })
	c, _ := newTestClient(t, []netip.AddrPort{serverA}, func(cfg *Config) {
		cfg.Orders = netip.MustParseAddrPort("10.2.0.1:3799")
		cfg.ListenOrders = func() (Conn, error) { return conn, nil }
	}, nil)
	t.Cleanup(func() { _ = c.Close() })
	run(t, c, handle)
	return c, conn, answers
}

// TestOrdersOnce: an order that comes again is answered as before and not carried out,
// from whatever port; one of another time, of strangers or without integrity is dropped.
func TestOrdersOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []Order
		c, conn, answers := receiver(t, func(o Order) Cause { got = append(got, o); return CauseNone })
		from := netip.AddrPortFrom(serverA.Addr(), 50000)
		wire := order(t, DisconnectRequest, bySession)
		conn.inject(wire, from)
		synctest.Wait()
		time.Sleep(4 * time.Minute)
		conn.inject(wire, netip.AddrPortFrom(serverA.Addr(), 50001))
		synctest.Wait()
		if len(got) != 1 || len(answers) != 2 || got[0].Session != "s-1" || got[0].Server != from {
			t.Fatalf("%+v, %d answers", got, len(answers))
		}
		if a, b := <-answers, <-answers; !bytes.Equal(a, b) {
			t.Error("another answer")
		}
		time.Sleep(2 * time.Minute) // more than the window after it was made
		conn.inject(wire, from)
		future := disconnect()
		for _, at := range []time.Duration{-6 * time.Minute, 6 * time.Minute} {
			b, err := future.Encode(9, time.Now().Add(at), secret("testing123"))
			if err != nil {
				t.Fatal(err)
			}
			conn.inject(b, from)
		}
		var a attributes
		a.add(rfc2866.AcctSessionID_Type, []byte("s-1"))
		timeless, err := a.seal(DisconnectRequest, 1, [authLen]byte{}, []byte("testing123"))
		if err != nil {
			t.Fatal(err)
		}
		conn.inject(timeless, from)
		conn.inject(order(t, DisconnectRequest, bySession), netip.MustParseAddrPort("10.0.5.9:50000"))
		strange := order(t, DisconnectRequest, bySession)
		strange[30] ^= 1
		conn.inject(strange, from)
		plain := Request{UserName: "x"}
		b, err := plain.encode(nas{identifier: "x"}, 1, testAuth, secret("testing123"))
		if err != nil {
			t.Fatal(err)
		}
		conn.inject(b, from)
		synctest.Wait()
		if len(got) != 1 || len(answers) != 0 {
			t.Errorf("%d carried out, %d answers", len(got), len(answers))
		}
		n := c.Counters()
		if n.Orders != 1 || n.RepeatedOrders != 1 || n.StaleOrders != 4 || n.WrongAddress != 1 || n.BadAuthenticator != 1 || n.BadCode != 1 {
			t.Errorf("%+v", n)
		}
	})
}

// TestOrdersBounded: as many are remembered as there is room for; further ones are
// refused, and not the old ones forgotten, which would let them come again.
func TestOrdersBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		c, conn, answers := receiver(t, func(Order) Cause { n++; return CauseNone })
		o := disconnect()
		send := func(i int) byte {
			b, err := o.Encode(uint8(i), time.Now(), secret("testing123"))
			if err != nil {
				t.Fatal(err)
			}
			conn.inject(b, serverA)
			return (<-answers)[0]
		}
		for i := range maxOrders {
			if i%256 == 0 {
				time.Sleep(time.Second)
			}
			if code := send(i); Code(code) != DisconnectACK {
				t.Fatalf("order %d: %v", i, Code(code))
			}
		}
		time.Sleep(time.Second)
		if code := send(1); Code(code) != DisconnectNAK || n != maxOrders {
			t.Errorf("%v, %d carried out", Code(code), n)
		}
		time.Sleep(2 * orderWindow)
		if code := send(2); Code(code) != DisconnectACK || len(c.orders.order) > maxOrders || len(c.orders.known) != len(c.orders.order) {
			t.Errorf("later: %v, %d and %d remembered", Code(code), len(c.orders.order), len(c.orders.known))
		}
	})
}

func TestOrdersNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, conn, answers := receiver(t, nil)
		conn.inject(order(t, DisconnectRequest, bySession), serverA)
		var e *OrderError
		done, err := ParseOrderAnswer(<-answers, order(t, DisconnectRequest, bySession), secret("testing123"))
		if !errors.As(done, &e) || err != nil || e.Cause != CauseUnsupportedExtension {
			t.Errorf("%v, %v", done, err)
		}
	})
}
