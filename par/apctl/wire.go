package apctl

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"

	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
)

// The protocol between a PAA and an agent: see docs/ap-agent.md.

const (
	protocolVersion = 1
	maxLine         = 1024      // octets, newline included
	maxAgo          = 3_600_000 // milliseconds
)

// Operations.
const (
	opHello   = "hello"
	opInstall = "install"
	opRemove  = "remove"
	opLeft    = "left"
	opFlush   = "flush"
	opStatus  = "status"
)

// Codes of errors, for what the caller does about them.
const (
	codeRefused  = "refused"
	codeMismatch = "mismatch"
	codeAway     = "away"
	codeFull     = "full"
	codeOther    = "other"
)

// ErrProtocol is wrapped when the other side does not keep to docs/ap-agent.md.
var ErrProtocol = errors.New("the other side does not keep to the protocol")

// request is one line to the agent. PMK is written by hand: encoding/json keeps what it has written.
type request struct {
	Op       string       `json:"op"`
	Version  int          `json:"version,omitempty"`
	Point    *Info        `json:"point,omitempty"`
	Station  *wpactrl.MAC `json:"station,omitempty"`
	Lifetime int          `json:"lifetime,omitempty"` // seconds
	PMK      *hexKey      `json:"pmk,omitempty"`
	Ago      int          `json:"ago,omitempty"` // milliseconds since the station was seen at another access point
}

// Events: a station that has a key there has come to the access point, or gone from it.
const (
	eventCame = "came"
	eventWent = "went"
)

// reply is one line from the agent: the answer to a request, or an event.
type reply struct {
	Event   string       `json:"event,omitempty"` // empty: it is an answer
	Station *wpactrl.MAC `json:"station,omitempty"`

	OK    bool   `json:"ok,omitempty"`
	Code  string `json:"code,omitempty"`
	Error string `json:"error,omitempty"`
	Up    bool   `json:"up,omitempty"`  // to hello and status: the access point can be reached
	Why   string `json:"why,omitempty"` // when not
}

// hexKey is a key as text in hexadecimal.
type hexKey struct{ secret *keys.Secret }

// UnmarshalJSON implements json.Unmarshaler.
func (h *hexKey) UnmarshalJSON(b []byte) error {
	const quotes = 2
	if len(b) != 2*keys.PMKLen+quotes || b[0] != '"' {
		return fmt.Errorf("%w: a key of %d hexadecimal digits expected", ErrProtocol, 2*keys.PMKLen)
	}
	raw := make([]byte, keys.PMKLen)
	if _, err := hex.Decode(raw, b[1:len(b)-1]); err != nil {
		clear(raw)
		return fmt.Errorf("%w: a key of hexadecimal digits expected", ErrProtocol) // the cause has a digit
	}
	h.secret = keys.NewSecret(raw)
	return nil
}

// appendRequest makes the line, in one piece of memory that the caller clears.
func appendRequest(r request) ([]byte, error) {
	pmk := r.PMK
	r.PMK = nil
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	line := append(make([]byte, 0, maxLine), text...)
	if pmk != nil {
		line = append(line[:len(line)-1], `,"pmk":"`...)
		line = hex.AppendEncode(line, pmk.secret.Bytes())
		line = append(line, `"}`...)
	}
	return append(line, '\n'), nil
}

// parseRequest reads a line strictly. The caller clears the key, if there is one.
func parseRequest(line []byte) (request, error) {
	var r request
	if err := strict(line, &r); err != nil {
		r.clear()
		return request{}, err
	}
	need := func(ok bool, what string) error {
		if ok {
			return nil
		}
		r.clear()
		return fmt.Errorf("%w: %s without %s", ErrProtocol, r.Op, what)
	}
	switch r.Op {
	case opHello:
		return r, need(r.Point != nil, "point")
	case opInstall:
		return r, need(r.Station != nil && r.PMK != nil && r.PMK.secret != nil, "station and pmk")
	case opRemove:
		return r, need(r.Station != nil, "station")
	case opLeft:
		return r, need(r.Station != nil && r.Ago >= 0 && r.Ago <= maxAgo, "station and ago")
	case opFlush, opStatus:
		return r, nil
	}
	r.clear()
	return request{}, fmt.Errorf("%w: operation %q", ErrProtocol, wpactrl.Printable(r.Op))
}

func (r *request) clear() {
	if r.PMK != nil {
		r.PMK.secret.Clear()
	}
}

// strict reads one object without fields of other names. Its errors have nothing of the line, where keys are.
func strict(line []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		if errors.Is(err, ErrProtocol) {
			return err
		}
		return fmt.Errorf("%w: a line that is no such object", ErrProtocol)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: more than one object in a line", ErrProtocol)
	}
	return nil
}

// lines reads lines of a connection and wipes each when the next is read.
type lines struct{ r *bufio.Reader }

func newLines(conn net.Conn) *lines { return &lines{bufio.NewReaderSize(conn, maxLine)} }

// next returns the next line; use is over when it returns. The line is wiped then.
func (l *lines) next(use func(line []byte) error) error {
	line, err := l.r.ReadSlice('\n')
	defer clear(line)
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return fmt.Errorf("%w: a line of more than %d octets", ErrProtocol, maxLine)
	case errors.Is(err, io.EOF) && len(line) > 0:
		return fmt.Errorf("%w: the connection ended within a line", ErrProtocol)
	case err != nil:
		return err
	}
	return use(line)
}

// code says how an error goes over the wire.
func code(err error) string {
	switch {
	case errors.Is(err, ErrMismatch):
		return codeMismatch
	case errors.Is(err, ErrAway):
		return codeAway
	case errors.Is(err, ErrRefused):
		return codeRefused
	case errors.Is(err, ErrFull):
		return codeFull
	}
	return codeOther
}

// err is what a reply says.
func (r reply) err() error {
	if r.OK {
		return nil
	}
	text := wpactrl.Printable(r.Error)
	switch r.Code {
	case codeMismatch:
		return fmt.Errorf("%w: the agent says %q", ErrMismatch, text)
	case codeAway:
		return fmt.Errorf("%w: the agent says %q", ErrAway, text)
	case codeRefused, codeFull:
		return fmt.Errorf("%w: the agent says %q", ErrRefused, text)
	}
	return fmt.Errorf("the agent says %q", text)
}

// writeReply sends a reply.
func writeReply(conn net.Conn, r reply) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = conn.Write(append(line, '\n'))
	return err
}
