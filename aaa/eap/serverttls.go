package eap

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
)

// inner is what the scripts of a server's tunnelled methods share.
type inner struct {
	accounts func(Type, string) (Account, error)
	tickets  *ticketing
	rand     io.Reader
}

// account finds who the peer says it is.
func (in inner) account(kind Type, user string) (Account, error) {
	a, err := in.accounts(kind, user)
	if err != nil {
		a.NTHash.Clear()
		return Account{}, &DeniedError{User: user, Detail: err.Error()}
	}
	return a, nil
}

// check says whether an MS-CHAPv2 response is that of the account.
func (in inner) check(c chap, response [ntResponseLen]byte) error {
	if c.nt == nil {
		return &DeniedError{User: c.user, Detail: "its password is not kept in a way that MS-CHAPv2 could use"}
	}
	want := c.ntResponse()
	if subtle.ConstantTimeCompare(want[:], response[:]) != 1 {
		return &DeniedError{User: c.user, Detail: "wrong password"}
	}
	return nil
}

func (in inner) random(b []byte) error {
	r := in.rand
	if r == nil {
		r = rand.Reader
	}
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("eap: randomness for a challenge: %w", err)
	}
	return nil
}

// authenticated ends the inner method.
func (in inner) authenticated(t *tunnel, a Account) {
	t.out.user = a.Name
	in.tickets.authenticated(a)
}

// serverTTLS is EAP-TTLS at the server: PAP or MS-CHAPv2 inside (RFC 5281 section 11).
func (in inner) serverTTLS(t *tunnel) error {
	if t.resumed() {
		t.out.user = in.tickets.from.user
		if err := t.succeed(); err != nil {
			return err
		}
		if t.v13() {
			if err := t.write([]byte{0}); err != nil { // RFC 9427 section 4
				return err
			}
		}
		return t.linger()
	}
	b, err := t.read()
	if err != nil {
		return err
	}
	said, err := parseTTLS(b)
	if err != nil {
		return t.refuse(err)
	}
	a, err := in.account(t.kind, said.user)
	if err != nil {
		return err
	}
	defer a.NTHash.Clear()
	var answer []byte
	if said.password != nil {
		err = in.pap(a, said)
	} else {
		answer, err = in.ttlsCHAP(t, a, said)
	}
	if err != nil {
		return err
	}
	in.authenticated(t, a)
	if err := t.succeed(); err != nil {
		return err
	}
	if answer != nil {
		if err := t.write(answer); err != nil {
			return err
		}
	}
	return t.linger()
}

func (in inner) pap(a Account, said ttlsSaid) error {
	password := unpadPassword(said.password)
	defer clear(said.password)
	switch {
	case a.Check == nil:
		return &DeniedError{User: said.user, Detail: "its password is not kept in a way that PAP could use"}
	case !a.Check(password):
		return &DeniedError{User: said.user, Detail: "wrong password"}
	}
	return nil
}

// ttlsCHAP checks what the peer has made of the implicit challenge, and returns the
// proof that the server knows the password, too.
func (in inner) ttlsCHAP(t *tunnel, a Account, said ttlsSaid) ([]byte, error) {
	challenge, ident, err := t.ttlsChallenge()
	if err != nil {
		return nil, err
	}
	gotIdent, peer, response, err := parseAVPResponse(said.response)
	if err != nil {
		return nil, t.refuse(err)
	}
	if gotIdent != ident || subtle.ConstantTimeCompare(said.challenge, challenge[:]) != 1 {
		return nil, t.refuse(&ProtocolError{Detail: "MS-CHAPv2 over a challenge that is not this tunnel's"})
	}
	c := chap{server: challenge, peer: peer, user: said.user, nt: a.NTHash}
	if err := in.check(c, response); err != nil {
		return nil, err
	}
	proof := append([]byte{ident}, c.authenticator()...)
	return avp{vendor: vendorMicrosoft, code: avpMSSuccess2, mandatory: true, data: proof}.appendBinary(nil), nil
}

// ttlsSaid is what the peer has put into the tunnel: a password, or a response.
type ttlsSaid struct {
	user      string
	password  []byte // nil: none
	challenge []byte
	response  []byte // nil: none
}

// parseTTLS reads the peer's first message inside the tunnel.
func parseTTLS(b []byte) (said ttlsSaid, err error) {
	list, err := parseAVPs(b)
	if err != nil {
		return said, err
	}
	seen := map[avpName]bool{}
	for _, a := range list {
		name := avpName{a.vendor, a.code}
		if seen[name] {
			return said, &ProtocolError{Detail: a.name() + " twice inside EAP-TTLS"}
		}
		seen[name] = true
		switch name {
		case avpName{0, avpUserName}:
			said.user = string(a.data)
		case avpName{0, avpUserPassword}:
			said.password = append([]byte{}, a.data...)
		case avpName{vendorMicrosoft, avpMSChallenge}:
			said.challenge = a.data
		case avpName{vendorMicrosoft, avpMSResponse2}:
			said.response = append([]byte{}, a.data...)
		case avpName{0, avpCHAPPassword}, avpName{0, avpCHAPChallenge}:
			return said, errInner("CHAP")
		case avpName{0, avpEAPMessage}:
			return said, errInner("EAP")
		case avpName{vendorMicrosoft, avpMSResponse1}:
			return said, errInner("MS-CHAP version 1")
		default:
			if a.mandatory {
				return said, &ProtocolError{Detail: a.name() + " inside EAP-TTLS is mandatory, and not known here"}
			}
		}
	}
	switch {
	case said.user == "" || len(said.user) > maxIdentity:
		return said, &ProtocolError{Detail: fmt.Sprintf("User-Name of %d octets inside EAP-TTLS, expected 1 to %d", len(said.user), maxIdentity)}
	case (said.password == nil) == (said.response == nil):
		return said, errors.New("eap: expected User-Password, or MS-CHAP2-Response, inside EAP-TTLS")
	case len(said.password) > maxPassword:
		return said, &ProtocolError{Detail: fmt.Sprintf("User-Password of %d octets, expected %d at most", len(said.password), maxPassword)}
	}
	return said, nil
}

type avpName struct{ vendor, code uint32 }

// Inner methods that are not offered.
const (
	avpCHAPPassword  = 3
	avpCHAPChallenge = 60
	avpEAPMessage    = 79
	avpMSResponse1   = 1
)

func errInner(name string) error {
	return &ProtocolError{Detail: "the peer uses " + name + " inside EAP-TTLS, expected PAP or MSCHAPv2"}
}
