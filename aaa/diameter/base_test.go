package diameter

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
)

// stranger is the other end of a connection, played by the test.
type stranger struct {
	t    *testing.T
	conn net.Conn
	self self
}

// call connects to a node as somebody, and says nothing yet.
func (w *world) call(addr, identity string) *stranger {
	w.t.Helper()
	c, err := w.dial(context.Background(), addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	_, realm, _ := strings.Cut(identity, ".")
	return &stranger{w.t, c, self{identity: identity, realm: realm, state: 7, auth: []uint32{appEAP}, dict: dictionary()}}
}

func (s *stranger) send(m *diam.Message) {
	s.t.Helper()
	m.Header.MessageLength = uint32(m.Len())
	b, err := m.Serialize()
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(b)
}

func (s *stranger) write(b []byte) {
	s.t.Helper()
	s.conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := s.conn.Write(b); err != nil {
		s.t.Fatal(err)
	}
}

// next is the next message that comes; nil: the connection was closed.
func (s *stranger) next(within time.Duration) *diam.Message {
	s.t.Helper()
	s.conn.SetDeadline(time.Now().Add(within))
	b, err := readFrame(s.conn)
	if err == io.EOF || err == io.ErrClosedPipe {
		return nil
	}
	if err != nil {
		s.t.Fatalf("expected a message: %v", err)
	}
	m, f := parse(b, dictionary())
	if f != nil {
		s.t.Fatal(f)
	}
	return m
}

// hello exchanges capabilities.
func (s *stranger) hello() {
	s.t.Helper()
	s.send(s.self.cer(netipLoopback))
	if m := s.next(5 * time.Second); m == nil || resultCode(m) != diam.Success {
		s.t.Fatalf("CEA %v", m)
	}
}

// ask sends a request and returns its answer.
func (s *stranger) ask(m *diam.Message) *diam.Message {
	s.t.Helper()
	s.self.origin(m)
	s.send(m)
	return s.next(5 * time.Second)
}

func TestStrangers(t *testing.T) {
	for _, c := range []struct {
		name, who string
		change    func(*Config, *self)
		cer       func(*diam.Message)
		want      uint32 // 0: closed without a word
		says      string
	}{
		{name: "good", who: "ar-a.visited.example", want: diam.Success},
		{name: "unknown peer", who: "mallory.example", want: diam.UnknownPeer, says: "not among the peers"},
		{name: "a wildcard as a name", who: "*.visited.example", want: diam.InvalidAVPValue},
		{name: "other realm", who: "ar-a.visited.example", change: func(_ *Config, s *self) { s.realm = "other.example" }, want: diam.UnknownPeer, says: "realm"},
		{name: "no common application", who: "ar-a.visited.example", change: func(_ *Config, s *self) { s.auth = []uint32{4} }, want: diam.NoCommonApplication},
		{name: "a relay", who: "ar-a.visited.example", change: func(_ *Config, s *self) { s.auth = []uint32{appRelay} }, want: diam.Success},
		{name: "TLS within", who: "ar-a.visited.example", cer: func(m *diam.Message) { builder{m}.number(avp.InbandSecurityID, 1) }, want: diam.NoCommonSecurity},
		{name: "TLS or not", who: "ar-a.visited.example", cer: func(m *diam.Message) {
			builder{m}.number(avp.InbandSecurityID, 1)
			builder{m}.number(avp.InbandSecurityID, 0)
		}, want: diam.Success},
		{name: "should have TLS", who: "safe.visited.example", want: diam.NoCommonSecurity, says: "without TLS"},
		{name: "from elsewhere", who: "far.visited.example", want: diam.UnknownPeer, says: "does not come from"},
		{name: "no Product-Name", who: "ar-a.visited.example", cer: func(m *diam.Message) { m.DeleteAVP(avp.ProductName, 0) }, want: diam.MissingAVP},
		{name: "two Origin-Hosts", who: "ar-a.visited.example", cer: func(m *diam.Message) { builder{m}.identity(avp.OriginHost, "ar-b.visited.example") }, want: diam.AVPOccursTooManyTimes},
		{name: "a watchdog first", who: "ar-a.visited.example", cer: func(m *diam.Message) { m.Header.CommandCode = cmdWatchdog }},
		{name: "an answer first", who: "ar-a.visited.example", cer: func(m *diam.Message) { m.Header.CommandFlags = 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				cert, pool := testPKI(t, "aaa.home.example")
				cfg := Config{Identity: "aaa.home.example", TLS: tlsConfig(cert, pool), Peers: []Peer{
					{Identity: "*.visited.example", Realm: "visited.example"},
					{Identity: "safe.visited.example", TLS: true},
					{Identity: "far.visited.example", Addr: "10.1.1.1:3868"},
				}}
				s := &stranger{}
				if c.change == nil {
					c.change = func(*Config, *self) {}
				}
				w.start(cfg, "home:1")
				synctest.Wait()
				s = w.call("home:1", c.who)
				c.change(&cfg, &s.self)
				m := s.self.cer(netipLoopback)
				if c.cer != nil {
					c.cer(m)
				}
				s.send(m)
				a := s.next(5 * time.Second)
				if c.want == 0 {
					if a != nil {
						t.Fatalf("answered %v", a)
					}
					return
				}
				if a == nil || resultCode(a) != c.want {
					t.Fatalf("expected result %d, got %v", c.want, a)
				}
				if says := fields(a.AVP).text(avp.ErrorMessage); !strings.Contains(says, c.says) {
					t.Errorf("it says %q, expected %q", says, c.says)
				}
				if c.want == diam.Success {
					return
				}
				if _, failed := fields(a.AVP).first(avp.FailedAVP); failed != (c.want > 5000 && c.want != diam.NoCommonApplication && c.want != diam.NoCommonSecurity) {
					t.Errorf("Failed-AVP in %v", a)
				}
				if a = s.next(5 * time.Second); a != nil {
					t.Errorf("still open: %v", a)
				}
			})
		})
	}
}

// A connection that says nothing is closed, and only so many may be saying nothing: not
// at the cost of whoever says who it is.
func TestSilentStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n, _ := w.start(Config{Identity: "aaa.home.example", Peers: []Peer{{Identity: "*.visited.example"}}}, "home:1")
		synctest.Wait()
		var all []*stranger
		for range maxStrangers {
			all = append(all, w.call("home:1", "x.visited.example"))
		}
		late := w.call("home:1", "late.visited.example")
		late.hello()
		if m := all[0].next(time.Second); m != nil {
			t.Error("the oldest was kept")
		}
		synctest.Wait() // who has said who it is waits no more
		if n.Counters().Strangers != 1 || len(n.waiting) != maxStrangers-1 {
			t.Errorf("%d wait, %+v", len(n.waiting), n.Counters())
		}
		w.call("home:1", "later.visited.example").hello()
		synctest.Wait()
		if n.Counters().Strangers != 1 {
			t.Errorf("counters %+v", n.Counters())
		}
		time.Sleep(helloTime)
		synctest.Wait()
		if m := all[1].next(time.Second); m != nil || len(n.waiting) != 0 {
			t.Errorf("a silent one was kept: %d wait", len(n.waiting))
		}
		if m := late.ask(late.self.request(cmdWatchdog)); m == nil {
			t.Error("who had said who it is was closed")
		}
	})
}

// What the library would do with these is in each name: the node must do none of it.
func TestTraps(t *testing.T) {
	frame := func(length uint32, app, cmd uint32) []byte {
		b := make([]byte, headerLen)
		binary.BigEndian.PutUint32(b, length&0xffffff|version<<24)
		binary.BigEndian.PutUint32(b[4:], cmd|diam.RequestFlag<<24)
		binary.BigEndian.PutUint32(b[8:], app)
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"length 4 allocates 4 GiB", frame(4, 0, cmdCapabilities)},
		{"length 19", frame(19, 0, cmdCapabilities)},
		{"length 0", frame(0, 0, cmdCapabilities)},
		{"16 MiB are allocated before they come", frame(0xfffffc, 0, cmdCapabilities)},
		{"64 KiB and 4", frame(maxMessage+4, 0, cmdCapabilities)},
		{"no multiple of 4", frame(22, 0, cmdCapabilities)},
		{"version 2", append([]byte{2}, frame(20, 0, cmdCapabilities)[1:]...)},
		{"TLS on a plain port", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefghi")},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.start(Config{Identity: "aaa.home.example", Peers: []Peer{{Identity: "*.visited.example"}}}, "home:1")
				synctest.Wait()
				for _, known := range []bool{false, true} {
					s := w.call("home:1", "ar-a.visited.example")
					if known {
						s.hello()
					}
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					s.write(c.b)
					if m := s.next(5 * time.Second); m != nil {
						t.Errorf("answered %v", m)
					}
					runtime.ReadMemStats(&after)
					if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
						t.Errorf("%d octets allocated for a header of 20", grown)
					}
				}
			})
		})
	}

	connected := func(t *testing.T, h func(context.Context, string, *diam.Message) *diam.Message, f func(s *stranger)) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.start(Config{Identity: "aaa.home.example", Peers: []Peer{{Identity: "*.visited.example"}}, Handler: h}, "home:1")
			synctest.Wait()
			s := w.call("home:1", "ar-a.visited.example")
			s.hello()
			f(s)
			// Whatever it was, the connection goes on.
			if m := s.ask(s.self.request(cmdWatchdog)); m == nil || resultCode(m) != diam.Success {
				t.Errorf("afterwards a watchdog gets %v", m)
			}
		})
	}
	t.Run("an unknown application closes the connection", func(t *testing.T) {
		connected(t, nil, func(s *stranger) {
			m := diam.NewMessage(999, diam.RequestFlag, 16777251, 5, 6, dictionary())
			builder{m}.text(avp.SessionID, "s;1")
			a := s.ask(m)
			if a == nil || resultCode(a) != diam.ApplicationUnsupported || a.Header.CommandFlags&diam.ErrorFlag == 0 ||
				a.Header.HopByHopID != 5 || a.Header.EndToEndID != 6 || fields(a.AVP).text(avp.SessionID) != "s;1" {
				t.Errorf("got %v", a)
			}
		})
	})
	t.Run("an unknown command closes the connection", func(t *testing.T) {
		connected(t, nil, func(s *stranger) {
			if a := s.ask(diam.NewMessage(999, diam.RequestFlag, appEAP, 5, 6, dictionary())); a == nil || resultCode(a) != diam.CommandUnsupported {
				t.Errorf("got %v", a)
			}
		})
	})
	t.Run("a slow handler blocks the connection", func(t *testing.T) {
		slow := func(ctx context.Context, _ string, m *diam.Message) *diam.Message {
			if fields(m.AVP).text(avp.SessionID) == "slow" {
				<-ctx.Done()
			}
			return reply(m, diam.Success)
		}
		connected(t, slow, func(s *stranger) {
			m := withDestination(der("slow"))
			s.self.origin(m)
			s.send(m)
			if a := s.ask(withDestination(der("quick"))); a == nil || fields(a.AVP).text(avp.SessionID) != "quick" {
				t.Errorf("got %v", a)
			}
		})
	})
	t.Run("handlers without bound", func(t *testing.T) {
		var running atomic.Int64
		slow := func(ctx context.Context, _ string, m *diam.Message) *diam.Message {
			running.Add(1)
			<-ctx.Done()
			return nil
		}
		connected(t, slow, func(s *stranger) {
			for range maxHandlers {
				m := withDestination(der("slow"))
				s.self.origin(m)
				s.send(m)
			}
			if a := s.ask(withDestination(der("more"))); a == nil || resultCode(a) != diam.TooBusy {
				t.Errorf("got %v", a)
			}
			synctest.Wait()
			if running.Load() != maxHandlers {
				t.Errorf("%d handlers", running.Load())
			}
		})
	})
	// The library's decoder dies of this one: a group that ends within an AVP.
	t.Run("a cut AVP in a group panics", func(t *testing.T) {
		connected(t, nil, func(s *stranger) {
			m := withDestination(der("s"))
			m.AddAVP(diam.NewAVP(avp.ProxyInfo, avp.Mbit, 0, datatype.OctetString("\x00\x00\x01\x18")))
			if a := s.ask(m); a == nil || resultCode(a) != diam.InvalidAVPLenght {
				t.Errorf("got %v", a)
			}
		})
	})
	// The library reads what follows a number of another length at the wrong place.
	t.Run("a number of 8 octets shifts what follows", func(t *testing.T) {
		connected(t, nil, func(s *stranger) {
			m := withDestination(der("s"))
			inner, _ := diam.NewAVP(avp.RouteRecord, avp.Mbit, 0, datatype.DiameterIdentity("aaaa")).Serialize()
			m.AddAVP(diam.NewAVP(avp.SessionTimeout, avp.Mbit, 0, datatype.OctetString(inner)))
			if a := s.ask(m); a == nil || resultCode(a) != diam.InvalidAVPLenght {
				t.Errorf("got %v", a)
			}
		})
	})
	t.Run("an AVP of another vendor is taken for ours", func(t *testing.T) {
		connected(t, nil, func(s *stranger) {
			m := withDestination(der("s"))
			m.AddAVP(diam.NewAVP(avp.RouteRecord, avp.Vbit, 10415, datatype.OctetString("aaa.home.example")))
			if a := s.ask(m); a == nil || resultCode(a) == diam.LoopDetected {
				t.Errorf("got %v", a)
			}
		})
	})
}

func withDestination(m *diam.Message) *diam.Message {
	builder{m}.identity(avp.DestinationRealm, homeRealm)
	return m
}

// Groups within groups cost the library their depth squared.
func TestDepth(t *testing.T) {
	var inner []byte
	for range 4000 {
		head := make([]byte, 8, 8+len(inner))
		binary.BigEndian.PutUint32(head, avp.ProxyInfo)
		binary.BigEndian.PutUint32(head[4:], uint32(8+len(inner)))
		inner = append(head, inner...)
	}
	m := diam.NewMessage(cmdEAP, diam.RequestFlag, appEAP, 1, 1, dictionary())
	b := append(m.Header.Serialize(), inner...)
	_, f := parse(b, dictionary())
	if f == nil || f.Code != diam.InvalidAVPValue {
		t.Errorf("got %v", f)
	}
	if n := testing.AllocsPerRun(1, func() { parse(b, dictionary()) }); n > 200 {
		t.Errorf("%v allocations", n)
	}
	many := bytes.Repeat([]byte{0, 0, 0xff, 0xff, 0, 0, 0, 8}, 5000)
	if _, f = parse(append(m.Header.Serialize(), many...), dictionary()); f == nil {
		t.Error("5000 AVPs were taken")
	}
}
