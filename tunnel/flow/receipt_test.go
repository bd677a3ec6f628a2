package flow

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"
)

func TestReceiptsGolden(t *testing.T) {
	list := []Receipt{{Class: 0, Report: Report{Epoch: 7, Top: 9}}, {Class: 2, Report: Report{Epoch: 8, Top: 5, Words: 1, Mask: [ReportWords]uint64{3}}}}
	const golden = "02" + "00" + "0008" + "0100" + "0007" + "00000009" + "02" + "0010" + "0101" + "0008" + "00000005" + "0000000000000003"
	b, err := AppendReceipts([]byte("kept"), list)
	if err != nil || hex.EncodeToString(b[4:]) != golden || string(b[:4]) != "kept" {
		t.Fatalf("%x %v", b, err)
	}
	back, rest, err := ParseReceipts(append(bytes.Clone(b[4:]), "rest"...))
	if err != nil || !reflect.DeepEqual(back, list) || string(rest) != "rest" {
		t.Fatalf("%+v %q %v", back, rest, err)
	}
	for n := range b[4:] {
		if _, _, err := ParseReceipts(b[4 : 4+n]); !errors.Is(err, ErrFormat) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	for name, change := range map[string]func(b []byte){
		"too many":      func(b []byte) { b[0] = MaxReceipts + 1 },
		"class twice":   func(b []byte) { b[12] = 0 },
		"no such class": func(b []byte) { b[1] = MaxClass + 1 },
		"length":        func(b []byte) { b[3]-- },
		"length beyond": func(b []byte) { b[2] = 0xFF },
		"report":        func(b []byte) { b[4] = 2 },
	} {
		bad := bytes.Clone(b[4:])
		change(bad)
		if _, _, err := ParseReceipts(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReceiptsBounds(t *testing.T) {
	var full []Receipt
	for class := range uint8(MaxReceipts) {
		full = append(full, Receipt{Class: class, Report: Report{Words: ReportWords}})
	}
	b, err := AppendReceipts(nil, full)
	if err != nil || len(b) > MaxReceiptsLen {
		t.Fatalf("%d octets, %v", len(b), err)
	}
	if back, _, err := ParseReceipts(b); err != nil || len(back) != MaxReceipts {
		t.Errorf("%d receipts, %v", len(back), err)
	}
	for name, list := range map[string][]Receipt{
		"too many":      append(full, Receipt{Class: MaxReceipts}),
		"class twice":   {{Class: 3}, {Class: 3}},
		"no such class": {{Class: MaxClass + 1}},
		"words":         {{Report: Report{Words: -1}}},
	} {
		if b, err := AppendReceipts([]byte("kept"), list); !errors.Is(err, ErrFormat) || string(b) != "kept" {
			t.Errorf("%s: %x %v", name, b, err)
		}
	}
}

func FuzzParseReceipts(f *testing.F) {
	b, err := AppendReceipts(nil, []Receipt{{Class: 1, Report: Report{Epoch: 7, Top: 9, Words: 1}}, {Class: 4}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, rest, err := ParseReceipts(b)
		if err != nil {
			return
		}
		again, err := AppendReceipts(nil, list)
		if err != nil || len(again) > MaxReceiptsLen || !bytes.Equal(append(again, rest...), b) {
			t.Fatalf("%x became %x and %x: %v", b, again, rest, err)
		}
	})
}
