package radius

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"layeh.com/radius/rfc3576"
)

func testRecord() Record {
	return Record{
		Kind: RecordStop, Session: "s-1", UserName: "mn@home.example", NASPort: "sid-1", CallingStation: "10.1.0.100", CalledStation: "ar.a.example",
		Class: [][]byte{[]byte("one"), []byte("two")}, Handle: []byte("cui"), Time: time.Unix(1700000000, 0), Delay: 7 * time.Second,
		SessionTime: 90 * time.Second, InputOctets: 5<<32 + 6, OutputOctets: 7, InputPackets: 8, OutputPackets: 9, Cause: 2,
	}
}

// goldenRecord is testRecord under identifier 9 and the secret "testing123", of a network
// a.example; both sums were computed apart, with Python's hmac and hashlib.
const goldenRecord = `
	04 09 00cc 2bcfeb5a729ccd6e88b1977af2f9197a
	50 12 79ed688aafbee5be9cdb4b0766be89b3
	20 06 61722d61
	7e 0c 31612e6578616d706c65
	28 06 00000002
	2c 05 732d31
	01 11 6d6e40686f6d652e6578616d706c65
	3d 06 00000005
	57 07 7369642d31
	1f 0c 31302e312e302e313030
	1e 0e 61722e612e6578616d706c65
	2d 06 00000001
	19 05 6f6e65
	19 05 74776f
	59 05 637569
	37 06 6553f100
	29 06 00000007
	2e 06 0000005a
	2a 06 00000006
	2b 06 00000007
	34 06 00000005
	35 06 00000000
	2f 06 00000008
	30 06 00000009
	31 06 00000002`

func TestRecordGolden(t *testing.T) {
	wire := unhex(t, goldenRecord)
	got, err := testRecord().encode(nas{"ar-a", "a.example"}, 9, testAuth, secret("testing123"))
	if err != nil || !bytes.Equal(got, wire) {
		t.Fatalf("got\n%x, expected\n%x, %v", got, wire, err)
	}
	r, err := ParseRequest(wire, secret("testing123"), AccountingRequest)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(testRecord(), *r.Record); d != "" || r.Code != AccountingRequest || r.NASIdentifier != "ar-a" || r.Operator != "a.example" {
		t.Errorf("%+v\n%s", r, d)
	}
	for i := range wire {
		bad := bytes.Clone(wire)
		bad[i] ^= 1
		if _, err := ParseRequest(bad, secret("testing123"), AccountingRequest); err == nil {
			t.Errorf("octet %d changed, and it counts", i)
		}
		if _, err := ParseRequest(wire[:i], secret("testing123"), AccountingRequest); err == nil {
			t.Errorf("%d octets of it count", i)
		}
	}
	if _, err := ParseRequest(wire, secret("testing123")); !errors.Is(err, ErrCode) {
		t.Errorf("where only Access-Requests go: %v", err)
	}
	if _, err := ParseRequest(wire, secret("another"), AccountingRequest); !errors.Is(err, ErrBadAuthenticator) {
		t.Errorf("under another secret: %v", err)
	}
}

// TestRecordKinds: a start has no usage, and a record names its session.
func TestRecordKinds(t *testing.T) {
	start := testRecord()
	start.Kind = RecordStart
	b, err := start.encode(nas{identifier: "ar-a"}, 9, testAuth, secret("testing123"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseRequest(b, secret("testing123"), AccountingRequest)
	if err != nil {
		t.Fatal(err)
	}
	want := start
	want.SessionTime, want.InputOctets, want.OutputOctets, want.InputPackets, want.OutputPackets, want.Cause = 0, 0, 0, 0, 0, 0
	if d := cmp.Diff(want, *r.Record); d != "" {
		t.Error(d)
	}
	start.Session = ""
	if _, err := start.encode(nas{identifier: "ar-a"}, 9, testAuth, secret("testing123")); err == nil {
		t.Error("of no session")
	}
	var a attributes
	if b, err = a.seal(AccountingRequest, 1, testAuth, []byte("testing123")); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseRequest(b, secret("testing123"), AccountingRequest); err == nil || !strings.Contains(err.Error(), "Acct-Status-Type") {
		t.Errorf("of no kind: %v", err)
	}
}

// bookkeeper answers records, with a Message-Authenticator or without.
func bookkeeper(t *testing.T, b []byte, signed bool, cause Cause) []byte {
	req, err := ParseRequest(b, secret("testing123"), AccountingRequest, StatusServer)
	if err != nil {
		t.Error(err)
		return nil
	}
	out, err := req.Encode(Reply{Code: AccountingResponse, ErrorCause: cause}, secret("testing123"), bytes.NewReader(nil))
	if err != nil {
		t.Error(err)
	}
	if !signed {
		out = append(out[:headerLen:headerLen], out[headerLen+18:]...)
		out[3] -= 18
		copy(out[4:], b[4:headerLen])
		sum := responseAuthenticator(out, []byte("testing123"))
		copy(out[4:], sum[:])
	}
	return out
}

var (
	booksA = netip.MustParseAddrPort("10.0.5.1:1813")
	booksB = netip.MustParseAddrPort("10.0.5.2:1813")
)

func accountant(t *testing.T, onSend func(*fakeConn, []byte, netip.AddrPort)) *Client {
	c, _ := newTestClient(t, []netip.AddrPort{serverA, serverB}, func(cfg *Config) {
		cfg.Servers[0].Accounting, cfg.Servers[1].Accounting = booksA, booksB
	}, onSend)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestAccount: a record goes to the server that accepted the session while it lives, and
// to another when it is silent; the delay is told.
func TestAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []*ServerRequest
		var to []netip.AddrPort
		silent := map[netip.AddrPort]bool{}
		c := accountant(t, func(conn *fakeConn, b []byte, at netip.AddrPort) {
			req, err := ParseRequest(b, secret("testing123"), AccountingRequest)
			if err != nil {
				t.Error(err)
				return
			}
			got, to = append(got, req), append(to, at)
			if !silent[at] {
				conn.inject(bookkeeper(t, b, false, 0), at)
			}
		})
		r := testRecord()
		r.Delay, r.Time = 0, time.Now()
		time.Sleep(3 * time.Second)
		if at, err := c.Account(t.Context(), r, serverB.Addr()); err != nil || at != booksB || to[0] != booksB {
			t.Fatalf("%v, %v", at, err)
		}
		if d := got[0].Record.Delay; d != 3*time.Second {
			t.Errorf("delay %v", d)
		}
		if at, err := c.Account(t.Context(), r, netip.Addr{}); err != nil || at != booksA {
			t.Errorf("%v, %v", at, err)
		}
		silent[booksB] = true
		to, got = nil, nil
		if at, err := c.Account(t.Context(), r, serverB.Addr()); err != nil || at != booksA || to[0] != booksB {
			t.Errorf("%v, %v: %v", at, err, to)
		}
		for _, req := range got[1:] { // each repetition is the same record
			if d := cmp.Diff(got[0].Record, req.Record, cmpopts.IgnoreFields(Record{}, "Delay")); d != "" {
				t.Error(d)
			}
		}
		if at, err := c.Account(t.Context(), r, serverB.Addr()); err != nil || at != booksA {
			t.Errorf("%v, %v", at, err)
		}
		if to[len(to)-1] != booksA || to[len(to)-2] == booksB && len(to) > 4 {
			t.Errorf("the dead one was asked: %v", to)
		}
		silent[booksA] = true
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var none *TimeoutError
		if _, err := c.Account(ctx, r, serverB.Addr()); !errors.As(err, &none) {
			t.Errorf("%v", err)
		}
	})
}

// TestAccountSigned: whose answers to records once had a Message-Authenticator is believed
// nothing without one; what refuses a record is no receipt.
func TestAccountSigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signed, cause := false, Cause(0)
		c := accountant(t, func(conn *fakeConn, b []byte, at netip.AddrPort) {
			if at == booksA {
				conn.inject(bookkeeper(t, b, signed, cause), at)
			}
		})
		account := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := c.Account(ctx, testRecord(), netip.Addr{})
			return err
		}
		if err := account(); err != nil {
			t.Fatal(err)
		}
		signed = true
		if err := account(); err != nil {
			t.Fatal(err)
		}
		signed = false
		if err := account(); !errors.Is(err, ErrNoMessageAuthenticator) {
			t.Errorf("%v", err)
		}
		signed, cause = true, CauseUnsupportedExtension
		if err := account(); !errors.Is(err, ErrNotTaken) || !strings.Contains(err.Error(), rfc3576.ErrorCause(cause).String()) {
			t.Errorf("%v", err)
		}
	})
}

func TestAccountNobody(t *testing.T) {
	c, _ := newTestClient(t, []netip.AddrPort{serverA}, nil, nil)
	defer c.Close()
	if _, err := c.Account(t.Context(), testRecord(), serverA.Addr()); !errors.Is(err, ErrNoAccounting) {
		t.Errorf("%v", err)
	}
}
