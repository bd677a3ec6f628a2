package inet

import (
	"slices"
	"strings"
	"testing"
)

func TestDomains(t *testing.T) {
	// The example of RFC 3397 section 3: eng.apple.com and marketing.apple.com.
	rfc := []byte("\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04")
	for _, c := range []struct {
		raw  string
		most int
		want []string
	}{
		{string(rfc), 4, []string{"eng.apple.com", "marketing.apple.com"}},
		{string(rfc), 1, []string{"eng.apple.com"}},
		{string(rfc[:len(rfc)-1]), 4, []string{"eng.apple.com"}},
		{"\x01a\x00\x01b", 4, []string{"a"}},
		{"\x01a\xc0\x00", 4, nil},                  // itself
		{"\xc0\x02\x01a\x00", 4, nil},              // ahead
		{"\x03a b\x00\x01c\x00", 4, []string{"c"}}, // no host's
		{"\x00\x01c\x00", 4, []string{"c"}},
		{"\x40", 4, nil},
		{"", 4, nil},
	} {
		if got := Domains([]byte(c.raw), c.most); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, expected %q", c.raw, got, c.want)
		}
	}
}

func TestDomain(t *testing.T) {
	for s, want := range map[string]bool{
		"a": true, "site.example": true, "x-1.EXAMPLE": true, strings.Repeat("a", 63): true,
		"": false, ".": false, "a.": false, ".a": false, "a..b": false, "-a": false, "a-": false, "a-.b": false, "a_b": false, "ä": false,
		strings.Repeat("a", 64): false, strings.Repeat("a.", 127) + "a": false,
	} {
		if Domain(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

// FuzzDomains: whatever a server sends, it ends, and names are names.
func FuzzDomains(f *testing.F) {
	f.Add([]byte("\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04"))
	f.Add([]byte("\x01a\xc0\x00\xc0\x02\xc0\x04"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		names := Domains(raw, 4)
		if len(names) > 4 || slices.ContainsFunc(names, func(s string) bool { return !Domain(s) }) {
			t.Errorf("%q", names)
		}
	})
}
