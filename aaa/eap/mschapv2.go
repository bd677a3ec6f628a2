package eap

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"layeh.com/radius/rfc2759"
	"layeh.com/radius/rfc3079"
	"openmpa/paa/keys"
)

// What EAP-MSCHAPv2 does (draft-kamath-pppext-eap-mschapv2-02 section 2).
type chapCode uint8

const (
	chapChallenge chapCode = 1
	chapResponse  chapCode = 2
	chapSuccess   chapCode = 3
	chapFailure   chapCode = 4
)

func (c chapCode) String() string {
	switch c {
	case chapChallenge:
		return "Challenge"
	case chapResponse:
		return "Response"
	case chapSuccess:
		return "Success"
	case chapFailure:
		return "Failure"
	}
	return fmt.Sprintf("OpCode(%d)", uint8(c))
}

const (
	chapChallengeLen = 16
	ntResponseLen    = 24
	ntHashLen        = 16

	// chapValueLen is Peer-Challenge, 8 octets reserved, NT-Response and flags.
	chapValueLen = chapChallengeLen + 8 + ntResponseLen + 1

	// Numbers of the errors of RFC 2759 section 6.
	chapErrHours    = 646
	chapErrDisabled = 647
	chapErrExpired  = 648
	chapErrDialin   = 649
	chapErrFailed   = 691
)

// chapPacket is what follows the type of an EAP-MSCHAPv2 packet.
//
//	OpCode | MS-CHAPv2-ID | MS-Length (2) | value, see the fields
//
// The peer's own Success and Failure are the OpCode alone.
type chapPacket struct {
	code chapCode
	id   uint8
	bare bool // the OpCode alone

	challenge [chapChallengeLen]byte // Challenge: the server's; Response: the peer's
	response  [ntResponseLen]byte    // Response
	name      string                 // Challenge: the server's; Response: the user's
	message   string                 // Success and Failure
}

// parseCHAP reads such a packet. Octets after its length are refused: nobody pads inside TLS.
func parseCHAP(b []byte) (chapPacket, error) {
	if len(b) == 0 {
		return chapPacket{}, &ProtocolError{Detail: "EAP-MSCHAPv2 packet without its OpCode"}
	}
	p := chapPacket{code: chapCode(b[0])}
	if len(b) == 1 && (p.code == chapSuccess || p.code == chapFailure) {
		p.bare = true
		return p, nil
	}
	if len(b) < 4 || int(binary.BigEndian.Uint16(b[2:4])) != len(b) {
		return chapPacket{}, &ProtocolError{Detail: fmt.Sprintf("EAP-MSCHAPv2 %v of %d octets with another length inside", p.code, len(b))}
	}
	p.id = b[1]
	rest := b[4:]
	switch p.code {
	case chapSuccess, chapFailure:
		p.message = string(rest)
		return p, nil
	case chapChallenge, chapResponse:
	default:
		return chapPacket{}, &ProtocolError{Detail: fmt.Sprintf("EAP-MSCHAPv2 %v, expected 1 to 4", p.code)}
	}
	size := chapChallengeLen
	if p.code == chapResponse {
		size = chapValueLen
	}
	if len(rest) < 1+size || int(rest[0]) != size {
		return chapPacket{}, &ProtocolError{Detail: fmt.Sprintf("EAP-MSCHAPv2 %v of %d octets, expected a value of %d", p.code, len(b), size)}
	}
	rest = rest[1:]
	copy(p.challenge[:], rest)
	if p.code == chapResponse {
		copy(p.response[:], rest[chapChallengeLen+8:])
	}
	p.name = string(rest[size:])
	return p, nil
}

func (p chapPacket) appendBinary(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, byte(p.code))
	if p.bare {
		return dst
	}
	dst = append(dst, p.id, 0, 0)
	switch p.code {
	case chapChallenge:
		dst = append(dst, chapChallengeLen)
		dst = append(dst, p.challenge[:]...)
		dst = append(dst, p.name...)
	case chapResponse:
		dst = append(dst, chapValueLen)
		dst = p.appendValue(dst)
		dst = append(dst, p.name...)
	default:
		dst = append(dst, p.message...)
	}
	binary.BigEndian.PutUint16(dst[start+2:], uint16(len(dst)-start))
	return dst
}

// appendValue appends the value of a Response: what MS-CHAP2-Response has after its
// Ident and Flags, and the Flags, zero.
func (p chapPacket) appendValue(dst []byte) []byte {
	dst = append(dst, p.challenge[:]...)
	dst = append(dst, make([]byte, 8)...)
	dst = append(dst, p.response[:]...)
	return append(dst, 0)
}

// NTHash is the only thing MS-CHAPv2 asks of a password, 16 octets (RFC 2759 section
// 8.3). It is as good as the password to who has it.
func NTHash(password string) (*keys.Secret, error) { return ntHash([]byte(password)) }

func ntHash(password []byte) (*keys.Secret, error) {
	wide, err := rfc2759.ToUTF16(password)
	if err != nil {
		return nil, errors.New("eap: the password is not UTF-8")
	}
	defer clear(wide)
	return keys.NewSecret(rfc2759.NTPasswordHash(wide)), nil
}

// chap is one MS-CHAPv2 authentication, as both sides know it (RFC 2759).
type chap struct {
	server [chapChallengeLen]byte // the challenges
	peer   [chapChallengeLen]byte
	user   string
	nt     *keys.Secret // NTHash of the password
}

// hashed is the user's name as it goes into hashes: without the domain before a backslash.
func (c chap) hashed() []byte {
	if i := strings.LastIndexByte(c.user, '\\'); i >= 0 {
		return []byte(c.user[i+1:])
	}
	return []byte(c.user)
}

func (c chap) challengeHash() []byte {
	return rfc2759.ChallengeHash(c.peer[:], c.server[:], c.hashed())
}

// ntResponse is the peer's proof (RFC 2759 section 8.1).
func (c chap) ntResponse() (out [ntResponseLen]byte) {
	copy(out[:], rfc2759.ChallengeResponse(c.challengeHash(), c.nt.Bytes()))
	return out
}

// authenticator is the server's proof, "S=" and 40 hexadecimal digits (RFC 2759 section 8.7).
func (c chap) authenticator() string {
	hashed := rfc2759.NTPasswordHash(c.nt.Bytes())
	defer clear(hashed)
	nt := c.ntResponse()
	h := sha1.New()
	h.Write(hashed)
	h.Write(nt[:])
	h.Write([]byte("Magic server to client signing constant"))
	digest := h.Sum(nil)
	h.Reset()
	h.Write(digest)
	h.Write(c.challengeHash())
	h.Write([]byte("Pad to make it do more than one iteration"))
	return "S=" + strings.ToUpper(hex.EncodeToString(h.Sum(nil)))
}

// key is what the tunnel binds itself to: the node's sending key, then its receiving
// key (RFC 3079 section 3.4), 32 octets.
func (c chap) key() ([]byte, error) {
	hashed := rfc2759.NTPasswordHash(c.nt.Bytes())
	nt := c.ntResponse()
	master := rfc3079.GetMasterKey(hashed, nt[:])
	defer clear(hashed)
	defer clear(master)
	var out []byte
	for _, receives := range []bool{false, true} {
		k, err := rfc3079.GetAsymmetricStartKey(master, rfc3079.KeyLength128Bit, receives)
		if err != nil {
			return nil, fmt.Errorf("eap: MS-CHAPv2 keys: %w", err)
		}
		out = append(out, k...)
		clear(k)
	}
	return out, nil
}

// proves says whether the message of a Success begins with the server's proof.
func (c chap) proves(message string) bool {
	want := c.authenticator()
	return len(message) >= len(want) && strings.EqualFold(message[:len(want)], want)
}

// chapError is the message of a Failure: "E=691 R=1 C=... V=3 M=text" (RFC 2759 section 6).
type chapError struct {
	code int // 0 when it has none
	text string
}

func parseCHAPError(message string) (e chapError) {
	head, text, _ := strings.Cut(message, "M=")
	e.text = text
	for _, field := range strings.Fields(head) {
		if v, ok := strings.CutPrefix(field, "E="); ok {
			if n, err := strconv.ParseUint(v, 10, 16); err == nil {
				e.code = int(n)
			}
		}
	}
	return e
}

// avpResponse is the value of MS-CHAP2-Response (RFC 2548 section 2.3.2).
func (c chap) avpResponse(ident uint8) []byte {
	out := []byte{ident, 0}
	out = append(out, c.peer[:]...)
	out = append(out, make([]byte, 8)...)
	nt := c.ntResponse()
	return append(out, nt[:]...)
}

// avpResponseLen is that value's length.
const avpResponseLen = 2 + chapChallengeLen + 8 + ntResponseLen

// parseAVPResponse reads it.
func parseAVPResponse(b []byte) (ident uint8, peer [chapChallengeLen]byte, response [ntResponseLen]byte, err error) {
	if len(b) != avpResponseLen {
		return 0, peer, response, &ProtocolError{Detail: fmt.Sprintf("MS-CHAP2-Response of %d octets, expected %d", len(b), avpResponseLen)}
	}
	copy(peer[:], b[2:])
	copy(response[:], b[2+chapChallengeLen+8:])
	return b[0], peer, response, nil
}

// padPassword is User-Password inside TLS: padded with zero octets to a multiple of 16 (RFC 5281 section 11.2.5).
func padPassword(password []byte) []byte {
	return append(bytes.Clone(password), make([]byte, -len(password)&15)...)
}

// unpadPassword undoes it.
func unpadPassword(b []byte) []byte { return bytes.TrimRight(b, "\x00") }
