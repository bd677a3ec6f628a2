package tunnel

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"openmpa/tunnel/flow"
)

const markerGolden = "4d50416d" + "01" + "02" + "0000" + "0102030405060708090a0b0c0d0e0f10" + "00000007"

func TestMarkerGolden(t *testing.T) {
	m := Marker{Kind: Departed, Handover: handover, Seq: 7}
	got, err := m.AppendBinary([]byte("kept"))
	if err != nil || !bytes.Equal(got, append([]byte("kept"), unhex(t, markerGolden)...)) {
		t.Fatalf("%x %v", got, err)
	}
	back, err := ParseMarker(append(unhex(t, markerGolden), "padding"...))
	if err != nil || !reflect.DeepEqual(back, m) {
		t.Fatalf("%+v %v", back, err)
	}
}

func TestResumeGolden(t *testing.T) {
	const golden = "4d50416d" + "01" + "03" + "0000" + "0102030405060708090a0b0c0d0e0f10" + "00000007" + "01" + "02" + "0008" + "0100" + "0007" + "00000009"
	m := Marker{Kind: Resume, Handover: handover, Seq: 7, Receipts: []flow.Receipt{{Class: 2, Report: flow.Report{Epoch: 7, Top: 9}}}}
	got, err := m.AppendBinary(nil)
	if err != nil || !bytes.Equal(got, unhex(t, golden)) {
		t.Fatalf("%x %v", got, err)
	}
	back, err := ParseMarker(append(bytes.Clone(got), "padding"...))
	if err != nil || !reflect.DeepEqual(back, m) {
		t.Fatalf("%+v %v", back, err)
	}
	for n := 4; n < len(got); n++ {
		if _, err := ParseMarker(got[:n]); !errors.Is(err, ErrMarker) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	m.Receipts = make([]flow.Receipt, flow.MaxReceipts+1)
	if b, err := m.AppendBinary([]byte("kept")); !errors.Is(err, flow.ErrFormat) || string(b) != "kept" {
		t.Errorf("too many receipts: %x %v", b, err)
	}
	m.Kind, m.Receipts = Depart, m.Receipts[:1]
	if _, err := m.AppendBinary(nil); !errors.Is(err, ErrMarker) {
		t.Errorf("receipts of a departure: %v", err)
	}
}

func TestMarkerRefused(t *testing.T) {
	good := unhex(t, markerGolden)
	for n := range good {
		want := ErrMarker
		if n < 4 {
			want = errNotMarker
		}
		if _, err := ParseMarker(good[:n]); !errors.Is(err, want) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	for at, want := range map[int]error{0: errNotMarker, 3: errNotMarker, 4: ErrMarker, 5: ErrMarker} {
		bad := bytes.Clone(good)
		bad[at] = 0
		if _, err := ParseMarker(bad); !errors.Is(err, want) {
			t.Errorf("octet %d is 0: %v", at, err)
		}
	}
	for _, k := range []MarkerKind{0, 6, 255} {
		if b, err := (Marker{Kind: k}).AppendBinary([]byte("kept")); !errors.Is(err, ErrMarker) || string(b) != "kept" {
			t.Errorf("kind %d: %x %v", k, b, err)
		}
	}
	for k, want := range map[MarkerKind]string{Depart: "depart", Departed: "departed", Resume: "resume", Forwarded: "forwarded", Native: "native", 9: "marker(9)"} {
		if k.String() != want {
			t.Errorf("kind %d prints as %s", uint8(k), k)
		}
	}
}

func FuzzParseMarker(f *testing.F) {
	f.Add(unhex(f, markerGolden))
	f.Add([]byte{})
	resume, err := Marker{Kind: Resume, Receipts: []flow.Receipt{{Class: 1, Report: flow.Report{Words: 1}}}}.AppendBinary(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(resume)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMarker(b)
		if err != nil {
			return
		}
		out, err := m.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseMarker(out)
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v came back as %+v %v", m, again, err)
		}
	})
}
