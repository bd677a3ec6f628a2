package eap

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var goldens = []struct {
	hex string
	pkt Packet
}{
	{"01 07 0005 01", Packet{Code: CodeRequest, ID: 7, Type: TypeIdentity}},
	{"02 07 0014 01 6d6e40686f6d652e6578616d706c65", Packet{Code: CodeResponse, ID: 7, Type: TypeIdentity, Data: []byte("mn@home.example")}},
	{"01 08 0006 0d 20", Packet{Code: CodeRequest, ID: 8, Type: TypeTLS, Data: []byte{0x20}}},
	{"02 08 0006 03 0d", Packet{Code: CodeResponse, ID: 8, Type: TypeNak, Data: []byte{13}}},
	{"03 ff 0004", Packet{Code: CodeSuccess, ID: 255}},
	{"04 00 0004", Packet{Code: CodeFailure}},
}

func TestPacketGoldens(t *testing.T) {
	for _, g := range goldens {
		wire := unhex(t, g.hex)
		got, err := Parse(wire)
		if err != nil {
			t.Fatalf("%s: %v", g.hex, err)
		}
		if d := cmp.Diff(g.pkt, got); d != "" {
			t.Errorf("%s: %s", g.hex, d)
		}
		out, err := g.pkt.AppendBinary([]byte{0xaa})
		if err != nil || !bytes.Equal(out, append([]byte{0xaa}, wire...)) {
			t.Errorf("%s: appended % x, %v", g.hex, out, err)
		}
		for n := range wire {
			if _, err := Parse(wire[:n]); err == nil {
				t.Errorf("%s: %d octets of it are accepted", g.hex, n)
			}
		}
		padded, err := Parse(append(wire, 1, 2, 3))
		if d := cmp.Diff(g.pkt, padded); d != "" || err != nil {
			t.Errorf("%s with padding: %v %s", g.hex, err, d)
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	for _, p := range []Packet{
		{Code: 0},
		{Code: 5},
		{Code: CodeSuccess, Data: []byte{1}},
		{Code: CodeFailure, Type: TypeTLS},
		{Code: CodeRequest, Type: TypeTLS, Data: make([]byte, MaxPacket-4)},
	} {
		if out, err := p.AppendBinary([]byte{1}); err == nil || len(out) != 1 {
			t.Errorf("%v of %d octets accepted", p.Code, len(p.Data))
		}
	}
}

func TestAuthenticator(t *testing.T) {
	a := NewAuthenticator(41)
	response := unhex(t, "02 29 0014 01 6d6e40686f6d652e6578616d706c65")
	if _, err := a.Response(response); !errors.Is(err, ErrDiscard) {
		t.Errorf("response before any request: %v", err)
	}
	if got := a.Start(); !bytes.Equal(got, []byte{1, 41, 0, 5, 1}) {
		t.Errorf("start % x", got)
	}
	for _, bad := range []string{"", "02 28 0014 01 6d6e40686f6d652e6578616d706c65", "01 29 0005 01", "02 29 0005 01", "02 29 0006 0d 00", "03 29 0004"} {
		if _, err := a.Response(unhex(t, bad)); !errors.Is(err, ErrDiscard) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	got, err := a.Response(append(response[:20:20], 0, 0))
	if err != nil || !bytes.Equal(got, response) || a.Identity() != "mn@home.example" {
		t.Errorf("% x, %v, %q", got, err, a.Identity())
	}
	if _, err := a.Request(unhex(t, "02 2a 0006 0d 20")); err == nil {
		t.Error("a Response from the AAA server")
	}
	if _, err := a.Request(unhex(t, "01 2a 0006 0d 20 ff")); err != nil {
		t.Error(err)
	}
	if _, err := a.Response(unhex(t, "02 29 0006 0d 00")); !errors.Is(err, ErrDiscard) {
		t.Errorf("old identifier: %v", err)
	}
	if _, err := a.Response(unhex(t, "02 2a 0006 0d 00")); err != nil {
		t.Error(err)
	}
	if _, err := a.Request(unhex(t, "03 2a 0004")); err != nil {
		t.Error(err)
	}
	if done, _ := a.Result(); done {
		t.Error("an EAP-Success alone decides")
	}
	a.Decide(true)
	if done, success := a.Result(); !done || !success {
		t.Error("the decision is not kept")
	}
	if _, err := a.Response(unhex(t, "02 2a 0006 0d 00")); !errors.Is(err, ErrDiscard) {
		t.Errorf("after the end: %v", err)
	}
}

func TestFragmentGoldens(t *testing.T) {
	for s, want := range map[string]fragment{
		"00":              {},
		"20":              {start: true},
		"1f":              {}, // reserved bits
		"40 01":           {more: true, data: []byte{1}},
		"c0 00000102 aa":  {hasLength: true, more: true, length: 258, data: []byte{0xaa}},
		"80 00000001 aa":  {hasLength: true, length: 1, data: []byte{0xaa}},
		"e0 ffffffff 01 ": {hasLength: true, more: true, start: true, length: 0xffffffff, data: []byte{1}},
	} {
		wire := unhex(t, s)
		got, err := parseFragment(wire)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		if got.hasLength != want.hasLength || got.more != want.more || got.start != want.start || got.length != want.length || !bytes.Equal(got.data, want.data) {
			t.Errorf("%s: %+v", s, got)
		}
		if out := want.appendBinary(nil); wire[0]&0x1f == 0 && !bytes.Equal(out, wire) {
			t.Errorf("%s: appended % x", s, out)
		}
	}
	for _, s := range []string{"", "80", "80 00", "c0 000000"} {
		if _, err := parseFragment(unhex(t, s)); err == nil {
			t.Errorf("%q accepted", s)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, g := range goldens {
		f.Add(unhex(f, g.hex))
	}
	f.Add([]byte{1, 1, 0xff, 0xff, 1})
	f.Add([]byte{1, 1, 0, 3, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			return
		}
		out, err := p.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(out) > len(b) || !bytes.Equal(out, b[:len(out)]) {
			t.Fatalf("% x became % x", b, out)
		}
	})
}

// FuzzFragments feeds the reassembler cut-up input, and checks that what our own
// fragmenter cuts comes out whole.
func FuzzFragments(f *testing.F) {
	f.Add([]byte{0}, uint16(100))
	f.Add([]byte{5, 0xc0, 0, 0, 0, 2, 1, 0x40, 2}, uint16(101))
	f.Add([]byte{7, 0xc0, 0, 0, 0, 3, 1, 2, 0, 3}, uint16(1400))
	f.Add(bytes.Repeat([]byte{3, 0x40, 1, 2}, 40), uint16(300))
	f.Fuzz(func(t *testing.T, b []byte, size uint16) {
		var r reassembler
		for rest := b; len(rest) > 0; { // one octet says how long the next fragment is
			n := min(int(rest[0]), len(rest)-1)
			frag, err := parseFragment(rest[1 : 1+n])
			rest = rest[1+n:]
			if err != nil {
				break
			}
			msg, whole, err := r.add(frag)
			if err != nil {
				break
			}
			if len(r.buf) > maxMessage || whole && len(msg) > maxMessage {
				t.Fatalf("%d octets kept", len(r.buf))
			}
		}
		tx := fragmenter{size: MinFragmentSize + int(size)%(MaxFragmentSize-MinFragmentSize)}
		tx.load(b)
		rx := reassembler{}
		for first := true; ; first = false {
			wire := tx.next()
			if got := headerLen + 1 + len(wire.appendBinary(nil)); got > tx.size {
				t.Fatalf("packet of %d octets, at most %d", got, tx.size)
			}
			if wire.hasLength != (first && wire.more) {
				t.Fatal("length where it does not belong")
			}
			msg, whole, err := rx.add(wire)
			if err != nil {
				t.Fatal(err)
			}
			if whole != !tx.pending() {
				t.Fatal("whole and pending at once")
			}
			if whole {
				if !bytes.Equal(msg, b) {
					t.Fatal("changed on the way")
				}
				return
			}
		}
	})
}

// FuzzPeer lets a hostile server talk to a peer in its handshake.
func FuzzPeer(f *testing.F) {
	b := newBench(f, 0)
	tls := b.peer
	b.tunnelled(TypeTTLS, InnerPAP)
	configs := map[Type]PeerConfig{TypeTLS: tls, TypeTTLS: b.peer}
	b.tunnelled(TypePEAP, InnerMSCHAPv2)
	configs[TypePEAP] = b.peer
	for kind := range configs {
		k := byte(kind)
		f.Add(k, []byte{1, 9, 0, 6, k, 0})
		f.Add(k, []byte{1, 9, 0, 13, k, 0, 22, 3, 3, 0, 2, 2, 0})
		f.Add(k, []byte{1, 9, 0, 13, k, 0, 21, 3, 3, 0, 2, 2, 48, 4, 9, 0, 4})
	}
	f.Fuzz(func(t *testing.T, kind byte, in []byte) {
		cfg, known := configs[Type(kind)]
		if !known {
			return
		}
		p, err := NewPeer(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if _, err := p.Handle([]byte{1, 8, 0, 6, kind, 0x20}); err != nil {
			t.Fatal(err)
		}
		for len(in) > 0 {
			n := len(in)
			if pkt, err := Parse(in); err == nil {
				n = headerLen
				if pkt.Code <= CodeResponse {
					n += 1 + len(pkt.Data)
				}
			}
			out, err := p.Handle(in[:n])
			in = in[n:]
			if err != nil && err != p.Err() {
				t.Fatal("an error that is not the reason")
			}
			if len(out) > DefaultFragmentSize {
				t.Fatalf("%d octets sent", len(out))
			}
		}
		if _, success, _ := p.Result(); success {
			t.Fatal("success without a certificate")
		}
	})
}

// FuzzServer lets a hostile peer talk to a server.
func FuzzServer(f *testing.F) {
	b := newBench(f, 0)
	f.Add([]byte{13, 0x80, 0, 0, 0, 1, 22, 1})
	f.Add([]byte{13, 0xc0, 0, 0, 0, 9, 22, 3, 1, 13, 0, 0, 2, 2, 0, 1, 2})
	f.Add([]byte{13, 0, 21, 3, 3, 0, 2, 2, 48})
	f.Add([]byte{3, 21})
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := NewServer(b.server)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		request := s.Start(1)
		for len(in) > 0 { // a type, and up to 16 octets of data
			n := min(17, len(in))
			response := Packet{Code: CodeResponse, ID: request[1], Type: max(1, Type(in[0])), Data: in[1:n]}.bytes()
			in = in[n:]
			out, err := s.Handle(response)
			done, success, msk, emsk, _ := s.Result()
			if success || msk != nil || emsk != nil {
				t.Fatal("success without a certificate")
			}
			if out == nil {
				t.Fatalf("a response to its request got no answer: %v", err)
			}
			if done {
				if out[0] != byte(CodeFailure) || err == nil || err != s.Err() {
					t.Fatalf("ended with % x, %v", out, err)
				}
				return
			}
			request = out
		}
	})
}
