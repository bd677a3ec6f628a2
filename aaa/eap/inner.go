package eap

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"

	"openmpa/paa/keys"
)

// Inner is how a password is shown inside EAP-TTLS or PEAP.
type Inner uint8

// The inner methods.
const (
	InnerMSCHAPv2 Inner = iota // by EAP-TTLS as RFC 5281 section 11.2.4 has it, by PEAP as EAP-MSCHAPv2
	InnerPAP                   // EAP-TTLS only: the server reads the password
)

// String implements fmt.Stringer.
func (i Inner) String() string {
	switch i {
	case InnerMSCHAPv2:
		return "MSCHAPv2"
	case InnerPAP:
		return "PAP"
	}
	return fmt.Sprintf("Inner(%d)", uint8(i))
}

// maxPassword is what User-Password of RADIUS can carry, in octets.
const maxPassword = 128

// credentials are what the peer shows inside TLS.
type credentials struct {
	kind     Type
	inner    Inner
	user     string
	password *keys.Secret // the caller's
	rand     io.Reader
}

// refused is the reason should the server refuse now.
func (c credentials) refused(code int, text string) error {
	return &PasswordError{User: c.user, Method: c.kind.String() + "/" + c.inner.String(), Code: code, Text: text}
}

// begin is this side of an MS-CHAPv2 authentication. Clear nt when it is over.
func (c credentials) begin(server [chapChallengeLen]byte) (chap, error) {
	out := chap{server: server, user: c.user}
	r := c.rand
	if r == nil {
		r = rand.Reader
	}
	if _, err := io.ReadFull(r, out.peer[:]); err != nil {
		return chap{}, fmt.Errorf("eap: challenge: %w", err)
	}
	var err error
	out.nt, err = ntHash(c.password.Bytes())
	return out, err
}

// ttls is EAP-TTLS at the peer (RFC 5281).
func (c credentials) ttls(t *tunnel) error {
	switch {
	case t.resumed() && t.v13():
		if err := t.indication(); err != nil { // RFC 9427 section 4
			return err
		}
		fallthrough
	case t.resumed(): // no inner authentication: section 7.6
		if err := t.succeed(); err != nil {
			return err
		}
		return t.linger()
	case t.v13():
		// Servers look at what comes with Finished for Finished only.
		if err := t.pass(); err != nil {
			return err
		}
	}
	if c.inner == InnerPAP {
		return c.ttlsPAP(t)
	}
	return c.ttlsMSCHAPv2(t)
}

// ttlsPAP is RFC 5281 section 11.2.5. The server's answer is EAP-Success or Failure.
func (c credentials) ttlsPAP(t *tunnel) error {
	padded := padPassword(c.password.Bytes())
	defer clear(padded)
	message := appendAVPs(nil,
		avp{code: avpUserName, mandatory: true, data: []byte(c.user)},
		avp{code: avpUserPassword, mandatory: true, data: padded})
	defer clear(message)
	if err := t.write(message); err != nil {
		return err
	}
	t.out.reason = c.refused(0, "")
	if err := t.succeed(); err != nil {
		return err
	}
	b, err := t.read()
	if err != nil {
		return err
	}
	text := ""
	if list, err := parseAVPs(b); err == nil {
		for _, a := range list {
			if a.is(0, avpReplyMessage) {
				text = ": it says " + quoteName(string(a.data))
			}
		}
	}
	return t.refuse(&ProtocolError{Detail: "the server asks for more than a password inside EAP-TTLS/PAP" + text})
}

// ttlsMSCHAPv2 is RFC 5281 section 11.2.4.
func (c credentials) ttlsMSCHAPv2(t *tunnel) error {
	challenge, ident, err := t.ttlsChallenge()
	if err != nil {
		return err
	}
	auth, err := c.begin(challenge)
	if err != nil {
		return err
	}
	defer auth.nt.Clear()
	if err := t.write(appendAVPs(nil,
		avp{code: avpUserName, mandatory: true, data: []byte(c.user)},
		avp{vendor: vendorMicrosoft, code: avpMSChallenge, mandatory: true, data: challenge[:]},
		avp{vendor: vendorMicrosoft, code: avpMSResponse2, mandatory: true, data: auth.avpResponse(ident)},
	)); err != nil {
		return err
	}
	t.out.reason = c.refused(0, "")
	b, err := t.read()
	if err != nil {
		return err
	}
	if err := c.ttlsProof(auth, ident, b); err != nil {
		return t.refuse(err)
	}
	t.out.reason = &RejectedError{Stage: "after it had accepted the password: it does not authorize this user, or was restarted just now"}
	if err := t.succeed(); err != nil {
		return err
	}
	return t.linger()
}

// ttlsProof looks for the server's proof among the attributes of its answer.
func (c credentials) ttlsProof(auth chap, ident uint8, b []byte) error {
	list, err := parseAVPs(b)
	if err != nil {
		return err
	}
	proved := false
	for _, a := range list {
		switch {
		case a.is(vendorMicrosoft, avpMSError):
			e := parseCHAPError(string(a.data[min(1, len(a.data)):]))
			return c.refused(e.code, e.text)
		case a.is(vendorMicrosoft, avpMSSuccess2):
			if len(a.data) < 1 || a.data[0] != ident || !auth.proves(string(a.data[1:])) {
				return c.noProof()
			}
			proved = true
		case a.vendor == vendorMicrosoft, a.is(0, avpReplyMessage):
		case a.mandatory:
			return &ProtocolError{Detail: "unknown " + a.name() + " that must be understood inside EAP-TTLS"}
		}
	}
	if !proved {
		return &ProtocolError{Detail: "the server's answer inside EAP-TTLS has no MS-CHAP2-Success"}
	}
	return nil
}

// noProof is the reason when the server does not know the password itself.
func (c credentials) noProof() error {
	return &ProtocolError{Detail: "the server accepts the password of " + quoteName(c.user) + " without knowing it: its proof is wrong"}
}

// peap is PEAP version 0 at the peer, with EAP-MSCHAPv2 inside.
func (c credentials) peap(t *tunnel) error {
	p := peapPeer{credentials: c, t: t}
	defer p.clear()
	for {
		b, err := t.read()
		if err != nil {
			return err
		}
		if isIndication(b) && t.resumed() && t.v13() && !t.out.complete { // RFC 9427 section 4
			t.out.indicated = true
			if err := t.succeed(); err != nil {
				return err
			}
			continue // a Result TLV may follow all the same
		}
		reply, over, err := p.handle(b)
		if len(reply) > 0 {
			if err := t.write(reply); err != nil {
				return err
			}
		}
		if err != nil && len(reply) == 0 {
			return t.refuse(err)
		}
		if err != nil {
			return err
		}
		if over {
			return t.linger()
		}
	}
}

// peapPeer is the peer's conversation inside PEAP.
type peapPeer struct {
	credentials
	t      *tunnel
	auth   chap
	asked  bool  // a Response is out
	proved bool  // the server's proof was right
	denied error // it refused the password; its Result TLV follows
}

func (p *peapPeer) clear() { p.auth.nt.Clear() }

// handle takes one inner request and returns the answer; over when it was the last.
func (p *peapPeer) handle(b []byte) (reply []byte, over bool, err error) {
	req, err := parseInner(b, CodeRequest)
	if err != nil {
		return nil, false, err
	}
	switch req.Type {
	case TypeIdentity:
		if p.t.out.reason == nil {
			p.t.out.reason = &RejectedError{Stage: "inside PEAP, when it had the user's name; is " + quoteName(p.user) + " known there?"}
		}
		return append([]byte{byte(TypeIdentity)}, p.user...), false, nil
	case TypeNotification:
		return []byte{byte(TypeNotification)}, false, nil
	case TypeMSCHAPv2:
		out, err := p.mschapv2(req.Data)
		if err != nil {
			return nil, false, err
		}
		return out.appendBinary([]byte{byte(TypeMSCHAPv2)}), false, nil
	case TypeTLV:
		return p.result(req)
	case TypeNak:
		return nil, false, &ProtocolError{Detail: "a Nak as a request inside PEAP"}
	}
	return []byte{byte(TypeNak), byte(TypeMSCHAPv2)}, false, nil
}

// mschapv2 is the peer of EAP-MSCHAPv2.
func (p *peapPeer) mschapv2(b []byte) (chapPacket, error) {
	in, err := parseCHAP(b)
	if err != nil {
		return chapPacket{}, err
	}
	switch {
	case in.code == chapChallenge && !p.proved && p.denied == nil:
		p.auth.nt.Clear()
		if p.auth, err = p.begin(in.challenge); err != nil {
			return chapPacket{}, err
		}
		p.asked, p.t.out.reason = true, p.refused(0, "")
		return chapPacket{code: chapResponse, id: in.id, challenge: p.auth.peer, response: p.auth.ntResponse(), name: p.user}, nil
	case in.code == chapSuccess && p.asked && !in.bare && p.denied == nil:
		if !p.auth.proves(in.message) {
			return chapPacket{}, p.noProof()
		}
		p.proved = true
		p.t.out.reason = &RejectedError{Stage: "after it had accepted the password: it does not authorize this user, or was restarted just now"}
		return chapPacket{code: chapSuccess, bare: true}, nil
	case in.code == chapFailure && p.asked && !in.bare && !p.proved:
		e := parseCHAPError(in.message)
		p.denied = p.refused(e.code, e.text)
		p.t.out.reason = p.denied
		return chapPacket{code: chapFailure, bare: true}, nil
	}
	return chapPacket{}, &ProtocolError{Detail: fmt.Sprintf("EAP-MSCHAPv2 %v out of order", in.code)}
}

// result is the last exchange: both sides say whether it is a success, and bind it to
// the keys if the server wants that.
func (p *peapPeer) result(req Packet) (reply []byte, over bool, err error) {
	answer := func(list ...tlv) []byte {
		pkt := Packet{Code: CodeResponse, ID: req.ID, Type: TypeTLV}
		for _, v := range list {
			pkt.Data = v.appendBinary(pkt.Data)
		}
		return pkt.bytes()
	}
	r, err := parseResult(req.Data)
	if err != nil {
		return nil, false, err
	}
	switch {
	case !r.success:
		err := p.t.out.reason
		if err == nil {
			err = &RejectedError{Stage: "inside PEAP, before it had the user's name"}
		}
		return answer(resultTLV(false)), true, err
	case !p.proved && !p.t.resumed(), p.denied != nil:
		return answer(resultTLV(false)), true, &ProtocolError{Detail: "the server announces success inside PEAP without having asked for the password"}
	}
	list := []tlv{resultTLV(true)}
	switch {
	case r.binding != nil:
		binding, err := p.bind(*r.binding)
		if err != nil {
			return answer(resultTLV(false)), true, err
		}
		list = append(list, binding)
	case !p.t.out.complete:
		if err := p.t.succeed(); err != nil {
			return nil, false, err
		}
	}
	p.t.out.indicated = true
	return answer(list...), true, nil
}

// bind checks the server's Crypto-Binding, takes the keys of it, and makes ours.
func (p *peapPeer) bind(c cryptoBinding) (tlv, error) {
	km, err := p.t.material()
	if err != nil {
		return tlv{}, err
	}
	defer clear(km)
	var isk []byte
	if p.proved {
		if isk, err = p.auth.key(); err != nil {
			return tlv{}, err
		}
		defer clear(isk)
	}
	k := newPEAPKeys(km, isk)
	defer k.clear()
	if err := c.check(k, bindingRequest); err != nil {
		return tlv{}, err
	}
	ours := cryptoBinding{subtype: bindingResponse}
	r := p.rand
	if r == nil {
		r = rand.Reader
	}
	if _, err := io.ReadFull(r, ours.nonce[:]); err != nil {
		return tlv{}, fmt.Errorf("eap: nonce: %w", err)
	}
	p.t.out.clear()
	p.t.succeedWith(k.session())
	return ours.sealed(k), nil
}

// parseInner reads an EAP packet inside PEAP version 0, which leaves out code,
// identifier and length, save in those of TLVs. Some servers leave them in elsewhere.
func parseInner(b []byte, code Code) (Packet, error) {
	if len(b) == 0 {
		return Packet{}, &ProtocolError{Detail: "empty message inside PEAP"}
	}
	if len(b) > headerLen && b[0] == byte(code) && int(b[2])<<8|int(b[3]) == len(b) {
		if t := Type(b[headerLen]); t == TypeTLV || t == TypeMSCHAPv2 || t == TypeIdentity && len(b) == headerLen+1 {
			return Packet{Code: code, ID: b[1], Type: t, Data: bytes.Clone(b[headerLen+1:])}, nil
		}
	}
	if b[0] == 0 {
		return Packet{}, &ProtocolError{Detail: "message of type 0 inside PEAP"}
	}
	return Packet{Code: code, Type: Type(b[0]), Data: b[1:]}, nil
}
