package radius

import (
	"errors"
	"fmt"

	"openmpa/paa/keys"
)

// statusRequest asks whether a server lives (RFC 5997). It is never repeated: the next
// one is another.
type statusRequest struct{}

func (statusRequest) encode(nas nas, id uint8, authenticator [authLen]byte, secret *keys.Secret) ([]byte, error) {
	var a attributes
	nas.add(&a)
	return a.seal(StatusServer, id, authenticator, secret.Bytes())
}

// answer checks that somebody with the secret has answered, whatever the port. A server
// need not send a Message-Authenticator here (section 3), and nothing but its being alive
// follows from the answer.
func (statusRequest) answer(b []byte, sent [authLen]byte, secret *keys.Secret) (Response, error) {
	p, err := open(b, &sent, secret.Bytes())
	if err != nil && !errors.Is(err, ErrNoMessageAuthenticator) {
		return Response{}, err
	}
	if c := Code(p.Code); c != AccessAccept && c != AccountingResponse {
		return Response{}, fmt.Errorf("%w: %v to %v", ErrCode, c, StatusServer)
	}
	return Response{Code: Code(p.Code)}, nil
}
