package eap

import (
	"crypto/tls"
	"fmt"

	"openmpa/paa/keys"
)

// script is what a method does with its TLS connection once the handshake is done.
// It runs on the TLS goroutine and reads and writes as if it were alone: whenever
// it waits, what it wrote goes out as one message. It ends with the conversation's TLS.
type script func(t *tunnel) error

// tunnel is what a script has of its connection.
type tunnel struct {
	tls  *tls.Conn
	wire *lockstep
	out  *outcome
	kind Type   // of the method: it is in the keys of TLS 1.3
	them string // the other side, "server" or "client"
}

func (t *tunnel) run(s script) error {
	if err := t.tls.Handshake(); err != nil {
		return explain(err, t.them)
	}
	t.out.state = t.tls.ConnectionState()
	return s(t)
}

// v13 says whether it is TLS 1.3.
func (t *tunnel) v13() bool { return t.out.state.Version >= tls.VersionTLS13 }

// resumed says whether the handshake was an abbreviated one.
func (t *tunnel) resumed() bool { return t.out.state.DidResume }

// read waits for application data: one record, which is one message of every method
// here. It is valid until the next read.
func (t *tunnel) read() ([]byte, error) {
	b := make([]byte, maxRecord)
	n, err := t.tls.Read(b)
	if err != nil {
		return nil, explain(err, t.them)
	}
	return b[:n], nil
}

// maxRecord is the largest plaintext of TLS.
const maxRecord = 16 << 10

// write adds application data to the message that goes out next.
func (t *tunnel) write(b []byte) error {
	if _, err := t.tls.Write(b); err != nil {
		return explain(err, t.them)
	}
	return nil
}

// pass gives the turn away: it returns when the other side's next message is here,
// which may be empty.
func (t *tunnel) pass() error { return t.wire.pass() }

// refuse ends the connection for a reason of this side, with an alert.
func (t *tunnel) refuse(err error) error {
	_ = t.tls.Close()
	return err
}

// material exports 128 octets: RFC 5216 section 2.3 and RFC 5281 section 8 for TLS 1.2,
// RFC 9190 section 2.3 and RFC 9427 section 2.1 for 1.3.
func (t *tunnel) material() ([]byte, error) {
	label, context := exportLabel12, []byte(nil)
	switch {
	case t.v13():
		label, context = exportLabel13, []byte{byte(t.kind)}
	case t.kind == TypeTTLS:
		label = exportLabelTTLS
	}
	return t.export(label, context, keyMaterial)
}

func (t *tunnel) export(label string, context []byte, n int) ([]byte, error) {
	b, err := t.out.state.ExportKeyingMaterial(label, context, n)
	if err != nil {
		return nil, fmt.Errorf("eap: no keys from TLS; the other side must offer TLS 1.3, or 1.2 with the extended master secret of RFC 7627: %w", err)
	}
	return b, nil
}

// ttlsChallenge is the implicit challenge of MS-CHAPv2 inside EAP-TTLS and its Ident
// (RFC 5281 sections 11.1 and 11.2.4, RFC 9427 section 2.3).
func (t *tunnel) ttlsChallenge() (challenge [chapChallengeLen]byte, ident uint8, err error) {
	b, err := t.export("ttls challenge", nil, chapChallengeLen+1)
	if err != nil {
		return challenge, 0, err
	}
	copy(challenge[:], b)
	return challenge, b[chapChallengeLen], nil
}

// succeed exports MSK and EMSK and marks the method complete.
func (t *tunnel) succeed() error {
	km, err := t.material()
	if err != nil {
		return err
	}
	t.succeedWith(keys.NewSecret(km[:mskLen]), keys.NewSecret(km[mskLen:]))
	return nil
}

func (t *tunnel) succeedWith(msk, emsk *keys.Secret) {
	t.out.msk, t.out.emsk, t.out.complete = msk, emsk, true
}

// linger stays on the connection for what may still come: session tickets, and
// alerts of a side that changed its mind.
func (t *tunnel) linger() error {
	if _, err := t.read(); err != nil {
		return err
	}
	return &ProtocolError{Detail: "unexpected application data from the " + t.them + " after the end"}
}

// indication waits for the protected success indication of RFC 9190 section 2.5.
func (t *tunnel) indication() error {
	b, err := t.read()
	if err != nil {
		return err
	}
	if !isIndication(b) {
		return t.refuse(&ProtocolError{Detail: fmt.Sprintf("expected the success indication 0x00 of RFC 9190, got %d octets of application data", len(b))})
	}
	t.out.indicated = true
	return nil
}

func isIndication(b []byte) bool { return len(b) == 1 && b[0] == 0 }

// clientTLS is EAP-TLS at the peer.
func clientTLS(t *tunnel) error {
	if t.v13() {
		// The server has yet to look at our certificate: an alert comes here too.
		if err := t.indication(); err != nil {
			return err
		}
	}
	if err := t.succeed(); err != nil {
		return err
	}
	return t.linger() // tickets that follow the indication in one flight
}

// serverTLS is EAP-TLS at the server.
func serverTLS(t *tunnel) error {
	if err := t.succeed(); err != nil {
		return err
	}
	if t.v13() {
		if err := t.write([]byte{0}); err != nil { // RFC 9190 section 2.5
			return err
		}
	}
	return t.linger()
}
