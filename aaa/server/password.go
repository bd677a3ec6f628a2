package server

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"openmpa/aaa/eap"
	"openmpa/paa/keys"
)

// Password is what the file of users has of a password, in one of two forms:
//
//	nt:HEX                    what MS-CHAPv2 needs: MD4 of the password, 16 octets. Who has
//	                          it can log in with MS-CHAPv2 and find short passwords fast
//	pbkdf2:ROUNDS:SALT:HEX    SHA-256, 32 octets: of use to EAP-TTLS with PAP only
type Password string

const (
	pbkdf2Rounds    = 210_000
	maxPBKDF2Rounds = 5_000_000
	saltLen         = 16
	pbkdf2Len       = sha256.Size
)

// HashPassword makes the form that all methods take, or with onlyPAP the one that is
// hard to find the password of.
func HashPassword(password string, onlyPAP bool) (Password, error) {
	if password == "" || len(password) > 256 {
		return "", fmt.Errorf("server: password of %d octets, expected 1 to 256", len(password))
	}
	if !utf8.ValidString(password) {
		return "", errors.New("server: the password is not UTF-8")
	}
	if !onlyPAP {
		nt, err := eap.NTHash(password)
		if err != nil {
			return "", err
		}
		defer nt.Clear()
		return Password("nt:" + hex.EncodeToString(nt.Bytes())), nil
	}
	salt := make([]byte, saltLen)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("server: randomness for a salt: %w", err)
	}
	key, err := pbkdf2.Key(sha256.New, password, salt, pbkdf2Rounds, pbkdf2Len)
	if err != nil {
		return "", fmt.Errorf("server: password: %w", err)
	}
	return Password(fmt.Sprintf("pbkdf2:%d:%x:%x", pbkdf2Rounds, salt, key)), nil
}

// parsed is a Password in use.
type parsed struct {
	nt     []byte // of nt
	rounds int    // of pbkdf2
	salt   []byte
	key    []byte
}

var errPassword = errors.New("password in a form that is not known, expected nt:HEX or pbkdf2:ROUNDS:SALT:HEX as \"mpa-aaa user add\" writes it")

// parse reads it. An error does not quote it.
func (p Password) parse() (out parsed, err error) {
	kind, rest, _ := strings.Cut(string(p), ":")
	switch kind {
	case "nt":
		if out.nt, err = hex.DecodeString(rest); err != nil || len(out.nt) != 16 {
			return parsed{}, errPassword
		}
	case "pbkdf2":
		fields := strings.Split(rest, ":")
		if len(fields) != 3 {
			return parsed{}, errPassword
		}
		var errs [3]error
		out.rounds, errs[0] = strconv.Atoi(fields[0])
		out.salt, errs[1] = hex.DecodeString(fields[1])
		out.key, errs[2] = hex.DecodeString(fields[2])
		if errors.Join(errs[:]...) != nil || out.rounds < 1 || out.rounds > maxPBKDF2Rounds || len(out.salt) < 8 || len(out.key) != pbkdf2Len {
			return parsed{}, errPassword
		}
	default:
		return parsed{}, errPassword
	}
	return out, nil
}

func (p Password) check() error {
	if p == "" {
		return nil
	}
	_, err := p.parse()
	return err
}

// account is what package eap needs of it; nil fields say what it is not good for.
func (p Password) account() eap.Account {
	in, err := p.parse()
	switch {
	case err != nil: // no password
		return eap.Account{}
	case in.nt != nil:
		nt := keys.NewSecret(in.nt)
		return eap.Account{NTHash: nt, Check: func(password []byte) bool {
			got, err := eap.NTHash(string(password))
			if err != nil {
				return false
			}
			defer got.Clear()
			return got.Equal(nt)
		}}
	}
	return eap.Account{Check: func(password []byte) bool {
		got, err := pbkdf2.Key(sha256.New, string(password), in.salt, in.rounds, len(in.key))
		return err == nil && subtle.ConstantTimeCompare(got, in.key) == 1
	}}
}

// version is another one after each change, and tells nobody the password.
func (p Password) version() string {
	sum := sha256.Sum256([]byte(p))
	return hex.EncodeToString(sum[:])
}

// String implements fmt.Stringer without telling it.
func (p Password) String() string {
	kind, _, _ := strings.Cut(string(p), ":")
	if kind == "" {
		return "none"
	}
	return kind
}
