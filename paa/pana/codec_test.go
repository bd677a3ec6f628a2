package pana

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// goldens hold one message of every kind.
var goldens = []struct {
	name string
	hex  string
	m    Message
}{
	{
		"PCI[E]", "0000 0010 0200 0001 00000000 00000000",
		Message{Type: TypePCI, Flags: FlagE},
	},
	{
		"PAR[SIE]", `0000 0028 c600 0002 01020304 fffffffe
			0006 0000 0004 0000 00000005  0003 0000 0004 0000 0000000c`,
		Message{
			Type: TypeAuth, Flags: FlagR | FlagS | FlagI | FlagE, SID: 0x01020304, Seq: 0xfffffffe,
			AVPs: []AVP{avp32(CodePRF, 5), avp32(CodeIntegrity, 12)},
		},
	},
	{
		"PAN[]", `0000 0030 0000 0002 01020304 00000001
			0005 0000 0008 0000 0001020304050607  0002 0000 0005 0000 02010005 01000000`,
		Message{
			Type: TypeAuth, SID: 0x01020304, Seq: 1,
			AVPs: []AVP{{Code: CodeNonce, Data: []byte{0, 1, 2, 3, 4, 5, 6, 7}}, {Code: CodeEAP, Data: []byte{2, 1, 0, 5, 1}}},
		},
	},
	{
		"PTR[]", "0000 001c 8000 0003 00000009 00000002 0009 0000 0004 0000 00000008",
		Message{Type: TypeTerm, Flags: FlagR, SID: 9, Seq: 2, AVPs: []AVP{avp32(CodeTermCause, 8)}},
	},
	{
		"PTA[]", "0000 0010 0000 0003 00000009 00000002",
		Message{Type: TypeTerm, SID: 9, Seq: 2},
	},
	{
		"PNR[P]", `0000 0024 8800 0004 00000009 00000003
			0007 8000 0005 0000 00007ed9 68656c6c 6f000000`,
		Message{
			Type: TypeNtfy, Flags: FlagR | FlagP, SID: 9, Seq: 3,
			AVPs: []AVP{{Code: 7, Vendor: VendorID, Data: []byte("hello")}},
		},
	},
	{
		"PNA[A]", "0000 0018 1000 0004 00000009 00000003 fff0 0000 0000 0000",
		Message{Type: TypeNtfy, Flags: FlagA, SID: 9, Seq: 3, AVPs: []AVP{{Code: 0xfff0, Data: []byte{}}}},
	},
}

func TestGoldens(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			want := unhex(t, g.hex)
			got, err := g.m.AppendBinary([]byte("x"))
			if err != nil || !bytes.Equal(got[1:], want) {
				t.Errorf("built %x, %v; expected %x", got[1:], err, want)
			}
			m, err := ParseMessage(want)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*m, g.m) {
				t.Errorf("read %v, expected %v", m, &g.m)
			}
			if err := m.Check(); err != nil {
				t.Error(err)
			}
			if m.Name() != g.name {
				t.Errorf("name %q, expected %q", m.Name(), g.name)
			}
		})
	}
}

// TestCut: no prefix of a message is a message, and none panics.
func TestCut(t *testing.T) {
	whole := func(t *testing.T, raw []byte) {
		for n := range raw {
			if _, err := ParseMessage(raw[:n]); !errors.Is(err, ErrMalformed) {
				t.Fatalf("the first %d of %d octets: error %v, expected ErrMalformed", n, len(raw), err)
			}
			short := bytes.Clone(raw[:n]) // and with a length that fits
			if n >= HeaderLen {
				short[2], short[3] = byte(n>>8), byte(n)
				if m, err := ParseMessage(short); err == nil {
					if again, err := m.AppendBinary(nil); err != nil || !bytes.Equal(again, plain(short)) {
						t.Fatalf("cut at %d: %x became %x, %v", n, short, again, err)
					}
				}
			}
		}
	}
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) { whole(t, unhex(t, g.hex)) })
	}
	for name, list := range vectors(t) {
		t.Run(name, func(t *testing.T) {
			for _, v := range list {
				for _, raw := range v.Messages {
					whole(t, raw)
				}
			}
		})
	}
}

func TestTolerated(t *testing.T) {
	for name, in := range map[string]string{
		"reserved field":            "ffff 0010 0200 0001 00000000 00000000",
		"unknown flags":             "0000 0010 03ff 0001 00000000 00000000",
		"octets after the end":      "0000 0010 0200 0001 00000000 00000000 0005",
		"AVP flags and reserved":    "0000 0018 0200 0001 00000000 00000000 ffff 7fff 0000 ffff",
		"AVP of unknown code":       "0000 0018 0200 0001 00000000 00000000 0400 0000 0000 0000",
		"padding that is not zero":  "0000 001c 0200 0001 00000000 00000000 0400 0000 0001 0000 01ffffff",
		"AVP of an unknown vendor":  "0000 001c 0200 0001 00000000 00000000 0001 8000 0000 0000 00000001",
		"two AVPs of the same kind": "0000 0020 0200 0001 00000000 00000000 0400 0000 0000 0000 0400 0000 0000 0000",
	} {
		m, err := ParseMessage(unhex(t, in))
		if err == nil {
			err = m.Check()
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMalformed(t *testing.T) {
	for name, in := range map[string]string{
		"empty":                     "",
		"length below the header":   "0000 000f 0200 0001 00000000 00000000",
		"length beyond the end":     "0000 0014 0200 0001 00000000 00000000",
		"half an AVP header":        "0000 0014 0200 0001 00000000 00000000 0001 0000",
		"AVP beyond the end":        "0000 001c 0200 0001 00000000 00000000 0400 0000 0005 0000 00000000",
		"AVP without its padding":   "0000 001b 0200 0001 00000000 00000000 0400 0000 0003 0000 000000",
		"AVP of 65535 octets":       "0000 001c 0200 0001 00000000 00000000 0400 0000 ffff 0000 00000000",
		"V without a Vendor-Id":     "0000 0018 0200 0001 00000000 00000000 0400 8000 0000 0000",
		"V with Vendor-Id 0":        "0000 001c 0200 0001 00000000 00000000 0001 8000 0000 0000 00000000",
		"Vendor-Id as Diameter has": "0000 001c 0200 0001 00000000 00000000 0400 8000 0004 0000 00007ed9",
	} {
		if _, err := ParseMessage(unhex(t, in)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: error %v, expected ErrMalformed", name, err)
		}
	}
	many := Message{Type: TypePCI}
	for range maxAVPs + 1 {
		many.AVPs = append(many.AVPs, AVP{Code: 99})
	}
	raw, err := many.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseMessage(raw); !errors.Is(err, ErrMalformed) {
		t.Errorf("%d AVPs: error %v, expected ErrMalformed", len(many.AVPs), err)
	}
}

func TestTooLong(t *testing.T) {
	m := Message{Type: TypePCI, AVPs: []AVP{{Code: 99, Data: make([]byte, 65535)}}}
	if _, err := m.AppendBinary(nil); !errors.Is(err, ErrMalformed) {
		t.Errorf("65535 octets and headers: error %v, expected ErrMalformed", err)
	}
	m.AVPs[0].Data = make([]byte, 65536)
	if _, err := m.AppendBinary(nil); !errors.Is(err, ErrAVP) {
		t.Errorf("65536 octets in an AVP: error %v, expected ErrAVP", err)
	}
}

// TestOccurrence walks figure 4 of RFC 5191: each AVP none, once and twice in
// each message.
func TestOccurrence(t *testing.T) {
	base := []Message{
		kindPCI: {Type: TypePCI}, kindPAR: {Type: TypeAuth, Flags: FlagR}, kindPAN: {Type: TypeAuth},
		kindPTR: {Type: TypeTerm, Flags: FlagR}, kindPTA: {Type: TypeTerm},
		kindPNR: {Type: TypeNtfy, Flags: FlagR | FlagP}, kindPNA: {Type: TypeNtfy, Flags: FlagP},
	}
	//                   PCI PAR PAN PTR PTA PNR PNA
	table := map[uint16]string{
		CodeAUTH:      "0 1 1 1 1 1 1",
		CodeEAP:       "0 1 1 0 0 0 0",
		CodeIntegrity: "0 + 1 0 0 0 0",
		CodeKeyID:     "0 1 1 0 0 0 0",
		CodeNonce:     "0 1 1 0 0 0 0",
		CodePRF:       "0 + 1 0 0 0 0",
		CodeResult:    "0 1 0 0 0 0 0",
		CodeLifetime:  "0 1 0 0 0 0 0",
		CodeTermCause: "0 0 0 ! 0 0 0", // at least one as well
	}
	for code, row := range table {
		data := make([]byte, 4)
		if code == CodeNonce {
			data = make([]byte, 8)
		}
		for k, cell := range strings.Fields(row) {
			for n := range 3 {
				m := base[k]
				if kind(k) == kindPTR && code != CodeTermCause {
					m.AVPs = []AVP{avp32(CodeTermCause, 1)}
				}
				for range n {
					m.AVPs = append(m.AVPs, AVP{Code: code, Data: data})
				}
				legal := n == 0 && cell != "!" || n == 1 && cell != "0" || n == 2 && cell == "+"
				if err := m.Check(); (err == nil) != legal || err != nil && !errors.Is(err, ErrInvalid) {
					t.Errorf("%s with %d AVPs of code %d: error %v, legal is %v", m.Name(), n, code, err, legal)
				}
			}
		}
	}
}

func TestInvalid(t *testing.T) {
	ping := FlagR | FlagP
	for name, m := range map[string]Message{
		"S with C":                    {Type: TypeAuth, Flags: FlagR | FlagS | FlagC},
		"A with P":                    {Type: TypeNtfy, Flags: FlagR | FlagA | FlagP},
		"notification of no kind":     {Type: TypeNtfy, Flags: FlagR},
		"PCI with R":                  {Type: TypePCI, Flags: FlagR},
		"PCI with a session":          {Type: TypePCI, SID: 1},
		"PCI with a number":           {Type: TypePCI, Seq: 1},
		"unknown type":                {Type: 6},
		"type 0":                      {},
		"I on a PAN":                  {Type: TypeAuth, Flags: FlagI},
		"P on a PAR":                  {Type: TypeAuth, Flags: FlagR | FlagP},
		"S on a PTR":                  {Type: TypeTerm, Flags: FlagR | FlagS, AVPs: []AVP{avp32(CodeTermCause, 1)}},
		"PTR without cause":           {Type: TypeTerm, Flags: FlagR},
		"cause not first":             {Type: TypeTerm, Flags: FlagR, AVPs: []AVP{{Code: 99}, avp32(CodeTermCause, 1)}},
		"AUTH not last":               {Type: TypeNtfy, Flags: ping, AVPs: []AVP{{Code: CodeAUTH, Data: make([]byte, 20)}, {Code: 99}}},
		"nonce of 7 octets":           {Type: TypeAuth, Flags: FlagR, AVPs: []AVP{{Code: CodeNonce, Data: make([]byte, 7)}}},
		"nonce of 257 octets":         {Type: TypeAuth, Flags: FlagR, AVPs: []AVP{{Code: CodeNonce, Data: make([]byte, 257)}}},
		"EAP of 3 octets":             {Type: TypeAuth, Flags: FlagR, AVPs: []AVP{{Code: CodeEAP, Data: make([]byte, 3)}}},
		"Key-Id of 3 octets":          {Type: TypeAuth, Flags: FlagR, AVPs: []AVP{{Code: CodeKeyID, Data: make([]byte, 3)}}},
		"Session-Lifetime of 8":       {Type: TypeAuth, Flags: FlagR, AVPs: []AVP{{Code: CodeLifetime, Data: make([]byte, 8)}}},
		"Termination-Cause, no value": {Type: TypeTerm, Flags: FlagR, AVPs: []AVP{{Code: CodeTermCause}}},
	} {
		if err := m.Check(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v, expected ErrInvalid", name, err)
		}
	}
}

func TestCarriedAVPs(t *testing.T) {
	for code := range lastIETFInUse + 1 {
		if err := checkCarried([]AVP{{Code: code}}); !errors.Is(err, ErrAVP) {
			t.Errorf("code %d of RFC 5191: error %v, expected ErrAVP", code, err)
		}
		if err := checkCarried([]AVP{{Code: code, Vendor: 1}}); err != nil {
			t.Errorf("code %d of a vendor: %v", code, err)
		}
	}
	for name, avps := range map[string][]AVP{
		"too many":      make([]AVP, maxAVPs),
		"too long":      {{Code: 99, Data: make([]byte, 65536)}},
		"long together": {{Code: 99, Data: make([]byte, 20000)}, {Code: 99, Data: make([]byte, 20000)}},
	} {
		if err := checkCarried(avps); !errors.Is(err, ErrAVP) {
			t.Errorf("%s: error %v, expected ErrAVP", name, err)
		}
	}
}

func FuzzMessage(f *testing.F) {
	for _, g := range goldens {
		f.Add(unhex(f, g.hex))
	}
	for name := range vectors(f) {
		for _, p := range pcapPayloads(f, "testdata/"+name) {
			f.Add(p)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			return
		}
		_ = m.Check()
		_ = m.String()
		raw, err := m.AppendBinary(nil)
		if err != nil {
			if len(b) > MaxMessageLen { // longer than any datagram
				return
			}
			t.Fatal(err)
		}
		again, err := ParseMessage(raw)
		if err != nil {
			t.Fatalf("%x, built from %x: %v", raw, b, err)
		}
		if !reflect.DeepEqual(m, again) {
			t.Fatalf("%v became %v", m, again)
		}
	})
}
