package pana

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"openmpa/paa/keys"
)

// hexBytes reads hex from JSON.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(t []byte) (err error) {
	*h, err = hex.DecodeString(string(t))
	return err
}

// vector is one key of a session between two other implementations.
type vector struct {
	PRF      uint32     `json:"prf"`
	Integ    uint32     `json:"integ"`
	MSK      hexBytes   `json:"msk"`
	IPAR     hexBytes   `json:"i_par"`
	IPAN     hexBytes   `json:"i_pan"`
	PaCNonce hexBytes   `json:"pac_nonce"`
	PAANonce hexBytes   `json:"paa_nonce"`
	KeyID    hexBytes   `json:"key_id"`
	AuthKey  hexBytes   `json:"pana_auth_key"`
	Messages []hexBytes `json:"messages"`
}

func (v *vector) handshake() *handshake {
	return &handshake{
		prf: keys.PRF(v.PRF), integ: keys.Integrity(v.Integ), iPAR: v.IPAR, iPAN: v.IPAN, pac: v.PaCNonce, paa: v.PAANonce,
	}
}

func vectors(t testing.TB) map[string][]vector {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v map[string][]vector
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v) != 2 {
		t.Fatalf("%d sessions in the vectors, expected 2", len(v))
	}
	return v
}

func TestVectors(t *testing.T) {
	for name, list := range vectors(t) {
		for i, v := range list {
			t.Run(fmt.Sprintf("%s/%d", name, i), func(t *testing.T) {
				sa, err := v.handshake().derive(keys.NewSecret(bytes.Clone(v.MSK)), binary.BigEndian.Uint32(v.KeyID))
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(sa.key.Bytes(), v.AuthKey) {
					t.Fatal("PANA_AUTH_KEY differs from the vector")
				}
				if len(v.Messages) == 0 {
					t.Fatal("no messages")
				}
				for _, raw := range v.Messages {
					m, body, err := parse(raw)
					if err != nil {
						t.Fatal(err)
					}
					f, err := m.fields()
					if err != nil {
						t.Fatal(err)
					}
					if !sa.verify(body, f.auth) {
						t.Errorf("%v: AUTH differs", m)
					}
					unsigned := *m
					unsigned.AVPs = m.AVPs[:len(m.AVPs)-1]
					if again := encode(&unsigned, sa); bytes.Equal(plain(raw), raw) && !bytes.Equal(again, raw) {
						t.Errorf("%v: built again:\n%x\nexpected:\n%x", m, again, []byte(raw))
					}
					for i := range raw { // every octet is protected
						bad := bytes.Clone(raw)
						bad[i] ^= 1
						if bm, bb, err := parse(bad); err == nil {
							if bf, err := bm.fields(); err == nil && bf.auth != nil && sa.verify(bb, bf.auth) {
								t.Fatalf("%v: AUTH still right with octet %d changed", m, i)
							}
						}
					}
				}
			})
		}
	}
}

// pcapPayloads is a tiny reader of captures: the UDP payloads over IPv4.
func pcapPayloads(t testing.TB, file string) [][]byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) < 24 || binary.LittleEndian.Uint32(b) != 0xa1b2c3d4 {
		t.Fatalf("%s: expected a little-endian capture in microseconds, got %x", file, b[:4])
	}
	link := map[uint32]int{1: 14, 101: 0, 113: 16}
	skip, ok := link[binary.LittleEndian.Uint32(b[20:])]
	if !ok {
		t.Fatalf("%s: link type %d", file, binary.LittleEndian.Uint32(b[20:]))
	}
	var out [][]byte
	for b = b[24:]; len(b) >= 16; {
		n := int(binary.LittleEndian.Uint32(b[8:]))
		p := b[16 : 16+n]
		b = b[16+n:]
		p = p[skip:]
		if p[0]>>4 != 4 || p[9] != 17 {
			continue
		}
		udp := p[int(p[0]&15)*4:]
		out = append(out, udp[8:binary.BigEndian.Uint16(udp[4:])])
	}
	return out
}

// TestCaptures reads whole sessions of two other implementations: each message
// is valid, comes out the same when built again, and the S exchange is the one
// of the vectors.
func TestCaptures(t *testing.T) {
	for name, list := range vectors(t) {
		t.Run(name, func(t *testing.T) {
			payloads := pcapPayloads(t, "testdata/"+name)
			if len(payloads) < 10 {
				t.Fatalf("%d messages in the capture", len(payloads))
			}
			var sPAR, sPAN, authed int
			for i, p := range payloads {
				m, raw, err := parse(p)
				if err != nil {
					t.Fatalf("message %d: %v", i, err)
				}
				f, err := m.fields()
				if err != nil {
					t.Fatalf("message %d: %v", i, err)
				}
				if again, err := m.AppendBinary(nil); err != nil || !bytes.Equal(again, plain(raw)) {
					t.Errorf("message %d %v: built again: %x, %v; expected %x", i, m, again, err, raw)
				}
				if bytes.Equal(raw, list[0].IPAR) {
					sPAR++
				}
				if bytes.Equal(raw, list[0].IPAN) {
					sPAN++
				}
				if f.auth != nil {
					authed++
				}
			}
			want := 0
			for _, v := range list {
				want += len(v.Messages)
			}
			if sPAR == 0 || sPAN == 0 || authed != want {
				t.Errorf("%d times I_PAR, %d times I_PAN, %d messages with AUTH, expected at least one, one, and %d", sPAR, sPAN, authed, want)
			}
		})
	}
}

// plain clears the AVP flags that RFC 5191 reserves: one of the two
// implementations sets the M bit of Diameter on some AVPs.
func plain(raw []byte) []byte {
	raw = bytes.Clone(raw)
	for off := HeaderLen; off+avpHeaderLen <= len(raw); {
		raw[off+2] &= 0x80
		raw[off+3] = 0
		n := avpHeaderLen + (int(binary.BigEndian.Uint16(raw[off+4:]))+3)&^3
		if raw[off+2] != 0 {
			n += 4
		}
		off += n
	}
	return raw
}
