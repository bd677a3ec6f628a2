package diameter

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
)

// whole is a request with everything a parser meets: groups, numbers, names, an address,
// a time, AVPs of a vendor, lengths that need padding.
func whole() *diam.Message {
	m := withDestination(der("ar-a.visited.example;1;2;x"))
	b := builder{m}
	b.identity(avp.OriginHost, "ar-a.visited.example")
	b.identity(avp.OriginRealm, "visited.example")
	b.put(avp.ProxyInfo, &diam.GroupedAVP{AVP: []*diam.AVP{
		diam.NewAVP(avp.ProxyHost, avp.Mbit, 0, datatype.DiameterIdentity("p.example")),
		diam.NewAVP(avp.ProxyState, avp.Mbit, 0, datatype.OctetString("xyzzy")),
	}})
	b.number(avp.SessionTimeout, 3600)
	b.put(avp.HostIPAddress, datatype.Address([]byte{10, 0, 0, 1}))
	b.put(avp.HostIPAddress, datatype.Address(bytes.Repeat([]byte{0x20}, 16)))
	b.put(avp.EventTimestamp, datatype.Time(time.Unix(1700000000, 0)))
	m.AddAVP(diam.NewAVP(77777, avp.Vbit, 4242, datatype.OctetString("nobody knows")))
	m.AddAVP(diam.NewAVP(66666, 0, 0, datatype.OctetString("n")))
	m.Header.MessageLength = uint32(m.Len())
	return m
}

func serialized(t testing.TB, m *diam.Message) []byte {
	t.Helper()
	m.Header.MessageLength = uint32(m.Len())
	b, err := m.Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseAndAppend(t *testing.T) {
	want := serialized(t, whole())
	m, f := parse(want, dictionary())
	if f != nil {
		t.Fatal(f)
	}
	if got := serialized(t, m); !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	if f := newRules(dictionary()).check(m); f != nil {
		t.Error(f)
	}
}

// A message cut at every octet is refused, with what it had before the cut.
func TestParseCut(t *testing.T) {
	b := serialized(t, whole())
	starts := map[int]bool{} // of AVPs, and ends without padding: there a message may end
	for at := headerLen; at < len(b); {
		n := int(binary.BigEndian.Uint32(b[at+4:]) & 0xffffff)
		starts[at] = true
		for end := at + n; end <= at+(n+3)&^3; end++ {
			starts[end] = true
		}
		at += (n + 3) &^ 3
	}
	for n := headerLen; n < len(b); n++ {
		_, f := parse(b[:n], dictionary())
		if (f == nil) != starts[n] {
			t.Errorf("cut at %d of %d: %v", n, len(b), f)
		}
		if f != nil && f.Code != diam.InvalidAVPLenght {
			t.Errorf("cut at %d: result %d", n, f.Code)
		}
	}
	for n := range headerLen {
		if _, f := parse(b[:n], dictionary()); f == nil {
			t.Errorf("%d octets are no message", n)
		}
	}
}

func avpOctets(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseValues(t *testing.T) {
	for _, c := range []struct {
		name, avp string // in hex, with padding
		code      uint32
		failed    string // Failed-AVP's content in hex; empty: the AVP as it came
	}{
		{"number of 3 octets", "0000001b4000000b00000100", diam.InvalidAVPLenght, "0000001b4000000c00000000"},
		{"number of 8 octets", "0000001b400000100000000000000001", diam.InvalidAVPLenght, "0000001b4000000c00000000"},
		{"time of 8 octets", "00000037400000100000000000000001", diam.InvalidAVPLenght, "000000374000000c00000000"},
		{"shorter than its header", "0000001b40000004", diam.InvalidAVPLenght, "0000001b4000000c00000000"},
		{"length 0", "0000001b40000000", diam.InvalidAVPLenght, "0000001b4000000c00000000"},
		{"vendor without a vendor", "0000001b80000008", diam.InvalidAVPLenght, "0000001b8000001000000000 00000000"},
		{"longer than the message", "0000001b4000000d00000001", diam.InvalidAVPLenght, "0000001b4000000c00000000"},
		{"unknown, M", "0001046a4000000961000000", diam.AVPUnsupported, "0001046a4000000961000000"},
		{"unknown of a vendor, M", "0000001bc0000010000028af00000001", diam.AVPUnsupported, "0000001bc0000010000028af00000001"},
		{"name with a line feed", "000001084000000b610a6200", diam.InvalidAVPValue, ""},
		{"empty name", "0000010840000008", diam.InvalidAVPValue, ""},
		{"IPv4 of 5 octets", "000001014000000f00010a0000010200", diam.InvalidAVPValue, ""},
		{"IPv4 within IPv6", "000001014000001a000200000000000000000000ffff0a0000010000", diam.InvalidAVPValue, ""},
		{"address of family 0", "000001014000000e00000a0000010000", diam.InvalidAVPValue, ""},
		{"address of 1 octet", "000001014000000900000000", diam.InvalidAVPValue, ""},
		{"number of 3 octets in a group", "0000012940000013 0000010a4000000b00000100", diam.InvalidAVPLenght, "0000012940000014 0000010a4000000c00000000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			clean := func(s string) string { return strings.ReplaceAll(s, " ", "") }
			in := avpOctets(t, clean(c.avp))
			m := der("s")
			b := append(serialized(t, m), in...)
			got, f := parse(b, dictionary())
			if f == nil || f.Code != c.code {
				t.Fatalf("got %v, expected result %d", f, c.code)
			}
			if len(got.AVP) != len(m.AVP) {
				t.Errorf("%d AVPs before it, expected %d", len(got.AVP), len(m.AVP))
			}
			want := in
			if c.failed != "" {
				want = avpOctets(t, clean(c.failed))
			}
			if x, err := f.Failed.Serialize(); err != nil || !bytes.Equal(x, want) {
				t.Errorf("Failed-AVP %x, expected %x, %v", x, want, err)
			}
		})
	}
	// An E.164 address of 14 digits: the library takes it for IPv6.
	m := der("s")
	m.AddAVP(diam.NewAVP(avp.HostIPAddress, avp.Mbit, 0, datatype.OctetString("\x00\x0849301234567890")))
	b := serialized(t, m)
	if got, f := parse(b, dictionary()); f != nil || !bytes.Equal(serialized(t, got), b) {
		t.Errorf("%v", f)
	}
	// What was bad already may be as bad as it is.
	m = diam.NewMessage(cmdEAP, 0, appEAP, 1, 1, dictionary())
	m.AddAVP(diam.NewAVP(avp.FailedAVP, avp.Mbit, 0, datatype.OctetString("\x00\x01\x04\x6a\x40\x00\x00\x0a12\x00\x00\x00\x00")))
	if _, f := parse(serialized(t, m), dictionary()); f != nil {
		t.Error(f)
	}
}

// What is wrong with a request is answered as RFC 6733 section 7 has it, and the
// connection goes on.
func TestRefusedRequests(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(m *diam.Message)
		want   uint32
		failed uint32 // code of the AVP in Failed-AVP; 0: none
	}{
		{"good", func(*diam.Message) {}, diam.Success, 0},
		{"for us by name", func(m *diam.Message) { builder{m}.identity(avp.DestinationHost, "AAA.home.example") }, diam.Success, 0},
		{"for another host", func(m *diam.Message) { builder{m}.identity(avp.DestinationHost, "aaa2.home.example") }, diam.UnableToDeliver, 0},
		{"without EAP-Payload", func(m *diam.Message) { m.DeleteAVP(codeEAPPayload, 0) }, diam.MissingAVP, codeEAPPayload},
		{"without Auth-Request-Type", func(m *diam.Message) { m.DeleteAVP(avp.AuthRequestType, 0) }, diam.MissingAVP, avp.AuthRequestType},
		{"without Session-Id", func(m *diam.Message) { m.DeleteAVP(avp.SessionID, 0) }, diam.MissingAVP, avp.SessionID},
		{"without Origin-Host", func(m *diam.Message) { m.DeleteAVP(avp.OriginHost, 0) }, diam.MissingAVP, avp.OriginHost},
		{"User-Name twice", func(m *diam.Message) { builder{m}.text(avp.UserName, "a"); builder{m}.text(avp.UserName, "b") }, diam.AVPOccursTooManyTimes, avp.UserName},
		{"unknown AVP with M", func(m *diam.Message) { m.AddAVP(diam.NewAVP(66666, avp.Mbit, 0, datatype.OctetString("x"))) }, diam.AVPUnsupported, 66666},
		{"unknown AVP without M", func(m *diam.Message) { m.AddAVP(diam.NewAVP(66666, 0, 0, datatype.OctetString("x"))) }, diam.Success, 0},
		{"wrong size", func(m *diam.Message) {
			m.AddAVP(diam.NewAVP(avp.SessionTimeout, avp.Mbit, 0, datatype.OctetString("xyzzy")))
		}, diam.InvalidAVPLenght, avp.SessionTimeout},
		{"has been here", func(m *diam.Message) { builder{m}.identity(avp.RouteRecord, "aaa.HOME.example") }, diam.LoopDetected, 0},
		{"has been elsewhere", func(m *diam.Message) { builder{m}.identity(avp.RouteRecord, "x.example") }, diam.Success, 0},
		{"E bit", func(m *diam.Message) { m.Header.CommandFlags |= diam.ErrorFlag }, diam.InvalidHDRBits, 0},
		{"unknown command", func(m *diam.Message) { m.Header.CommandCode = 9999 }, diam.CommandUnsupported, 0},
		{"unknown application", func(m *diam.Message) { m.Header.ApplicationID = 9999 }, diam.ApplicationUnsupported, 0},
		{"application 0", func(m *diam.Message) { m.Header.ApplicationID = 0 }, diam.ApplicationUnsupported, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.start(Config{Identity: "aaa.home.example", Peers: arPeer, Handler: func(_ context.Context, _ string, m *diam.Message) *diam.Message { return reply(m, diam.Success) }}, "home:1")
				synctest.Wait()
				s := w.call("home:1", "ar-a.visited.example")
				s.hello()
				m := withDestination(der("s;1"))
				s.self.origin(m)
				m.Header.HopByHopID, m.Header.EndToEndID = 3, 4
				c.change(m)
				s.send(m)
				a := s.next(time.Second)
				if a == nil || resultCode(a) != c.want {
					t.Fatalf("got %v, expected %d", a, c.want)
				}
				h := a.Header
				protocol := c.want/1000 == 3
				if h.HopByHopID != 3 || h.EndToEndID != 4 || h.CommandFlags&diam.RequestFlag != 0 || h.CommandFlags&diam.ProxiableFlag == 0 || (h.CommandFlags&diam.ErrorFlag != 0) != protocol {
					t.Errorf("header %v", h)
				}
				f := fields(a.AVP)
				if f.text(avp.OriginHost) != "aaa.home.example" || f.text(avp.OriginRealm) != homeRealm || c.failed != avp.SessionID && (f.text(avp.SessionID) != "s;1" || a.AVP[0].Code != avp.SessionID) {
					t.Errorf("got %v", a)
				}
				var failed uint32
				if x := f.octets(avp.FailedAVP); len(x) > 4 {
					failed = binary.BigEndian.Uint32(x)
				}
				if failed != c.failed {
					t.Errorf("Failed-AVP of %d, expected %d", failed, c.failed)
				}
				if m := s.ask(s.self.request(cmdWatchdog)); m == nil || resultCode(m) != diam.Success {
					t.Errorf("a watchdog afterwards: %v", m)
				}
			})
		})
	}
}

// FuzzParse: whatever comes is a message that stays what it is, or is refused by an answer.
func FuzzParse(f *testing.F) {
	f.Add(serialized(f, whole()))
	f.Add(serialized(f, (&self{identity: "a.b", realm: "b", auth: []uint32{5}, dict: dictionary()}).cer(netipLoopback)))
	f.Add(serialized(f, der("s")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxMessage {
			return
		}
		m, fault := parse(b, dictionary())
		if m == nil {
			if len(b) >= headerLen {
				t.Fatal("no message, and no refusal")
			}
			return
		}
		me := self{identity: "aaa.home.example", realm: homeRealm, dict: dictionary()}
		readOffer(m)
		if fault != nil {
			// It can be answered, and the answer is a message.
			a := me.refusal(m, fault)
			if _, f := parse(serialized(t, a), dictionary()); f != nil && f.Failed == nil {
				t.Errorf("the answer to %v: %v", fault, f)
			}
			return
		}
		// Parsed again it is the same.
		first := serialized(t, m)
		again, fault := parse(first, dictionary())
		if fault != nil {
			t.Fatalf("its encoding: %v", fault)
		}
		if second := serialized(t, again); !bytes.Equal(first, second) {
			t.Errorf("%x, then %x", first, second)
		}
		if len(first) > (len(b)+3)&^3 {
			t.Errorf("%d octets became %d", len(b), len(first))
		}
	})
}
