package paa

import (
	"testing"

	"openmpa/aaa/eap"
	"openmpa/paa/keys"
	"openmpa/paa/pana"
)

// TestEAPFits: the largest EAP packet of either side, in a PANA message of a session
// that has keys, fits a link or tunnel of 1280 octets, with IPv6 outside.
func TestEAPFits(t *testing.T) {
	const link, ipv6, udp = 1280, 40, 8
	for _, i := range []keys.Integrity{keys.AuthHMACSHA1_160, keys.AuthHMACSHA256_128, keys.AuthHMACSHA384_192, keys.AuthHMACSHA512_256} {
		m := pana.Message{Type: pana.TypeAuth, Flags: pana.FlagR, AVPs: []pana.AVP{
			{Code: pana.CodeEAP, Data: make([]byte, eap.DefaultFragmentSize)},
			{Code: pana.CodeAUTH, Data: make([]byte, i.ICVLen())},
		}}
		b, err := m.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		if n := ipv6 + udp + len(b); n > link {
			t.Errorf("%v: %d octets", i, n)
		}
	}
}
