package eap

import (
	"bytes"
	"crypto/tls"
	"errors"
	"testing"
)

var (
	reqIdentity = []byte{1, 7, 0, 5, 1}
	reqStart    = []byte{1, 8, 0, 6, 13, 0x20}
)

func newTestPeer(t testing.TB, version uint16) (*Peer, *bench) {
	t.Helper()
	b := newBench(t, version)
	p, err := NewPeer(b.peer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p, b
}

func TestPeerIdentityAndNak(t *testing.T) {
	p, _ := newTestPeer(t, 0)
	out, err := p.Handle(reqIdentity)
	want := append([]byte{2, 7, 0, byte(5 + len(testClient)), 1}, testClient...)
	if err != nil || !bytes.Equal(out, want) {
		t.Errorf("identity: % x, %v", out, err)
	}
	// The same identifier again gets the same answer, whatever it asks.
	if again, _ := p.Handle(reqIdentity); !bytes.Equal(again, want) {
		t.Errorf("retransmission: % x", again)
	}
	if out, _ := p.Handle([]byte{1, 9, 0, 9, 2, 'h', 'e', 'l', 'o'}); !bytes.Equal(out, []byte{2, 9, 0, 5, 2}) {
		t.Errorf("notification: % x", out)
	}
	for _, method := range []byte{4, 21, 25, 52, 254} {
		if out, _ := p.Handle([]byte{1, 10 + method, 0, 6, method, 0}); !bytes.Equal(out, []byte{2, 10 + method, 0, 6, 3, 13}) {
			t.Errorf("Nak of %d: % x", method, out)
		}
	}
	if p.Discarded() != 0 {
		t.Errorf("%d discarded", p.Discarded())
	}
}

func TestPeerDiscards(t *testing.T) {
	p, _ := newTestPeer(t, 0)
	canned := []byte{3, 0, 0, 4}
	for i, pkt := range [][]byte{
		nil,
		{1},
		canned,
		{1, 1, 0, 4},
		{1, 1, 0, 9, 1},
		{2, 1, 0, 5, 1},
		{9, 1, 0, 4},
		{1, 1, 0, 6, 3, 0},    // a request that is a Nak
		{1, 1, 0, 6, 13, 0},   // EAP-TLS without start
		{1, 1, 0, 5, 13},      // without flags
		{3, 1, 0, 5, 0},       // Success with data
		{1, 1, 0, 6, 0, 0x20}, // type 0
	} {
		if out, err := p.Handle(pkt); out != nil || err != nil {
			t.Errorf("% x: % x, %v", pkt, out, err)
		}
		if got := p.Discarded(); got != uint64(i+1) {
			t.Errorf("% x: %d discarded, expected %d", pkt, got, i+1)
		}
	}
	if _, err := p.Handle(reqIdentity); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Handle(reqStart); err != nil {
		t.Fatal(err)
	}
	// In the handshake neither Success nor another method nor the identity counts.
	for _, pkt := range [][]byte{{3, 8, 0, 4}, {1, 9, 0, 5, 1}, {1, 9, 0, 6, 21, 0}, {4, 77, 0, 4}} {
		if out, err := p.Handle(pkt); out != nil || err != nil {
			t.Errorf("% x: % x, %v", pkt, out, err)
		}
	}
	p.AltAccept()
	if done, _, _ := p.Result(); done {
		t.Error("ended by a lower layer's word in the handshake")
	}
}

func TestPeerRejected(t *testing.T) {
	p, _ := newTestPeer(t, 0)
	if _, err := p.Handle(reqIdentity); err != nil {
		t.Fatal(err)
	}
	out, err := p.Handle([]byte{4, 7, 0, 4})
	var rejected *RejectedError
	if out != nil || !errors.As(err, &rejected) {
		t.Errorf("% x, %v", out, err)
	}
	if done, success, _ := p.Result(); !done || success {
		t.Error("not failed")
	}
	q, _ := newTestPeer(t, 0)
	q.AltReject()
	if done, success, _ := q.Result(); !done || success || q.Err() == nil {
		t.Error("lower layer's refusal ignored")
	}
}

// upToComplete runs a conversation until the peer has keys but no EAP-Success.
func upToComplete(t *testing.T, version uint16) (p *Peer, id uint8) {
	t.Helper()
	p, b := newTestPeer(t, version)
	s, err := NewServer(b.server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	request := s.Start(1)
	for p.state != peerComplete {
		response, err := p.Handle(request)
		if err != nil {
			t.Fatal(err)
		}
		id = request[1]
		if p.state == peerComplete {
			break
		}
		if request, err = s.Handle(response); err != nil {
			t.Fatal(err)
		}
	}
	if done, _, _ := p.Result(); done {
		t.Fatal("done without EAP-Success")
	}
	return p, id
}

func TestPeerFailureAfterKeys(t *testing.T) {
	p, id := upToComplete(t, tls.VersionTLS12)
	_, err := p.Handle([]byte{4, id, 0, 4})
	var rejected *RejectedError
	if done, success, _ := p.Result(); !errors.As(err, &rejected) || !done || success {
		t.Errorf("TLS 1.2: %v, done %v, success %v", err, done, success)
	}
	// With 1.3 success has been indicated both ways (RFC 3748 section 4.2).
	p, id = upToComplete(t, tls.VersionTLS13)
	if _, err := p.Handle([]byte{4, id, 0, 4}); err != nil {
		t.Errorf("TLS 1.3: %v", err)
	}
	if done, _, _ := p.Result(); done {
		t.Error("ended by a forged Failure")
	}
	for _, wrong := range []byte{id - 1, id + 2} {
		if _, err := p.Handle([]byte{3, wrong, 0, 4}); err != nil || p.state != peerComplete {
			t.Error("Success under a wrong identifier")
		}
	}
	if _, err := p.Handle([]byte{3, id, 0, 4}); err != nil {
		t.Error(err)
	}
	if _, success, msk := p.Result(); !success || msk.Len() != 64 {
		t.Error("no success")
	}
}

// TestPeerNextIdentifier says that a Success or Failure may count on from the request's
// identifier, as freeDiameter's server does.
func TestPeerNextIdentifier(t *testing.T) {
	p, id := upToComplete(t, tls.VersionTLS12)
	if _, err := p.Handle([]byte{3, id + 1, 0, 4}); err != nil {
		t.Error(err)
	}
	if _, success, msk := p.Result(); !success || msk.Len() != 64 {
		t.Error("no success")
	}
	p, id = upToComplete(t, tls.VersionTLS12)
	_, err := p.Handle([]byte{4, id + 1, 0, 4})
	if done, success, _ := p.Result(); err == nil || !done || success {
		t.Errorf("Failure: %v, done %v, success %v", err, done, success)
	}
}

func TestPeerAlternateIndications(t *testing.T) {
	p, _ := upToComplete(t, tls.VersionTLS13)
	p.AltAccept()
	if done, success, msk := p.Result(); !done || !success || msk.Len() != 64 {
		t.Error("the lower layer's success did not count")
	}
	p.AltReject()
	if _, success, _ := p.Result(); !success {
		t.Error("refused after the end")
	}
	q, _ := upToComplete(t, tls.VersionTLS13)
	q.AltReject()
	if done, success, msk := q.Result(); !done || success || msk != nil {
		t.Error("the lower layer's refusal did not count")
	}
}

// TestPeerProtocolErrors sends what breaks EAP-TLS in the handshake: the method
// fails with a ProtocolError, and EAP-Failure ends it.
func TestPeerProtocolErrors(t *testing.T) {
	for name, data := range map[string][]byte{
		"no flags":              {},
		"start again":           {0x20},
		"empty":                 {0},
		"short length":          {0x80, 0, 0},
		"more without length":   {0x40, 1, 2, 3},
		"announced too much":    {0xc0, 0xff, 0xff, 0xff, 0xff, 1},
		"more than announced":   {0x80, 0, 0, 0, 1, 1, 2},
		"less than announced":   {0x80, 0, 0, 0, 3, 1, 2},
		"fragment without data": {0xc0, 0, 0, 0, 3},
		"TLS record of no type": {0, 99, 3, 3, 0, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := newTestPeer(t, 0)
			if _, err := p.Handle(reqStart); err != nil {
				t.Fatal(err)
			}
			out, err := p.Handle(Packet{Code: CodeRequest, ID: 9, Type: TypeTLS, Data: data}.bytes())
			if err == nil || out == nil || err != p.Err() {
				t.Fatalf("% x, %v", out, err)
			}
			if done, _, _ := p.Result(); done {
				t.Error("done before the server could hear of it")
			}
			var protocol *ProtocolError
			if name[:3] != "TLS" && !errors.As(p.Err(), &protocol) {
				t.Errorf("untyped: %v", p.Err())
			}
			if _, err := p.Handle([]byte{4, 9, 0, 4}); err != p.Err() {
				t.Errorf("Failure brought %v, the reason was %v", err, p.Err())
			}
			if done, success, _ := p.Result(); !done || success {
				t.Error("not failed")
			}
		})
	}
}

func TestPeerBoundsRounds(t *testing.T) {
	p, _ := newTestPeer(t, 0)
	if _, err := p.Handle(reqStart); err != nil {
		t.Fatal(err)
	}
	// Single octets that never make a message.
	data := []byte{0xc0, 0, 0, 0xff, 0xff, 1}
	for i := 0; p.Err() == nil; i++ {
		if i > maxRounds {
			t.Fatal("goes on for ever")
		}
		out, _ := p.Handle(Packet{Code: CodeRequest, ID: uint8(9 + i), Type: TypeTLS, Data: data}.bytes())
		if out == nil {
			t.Fatal("no answer")
		}
		data = []byte{0x40, 1}
	}
}

func TestNewPeerChecks(t *testing.T) {
	b := newBench(t, 0)
	for name, change := range map[string]func(*PeerConfig){
		"no identity":    func(c *PeerConfig) { c.Identity = "" },
		"long identity":  func(c *PeerConfig) { c.Identity = string(make([]byte, 254)) },
		"not UTF-8":      func(c *PeerConfig) { c.Identity = "\xff@home.example" },
		"no roots":       func(c *PeerConfig) { c.TLS.Roots = nil },
		"no server name": func(c *PeerConfig) { c.TLS.ServerName = "" },
		"no certificate": func(c *PeerConfig) { c.TLS.Certificate = tls.Certificate{} },
		"TLS 1.1":        func(c *PeerConfig) { c.TLS.MinVersion = tls.VersionTLS11 },
		"upside down":    func(c *PeerConfig) { c.TLS.MinVersion, c.TLS.MaxVersion = tls.VersionTLS13, tls.VersionTLS12 },
		"tiny fragments": func(c *PeerConfig) { c.FragmentSize = 20 },
	} {
		cfg := b.peer
		change(&cfg)
		if _, err := NewPeer(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
