package notify

import (
	"errors"
	"strings"
	"testing"
)

func TestReasonAVP(t *testing.T) {
	for text, want := range map[string]string{
		"AAA is silent":           "AAA is silent",
		"\x1b[2Jgone\n\x00":       "?[2Jgone??",
		"caf\u00e9":               "caf??",
		strings.Repeat("x", 1000): strings.Repeat("x", MaxReason),
	} {
		got, err := ParseReasonAVP(ReasonAVP(text))
		if err != nil || got != want {
			t.Errorf("%q became %q, %v", text, got, err)
		}
		if got, err := ParseReasonAVP([]byte(text)); len(text) <= MaxReason && (err != nil || got != want) {
			t.Errorf("%q as it came was read as %q, %v", text, got, err)
		}
	}
	for _, b := range [][]byte{nil, make([]byte, MaxReason+1)} {
		if got, err := ParseReasonAVP(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d octets: %q, %v", len(b), got, err)
		}
	}
}
