package config

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode"
	"unicode/utf8"

	"openmpa/paa/keys"
)

// maxSecret bounds a secret file, in octets.
const maxSecret = 64 << 10

// SecretFile names a file that holds a shared secret or a key. Its content is
// one of:
//
//	hex:00112233aabb...     hexadecimal; white space between digits is ignored
//	base64:ABEiM6q7...      standard base64; white space is ignored
//	anything else           the octets themselves
//
// What is not prefixed is never guessed at: "deadbeef" is a password of eight
// letters. Of plain text one line end after it is dropped, since editors add it;
// octets that are not text are taken whole.
type SecretFile string

// String returns the file's name, resolved if it was relative.
func (f SecretFile) String() string { return string(f) }

// Load reads the secret. It refuses files that others than owner and group may
// read or write, empty ones and what is not a regular file, and says what to do.
func (f SecretFile) Load() (*keys.Secret, error) {
	raw, err := ReadPrivate(string(f))
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	b, err := decodeSecret(raw)
	if err != nil {
		return nil, fmt.Errorf("config: secret file %s: %w", string(f), err)
	}
	return keys.NewSecret(b), nil // copies and wipes b
}

// ReadPrivate reads a file that holds key material, of at most 64 KiB. It
// refuses what everybody may read or write, and what is not a regular file.
func ReadPrivate(name string) ([]byte, error) {
	if name == "" {
		return nil, errors.New("config: no secret file is named: expected a file name")
	}
	st, err := os.Stat(name) // before opening: opening a FIFO would wait for a writer
	if err != nil {
		return nil, fmt.Errorf("config: secret file: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("config: secret file %s: expected a regular file, found %s", name, st.Mode().Type())
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("config: secret file: %w", err)
	}
	defer file.Close()
	if st, err = file.Stat(); err != nil {
		return nil, fmt.Errorf("config: secret file: %w", err)
	}
	if perm := st.Mode().Perm(); perm&0o007 != 0 {
		return nil, fmt.Errorf("config: secret file %s is open to every user of this machine (mode %#o): run chmod 600 %s", name, perm, name)
	}
	raw, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err != nil {
		clear(raw)
		return nil, fmt.Errorf("config: secret file: %w", err)
	}
	if len(raw) > maxSecret {
		clear(raw)
		return nil, fmt.Errorf("config: secret file %s is larger than %d bytes", name, maxSecret)
	}
	return raw, nil
}

// decodeSecret turns a file's content into the secret. The result never shares
// memory with raw. Errors do not quote the content.
func decodeSecret(raw []byte) ([]byte, error) {
	var out []byte
	switch {
	case bytes.HasPrefix(raw, []byte("hex:")):
		digits := dropSpace(raw[len("hex:"):])
		out = make([]byte, hex.DecodedLen(len(digits)))
		n, err := hex.Decode(out, digits)
		clear(digits)
		if err != nil {
			clear(out)
			return nil, errors.New("what follows \"hex:\" is not hexadecimal: expected two digits an octet")
		}
		out = out[:n]
	case bytes.HasPrefix(raw, []byte("base64:")):
		digits := dropSpace(raw[len("base64:"):])
		out = make([]byte, base64.StdEncoding.DecodedLen(len(digits)))
		n, err := base64.StdEncoding.Strict().Decode(out, digits)
		clear(digits)
		if err != nil {
			clear(out)
			return nil, errors.New("what follows \"base64:\" is not standard base64 with padding")
		}
		out = out[:n]
	default:
		text := raw
		if isText(raw) {
			text = bytes.TrimSuffix(text, []byte("\n"))
			text = bytes.TrimSuffix(text, []byte("\r"))
		}
		out = bytes.Clone(text)
	}
	if len(out) == 0 {
		return nil, errors.New("it holds no secret: expected hex:..., base64:... or the secret itself")
	}
	return out, nil
}

func dropSpace(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for _, c := range b {
		if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			out = append(out, c)
		}
	}
	return out
}

// isText tells text from octets: UTF-8 without control characters, except one
// line end at its end.
func isText(b []byte) bool {
	b = bytes.TrimSuffix(b, []byte("\n"))
	b = bytes.TrimSuffix(b, []byte("\r"))
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n <= 1 || unicode.IsControl(r) && r != '\t' {
			return false
		}
		b = b[n:]
	}
	return true
}
