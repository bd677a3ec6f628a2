package diameter

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"openmpa/paa/keys"
)

var (
	router = Origin{Host: "ar-a.visited.example", Realm: "visited.example"}
	home   = Origin{Host: "aaa.home.example", Realm: "home.example"}
	access = Access{NASIdentifier: "ar-a", NASPort: "sid-1", CallingStation: "10.1.0.100", CalledStation: "ar.a.example"}
)

func secret(n int) *keys.Secret { return keys.NewSecret(bytes.Repeat([]byte{0xa5}, n)) }

// wire carries a message as a connection does: octets, parsed and checked.
func wire(t *testing.T, m *diam.Message) *diam.Message {
	t.Helper()
	b, err := m.Serialize()
	if err != nil {
		t.Fatal(err)
	}
	got, fault := parse(b, dictionary())
	if fault != nil {
		t.Fatalf("%v: %v", m, fault)
	}
	if fault := newRules(dictionary()).check(got); fault != nil {
		t.Fatalf("%v: %v", m, fault)
	}
	if got.AVP[0].Code != avp.SessionID {
		t.Errorf("the first AVP is %d, want Session-Id", got.AVP[0].Code)
	}
	return got
}

func same(t *testing.T, got, want any) {
	t.Helper()
	opt := cmp.Comparer(func(a, b *keys.Secret) bool { return bytes.Equal(a.Bytes(), b.Bytes()) })
	if d := cmp.Diff(want, got, opt, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("not what was sent (-want +got):\n%s", d)
	}
}

func TestEAPRequest(t *testing.T) {
	want := EAPRequest{
		Session: "ar-a.visited.example;1;2", Origin: router, Realm: "home.example", UserName: "mn@home.example",
		EAP: []byte{2, 1, 0, 5, 1}, State: [][]byte{{1, 2, 3}, {4}}, MTU: 1200, Access: access,
	}
	got, err := parseEAPRequest(wire(t, want.message()))
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, want)
}

// requestWith is a good request with one AVP replaced.
func requestWith(code uint32, put func(builder)) *diam.Message {
	m := EAPRequest{Session: "s", Origin: router, Realm: "home.example", UserName: "mn", EAP: []byte{2, 1, 0, 5, 1}}.message()
	m.DeleteAVP(code, 0)
	put(builder{m})
	return m
}

func TestEAPRequestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		code   uint32
		put    func(builder)
		result Result
	}{
		"application":    {avp.AuthApplicationID, func(b builder) { b.number(avp.AuthApplicationID, 1) }, InvalidAVPValue},
		"authorize only": {avp.AuthRequestType, func(b builder) { b.enum(avp.AuthRequestType, 2) }, InvalidAVPValue},
		"states":         {codeState, func(b builder) { b.each(codeState, make([][]byte, maxState+1)) }, AVPTooOften},
	} {
		t.Run(name, func(t *testing.T) {
			m := requestWith(c.code, c.put)
			_, err := parseEAPRequest(m)
			f := faultOf(err)
			if err == nil || Result(f.Code) != c.result || f.Failed == nil || f.Failed.Code != c.code {
				t.Fatalf("%v (failed %v), want %v and the AVP", err, f.Failed, c.result)
			}
			answer := refuseBy(m, f, home)
			if names := failedNames(answer); names == "" || strings.HasPrefix(names, "AVP ") {
				t.Errorf("Failed-AVP holds %q", names)
			}
		})
	}
}

func TestEAPAnswer(t *testing.T) {
	req := EAPRequest{Session: "s", Origin: router, Realm: "home.example", UserName: "mn", EAP: []byte{2, 1, 0, 5, 1}}.message()
	for name, want := range map[string]EAPAnswer{
		"goes on": {Result: MultiRoundAuth, Origin: home, EAP: []byte{1, 2, 0, 6, 13, 0x20}, State: [][]byte{{9}}},
		"accept": {
			Result: Success, Origin: home, EAP: []byte{3, 2, 0, 4}, MSK: secret(64), UserName: "mn@home.example", Class: [][]byte{{1}, {2, 3}},
			Handle: []byte("cui"), Timeout: time.Hour, Lifetime: 30 * time.Minute, Interim: time.Minute, Stateful: true, Methods: []uint64{13},
		},
		"no state":    {Result: Success, Origin: home, EAP: []byte{3, 2, 0, 4}, MSK: secret(64)},
		"reject":      {Result: AuthenticationRejected, Origin: home, EAP: []byte{4, 2, 0, 4}, Message: "who is that?"},
		"reissued":    {Result: MultiRoundAuth, Origin: home, Reissued: []byte{1, 2, 0, 6, 13, 0x20}},
		"a busy one":  {Result: TooBusy, Origin: home, Message: "later"},
		"a bare fact": {Result: AuthorizationRejected, Origin: home},
	} {
		t.Run(name, func(t *testing.T) {
			m := want.message(req, home)
			if want.Result.class() == 3 {
				m.Header.CommandFlags |= diam.ErrorFlag // the Node's
			}
			b, err := m.Serialize()
			if err != nil {
				t.Fatal(err)
			}
			read, fault := parse(b, dictionary())
			if fault != nil {
				t.Fatal(fault)
			}
			got, err := parseEAPAnswer(read)
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, want)
			if k := fields(read.AVP).octets(codeEAPMasterSessionKey); len(k) > 0 && !bytes.Equal(k, make([]byte, len(k))) {
				t.Error("the key is still in the message")
			}
		})
	}
}

func TestEAPAnswerRefused(t *testing.T) {
	req := EAPRequest{Session: "s", Origin: router, Realm: "home.example", EAP: []byte{2}}.message()
	for name, put := range map[string]func(builder){
		"key":   func(b builder) { b.put(codeEAPMasterSessionKey, key(make([]byte, maxKey+1))) },
		"class": func(b builder) { b.each(avp.Class, [][]byte{make([]byte, maxClass), {1}}) },
		"state": func(b builder) { b.each(codeState, make([][]byte, maxState+1)) },
	} {
		t.Run(name, func(t *testing.T) {
			m := EAPAnswer{Result: Success, Origin: home}.message(req, home)
			put(builder{m})
			if a, err := parseEAPAnswer(m); err == nil {
				t.Errorf("taken: %+v", a)
			}
		})
	}
	m := EAPAnswer{Result: Success, Origin: home}.message(req, home)
	m.DeleteAVP(avp.ResultCode, 0)
	if _, err := parseEAPAnswer(m); err == nil {
		t.Error("an answer without a Result-Code is taken")
	}
}

// TestLimits says how long an access lasts for the pairs of Session-Timeout and
// Authorization-Lifetime (RFC 6733 sections 8.9 and 8.13).
func TestLimits(t *testing.T) {
	for _, c := range []struct{ timeout, lifetime, want time.Duration }{
		{0, 0, 0},
		{time.Hour, 0, time.Hour},
		{0, time.Minute, time.Minute},
		{time.Hour, time.Minute, time.Minute},
		{time.Minute, time.Hour, time.Minute},
	} {
		if got := (EAPAnswer{Timeout: c.timeout, Lifetime: c.lifetime}).Limit(); got != c.want {
			t.Errorf("Session-Timeout %v, Authorization-Lifetime %v: %v, want %v", c.timeout, c.lifetime, got, c.want)
		}
	}
	req := EAPRequest{Session: "s", Origin: router, Realm: "home.example", EAP: []byte{2}}.message()
	m := EAPAnswer{Result: Success, Origin: home}.message(req, home)
	builder{m}.number(avp.AuthorizationLifetime, 0) // at once
	if a, err := parseEAPAnswer(m); err != nil || a.Limit() == 0 {
		t.Errorf("a lifetime of 0 is without end (%v)", err)
	}
	m.DeleteAVP(avp.AuthorizationLifetime, 0)
	builder{m}.number(avp.AuthorizationLifetime, 0xffffffff)
	if a, err := parseEAPAnswer(m); err != nil || a.Limit() != 0 {
		t.Errorf("a lifetime of all ones is %v, want none (%v)", a.Limit(), err)
	}
}

// TestVendorsAVPs says that AVPs of vendors are never taken for ours of the same code.
func TestVendorsAVPs(t *testing.T) {
	req := EAPRequest{Session: "s", Origin: router, Realm: "home.example", EAP: []byte{2}}.message()
	m := EAPAnswer{Result: Success, Origin: home}.message(req, home)
	m.AddAVP(diam.NewAVP(codeEAPMasterSessionKey, 0, 10415, key(make([]byte, 64))))
	m.AddAVP(diam.NewAVP(codeEAPPayload, 0, 10415, key{3, 1, 0, 4}))
	a, err := parseEAPAnswer(m)
	if err != nil || a.MSK != nil || a.EAP != nil {
		t.Errorf("%+v, %v: AVPs of vendor 10415 are read as ours", a, err)
	}
}

func TestRecordMessage(t *testing.T) {
	want := Record{
		Session: "s", Origin: router, Realm: "home.example", Type: StopRecord, Number: 7, UserName: "mn@home.example", Handle: []byte("cui"),
		Class: [][]byte{{1}, {2}}, Access: access, Time: time.Unix(1_800_000_000, 0), Delay: 3 * time.Second, Length: time.Minute, Interim: 2 * time.Minute,
		Cause: UserMoved, OctetsIn: 1 << 40, OctetsOut: 2, PacketsIn: 3, PacketsOut: 4,
	}
	m := wire(t, want.message())
	got, err := parseRecord(m)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, want)
	answer := wire(t, want.answer(m, Success, home))
	if n, _ := fields(answer.AVP).number(avp.AccountingRecordNumber); n != 7 {
		t.Errorf("the answer is to record %d", n)
	}
	// After 2036 the time has begun anew (RFC 6733 section 4.3.1).
	want.Time = time.Unix(2_200_000_000, 0)
	if got, _ = parseRecord(wire(t, want.message())); !got.Time.Equal(want.Time) {
		t.Errorf("Event-Timestamp %v, want %v", got.Time, want.Time)
	}
	m.DeleteAVP(avp.AccountingRecordType, 0)
	builder{m}.enum(avp.AccountingRecordType, 5)
	if _, err := parseRecord(m); err == nil {
		t.Error("an Accounting-Record-Type of 5 is taken")
	}
}

func TestEndedAndOrders(t *testing.T) {
	e := Ended{Session: "s", Origin: router, Realm: "home.example", UserName: "mn", Class: [][]byte{{1}}, Cause: LinkBroken}
	same(t, parseEnded(wire(t, e.message())), e)
	for _, o := range []Order{
		{Kind: Abort, Session: "s", Origin: home, Host: router.Host, Realm: router.Realm, UserName: "mn", Why: "no credit"},
		{Kind: ReAuth, Session: "s", Origin: home, Host: router.Host, Realm: router.Realm},
		{Kind: Extend, Session: "s", Origin: home, Host: router.Host, Realm: router.Realm, Life: time.Minute},
	} {
		got, err := parseOrder(wire(t, o.message()))
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, o)
	}
}

// TestSessionIDs says that no two are the same, within a process or with another one
// that began in the same second, and that they begin with the identity.
func TestSessionIDs(t *testing.T) {
	now := time.Now()
	seen := make(map[string]bool)
	for range 3 {
		s, err := newSessionIDs(router.Host, now, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			id := s.make()
			if parts := strings.Split(id, ";"); seen[id] || len(parts) != 4 || parts[0] != router.Host {
				t.Fatalf("%q, expected %s;high;low;random, as never before", id, router.Host)
			}
			seen[id] = true
		}
	}
}

func TestResultWords(t *testing.T) {
	for r := range words {
		if r.Advice() == "" || !strings.Contains(r.String(), "DIAMETER_") {
			t.Errorf("%v: %q", r, r.Advice())
		}
	}
	if got := Result(5999).Advice(); got != UnableToComply.Advice() {
		t.Errorf("an unknown result of 5xxx: %q, want the general one", got)
	}
	if e := (&ResultError{Request: "Diameter-EAP-Request", Server: "aaa.home.example", Result: MissingAVP, Failed: "EAP-Payload"}).Error(); strings.Contains(e, "\n") || !strings.Contains(e, "EAP-Payload") {
		t.Errorf("%q", e)
	}
}
