package eap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// serverPEAP is PEAP version 0 at the server, with EAP-MSCHAPv2 inside.
//
//	server                                     peer
//	Identity                    ------------->
//	                            <------------- Identity, name
//	MSCHAPv2 Challenge          ------------->
//	                            <------------- MSCHAPv2 Response
//	MSCHAPv2 Success            ------------->
//	                            <------------- MSCHAPv2 Success
//	Result, Crypto-Binding      ------------->
//	                            <------------- Result, Crypto-Binding
//	EAP-Success, outside
//
// A session resumed has the last two only.
func (in inner) serverPEAP(t *tunnel) error {
	if t.resumed() {
		t.out.user = in.tickets.from.user
		return in.result(t, nil)
	}
	if !t.v13() { // our Finished is to be acknowledged
		if err := t.pass(); err != nil {
			return err
		}
	}
	name, err := in.ask(t, TypeIdentity, nil, TypeIdentity)
	if err != nil {
		return err
	}
	if len(name) == 0 || len(name) > maxIdentity {
		return t.refuse(&ProtocolError{Detail: fmt.Sprintf("identity of %d octets inside PEAP, expected 1 to %d", len(name), maxIdentity)})
	}
	user := string(name)
	c := chap{user: user}
	if err := in.random(c.server[:]); err != nil {
		return err
	}
	const id = 1
	sent := chapPacket{code: chapChallenge, id: id, challenge: c.server, name: "mpa-aaa"}
	b, err := in.ask(t, TypeMSCHAPv2, sent.appendBinary(nil), TypeMSCHAPv2)
	if err != nil {
		return err
	}
	got, err := parseCHAP(b)
	if err != nil {
		return t.refuse(err)
	}
	if got.code != chapResponse || got.id != id {
		return t.refuse(&ProtocolError{Detail: fmt.Sprintf("expected MSCHAPv2 %v %d inside PEAP, got %v %d", chapResponse, id, got.code, got.id)})
	}
	a, err := in.account(t.kind, user)
	if err != nil {
		return in.deny(t, id, err)
	}
	defer a.NTHash.Clear()
	// Hashed is the name that the response has, which may leave out the realm.
	c.peer, c.user, c.nt = got.challenge, got.name, a.NTHash
	if bare, _, _ := strings.Cut(user, "@"); c.user != user && c.user != bare {
		return in.deny(t, id, &DeniedError{User: user, Detail: fmt.Sprintf("its response is in the name of %q", got.name)})
	}
	if err := in.check(c, got.response); err != nil {
		return in.deny(t, id, err)
	}
	sent = chapPacket{code: chapSuccess, id: id, message: c.authenticator() + " M=OK"}
	if b, err = in.ask(t, TypeMSCHAPv2, sent.appendBinary(nil), TypeMSCHAPv2); err != nil {
		return err
	}
	if got, err = parseCHAP(b); err != nil || got.code != chapSuccess {
		return &DeniedError{User: user, Detail: "the peer does not take our proof that we know its password"}
	}
	isk, err := c.key()
	if err != nil {
		return err
	}
	defer clear(isk)
	in.authenticated(t, a)
	return in.result(t, isk)
}

// ask sends one packet of the inner EAP and returns what the peer's response has after
// its type.
func (in inner) ask(t *tunnel, kind Type, data []byte, expected Type) ([]byte, error) {
	if err := t.write(append([]byte{byte(kind)}, data...)); err != nil {
		return nil, err
	}
	b, err := t.read()
	if err != nil {
		return nil, err
	}
	b = bare(b)
	switch got := Type(b[0]); {
	case got == expected:
		return bytes.Clone(b[1:]), nil
	case got == TypeNak:
		wants := "nothing else"
		if len(b) > 1 && b[1] != 0 {
			wants = Type(b[1]).String()
		}
		return nil, &ProtocolError{Detail: fmt.Sprintf("the peer refuses %v inside PEAP and proposes %s; only %v is offered", kind, wants, TypeMSCHAPv2)}
	default:
		return nil, t.refuse(&ProtocolError{Detail: fmt.Sprintf("expected %v inside PEAP, got %v", expected, got)})
	}
}

// bare takes away the header that version 0 leaves out, where a peer has it all the same.
func bare(b []byte) []byte {
	if len(b) > headerLen && Code(b[0]) == CodeResponse && int(binary.BigEndian.Uint16(b[2:])) == len(b) {
		return b[headerLen:]
	}
	return b
}

// deny tells the peer that the password, or the user, is wrong, and ends with why.
func (in inner) deny(t *tunnel, id uint8, why error) error {
	sent := chapPacket{code: chapFailure, id: id, message: fmt.Sprintf("E=%d R=0 C=%032x V=3 M=Authentication failed", chapErrFailed, 0)}
	if _, err := in.ask(t, TypeMSCHAPv2, sent.appendBinary(nil), TypeMSCHAPv2); err != nil {
		return why
	}
	_ = in.results(t, resultTLV(false)) // whatever it says to that
	return why
}

// results sends TLVs, and waits for the answer.
func (in inner) results(t *tunnel, list ...tlv) error {
	var b []byte
	for _, one := range list {
		b = one.appendBinary(b)
	}
	p := Packet{Code: CodeRequest, ID: 1, Type: TypeTLV, Data: b}
	return t.write(p.bytes())
}

// result agrees on success, bound to the inner keys where the peer can; isk is nil when
// there are none.
func (in inner) result(t *tunnel, isk []byte) error {
	material, err := t.material()
	if err != nil {
		return err
	}
	defer clear(material)
	k := newPEAPKeys(material, isk)
	defer k.clear()
	ours := cryptoBinding{subtype: bindingRequest}
	if err := in.random(ours.nonce[:]); err != nil {
		return err
	}
	if err := in.results(t, resultTLV(true), ours.sealed(k)); err != nil {
		return err
	}
	b, err := t.read()
	if err != nil {
		return err
	}
	if b = bare(b); Type(b[0]) != TypeTLV {
		return t.refuse(&ProtocolError{Detail: fmt.Sprintf("expected the result inside PEAP, got %v", Type(b[0]))})
	}
	got, err := parseResult(slices.Clone(b[1:]))
	switch {
	case err != nil:
		return t.refuse(err)
	case !got.success:
		return &DeniedError{User: t.out.user, Detail: "the peer says that it has failed"}
	case got.binding == nil:
		return t.succeed()
	}
	if err := got.binding.check(k, bindingResponse); err != nil {
		return t.refuse(err)
	}
	t.succeedWith(k.session())
	return nil
}
