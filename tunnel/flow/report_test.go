package flow

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

func TestReportGolden(t *testing.T) {
	r := Report{Epoch: 0x0102, Top: 0xFFFFFFF0, Words: 2, Mask: [ReportWords]uint64{1, 0xF000000000000000}}
	const golden = "01" + "02" + "0102" + "fffffff0" + "0000000000000001" + "f000000000000000"
	b, err := r.AppendBinary([]byte("kept"))
	if err != nil || hex.EncodeToString(b[4:]) != golden || string(b[:4]) != "kept" {
		t.Fatalf("%x %v", b, err)
	}
	back, err := ParseReport(b[4:])
	if err != nil || back != r {
		t.Fatalf("%+v %v", back, err)
	}
	for n := range b[4:] {
		if _, err := ParseReport(b[4 : 4+n]); !errors.Is(err, ErrFormat) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	for name, change := range map[string]func(b []byte) []byte{
		"version": func(b []byte) []byte { b[0] = 2; return b },
		"words":   func(b []byte) []byte { b[1] = ReportWords + 1; return b },
		"longer":  func(b []byte) []byte { return append(b, 0) },
	} {
		if _, err := ParseReport(change(bytes.Clone(b[4:]))); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (Report{Words: ReportWords + 1}).AppendBinary(nil); !errors.Is(err, ErrFormat) {
		t.Errorf("too many words: %v", err)
	}
}

func TestReportHas(t *testing.T) {
	r := Report{Top: 3, Words: 1, Mask: [ReportWords]uint64{0b101}} // 3 and 1; 2 not, nor 0, -1 ...
	for n, want := range map[uint32]bool{4: false, 3: true, 2: false, 1: true, 0: false, ^uint32(0): false} {
		if r.Has(n) != want {
			t.Errorf("%d: want %v", n, want)
		}
	}
	if wrapped := uint32(3); !r.Has(wrapped - 64) {
		t.Error("what is before the mask counts as given up")
	}
	if r.Missing() != 62 {
		t.Errorf("missing %d", r.Missing())
	}
	if none := (Report{}); none.Has(1) {
		t.Error("nothing was received")
	}
}

func FuzzParseReport(f *testing.F) {
	for words := range 3 {
		b, err := Report{Epoch: 7, Top: 9, Words: words}.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseReport(b)
		if err != nil {
			return
		}
		r.Has(1)
		out, err := r.AppendBinary(nil)
		if err != nil || !bytes.Equal(out, b) {
			t.Fatalf("%x became %x, %v", b, out, err)
		}
	})
}

func TestShimGolden(t *testing.T) {
	s := Shim{Class: 3, Epoch: 0xABCD, Number: 0x01020304}
	b, err := s.AppendBinary(nil)
	if err != nil || hex.EncodeToString(b) != "1300abcd01020304" || len(b) != ShimLen {
		t.Fatalf("%x %v", b, err)
	}
	back, inner, err := ParseShim(append(b, "inner"...))
	if err != nil || back != s || string(inner) != "inner" {
		t.Fatalf("%+v %q %v", back, inner, err)
	}
	for n := range b {
		if _, _, err := ParseShim(b[:n]); !errors.Is(err, ErrFormat) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	b[0] = 0x23
	if _, _, err := ParseShim(b); err != ErrShim {
		t.Errorf("version 2: %v", err)
	}
	if _, err := (Shim{Class: MaxClass + 1}).AppendBinary(nil); !errors.Is(err, ErrFormat) {
		t.Errorf("class: %v", err)
	}
}

func FuzzParseShim(f *testing.F) {
	f.Add([]byte("\x13\x00\xab\xcd\x01\x02\x03\x04inner"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, inner, err := ParseShim(b)
		if err != nil {
			return
		}
		out, err := s.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		again, rest, err := ParseShim(append(out, inner...))
		if err != nil || again != s || !bytes.Equal(rest, inner) {
			t.Fatalf("%+v became %+v, %v", s, again, err)
		}
	})
}
