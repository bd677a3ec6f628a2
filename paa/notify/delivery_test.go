package notify

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"openmpa/tunnel/flow"
)

var (
	testHeader  = Header{Handover: testID}
	testOuter   = netip.MustParseAddrPort("10.2.0.100:40001")
	testReceipt = flow.Receipt{Class: 2, Report: flow.Report{Epoch: 7, Top: 9}}
	testArrival = &Arrival{Header: testHeader, Receipts: []flow.Receipt{testReceipt}, Previous: testOuter}
)

func TestDeliveryGolden(t *testing.T) {
	id := hex.EncodeToString(testID[:])
	nonce := "0d0020" + strings.Repeat("a5", nonceLen)
	for want, m := range map[string]Message{
		"07" + id + "18000c" + "01" + "02" + "0008" + "0100000700000009" + "190006" + "0a020064" + "9c41": testArrival,
		"0b" + id: &Follow{Header: testHeader},
		"0c" + id + "0e0006" + "0a020064" + "9c41" + "17000103": &Deliver{Header: testHeader, How: Both, Outer: testOuter},
		"0c" + id + "17000101": &Deliver{Header: testHeader, How: Guard},
		"0d" + id + "17000102": &DeliverReply{Header: testHeader, How: Unguard},
		"0e" + id + "1400020301" + "16000400001234" + "0c000400002345" + nonce: &RekeyRequest{
			Header: testHeader, Old: 0x1234, SPI: 0x2345, Nonce: testNonce, Suites: []uint8{3, 1},
		},
		"0f" + id + "16000400001234" + "0c000400003456" + nonce + "15000102": &RekeyReply{Header: testHeader, Old: 0x1234, SPI: 0x3456, Nonce: testNonce, Suite: 2},
		"03" + id + "1a00040a020064" + "0b00040a020064" + "0c000400001234" + nonce: &TunnelRequest{
			Header: testHeader, Inner: testOuter.Addr(), SPI: 0x1234, Nonce: testNonce, Plain: testOuter.Addr(),
		},
		"04" + id + "13000108" + "0e0006" + "0a020064" + "9c41" + "0c000400005678" + nonce + "15000101" + "0f00020594": &TunnelReply{
			Header: testHeader, Outer: testOuter.Addr(), Port: testOuter.Port(), SPI: 0x5678, Nonce: testNonce, Suite: 1, MTU: 1428, Plain: true,
		},
		"10" + id + "16000400001234": &RekeyDue{Header: testHeader, Old: 0x1234},
		"03" + id + "13000105" + "140001" + "03" + "030006020000000007" + "0b00040a020064" + "0c000400001234" + nonce: &TunnelRequest{
			Header: testHeader, Inner: testOuter.Addr(), SPI: 0x1234, Nonce: testNonce, Serving: true, Numbered: true, MAC: testMAC, Suites: []uint8{3},
		},
		"03" + id + "13000114" + "140001" + "03" + "030006020000000007" + "0b00040a020064" + "0c000400001234" + nonce: &TunnelRequest{
			Header: testHeader, Inner: testOuter.Addr(), SPI: 0x1234, Nonce: testNonce, Held: true, Numbered: true, MAC: testMAC, Suites: []uint8{3},
		},
		"04" + id + "13000104" + "0e0006" + "0a020064" + "9c41" + "0c000400005678" + nonce + "15000101" + "0f00020594": &TunnelReply{
			Header: testHeader, Outer: testOuter.Addr(), Port: testOuter.Port(), SPI: 0x5678, Nonce: testNonce, Suite: 1, MTU: 1428, Numbered: true,
		},
	} {
		b, err := Append(nil, m)
		if got := hex.EncodeToString(b); err != nil || got != want {
			t.Errorf("%s: %v\n got %s\nwant %s", m.Kind(), err, got, want)
		}
	}
}

// TestArrivalParts: both of its fields may be missing, neither may be half there.
func TestArrivalParts(t *testing.T) {
	b, err := Append(nil, testArrival)
	if err != nil {
		t.Fatal(err)
	}
	whole := map[int]bool{17: true, 17 + 15: true, len(b): true}
	for n := range len(b) + 1 {
		m, err := Parse(b[:n])
		if whole[n] != (err == nil) {
			t.Errorf("cut to %d of %d octets: %+v, %v", n, len(b), m, err)
		}
	}
	if m, err := Parse(b); err != nil || !reflect.DeepEqual(m, testArrival) {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestDeliveryRefused(t *testing.T) {
	head := func(k Kind) []byte { return append([]byte{byte(k)}, testID[:]...) }
	receipts, err := flow.AppendReceipts(nil, []flow.Receipt{testReceipt})
	if err != nil {
		t.Fatal(err)
	}
	request, err := Append(nil, &TunnelRequest{Header: testHeader, Inner: testOuter.Addr(), SPI: 0x1234, Nonce: testNonce})
	if err != nil {
		t.Fatal(err)
	}
	rekey, err := Append(nil, &RekeyRequest{Header: testHeader, Old: 0x1234, SPI: 0x2345, Nonce: testNonce})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"how 0":                  put(head(KindDeliver), fHow, []byte{0}),
		"how 4":                  put(head(KindDeliver), fHow, []byte{4}),
		"both to nowhere":        put(head(KindDeliver), fHow, []byte{3}),
		"both to port 0":         put(putAddrPort(head(KindDeliver), fOuter, netip.AddrPortFrom(testOuter.Addr(), 0)), fHow, []byte{3}),
		"both to a group":        put(putAddrPort(head(KindDeliver), fOuter, netip.MustParseAddrPort("224.0.0.1:9")), fHow, []byte{3}),
		"done 4":                 put(head(KindDeliverReply), fHow, []byte{4}),
		"nothing done":           head(KindDeliverReply),
		"no receipts":            put(head(KindArrival), fReceipts, []byte{0}),
		"more than receipts":     put(head(KindArrival), fReceipts, receipts, []byte{0}),
		"receipts cut":           put(head(KindArrival), fReceipts, receipts[:5]),
		"previous at port 0":     putAddrPort(head(KindArrival), fPrevious, netip.AddrPortFrom(testOuter.Addr(), 0)),
		"serving without MAC":    put(bytes.Clone(request), fOptions, []byte{optServing}),
		"serving with group MAC": put(put(bytes.Clone(request), fOptions, []byte{optServing}), fMAC, []byte{1, 0, 0, 0, 0, 0}),
		"held without MAC":       put(bytes.Clone(request), fOptions, []byte{optHeld}),
		"held and served":        put(put(bytes.Clone(request), fOptions, []byte{optHeld | optServing}), fMAC, testMAC),
		"options of 2 octets":    put(bytes.Clone(request), fOptions, []byte{0, 0}),
		"plain from nowhere":     put(bytes.Clone(request), fPlain, []byte{0, 0, 0, 0}),
		"no suites":              put(bytes.Clone(request), fSuites),
		"too many suites":        put(bytes.Clone(request), fSuites, bytes.Repeat([]byte{1}, MaxSuites+1)),
		"suite 0":                put(bytes.Clone(rekey), fSuites, []byte{0}),
		"old SPI due":            put(head(KindRekeyDue), fOld, u32(0x12)),
		"reserved old SPI":       bytes.Replace(rekey, u32(0x1234), u32(0x12), 1),
		"suite 0 taken": put(put(put(put(head(KindRekeyReply), fOld, u32(0x1234)), fSPI, u32(0x3456)), fNonce, testNonce),
			fSuite, []byte{0}),
	} {
		if m, err := Parse(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	for name, m := range map[string]Message{
		"how":                &Deliver{},
		"both to nowhere":    &Deliver{How: Both},
		"nothing done":       &DeliverReply{},
		"receipts":           &Arrival{Receipts: make([]flow.Receipt, flow.MaxReceipts+1)},
		"MAC when prepared":  &TunnelRequest{Inner: testOuter.Addr(), Nonce: testNonce, MAC: testMAC},
		"serving, no MAC":    &TunnelRequest{Inner: testOuter.Addr(), Nonce: testNonce, Serving: true},
		"held, no MAC":       &TunnelRequest{Inner: testOuter.Addr(), Nonce: testNonce, Held: true},
		"held and served":    &TunnelRequest{Inner: testOuter.Addr(), Nonce: testNonce, Held: true, Serving: true, MAC: testMAC},
		"suite 0":            &RekeyRequest{Nonce: testNonce, Suites: []uint8{0}},
		"no suite":           &RekeyReply{Nonce: testNonce},
		"reply of no suite":  &TunnelReply{Nonce: testNonce, Outer: testOuter.Addr(), Port: 1, SPI: 300, MTU: 1428},
		"nonce of no octets": &RekeyRequest{},
	} {
		if b, err := Append(nil, m); err == nil {
			t.Errorf("%s: appended as %x", name, b)
		}
	}
}

func TestHow(t *testing.T) {
	if Guard.String() != "guard" || How(9).String() != "How(9)" {
		t.Errorf("%v, %v", Guard, How(9))
	}
}
