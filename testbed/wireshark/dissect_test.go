package wireshark

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"openmpa/internal/event"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
)

// TestVectors: sessions of two other implementations, message by message.
func TestVectors(t *testing.T) {
	want := map[string]string{
		"pac-a_paa-b.pcap": "PCI[] PAR[S] PAN[S] PAR[] PAN[] PAR[] PAN[] PAR[] PAN[] PAR[C] PAN[C] PNR[P] PNA[P] PNR[A] PNA[A] " +
			"PAR[] PAN[] PAR[] PAN[] PAR[] PAN[] PAR[C] PAN[C] PTR[] PTA[]",
		"pac-b_paa-a.pcap": "PCI[] PAR[S] PAN[S] PAR[] PAN[] PAR[] PAN[] PAR[] PAN[] PAR[C] PAN[C] PNR[P] PNA[P] PNR[P] PNA[P] PTR[] PTA[]",
	}
	for name, list := range want {
		t.Run(name, func(t *testing.T) {
			var got, sids, results, eap, wrong []string
			for _, r := range columns(t, "../../paa/pana/testdata/"+name, []string{"mpana.name", "mpana.sid", "mpana.result", "eap.code", "_ws.expert.message"}) {
				got = append(got, r[0])
				if !slices.Contains(sids, r[1]) {
					sids = append(sids, r[1])
				}
				results = append(results, strings.Fields(r[2])...)
				eap = append(eap, strings.Fields(r[3])...)
				if r[4] != "" {
					wrong = append(wrong, r[4])
				}
			}
			if strings.Join(got, " ") != list {
				t.Errorf("messages %v,\nexpected %v", got, list)
			}
			if len(sids) != 2 || sids[0] != "0x00000000" {
				t.Errorf("session identifiers %v, expected zero and one more", sids)
			}
			if n := strings.Count(list, "PAR[C]"); len(results) != n || slices.ContainsFunc(results, func(s string) bool { return s != "0" }) {
				t.Errorf("results %v, expected %d times 0", results, n)
			}
			if !slices.Contains(eap, "3") {
				t.Errorf("EAP codes %v, expected a success", eap)
			}
			if len(wrong) > 0 {
				t.Errorf("found wrong: %v", wrong)
			}
		})
	}
}

func avp32(code uint16, v uint32) pana.AVP {
	return pana.AVP{Code: code, Data: binary.BigEndian.AppendUint32(nil, v)}
}

// encode builds a message; bad ones, too.
func encode(t *testing.T, m pana.Message) []byte {
	t.Helper()
	b, err := m.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const sid = 0xaabbccdd

// every has one message of each kind, with E, which other dissectors do not know.
func every() []pana.Message {
	auth := pana.AVP{Code: pana.CodeAUTH, Data: make([]byte, 20)}
	with := func(typ pana.MessageType, flags pana.Flags, avps ...pana.AVP) pana.Message {
		return pana.Message{Type: typ, Flags: flags | pana.FlagE, SID: sid, Seq: 0x11223344, AVPs: avps}
	}
	pci := with(pana.TypePCI, 0)
	pci.SID, pci.Seq = 0, 0
	algorithms := []pana.AVP{avp32(pana.CodePRF, 5), avp32(pana.CodeIntegrity, 12), avp32(13, 1)}
	const r = pana.FlagR
	return []pana.Message{
		pci,
		with(pana.TypeAuth, r|pana.FlagS|pana.FlagI, algorithms...),
		with(pana.TypeAuth, pana.FlagS, algorithms...),
		with(pana.TypeAuth, r, pana.AVP{Code: pana.CodeNonce, Data: make([]byte, 20)}, pana.AVP{Code: pana.CodeEAP, Data: []byte{1, 1, 0, 5, 1}}),
		with(pana.TypeAuth, 0, pana.AVP{Code: pana.CodeNonce, Data: make([]byte, 9)}, pana.AVP{Code: pana.CodeEAP, Data: []byte{2, 1, 0, 5, 1}}),
		with(pana.TypeAuth, r|pana.FlagC, avp32(pana.CodeResult, 0), pana.AVP{Code: pana.CodeEAP, Data: []byte{3, 1, 0, 4}}, avp32(pana.CodeLifetime, 3600), avp32(pana.CodeKeyID, 7),
			pana.AVP{Code: notify.AVPIdentities, Vendor: pana.VendorID, Data: []byte("\x04ca-a\x04ar-a")}, auth),
		with(pana.TypeAuth, r|pana.FlagC, avp32(pana.CodeResult, 2), pana.AVP{Code: notify.AVPReason, Vendor: pana.VendorID, Data: []byte("because")}),
		with(pana.TypeAuth, pana.FlagC, avp32(pana.CodeKeyID, 7), auth),
		with(pana.TypeNtfy, r|pana.FlagP, pana.AVP{Code: 9, Vendor: 4711, Data: []byte("theirs")}, pana.AVP{Code: 77, Data: []byte{1}}, auth),
		with(pana.TypeNtfy, pana.FlagP, auth),
		with(pana.TypeNtfy, r|pana.FlagA, auth),
		with(pana.TypeNtfy, pana.FlagA, auth),
		with(pana.TypeTerm, r, avp32(pana.CodeTermCause, 8), auth),
		with(pana.TypeTerm, 0, auth),
	}
}

func TestEveryMessage(t *testing.T) {
	var list []datagram
	for _, m := range every() {
		list = append(list, datagram{node, router, encode(t, m)})
	}
	rows := columns(t, write(t, list), []string{
		"mpana.name", "mpana.sid", "mpana.seq", "mpana.flags.e", "mpana.prf", "mpana.integrity", "mpana.encryption", "mpana.result", "mpana.lifetime", "mpana.key_id",
		"mpana.cause", "mpana.identity.ca", "mpana.identity.ar", "mpana.reason", "_ws.expert.message",
	})
	if len(rows) != len(list) {
		t.Fatalf("%d messages shown, expected %d: %v", len(rows), len(list), rows)
	}
	more := map[int][]string{
		1: {"5", "12", "1"}, 2: {"5", "12", "1"},
		5:  {"", "", "", "0", "3600", "0x00000007", "", "ca-a", "ar-a", "", ""},
		6:  {"", "", "", "2", "", "", "", "", "", "because", ""},
		7:  {"", "", "", "", "", "0x00000007", ""},
		12: {"", "", "", "", "", "", "8"},
	}
	for i, m := range every() {
		want := []string{m.Name(), fmt.Sprintf("0x%08x", m.SID), fmt.Sprintf("0x%08x", m.Seq), "1"}
		want = append(want, more[i]...)
		for len(want) < len(rows[i]) {
			want = append(want, "")
		}
		if !slices.Equal(rows[i], want) {
			t.Errorf("%s is shown as %q,\nexpected %q", m.Name(), rows[i], want)
		}
	}
}

// TestCut: whatever a message is cut to, nothing in the script fails.
func TestCut(t *testing.T) {
	var list []datagram
	for _, m := range every() {
		raw := encode(t, m)
		for n := range len(raw) {
			list = append(list, datagram{node, router, raw[:n]})
			if n >= pana.HeaderLen { // the header agrees, an AVP does not
				b := bytes.Clone(raw[:n])
				binary.BigEndian.PutUint16(b[2:], uint16(n))
				list = append(list, datagram{node, router, b})
			}
		}
		for i := range raw {
			b := bytes.Clone(raw)
			b[i] ^= 0xff
			list = append(list, datagram{node, router, b})
		}
	}
	lines := tshark(t, write(t, list), "-V")
	if n := len(slices.DeleteFunc(lines, func(s string) bool { return !strings.HasPrefix(s, "Frame ") })); n != len(list) {
		t.Errorf("%d frames of %d", n, len(list))
	}
}

// TestInvalid: what RFC 5191 section 5.5 wants discarded is marked.
func TestInvalid(t *testing.T) {
	const r = pana.FlagR
	auth := pana.AVP{Code: pana.CodeAUTH, Data: make([]byte, 20)}
	bad := []pana.Message{
		{Type: pana.TypeAuth, Flags: r | pana.FlagS | pana.FlagC},
		{Type: pana.TypeNtfy, Flags: r | pana.FlagA | pana.FlagP},
		{Type: pana.TypeNtfy, Flags: r},
		{Type: pana.TypePCI, Flags: r},
		{Type: pana.TypePCI, SID: 1},
		{Type: pana.TypePCI, Seq: 1},
		{Type: pana.TypeAuth, Flags: r, AVPs: []pana.AVP{auth, avp32(pana.CodeKeyID, 1)}},
		{Type: pana.TypeTerm, Flags: r, AVPs: []pana.AVP{avp32(pana.CodeKeyID, 1), avp32(pana.CodeTermCause, 1)}},
		{Type: pana.TypeAuth, Flags: r, AVPs: []pana.AVP{{Code: pana.CodeKeyID, Data: []byte{1}}}},
		{Type: pana.TypeAuth, Flags: r, AVPs: []pana.AVP{{Code: pana.CodeNonce, Data: make([]byte, 7)}}},
		{Type: pana.TypeAuth, Flags: r, AVPs: []pana.AVP{{Code: pana.CodeEAP}}},
	}
	var list []datagram
	for _, m := range bad {
		list = append(list, datagram{router, node, encode(t, m)})
	}
	for i, row := range columns(t, write(t, list), []string{"mpana.name", "mpana.expert.invalid"}) {
		if row[1] == "" {
			t.Errorf("message %d, %v, is shown as valid", i, bad[i])
		}
	}
}

// TestRelayed: RFC 6345's message holds another.
func TestRelayed(t *testing.T) {
	inner := every()[1]
	relayed := func(pac []byte) []byte {
		return encode(t, pana.Message{Type: 5, AVPs: []pana.AVP{{Code: 10, Data: pac}, {Code: 11, Data: encode(t, inner)}}})
	}
	v6 := append(bytes.Repeat([]byte{0xfe}, 16), 2, 0xcc)
	rows := columns(t, write(t, []datagram{
		{node, router, relayed([]byte{10, 0, 0, 9, 2, 0xcc})},
		{node, router, relayed(v6)},
	}), []string{"mpana.name", "mpana.pac.ip", "mpana.pac.ipv6", "mpana.pac.port", "mpana.expert.invalid"})
	want := [][]string{
		{"PRY[] PAR[SIE]", "10.0.0.9", "", "716", ""},
		{"PRY[] PAR[SIE]", "", "fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe", "716", ""},
	}
	if !slices.EqualFunc(rows, want, slices.Equal[[]string]) {
		t.Errorf("shown as %q, expected %q", rows, want)
	}
}

// TestEncrypted: AVPs encrypted as RFC 6786 has it, and messages that package notify has
// sealed, are opened by the keys of a key file, and only by the right ones.
func TestEncrypted(t *testing.T) {
	const keyID, seq = 0x55667788, 0x11223344
	key := bytes.Repeat([]byte{0x5a}, 16)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	inside := encode(t, pana.Message{AVPs: []pana.AVP{avp32(pana.CodeLifetime, 1234), {Code: 9999, Data: make([]byte, 40)}}})[pana.HeaderLen:]
	start := []byte{2, 0x55, 0x66, 0x77, 0x88, 0xaa, 0xbb, 0xcc, 0xdd, 0x11, 0x22, 0x33, 0x44, 0, 0, 1}
	cipher.NewCTR(block, start).XORKeyStream(inside, inside)

	session := keys.DeriveSession(keys.PRFHMACSHA256, bytes.Repeat([]byte{7}, 64), sid, keyID, "ca", "ar")
	channel, err := notify.NewChannel(sid, session, keys.ToRouter)
	if err != nil {
		t.Fatal(err)
	}
	code, value, err := channel.Seal(&notify.TunnelDelete{Header: notify.Header{Handover: event.HandoverID{1, 2, 3}}})
	if err != nil {
		t.Fatal(err)
	}
	capture := write(t, []datagram{
		{router, node, encode(t, pana.Message{Type: pana.TypeAuth, Flags: pana.FlagR | pana.FlagC | pana.FlagE, SID: sid, Seq: seq, AVPs: []pana.AVP{{Code: 12, Data: inside}}})},
		{node, router, encode(t, pana.Message{Type: pana.TypeNtfy, Flags: pana.FlagR | pana.FlagP, SID: sid, Seq: seq, AVPs: []pana.AVP{{Code: code, Vendor: pana.VendorID, Data: value}}})},
	})
	// The sealing key, derived as package keys says: prf+(MN-AR, label | direction).
	seal := keys.PRFPlus(keys.PRFHMACSHA256, session.MNAR.Bytes(), []byte("openmpa seal\x00\x00\x00\x01"), 32)
	lines := func(id uint32, encr, seal []byte) string {
		return fmt.Sprintf("# a comment\n%s %08x %08x %x\n%s %08x %08x %x\n", keys.LogEncrPAA, sid, id, encr, keys.LogARToRouter, sid, id, seal)
	}
	wrong := lines(keyID+1, bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{1}, 32))
	for name, c := range map[string]struct {
		file string
		want [][]string
	}{
		"no key":     {"", [][]string{{"", "", "", "1"}, {"", "", "", "1"}}},
		"wrong keys": {wrong, [][]string{{"", "", "", "1"}, {"", "", "", "1"}}},
		"keys":       {lines(keyID, key, seal), [][]string{{"1234", "", "", ""}, {"", "5", "01020300000000000000000000000000", ""}}},
		"keys of a re-authentication, too": {
			lines(keyID, key, seal) + wrong,
			[][]string{{"1234", "", "", ""}, {"", "5", "01020300000000000000000000000000", ""}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "keys")
			if err := os.WriteFile(file, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			rows := columns(t, capture, []string{"mpana.lifetime", "mpana.message.kind", "mpana.message.handover", "mpana.expert.nokey"}, "-o", "mpana.keylog_file:"+file)
			for i := range rows {
				if rows[i][3] != "" {
					rows[i][3] = "1"
				}
			}
			if !slices.EqualFunc(rows, c.want, slices.Equal[[]string]) {
				t.Errorf("shown as %q, expected %q", rows, c.want)
			}
		})
	}
}

// TestKinds: the script knows every kind of message that package notify has, and no other.
func TestKinds(t *testing.T) {
	script, err := os.ReadFile("../../docs/pana.lua")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(script), "local kinds = {")
	list, _, found := strings.Cut(list, "}")
	if !found {
		t.Fatal("the script has no list of kinds")
	}
	entry := regexp.MustCompile(`\[(\d+)\] = "(\w+)"`)
	named := map[string]string{}
	for _, m := range entry.FindAllStringSubmatch(list, -1) {
		named[m[1]] = strings.ToLower(m[2])
	}
	for k := range 256 {
		kind := notify.Kind(k)
		want := ""
		if name := kind.String(); name != fmt.Sprintf("kind %d", k) {
			want = strings.ReplaceAll(name, " ", "")
		}
		if got := named[strconv.Itoa(k)]; got != want {
			t.Errorf("kind %d is %q in the script, expected %q", k, got, want)
		}
	}
}
