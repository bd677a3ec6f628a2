package eap

import (
	"fmt"

	"openmpa/paa/keys"
)

// Account is what a server knows of a user who has a password.
type Account struct {
	Name    string                     // whom it authenticates
	NTHash  *keys.Secret               // for MS-CHAPv2; nil: not that way
	Check   func(password []byte) bool // for PAP; nil: not that way
	Version string                     // another one after each change of the password: nothing of before is resumed
}

// DeniedError says why a user with a password is refused.
type DeniedError struct {
	User   string // as the peer gave it inside the tunnel
	Detail string
}

// Error implements error in one line.
func (e *DeniedError) Error() string {
	return fmt.Sprintf("eap: user %q refused: %s", e.User, e.Detail)
}
