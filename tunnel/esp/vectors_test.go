package esp

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"testing"

	"openmpa/paa/keys"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func secret(t testing.TB, s string) *keys.Secret { return keys.NewSecret(unhex(t, s)) }

// Published cases for AES-GCM in ESP (draft-mcgrew-gcm-test-01 section 4), those
// with 32 bit sequence numbers and a legal SPI. Their IVs are no counters, so
// they go through Open.
var published = []struct {
	name, key, salt, header, iv, inner, trailer, body string
}{
	{
		"AES-128, no padding", "feffe9928665731c6d6a8f9467308308", "cafebabe", "0000a5f80000000a", "facedbaddecaf888",
		"4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d001000001000000000000037369700963796265726369747902646b0000010001", "0001",
		"deb22cd9b07c72c16e3a65beeb8df304a5a5897d33ae530f1ba76d5d114d2a5c3de81827c10e9a4f51330d0eec416642cfbb85a5b47e48a4ec3b9ba95d918bd1" +
			"83b70d3aa8bc6ee4c309e9d85a41ad4a",
	},
	{
		"AES-256, two octets of padding", "abbccddef00112233445566778899aababbccddef00112233445566778899aab", "11223344", "4a2cbfe300000002", "0102030405060708",
		"4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee0000000007002400020bf0000020405b401010402", "01020201",
		"ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763748a637985771d347f0545659f14e99def842d8e" +
			"b335f4eecfdbf831824b4c4915956c96",
	},
	{
		"AES-192", "feffe9928665731c6d6a8f9467308308feffe9928665731c", "cafebabe", "0000a5f80000000a", "facedbaddecaf888",
		"45000028a4ad4000400678800a01038f0a010612802306b8cb712602dd6bb03e501016d07568", "0001",
		"a5b1f8066029aea40e598b8122de02420938b3ab33f828e687b8858b5bfbdbd0315b27452144cc77" +
			"95457b9652037f5318027b5b4cd7a636",
	},
	{
		"nothing inside, last sequence number", "7d773d00c144c525ac619d18c84a3f47", "d9664267", "335467aeffffffff", "43457e9182443bc6",
		"", "01020201",
		"437f866b" + "cb3f699fe9b0822bac961c4504bef270",
	},
}

func TestPublishedVectors(t *testing.T) {
	for _, v := range published {
		t.Run(v.name, func(t *testing.T) {
			pkt := unhex(t, v.header+v.iv+v.body)
			in, err := NewInbound(binary.BigEndian.Uint32(pkt), secret(t, v.key+v.salt), 0)
			if err != nil {
				t.Fatal(err)
			}
			inner, nh, err := in.Open(pkt)
			if err != nil {
				t.Fatal(err)
			}
			if want := unhex(t, v.inner); !bytes.Equal(inner, want) || nh != 1 {
				t.Fatalf("inner %x next header %d, want %x and 1", inner, nh, want)
			}
		})
	}
}

// refSeal builds an ESP packet by RFC 4303 and RFC 4106 alone, sharing no code
// with the package.
func refSeal(t testing.TB, spi, seq uint32, keymat, inner []byte, nh byte) []byte {
	t.Helper()
	n := len(keymat) - 4
	block, err := aes.NewCipher(keymat[:n])
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	plain := bytes.Clone(inner)
	for p := byte(1); len(plain)%4 != 2; p++ {
		plain = append(plain, p)
	}
	plain = append(plain, byte(len(plain)-len(inner)), nh)
	iv := binary.BigEndian.AppendUint64(nil, uint64(seq))
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, spi), seq)
	out := append(bytes.Clone(head), iv...)
	return gcm.Seal(out, append(bytes.Clone(keymat[n:]), iv...), plain, head)
}

func TestSealAgainstReference(t *testing.T) {
	for _, size := range []int{20, 28, 36} {
		keymat := make([]byte, size)
		for i := range keymat {
			keymat[i] = byte(7*i + size)
		}
		out, err := NewOutbound(0x01020304, keys.NewSecret(bytes.Clone(keymat)))
		if err != nil {
			t.Fatal(err)
		}
		for n := range 70 {
			inner := bytes.Repeat([]byte{byte(n)}, n)
			got, err := out.Seal([]byte("head"), inner, NextHeaderIPv4)
			if err != nil {
				t.Fatal(err)
			}
			want := append([]byte("head"), refSeal(t, 0x01020304, uint32(n+1), keymat, inner, NextHeaderIPv4)...)
			if !bytes.Equal(got, want) {
				t.Fatalf("key %d inner %d:\ngot  %x\nwant %x", size, n, got, want)
			}
			if len(got)-4 != SealedLen(n) || SealedLen(n)-n > Overhead {
				t.Fatalf("inner %d sealed to %d, SealedLen says %d, Overhead %d", n, len(got)-4, SealedLen(n), Overhead)
			}
		}
	}
}

func TestGolden(t *testing.T) {
	out, err := NewOutbound(0x11223344, secret(t, "000102030405060708090a0b0c0d0e0f"+"a0a1a2a3"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := out.Seal(nil, []byte("hello"), NextHeaderDummy)
	if err != nil {
		t.Fatal(err)
	}
	const want = "11223344" + "00000001" + "0000000000000001" + "2e14709e0385766b" + "a4bdf0a645b9cf38a33e705f11c11a9b"
	if fmt.Sprintf("%x", got) != want {
		t.Fatalf("got %x, want %s", got, want)
	}
}
