package mip6

import (
	"bytes"
	"reflect"
	"testing"
)

// FuzzMessage: what parses must survive being built and parsed again.
func FuzzMessage(f *testing.F) {
	sa := testSecurity()
	for _, m := range every() {
		f.Add(encode(f, m, nil))
		f.Add(encode(f, m, sa.Signer(careA, home)))
		f.Add(encode(f, m, routeSigner(bindingKey(Token{1}), careA, cn)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if size := 8; len(b) >= size {
			if size = 8 + 8*int(b[1]); len(b) >= size {
				b = checksummed(bytes.Clone(b[:size])) // so that more than checksums is tried
			}
		}
		m, err := Parse(b, careA, agent)
		if err != nil {
			return
		}
		l := m.list()
		_, _, _ = l.Alternate()
		_, _, _ = l.NonceIndices()
		_, _, _ = l.RefreshAdvice()
		_, _, _ = l.Replay()
		_, _ = l.Identifier()
		_, _ = l.BindingIDs()
		switch m := m.(type) {
		case *Update:
			_ = m.Verify(sa, careA, home)
			_ = verifyRoute(m.raw, m.Options, sa.Key, careA, cn)
		case *Ack:
			_ = m.Verify(sa, careA, home)
			_ = verifyRoute(m.raw, m.Options, sa.Key, careA, cn)
		}
		again, err := Append(nil, bare(m), careA, agent, nil)
		if err != nil {
			return // alignment made it too long
		}
		got, err := Parse(again, careA, agent)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(bare(got), bare(m)) {
			t.Fatalf("parsed %+v, again %+v", m, got)
		}
	})
}

// FuzzPacket: headers that go in come out, and what is stripped can be parsed.
func FuzzPacket(f *testing.F) {
	for _, b := range chains(home, cn) {
		f.Add(b)
		out, err := AppendFromHome(nil, b, careA)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(out)
		if out, err = AppendToCareOf(nil, out, careB); err != nil {
			f.Fatal(err)
		}
		f.Add(out)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePacket(b)
		if err != nil {
			return
		}
		plain := p.AppendStripped(nil, b)
		q, err := ParsePacket(plain)
		if err != nil || q.Home.IsValid() || q.Final.IsValid() || q.Src != p.Source() || q.Dst != p.Destination() || q.Proto != p.Proto || !bytes.Equal(q.Payload, p.Payload) {
			t.Fatalf("stripped: %+v, %v", q, err)
		}
		if !Unicast(q.Src) || !Unicast(q.Dst) {
			return
		}
		out, err := AppendFromHome(nil, plain, careA)
		if err != nil {
			return // too big, or one header too many
		}
		if out, err = AppendToCareOf(nil, out, careB); err != nil {
			return
		}
		if q, err = ParsePacket(out); err != nil {
			return // one header too many
		}
		if back := q.AppendStripped(nil, out); !bytes.Equal(back, plain) {
			t.Fatalf("in and out:\n%x\n%x", back, plain)
		}
	})
}
