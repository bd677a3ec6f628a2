package radius

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2869"
	"layeh.com/radius/vendors/microsoft"

	"openmpa/paa/keys"
)

// Code is the kind of a RADIUS packet.
type Code uint8

// The codes (RFC 2865 section 3, RFC 2866 section 3, RFC 5176 section 2.3, RFC 5997).
const (
	AccessRequest      = Code(radius.CodeAccessRequest)
	AccessAccept       = Code(radius.CodeAccessAccept)
	AccessReject       = Code(radius.CodeAccessReject)
	AccountingRequest  = Code(radius.CodeAccountingRequest)
	AccountingResponse = Code(radius.CodeAccountingResponse)
	AccessChallenge    = Code(radius.CodeAccessChallenge)
	StatusServer       = Code(radius.CodeStatusServer)
	DisconnectRequest  = Code(radius.CodeDisconnectRequest)
	DisconnectACK      = Code(radius.CodeDisconnectACK)
	DisconnectNAK      = Code(radius.CodeDisconnectNAK)
	CoARequest         = Code(radius.CodeCoARequest)
	CoAACK             = Code(radius.CodeCoAACK)
	CoANAK             = Code(radius.CodeCoANAK)
)

// computed says that a request's authenticator is a sum over its content, with zeros in
// its place (RFC 2866 section 3, RFC 5176 section 2.3), and not random.
func (c Code) computed() bool {
	return c == AccountingRequest || c == DisconnectRequest || c == CoARequest
}

// String implements fmt.Stringer.
func (c Code) String() string { return radius.Code(c).String() }

// MaxPacket is the largest RADIUS packet, in octets (RFC 2865 section 3).
const MaxPacket = radius.MaxPacketLength

// Errors of packets that do not count. A receiver drops such packets and counts why.
var (
	ErrNoMessageAuthenticator  = errors.New("radius: packet without a Message-Authenticator")
	ErrBadMessageAuthenticator = errors.New("radius: wrong Message-Authenticator; do both sides have the same secret?")
	ErrBadAuthenticator        = errors.New("radius: wrong Authenticator; do both sides have the same secret?")
	ErrCode                    = errors.New("radius: unexpected code")
)

const (
	headerLen   = 20
	authLen     = 16
	maxValue    = 253
	halfMSK     = 32 // of each MPPE key, of an EAP method's 64-octet MSK
	vendorMS    = 311
	typeSendKey = 16 // MS-MPPE-Send-Key
	typeRecvKey = 17 // MS-MPPE-Recv-Key
)

// attributes collects what goes after the Message-Authenticator.
type attributes struct {
	list radius.Attributes
	err  error
}

func (a *attributes) add(t radius.Type, value []byte) {
	if len(value) > maxValue {
		if a.err == nil {
			a.err = fmt.Errorf("radius: attribute %d of %d octets, at most %d", t, len(value), maxValue)
		}
		return
	}
	a.list.Add(t, value)
}

func (a *attributes) addText(t radius.Type, value string) {
	if value != "" {
		a.add(t, []byte(value))
	}
}

func (a *attributes) addAll(t radius.Type, values [][]byte) {
	for _, v := range values {
		a.add(t, v)
	}
}

func (a *attributes) addInt(t radius.Type, value uint32) {
	a.add(t, binary.BigEndian.AppendUint32(nil, value))
}

// addEAP cuts an EAP packet into EAP-Message attributes (RFC 3579 section 3.1).
func (a *attributes) addEAP(packet []byte) {
	for len(packet) > 0 {
		n := min(maxValue, len(packet))
		a.add(rfc2869.EAPMessage_Type, packet[:n])
		packet = packet[n:]
	}
}

// joinEAP puts EAP-Message attributes together; nil without any.
func joinEAP(list radius.Attributes) []byte {
	var out []byte
	for _, avp := range list {
		if avp.Type == rfc2869.EAPMessage_Type {
			out = append(out, avp.Attribute...)
		}
	}
	return out
}

// addKeys encrypts the MSK as MPPE keys, receive key first (RFC 2548 section 2.4,
// RFC 3748 section 7.10 by way of RFC 5216 section 2.3). Both salts differ.
func (a *attributes) addKeys(msk *keys.Secret, secret []byte, request [authLen]byte, rand io.Reader) {
	if a.err != nil {
		return
	}
	if msk.Len() != 2*halfMSK {
		a.err = fmt.Errorf("radius: MSK of %d octets, expected %d", msk.Len(), 2*halfMSK)
		return
	}
	var salt [2]byte
	if _, err := io.ReadFull(rand, salt[:]); err != nil {
		a.err = fmt.Errorf("radius: randomness for a salt: %w", err)
		return
	}
	salt[0] |= 0x80
	for i, t := range []byte{typeRecvKey, typeSendKey} {
		salt[1] ^= byte(i)
		enc, err := radius.NewTunnelPassword(msk.Bytes()[i*halfMSK:(i+1)*halfMSK], salt[:], secret, request[:])
		if err != nil {
			a.err = fmt.Errorf("radius: MPPE key: %w", err)
			return
		}
		vsa, err := radius.NewVendorSpecific(vendorMS, append([]byte{t, byte(2 + len(enc))}, enc...))
		if err != nil {
			a.err = fmt.Errorf("radius: MPPE key: %w", err)
			return
		}
		a.add(rfc2865.VendorSpecific_Type, vsa)
	}
}

// takeKeys decrypts the MPPE keys of a reply and joins them to the MSK; nil when
// there are none.
func takeKeys(list radius.Attributes, secret []byte, request [authLen]byte) (*keys.Secret, error) {
	p := &radius.Packet{Secret: secret, Attributes: list}
	q := &radius.Packet{Authenticator: request}
	recv, errRecv := microsoft.MSMPPERecvKey_Lookup(p, q)
	defer clear(recv)
	send, errSend := microsoft.MSMPPESendKey_Lookup(p, q)
	defer clear(send)
	if errors.Is(errRecv, radius.ErrNoAttribute) && errors.Is(errSend, radius.ErrNoAttribute) {
		return nil, nil
	}
	if err := errors.Join(errRecv, errSend); err != nil {
		return nil, fmt.Errorf("radius: MPPE keys: %w", err)
	}
	if len(recv) != halfMSK || len(send) != halfMSK {
		return nil, fmt.Errorf("radius: MPPE keys of %d and %d octets, expected %d each", len(recv), len(send), halfMSK)
	}
	msk := make([]byte, 0, 2*halfMSK)
	msk = append(append(msk, recv...), send...)
	return keys.NewSecret(msk), nil // copies and wipes
}

// seal encodes a packet with its Message-Authenticator first. authenticator is the
// request's, also in a reply, whose own is then computed over all; so is that of a
// request whose code says so.
func (a *attributes) seal(code Code, id uint8, authenticator [authLen]byte, secret []byte) ([]byte, error) {
	if a.err != nil {
		return nil, a.err
	}
	if len(secret) == 0 {
		return nil, errors.New("radius: empty secret")
	}
	if code.computed() {
		authenticator = [authLen]byte{}
	}
	p := radius.Packet{Code: radius.Code(code), Identifier: id, Authenticator: authenticator}
	p.Attributes = append(radius.Attributes{{Type: rfc2869.MessageAuthenticator_Type, Attribute: make([]byte, authLen)}}, a.list...)
	b, err := p.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("radius: %v that does not fit %d octets: %w", code, MaxPacket, err)
	}
	mac := hmac.New(md5.New, secret)
	mac.Write(b)
	mac.Sum(b[headerLen+2 : headerLen+2])
	if code != AccessRequest && code != StatusServer {
		sum := responseAuthenticator(b, secret)
		copy(b[4:headerLen], sum[:])
	}
	return b, nil
}

// responseAuthenticator hashes a reply that has the request's authenticator in place.
func responseAuthenticator(b, secret []byte) (sum [authLen]byte) {
	h := md5.New()
	h.Write(b)
	h.Write(secret)
	h.Sum(sum[:0])
	return sum
}

// open parses a packet and checks its integrity. request is nil for a request, else
// the authenticator of the request that the packet answers. With ErrNoMessageAuthenticator
// it gives the packet, too: what else it has was right.
func open(b []byte, request *[authLen]byte, secret []byte) (*radius.Packet, error) {
	p, err := radius.Parse(b, nil)
	if err != nil {
		return nil, fmt.Errorf("radius: malformed packet of %d octets: %w", len(b), err)
	}
	if len(secret) == 0 {
		return nil, errors.New("radius: empty secret")
	}
	// What follows the length is padding (RFC 2865 section 3).
	b = append([]byte(nil), b[:binary.BigEndian.Uint16(b[2:4])]...)
	if request == nil && Code(p.Code).computed() {
		request = new([authLen]byte)
	}
	if request != nil {
		copy(b[4:headerLen], request[:])
		sum := responseAuthenticator(b, secret)
		if subtle.ConstantTimeCompare(sum[:], p.Authenticator[:]) != 1 {
			return nil, ErrBadAuthenticator
		}
	}
	at := -1
	for i := headerLen; i < len(b); i += int(b[i+1]) { // lengths were checked by Parse
		if b[i] != byte(rfc2869.MessageAuthenticator_Type) {
			continue
		}
		if at >= 0 || b[i+1] != 2+authLen {
			return nil, ErrBadMessageAuthenticator
		}
		at = i + 2
	}
	if at < 0 {
		return p, ErrNoMessageAuthenticator
	}
	var got [authLen]byte
	copy(got[:], b[at:])
	clear(b[at : at+authLen])
	mac := hmac.New(md5.New, secret)
	mac.Write(b)
	if !hmac.Equal(mac.Sum(nil), got[:]) {
		return nil, ErrBadMessageAuthenticator
	}
	return p, nil
}

// text is the first attribute of that type as a string.
func text(list radius.Attributes, t radius.Type) string { return string(list.Get(t)) }

// seconds is the first attribute of that type as a time span; 0 without one.
func seconds(list radius.Attributes, t radius.Type) time.Duration {
	v, err := radius.Integer(list.Get(t))
	if err != nil {
		return 0
	}
	return time.Duration(v) * time.Second
}

// all are the attributes of that type, in order.
func all(list radius.Attributes, t radius.Type) (out [][]byte) {
	for _, avp := range list {
		if avp.Type == t {
			out = append(out, avp.Attribute)
		}
	}
	return out
}
