package pana

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"openmpa/paa/keys"
)

// differences are all those between what two other implementations sent and what ours
// sends in the same situation, with the section that says who is right.
var differences = map[string]map[string]string{
	"pac-a_paa-b.pcap": {
		"PAR[S]": "order of AVPs",      // free: RFC 5191 section 7.2 fixes none but AUTH
		"PAR[]":  "order of AVPs",      // the same; our nonce goes first
		"PAR[C]": "order of AVPs",      // the same
		"PAN[]":  "16 octets of nonce", // section 8.5: 10 to 20 with SHA-1; ours has 20
	},
	"pac-b_paa-a.pcap": {
		"PAN[S]": "order of AVPs",
		"PAN[]":  "order of AVPs",
		"PAR[]":  "16 octets of nonce",
		"PAR[C]": "order of AVPs",
		"PTR[]":  "AVP 9 is 00010000, ours 00000001", // section 8.9: LOGOUT is 1; theirs is in another byte order
	},
}

// differ says how theirs differs from ours, octet for octet where nothing is said.
func differ(t *testing.T, ours, theirs []byte) string {
	t.Helper()
	a, err := ParseMessage(ours)
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseMessage(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours[4:HeaderLen], theirs[4:HeaderLen]) {
		return fmt.Sprintf("header %x, ours %x", theirs[4:HeaderLen], ours[4:HeaderLen])
	}
	byCode := func(x, y AVP) int { return int(x.Code-CodeAUTH-1) - int(y.Code-CodeAUTH-1) } // AUTH, over the others, last
	as, bs := slices.SortedFunc(slices.Values(a.AVPs), byCode), slices.SortedFunc(slices.Values(b.AVPs), byCode)
	sameCode := func(x, y AVP) bool { return x.Code == y.Code }
	if !slices.EqualFunc(as, bs, sameCode) {
		return fmt.Sprintf("%v, ours %v", b, a)
	}
	inOrder := slices.EqualFunc(a.AVPs, b.AVPs, sameCode)
	made := false // of random octets
	for i, v := range as {
		their := bs[i].Data
		switch {
		case v.Code == CodeNonce && len(v.Data) != len(their):
			return fmt.Sprintf("%d octets of nonce", len(their))
		case v.Code == CodeNonce:
			made = true
		case v.Code == CodeAUTH && (made || !inOrder):
		case !bytes.Equal(v.Data, their):
			return fmt.Sprintf("AVP %d is %x, ours %x", v.Code, their, v.Data)
		}
	}
	if !inOrder {
		return "order of AVPs"
	}
	if !made && !bytes.Equal(ours, plain(theirs)) {
		return fmt.Sprintf("octets %x, ours %x", theirs, ours)
	}
	return ""
}

// recorded is an EAP peer that says what was said in a capture.
type recorded struct {
	responses *[][]byte
	msk       func() *keys.Secret
	done      bool
}

func (r *recorded) Handle(b []byte) ([]byte, error) {
	if b[0] == eapSuccess {
		r.done = true
		return nil, nil
	}
	resp := (*r.responses)[0]
	*r.responses = (*r.responses)[1:]
	return resp, nil
}

func (r *recorded) Result() (bool, bool, *keys.Secret) {
	if !r.done {
		return false, false, nil
	}
	return true, true, r.msk()
}

// TestDifferences plays the captures against our PaC and against our PAA, each in the
// place of one of the two: every message of the other side is taken, and ours differ
// from those recorded as the table says, their AUTH included.
func TestDifferences(t *testing.T) {
	for name, list := range vectors(t) {
		t.Run(name, func(t *testing.T) {
			found := map[string]string{}
			check := func(ours Send, theirs []byte) {
				t.Helper()
				m, _ := ParseMessage(theirs)
				if d := differ(t, ours.Data, theirs); d != "" {
					if was, ok := found[m.Name()]; ok && was != d {
						t.Errorf("%s: %s, and %s before", m.Name(), d, was)
					}
					found[m.Name()] = d
				}
			}
			payloads := pcapPayloads(t, "testdata/"+name)
			playPaC(t, payloads, list, check)
			playPAA(t, payloads, list, check)
			for message, what := range found {
				if differences[name][message] != what {
					t.Errorf("%s differs: %s; the table says %q", message, what, differences[name][message])
				}
			}
			for message, what := range differences[name] {
				if found[message] == "" {
					t.Errorf("%s does not differ, the table says: %s", message, what)
				}
			}
		})
	}
}

// next is the next datagram of a machine.
func next(t *testing.T, poll func() (Output, bool)) Send {
	t.Helper()
	for o, ok := poll(); ok; o, ok = poll() {
		if s, ok := o.(Send); ok {
			return s
		}
	}
	t.Fatal("nothing was sent")
	return Send{}
}

// ofPAA tells who said what in the captures: the PaC sent all requests but PARs.
func ofPAA(m *Message) bool {
	return m.Type == TypeAuth && m.request() || m.Type > TypeAuth && !m.request()
}

func playPaC(t *testing.T, payloads [][]byte, list []vector, check func(Send, []byte)) {
	var responses [][]byte
	for _, p := range payloads {
		m, _ := ParseMessage(p)
		if eap, ok := m.Get(CodeEAP); ok && !ofPAA(m) {
			responses = append(responses, eap.Data)
		}
	}
	key := 0
	c, err := NewPaC(PaCConfig{
		PRFs: []keys.PRF{2}, Integrities: []keys.Integrity{7}, NoEncryption: true, Rand: newSeeded(1),
		NewEAP: func() (EAPPeer, error) {
			return &recorded{responses: &responses, msk: func() *keys.Secret { return keys.NewSecret(bytes.Clone(list[key].MSK)) }}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_700_000_000, 0)
	for i, p := range payloads {
		now = now.Add(time.Millisecond)
		m, raw, err := parse(p)
		if err != nil {
			t.Fatal(err)
		}
		if ofPAA(m) {
			c.HandlePacket(now, p)
			if n := len(c.Counters()); n != 0 {
				t.Fatalf("message %d, %s: our PaC discards %v", i, m.Name(), c.Counters())
			}
			continue
		}
		if m.request() {
			c.txSeq = m.Seq
		}
		switch m.Name() {
		case "PCI[]":
			c.Start(now)
		case "PNR[P]":
			_, err = c.Notify(now, nil, NotifyOptions{})
		case "PNR[A]":
			c.Reauthenticate(now)
		case "PTR[]":
			c.Terminate(now)
		}
		if err != nil {
			t.Fatal(err)
		}
		check(next(t, c.Poll), raw)
		switch {
		case m.Name() == "PAN[S]":
			c.hs.iPAN = bytes.Clone(raw)
		case m.Name() == "PAN[C]":
			key++
		case key < len(list):
			if nonce, ok := m.Get(CodeNonce); ok {
				c.hs.pac = bytes.Clone(nonce.Data)
			}
		}
	}
	if c.State() != PaCClosed || key != len(list) {
		t.Errorf("our PaC is %v after %d keys", c.State(), key)
	}
}

func playPAA(t *testing.T, payloads [][]byte, list []vector, check func(Send, []byte)) {
	first, err := ParseMessage(payloads[1])
	if err != nil {
		t.Fatal(err)
	}
	numbers := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(make([]byte, 32), first.SID), first.Seq)
	p, err := NewPAA(PAAConfig{
		PRFs: []keys.PRF{2}, Integrities: []keys.Integrity{7}, NoEncryption: true,
		Rand: io.MultiReader(bytes.NewReader(numbers), newSeeded(1)), // the secret, and what names the session
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_700_000_000, 0)
	key := 0
	for i, b := range payloads[1:] {
		now = now.Add(time.Millisecond)
		m, raw, err := parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if !ofPAA(m) {
			p.HandlePacket(now, addrOld, b)
			if n := len(p.Counters()); n != 0 {
				t.Fatalf("message %d, %s: our PAA discards %v", i+1, m.Name(), p.Counters())
			}
			if m.Name() == "PAN[C]" {
				key++
			}
			continue
		}
		eap, _ := m.Get(CodeEAP)
		s := p.sessions[first.SID]
		switch {
		case m.Flags.Has(FlagS):
			s = p.ask(now, addrOld, false)
		case m.Name() == "PAR[]":
			err = p.EAPReply(now, s.sid, EAPReply{Packet: eap.Data})
		case m.Name() == "PAR[C]":
			life, _ := m.Get(CodeLifetime)
			s.keyIDs = binary.BigEndian.Uint32(list[key].KeyID) - 1
			err = p.EAPReply(now, s.sid, EAPReply{
				Done: true, Success: true, Packet: eap.Data, MSK: keys.NewSecret(bytes.Clone(list[key].MSK)),
				Lifetime: time.Duration(binary.BigEndian.Uint32(life.Data)) * time.Second,
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		check(next(t, p.Poll), raw)
		if m.Flags.Has(FlagS) {
			s.out.raw = bytes.Clone(raw)
		}
		if nonce, ok := m.Get(CodeNonce); ok {
			s.hs.paa = bytes.Clone(nonce.Data)
		}
	}
	if p.Sessions() != 0 || key != len(list) {
		t.Errorf("our PAA has %d sessions after %d keys", p.Sessions(), key)
	}
}
