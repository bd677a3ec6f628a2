package eap

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"
)

// maxRounds bounds the packets of one conversation: two flights of maxMessage in
// the smallest fragments, and some.
const maxRounds = 2*maxMessage/(MinFragmentSize-headerLen-2) + 32

// versions checks and completes a TLS version range.
func versions(lo, hi uint16) (uint16, uint16, error) {
	if lo == 0 {
		lo = tls.VersionTLS12
	}
	if hi == 0 {
		hi = tls.VersionTLS13
	}
	if lo < tls.VersionTLS12 || hi > tls.VersionTLS13 || lo > hi {
		return 0, 0, fmt.Errorf("eap: TLS versions %s to %s, expected a range within TLS 1.2 to TLS 1.3", tls.VersionName(lo), tls.VersionName(hi))
	}
	return lo, hi, nil
}

// baseConfig is what peer and server have in common.
func baseConfig(lo, hi uint16, rand io.Reader, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: lo,
		MaxVersion: hi,
		Rand:       rand,
		Time:       now,
		// Without the post-quantum shares: they double the flights.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384},
	}
}

func fragmentSize(n int) (int, error) {
	if n == 0 {
		return DefaultFragmentSize, nil
	}
	if n < MinFragmentSize || n > MaxFragmentSize {
		return 0, fmt.Errorf("eap: fragment size of %d octets, expected %d to %d", n, MinFragmentSize, MaxFragmentSize)
	}
	return n, nil
}

// method is the part of EAP-TLS that is the same at both ends: fragments in and
// out around an engine.
type method struct {
	eng    *engine
	rx     reassembler
	tx     fragmenter
	rounds int
}

// errAck says that the other side sent an empty packet while we have nothing to
// send: the caller knows what that means at this point.
var errAck = errors.New("eap: empty EAP-TLS packet")

// exchange takes one fragment and returns the next of ours: an acknowledgement,
// the next piece of our flight, or the first of the engine's answer. stepped says
// that the engine ran.
func (m *method) exchange(f fragment) (reply fragment, stepped bool, err error) {
	if m.rounds++; m.rounds > maxRounds {
		return fragment{}, false, &ProtocolError{Detail: fmt.Sprintf("conversation of more than %d packets", maxRounds)}
	}
	switch {
	case f.start:
		return fragment{}, false, &ProtocolError{Detail: "start (S) in the middle of EAP-TLS"}
	case m.tx.pending():
		if !f.isAck() {
			return fragment{}, false, &ProtocolError{Detail: "expected an acknowledgement of a fragment, got data"}
		}
		return m.tx.next(), false, nil
	case f.isAck() && !m.rx.busy && !m.eng.conn.passing:
		return fragment{}, false, errAck
	}
	msg, whole, err := m.rx.add(f)
	if err != nil || !whole {
		return fragment{}, false, err
	}
	answer, _, err := m.eng.step(msg)
	m.tx.load(answer)
	return m.tx.next(), true, err
}

// close ends the engine and wipes keys that were not handed over.
func (m *method) close(keepKeys bool) {
	if m.eng == nil {
		return
	}
	m.eng.close()
	if !keepKeys {
		m.eng.out.clear()
	}
}
