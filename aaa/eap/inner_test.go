package eap

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"openmpa/paa/keys"
)

const testPassword = "correct horse"

// scripted is a server of a test: a script at the other end of a peer's TLS.
type scripted struct {
	kind   Type
	config *tls.Config
	m      method
	err    error
}

func (b *bench) scripted(kind Type) *scripted {
	t := baseConfig(b.server.MinVersion, b.server.MaxVersion, nil, nil)
	t.Certificates = []tls.Certificate{b.server.Certificate}
	return &scripted{kind: kind, config: t}
}

// tunnelled makes the bench's peer one of that method.
func (b *bench) tunnelled(kind Type, inner Inner) {
	b.peer.Method, b.peer.Inner, b.peer.Password = kind, inner, keys.NewSecret([]byte(testPassword))
	b.peer.TLS.Certificate, b.peer.Anonymous = tls.Certificate{}, "anonymous@home.example"
}

// converse runs the peer against the script, and ends with EAP-Success or Failure as
// the script did.
func (s *scripted) converse(t testing.TB, p *Peer, run script) {
	t.Helper()
	s.m.tx.size = DefaultFragmentSize
	s.m.eng = startEngine(false, s.kind, s.config, run)
	defer s.m.eng.close()
	id := uint8(1)
	data := fragment{start: true}.appendBinary(nil)
	for range 200 {
		out, _ := p.Handle(Packet{Code: CodeRequest, ID: id, Type: s.kind, Data: data}.bytes())
		if out == nil {
			t.Fatalf("no answer (peer: %v, script: %v)", p.Err(), s.err)
		}
		pkt, err := Parse(out)
		if err != nil || pkt.Type != s.kind {
			t.Fatalf("%v %v", pkt.Type, err)
		}
		f, err := parseFragment(pkt.Data)
		if err != nil {
			t.Fatal(err)
		}
		reply, stepped, err := s.m.exchange(f)
		over := errors.Is(err, errAck) // nothing more to say, on either side
		if err != nil && !over {
			s.err = err
		}
		switch {
		case over && s.m.eng.out.complete, s.err == nil && stepped && s.m.eng.out.complete && len(reply.data) == 0:
			p.Handle([]byte{byte(CodeSuccess), id, 0, 4})
			return
		case over, s.err != nil && len(reply.data) == 0:
			p.Handle([]byte{byte(CodeFailure), id, 0, 4})
			return
		}
		id++
		data = reply.appendBinary(nil)
	}
	t.Fatal("no end")
}

// ttlsServer is a script that reads the peer's attributes and answers with those that
// answer gives.
func ttlsServer(answer func(t *tunnel, got []avp) ([]avp, error)) script {
	return func(t *tunnel) error {
		b, err := t.read()
		if err != nil {
			return err
		}
		got, err := parseAVPs(b)
		if err != nil {
			return err
		}
		list, err := answer(t, got)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			if err := t.write(appendAVPs(nil, list...)); err != nil {
				return err
			}
		}
		if err := t.succeed(); err != nil {
			return err
		}
		return t.linger()
	}
}

func TestTTLSPAP(t *testing.T) {
	forVersions(t, func(t *testing.T, version uint16) {
		b := newBench(t, version)
		b.tunnelled(TypeTTLS, InnerPAP)
		p, err := NewPeer(b.peer)
		if err != nil {
			t.Fatal(err)
		}
		if out, _ := p.Handle(reqIdentity); string(out[5:]) != "anonymous@home.example" {
			t.Errorf("identity %q", out)
		}
		s := b.scripted(TypeTTLS)
		s.converse(t, p, ttlsServer(func(_ *tunnel, got []avp) ([]avp, error) {
			want := []avp{
				{code: 1, mandatory: true, data: []byte(testClient)},
				{code: 2, mandatory: true, data: []byte(testPassword + "\x00\x00\x00")},
			}
			if d := cmp.Diff(want, got, cmp.AllowUnexported(avp{})); d != "" {
				return nil, errors.New(d)
			}
			return nil, nil
		}))
		_, success, msk := p.Result()
		if !success || !msk.Equal(s.m.eng.out.msk) {
			t.Errorf("success %v; peer: %v, server: %v", success, p.Err(), s.err)
		}
		// A server that asks again, and one that refuses.
		for want, run := range map[string]script{
			`it says "token?"`: ttlsServer(func(*tunnel, []avp) ([]avp, error) {
				return []avp{{code: avpReplyMessage, data: []byte("token?")}}, nil
			}),
			"wrong password, or no such user": ttlsServer(func(*tunnel, []avp) ([]avp, error) { return nil, errors.New("no") }),
		} {
			p, _ := NewPeer(b.peer)
			b.scripted(TypeTTLS).converse(t, p, run)
			if done, success, msk := p.Result(); !done || success || msk != nil || !strings.HasSuffix(fmt.Sprint(p.Err()), want) {
				t.Errorf("done %v, success %v, %v, expected %q", done, success, p.Err(), want)
			}
		}
	})
}

// TestTTLSMSCHAPv2: what the peer takes as the server's proof, and what not.
func TestTTLSMSCHAPv2(t *testing.T) {
	type answer func(ident byte, c chap) []avp
	proof := func(ident byte, c chap) avp {
		return avp{vendor: vendorMicrosoft, code: avpMSSuccess2, mandatory: true, data: append([]byte{ident}, c.authenticator()...)}
	}
	run := func(t *testing.T, version uint16, a answer) (*Peer, *scripted) {
		b := newBench(t, version)
		b.tunnelled(TypeTTLS, InnerMSCHAPv2)
		p, err := NewPeer(b.peer)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		s := b.scripted(TypeTTLS)
		s.converse(t, p, ttlsServer(func(tn *tunnel, got []avp) ([]avp, error) {
			challenge, ident, err := tn.ttlsChallenge()
			if err != nil {
				return nil, err
			}
			if len(got) != 3 || !got[0].is(0, avpUserName) || !got[1].is(vendorMicrosoft, avpMSChallenge) || !got[2].is(vendorMicrosoft, avpMSResponse2) {
				return nil, fmt.Errorf("%+v", got)
			}
			c := chap{server: challenge, user: string(got[0].data)}
			gotIdent, peer, response, err := parseAVPResponse(got[2].data)
			c.peer = peer
			if c.nt, _ = NTHash(testPassword); err != nil || string(got[1].data) != string(challenge[:]) || gotIdent != ident || response != c.ntResponse() {
				return nil, errors.New("not the response expected")
			}
			return a(ident, c), nil
		}))
		return p, s
	}
	forVersions(t, func(t *testing.T, version uint16) {
		for name, a := range map[string]answer{
			"proof": func(ident byte, c chap) []avp { return []avp{proof(ident, c)} },
			"and others that may be ignored": func(ident byte, c chap) []avp {
				return []avp{{code: avpReplyMessage, mandatory: true, data: []byte("hi")}, {vendor: vendorMicrosoft, code: 10, mandatory: true}, proof(ident, c), {code: 999}}
			},
		} {
			p, s := run(t, version, a)
			if _, success, msk := p.Result(); !success || !msk.Equal(s.m.eng.out.msk) {
				t.Errorf("%s: success %v; peer: %v, server: %v", name, success, p.Err(), s.err)
			}
		}
		for want, a := range map[string]answer{
			"its proof is wrong": func(ident byte, c chap) []avp {
				c.nt, _ = NTHash("another")
				return []avp{proof(ident, c)}
			},
			"without knowing it":      func(ident byte, c chap) []avp { return []avp{proof(ident+1, c)} },
			"has no MS-CHAP2-Success": func(byte, chap) []avp { return []avp{{code: avpReplyMessage}} },
			"AVP 999 that must be":    func(ident byte, c chap) []avp { return []avp{proof(ident, c), {code: 999, mandatory: true}} },
			"AVP 7 of vendor 9 that":  func(ident byte, c chap) []avp { return []avp{proof(ident, c), {vendor: 9, code: 7, mandatory: true}} },
			"password has expired": func(byte, chap) []avp {
				return []avp{{vendor: vendorMicrosoft, code: avpMSError, data: []byte("\x01E=648 R=0 V=3")}}
			},
			"disabled; it says \"left in May\"": func(byte, chap) []avp {
				return []avp{{vendor: vendorMicrosoft, code: avpMSError, data: []byte("\x01E=647 R=0 M=left in May")}}
			},
			"wrong password, or no such user": func(byte, chap) []avp {
				return []avp{{vendor: vendorMicrosoft, code: avpMSError}}
			},
		} {
			p, _ := run(t, version, a)
			if done, success, msk := p.Result(); !done || success || msk != nil || !strings.Contains(fmt.Sprint(p.Err()), want) {
				t.Errorf("done %v, success %v, %v, expected %q", done, success, p.Err(), want)
			}
		}
	})
}

// peapServer is a script: a list of steps, each given the peer's last message.
type peapStep func(t *tunnel, got []byte) ([]byte, error)

func peapServer(steps ...peapStep) script {
	return func(t *tunnel) error {
		var got []byte
		for _, step := range steps {
			out, err := step(t, got)
			if err != nil {
				return err
			}
			if err := t.write(out); err != nil {
				return err
			}
			if got, err = t.read(); err != nil {
				return err
			}
		}
		r, err := parseInner(got, CodeResponse)
		if err != nil {
			return err
		}
		if result, err := parseResult(r.Data); r.Type != TypeTLV || err != nil || !result.success {
			return fmt.Errorf("the peer says no: %+v, %v", result, err)
		}
		if !t.out.complete {
			if err := t.succeed(); err != nil {
				return err
			}
		}
		return t.linger()
	}
}

func send(b ...byte) peapStep { return func(*tunnel, []byte) ([]byte, error) { return b, nil } }

// result is the last request, with its header as it has to be.
func result(list ...tlv) []byte {
	pkt := Packet{Code: CodeRequest, ID: 9, Type: TypeTLV}
	for _, v := range list {
		pkt.Data = v.appendBinary(pkt.Data)
	}
	return pkt.bytes()
}

// challenged are the steps up to the server's proof, made of that password.
func challenged(c *chap, password string) []peapStep {
	return []peapStep{
		send(byte(TypeIdentity)),
		func(_ *tunnel, got []byte) ([]byte, error) {
			c.user = string(got[1:])
			c.nt, _ = NTHash(password)
			c.server = [16]byte{1, 2, 3}
			return chapPacket{code: chapChallenge, id: 5, challenge: c.server, name: "aaa"}.appendBinary([]byte{byte(TypeMSCHAPv2)}), nil
		},
		func(_ *tunnel, got []byte) ([]byte, error) {
			r, err := parseCHAP(got[1:])
			if err != nil || got[0] != byte(TypeMSCHAPv2) || r.name != testClient {
				return nil, fmt.Errorf("% x, %w", got, err)
			}
			c.peer = r.challenge
			if r.response != c.ntResponse() && password == testPassword {
				return nil, errors.New("wrong NT-Response")
			}
			return chapPacket{code: chapSuccess, id: 5, message: c.authenticator() + " M=OK"}.appendBinary([]byte{byte(TypeMSCHAPv2)}), nil
		},
	}
}

func TestPEAP(t *testing.T) {
	run := func(t *testing.T, version uint16, steps ...peapStep) (*Peer, *scripted) {
		b := newBench(t, version)
		b.tunnelled(TypePEAP, InnerMSCHAPv2)
		p, err := NewPeer(b.peer)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		s := b.scripted(TypePEAP)
		s.converse(t, p, peapServer(steps...))
		return p, s
	}
	// binding is the last request with a Crypto-Binding that change may spoil.
	binding := func(c *chap, change func(*cryptoBinding)) peapStep {
		return func(tn *tunnel, _ []byte) ([]byte, error) {
			km, err := tn.material()
			if err != nil {
				return nil, err
			}
			isk, err := c.key()
			if err != nil {
				return nil, err
			}
			k := newPEAPKeys(km, isk)
			cb := cryptoBinding{nonce: [nonceLen]byte{4}}
			cb.mac = cb.compoundMAC(k)
			if change != nil {
				change(&cb)
			}
			tn.out.msk, tn.out.emsk = k.session()
			tn.out.complete = true
			return result(resultTLV(true), cb.tlv()), nil
		}
	}
	forVersions(t, func(t *testing.T, version uint16) {
		for name, last := range map[string]func(*chap) []peapStep{
			"without binding": func(*chap) []peapStep { return []peapStep{send(result(resultTLV(true))...)} },
			"with binding":    func(c *chap) []peapStep { return []peapStep{binding(c, nil)} },
			"after other methods and a notification": func(*chap) []peapStep {
				return []peapStep{
					func(_ *tunnel, got []byte) ([]byte, error) {
						if len(got) != 2 || got[1] != byte(chapSuccess) {
							return nil, fmt.Errorf("% x", got)
						}
						return []byte{6, 0}, nil // EAP-GTC
					},
					func(_ *tunnel, got []byte) ([]byte, error) {
						if string(got) != "\x03\x1a" {
							return nil, fmt.Errorf("Nak % x", got)
						}
						return []byte{byte(TypeNotification), 'h', 'i'}, nil
					},
					send(result(resultTLV(true))...),
				}
			},
		} {
			var c chap
			p, s := run(t, version, append(challenged(&c, testPassword), last(&c)...)...)
			_, success, msk := p.Result()
			if !success || !msk.Equal(s.m.eng.out.msk) || msk.Len() != 64 {
				t.Errorf("%s: success %v; peer: %v, server: %v", name, success, p.Err(), s.err)
			}
			if !p.indicated() {
				t.Errorf("%s: success was not indicated", name)
			}
		}
		for want, steps := range map[string]func(*chap) []peapStep{
			"without having asked for the password": func(*chap) []peapStep { return []peapStep{send(result(resultTLV(true))...)} },
			"having asked for the password": func(c *chap) []peapStep {
				return append(challenged(c, testPassword)[:2], send(result(resultTLV(true))...))
			},
			"its proof is wrong": func(c *chap) []peapStep { return challenged(c, "another") },
			"the inner method's keys": func(c *chap) []peapStep {
				return append(challenged(c, testPassword), binding(c, func(cb *cryptoBinding) { cb.mac[3]++ }))
			},
			"subtype 1, expected 0": func(c *chap) []peapStep {
				return append(challenged(c, testPassword), binding(c, func(cb *cryptoBinding) { cb.subtype = 1 }))
			},
			"does not authorize this user": func(c *chap) []peapStep {
				return append(challenged(c, testPassword), send(result(resultTLV(false))...))
			},
			"known there?":                  func(*chap) []peapStep { return []peapStep{send(1), send(result(resultTLV(false))...)} },
			"before it had the user's name": func(*chap) []peapStep { return []peapStep{send(result(resultTLV(false))...)} },
			"account may not": func(c *chap) []peapStep {
				return append(challenged(c, testPassword)[:2],
					send(chapPacket{code: chapFailure, id: 5, message: "E=649 R=0 C=00 V=3 M=no"}.appendBinary([]byte{26})...),
					send(result(resultTLV(false))...))
			},
			"Success out of order": func(*chap) []peapStep { return []peapStep{send(26, 3, 0, 0, 4)} },
			"Response out of order": func(*chap) []peapStep {
				return []peapStep{send(chapPacket{code: chapResponse}.appendBinary([]byte{26})...)}
			},
			"message of type 0":     func(*chap) []peapStep { return []peapStep{send(0)} },
			"a Nak as a request":    func(*chap) []peapStep { return []peapStep{send(3, 26)} },
			"without a Result TLV":  func(*chap) []peapStep { return []peapStep{send(result()...)} },
			"another length inside": func(*chap) []peapStep { return []peapStep{send(26, 1, 0, 0, 77)} },
		} {
			var c chap
			p, _ := run(t, version, steps(&c)...)
			if done, success, msk := p.Result(); !done || success || msk != nil || !strings.Contains(fmt.Sprint(p.Err()), want) {
				t.Errorf("done %v, success %v, %v, expected %q", done, success, p.Err(), want)
			}
		}
	})
}

// TestUnconfirmedResumption: whoever resumes TLS 1.3 and says success by EAP alone is
// not believed, and not resumed at again.
func TestUnconfirmedResumption(t *testing.T) {
	b := newBench(t, tls.VersionTLS13)
	b.peer.TLS.SessionCache = tls.NewLRUClientSessionCache(4)
	b.server.Sessions = NewSessions(time.Hour, nil)
	checkSuccess(t, b.converse(t))
	b.peer.FragmentSize, b.server.FragmentSize = MaxFragmentSize, MaxFragmentSize // each flight is one packet
	s, err := NewServer(b.server)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p, _ := NewPeer(b.peer)
	hello, _ := p.Handle(s.Start(1))
	flight, err := s.Handle(hello)
	if err != nil {
		t.Fatal(err)
	}
	finished, err := p.Handle(flight)
	if err != nil || len(finished) < 20 {
		t.Fatalf("% x, %v", finished, err)
	}
	p.Handle([]byte{3, flight[1], 0, 4})
	if done, _, _ := p.Result(); done {
		t.Error("believed")
	}
	p.AltReject()
	if !strings.Contains(fmt.Sprint(p.Err()), "RFC 9190 section 2.5") {
		t.Error(p.Err())
	}
	for range 2 {
		r := b.converse(t)
		if checkSuccess(t, r); r.peer.Resumed() || r.server.Resumed() {
			t.Error("resumed again")
		}
	}
	// Another user of the same cache may.
	b.peer.Identity = "other@home.example"
	b.converse(t)
	if r := b.converse(t); !r.peer.Resumed() {
		t.Errorf("another user is not resumed: %v", r.peer.Err())
	}
}

// TestSessionsAreForgotten: what was refused is not resumed; what was broken off stays.
func TestSessionsAreForgotten(t *testing.T) {
	forVersions(t, func(t *testing.T, version uint16) {
		b := newBench(t, version)
		b.peer.TLS.SessionCache = tls.NewLRUClientSessionCache(4)
		b.server.Sessions = NewSessions(time.Hour, nil)
		checkSuccess(t, b.converse(t))
		p, _ := NewPeer(b.peer)
		s, _ := NewServer(b.server)
		if _, err := s.Handle(must(p.Handle(s.Start(1)))); err != nil {
			t.Fatal(err)
		}
		_, _ = p.Close(), s.Close()
		if r := b.converse(t); !r.peer.Resumed() {
			t.Error("a conversation that was broken off has ended the session")
		}
		p, _ = NewPeer(b.peer)
		p.Handle(reqStart)
		p.AltReject()
		if r := b.converse(t); r.peer.Resumed() {
			t.Error("resumed after a refusal")
		}
	})
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// FuzzPEAPPeer gives the peer's side of PEAP a hostile server's messages.
func FuzzPEAPPeer(f *testing.F) {
	var state tls.ConnectionState
	b := newBench(f, tls.VersionTLS13)
	b.tunnelled(TypePEAP, InnerMSCHAPv2)
	p, err := NewPeer(b.peer)
	if err != nil {
		f.Fatal(err)
	}
	b.scripted(TypePEAP).converse(f, p, func(t *tunnel) error {
		state = t.out.state
		return errors.New("enough")
	})
	_ = p.Close()
	f.Add([]byte{1}, chapPacket{code: chapChallenge}.appendBinary([]byte{26}), chapPacket{code: chapSuccess, message: "S="}.appendBinary([]byte{26}))
	f.Add([]byte{1, 1, 0, 5, 1}, result(resultTLV(true)), result(resultTLV(true), cryptoBinding{}.tlv()))
	f.Fuzz(func(t *testing.T, one, two, three []byte) {
		tn := &tunnel{out: &outcome{state: state}, kind: TypePEAP, them: "server"}
		peer := peapPeer{t: tn, credentials: credentials{kind: TypePEAP, user: testClient, password: keys.NewSecret([]byte(testPassword))}}
		defer peer.clear()
		for _, b := range [][]byte{one, two, three} {
			reply, over, err := peer.handle(b)
			if err == nil && len(reply) == 0 || over && len(reply) == 0 {
				t.Errorf("% x: no reply, no error", b)
			}
			if tn.out.complete || tn.out.indicated || peer.proved {
				t.Errorf("% x: success without the password", b)
			}
			if err != nil || over {
				return
			}
		}
	})
}

// FuzzTTLSProof gives the peer's side of EAP-TTLS a hostile server's answer.
func FuzzTTLSProof(f *testing.F) {
	auth := rfc2759Sample(f)
	c := credentials{kind: TypeTTLS, user: auth.user}
	right := avp{vendor: vendorMicrosoft, code: avpMSSuccess2, data: append([]byte{7}, auth.authenticator()...)}
	f.Add(appendAVPs(nil, avp{vendor: vendorMicrosoft, code: avpMSError, data: []byte("\x07E=691 M=x")}))
	f.Add(appendAVPs(nil, right)[:30])
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := c.ttlsProof(auth, 7, b); err == nil && !strings.Contains(strings.ToUpper(string(b)), auth.authenticator()) {
			t.Errorf("% x: accepted", b)
		} else if err != nil && strings.ContainsAny(err.Error(), "\n\r") {
			t.Errorf("not one line: %q", err)
		}
	})
}
