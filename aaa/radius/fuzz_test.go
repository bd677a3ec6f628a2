package radius

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"io"
	"testing"
	"time"
)

// resign gives octets the sums that their code wants, so that a fuzzer gets past them;
// nil when there is no place for them. sent is the authenticator of the request that an
// answer answers.
func resign(b []byte, sent [authLen]byte, key []byte) []byte {
	if len(b) < headerLen+18 || len(b) > MaxPacket || b[headerLen] != 80 || b[headerLen+1] != 18 {
		return nil
	}
	b = bytes.Clone(b)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	clear(b[headerLen+2 : headerLen+18])
	random := Code(b[0]) == AccessRequest || Code(b[0]) == StatusServer
	switch {
	case Code(b[0]).computed():
		clear(b[4:headerLen])
	case !random:
		copy(b[4:], sent[:])
	}
	mac := hmac.New(md5.New, key)
	mac.Write(b)
	copy(b[headerLen+2:], mac.Sum(nil))
	if !random {
		sum := md5.Sum(append(bytes.Clone(b), key...))
		copy(b[4:], sum[:])
	}
	return b
}

// FuzzRequests feeds what a server reads of routers.
func FuzzRequests(f *testing.F) {
	s := secret("testing123")
	f.Add(unhex(f, goldenRequest))
	f.Add(unhex(f, goldenRecord))
	status, err := statusRequest{}.encode(nas{"ar-a", "a.example"}, 1, testAuth, s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(status)
	codes := []Code{AccessRequest, AccountingRequest, StatusServer}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = ParseRequest(b, s, codes...)
		b = resign(b, testAuth, s.Bytes())
		if b == nil {
			return
		}
		r, err := ParseRequest(b, s, codes...)
		if err != nil {
			return
		}
		if (r.Code == AccountingRequest) != (r.Record != nil) {
			t.Fatalf("%v with record %v", r.Code, r.Record)
		}
		out, err := r.Encode(Reply{Code: answers[r.Code][0]}, s, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := open(out, &r.Authenticator, s.Bytes()); err != nil {
			t.Fatal(err)
		}
		if r.Record == nil || r.NASIdentifier == "" {
			return
		}
		// What is read of a record is what is sent of it.
		again, err := r.Record.encode(nas{r.NASIdentifier, r.Operator}, 1, testAuth, s)
		if err != nil { // it does not fit any more, with what was left out
			return
		}
		if _, err := ParseRequest(again, s, AccountingRequest); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzAnswers feeds what a router reads of servers, as the answer to each of its requests.
func FuzzAnswers(f *testing.F) {
	s := secret("testing123")
	f.Add(testReply(f, AccessAccept, nil))
	f.Add(testReply(f, AccessReject, nil))
	var a attributes
	books, err := a.seal(AccountingResponse, 9, testAuth, s.Bytes())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(books)
	f.Fuzz(func(t *testing.T, b []byte) {
		signed := resign(b, testAuth, s.Bytes())
		for _, req := range []request{Request{}, Record{}, statusRequest{}} {
			_, _ = req.answer(b, testAuth, s)
			if signed == nil {
				continue
			}
			r, err := req.answer(signed, testAuth, s)
			if _, access := req.(Request); err == nil && !access && (r.MSK != nil || r.EAP != nil) {
				t.Fatalf("%T is answered by %+v", req, r)
			}
			if err == nil && r.MSK != nil && r.MSK.Len() != 64 {
				t.Fatalf("MSK of %d octets", r.MSK.Len())
			}
			r.MSK.Clear()
		}
	})
}

// FuzzOrders feeds what a router reads of servers by themselves, and what a server reads
// as the answer.
func FuzzOrders(f *testing.F) {
	s := secret("testing123")
	f.Add(unhex(f, goldenDisconnect))
	f.Add(order(f, CoARequest, bySession, anHour, proxyStateA, proxyStateB))
	f.Add(order(f, CoARequest, bySession, onlyAgain, orderState))
	f.Add(unhex(f, goldenDisconnectACK))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = parseOrder(b, s, routerA, true)
		_, _ = parseOrder(b, s, routerA, false)
		sent := unhex(t, goldenDisconnect)
		_, _ = ParseOrderAnswer(b, sent, s)
		if signed := resign(b, [authLen]byte(sent[4:headerLen]), s.Bytes()); signed != nil {
			_, _ = ParseOrderAnswer(signed, sent, s)
			b = signed
		}
		r, err := parseOrder(b, s, routerA, true)
		if err != nil {
			return
		}
		if r.cause == CauseNone && !r.names() {
			t.Fatal("an order for everybody")
		}
		if r.cause == CauseNone && r.Code == CoARequest && r.Again == (r.Life > 0) {
			t.Fatalf("an order of two meanings, or none: %+v", r.Order)
		}
		if r.Life < 0 || r.Life > 1<<32*time.Second {
			t.Fatalf("life %v", r.Life)
		}
		for _, cause := range []Cause{CauseNone, CauseNotFound, CauseInitiated} {
			out, err := r.answer(cause, s)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ParseOrderAnswer(out, b, s); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzStream feeds a TLS connection's octets: whatever comes, a packet has a length that
// packets have.
func FuzzStream(f *testing.F) {
	one := unhex(f, goldenRequest)
	f.Add(append(bytes.Clone(one), one...))
	f.Add([]byte{2, 1, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{2, 1, 0, 19, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		buf := make([]byte, MaxPacket)
		r := bytes.NewReader(b)
		for rest := len(b); ; {
			n, err := ReadPacket(r, buf)
			if err != nil {
				if rest == 0 && err != io.EOF {
					t.Fatal(err)
				}
				return
			}
			if n < headerLen || n > MaxPacket || n != int(binary.BigEndian.Uint16(buf[2:])) || !bytes.Equal(buf[:n], b[len(b)-rest:][:n]) {
				t.Fatalf("%d octets", n)
			}
			rest -= n
		}
	})
}
