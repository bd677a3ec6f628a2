package ipip

import (
	"bytes"
	"testing"
)

// Figures 3 and 4 of RFC 6040, all combinations, written as there.
func TestECNFigures(t *testing.T) {
	fields := map[string]uint8{"Not-ECT": 0, "ECT(0)": 2, "ECT(1)": 1, "CE": 3}
	for inner, c := range map[string][2]string{
		"Not-ECT": {"Not-ECT", "Not-ECT"},
		"ECT(0)":  {"Not-ECT", "ECT(0)"},
		"ECT(1)":  {"Not-ECT", "ECT(1)"},
		"CE":      {"Not-ECT", "CE"},
	} {
		for _, dscp := range []uint8{0, 46, 63} {
			tos := dscp<<2 | fields[inner]
			if got, want := (Marking{Compatibility: true}).Outer(tos), dscp<<2|fields[c[0]]; got != want {
				t.Errorf("compatibility, %s: %#x, want %#x", inner, got, want)
			}
			if got, want := (Marking{}).Outer(tos), dscp<<2|fields[c[1]]; got != want {
				t.Errorf("normal, %s: %#x, want %#x", inner, got, want)
			}
			if got, want := (Marking{Pipe: true, DSCP: 10}).Outer(tos), 10<<2|fields[c[1]]; got != want {
				t.Errorf("pipe, %s: %#x, want %#x", inner, got, want)
			}
		}
	}
	outers := []string{"Not-ECT", "ECT(0)", "ECT(1)", "CE"}
	for inner, row := range map[string][4]string{
		"Not-ECT": {"Not-ECT", "Not-ECT!!!", "Not-ECT!!!", "drop!!!"},
		"ECT(0)":  {"ECT(0)", "ECT(0)", "ECT(1)", "CE"},
		"ECT(1)":  {"ECT(1)", "ECT(1)!", "ECT(1)", "CE"},
		"CE":      {"CE", "CE", "CE!!!", "CE"},
	} {
		for i, cell := range row {
			field := bytes.TrimRight([]byte(cell), "!")
			alarm := [4]Alarm{0: Usual, 1: Possibly, 3: Dangerous}[len(cell)-len(field)]
			in, out := 46<<2|fields[inner], 8<<2|fields[outers[i]]
			tos, drop, got := Inner(in, out)
			if got != alarm || drop != (string(field) == "drop") || !drop && tos != 46<<2|fields[string(field)] {
				t.Errorf("%s inside, %s outside: %#x, drop %v, alarm %d; want %s", inner, outers[i], tos, drop, got, cell)
			}
			pkt := packet(t, in, "x")
			before := bytes.Clone(pkt)
			got, err := DecapsulateECN(pkt, out)
			switch {
			case drop && (err != ErrECN || !bytes.Equal(pkt, before)):
				t.Errorf("%s inside, %s outside: %v", inner, outers[i], err)
			case !drop && (err != nil || TOS(pkt) != tos || VerifyChecksum(pkt) != nil):
				t.Errorf("%s inside, %s outside: TOS %#x, %v", inner, outers[i], TOS(pkt), err)
			case got != alarm:
				t.Errorf("%s inside, %s outside: alarm %d", inner, outers[i], got)
			}
		}
	}
}

// What went in by any marking comes out with its DSCP, and with its ECN field unless
// the network marked it.
func TestMarkingThere(t *testing.T) {
	for tos := range 256 {
		for _, m := range []Marking{{}, {Compatibility: true}, {Pipe: true}, {Pipe: true, DSCP: 63, Compatibility: true}} {
			pkt, err := Encapsulate(nil, Header{Src: coa, Dst: hag, Marking: m}, packet(t, uint8(tos), "x"))
			if err != nil || TOS(pkt) != m.Outer(uint8(tos)) || VerifyChecksum(pkt) != nil {
				t.Fatalf("%+v, TOS %#x: outside %#x, %v", m, tos, TOS(pkt), err)
			}
			inner, _, _, err := Decapsulate(pkt)
			if err != nil || TOS(inner) != uint8(tos) {
				t.Fatalf("%+v, TOS %#x: %#x, %v", m, tos, TOS(inner), err)
			}
		}
	}
}
