package eap

import (
	"crypto/tls"
	"errors"
	"net"

	"openmpa/paa/keys"
)

// Labels and lengths of key export: RFC 5216 section 2.3 for TLS 1.2 (through the
// exporter of RFC 5705, RFC 9190 section 2.3 last paragraph), RFC 9190 for 1.3.
const (
	exportLabel12   = "client EAP encryption"
	exportLabelTTLS = "ttls keying material" // RFC 5281 section 8
	exportLabel13   = "EXPORTER_EAP_TLS_Key_Material"
	keyMaterial     = 128 // always all of it: TLS 1.3's output depends on the length
	mskLen          = 64
)

// engine is one TLS connection of a method, on a lockstep connection.
type engine struct {
	client bool
	conn   *lockstep
	out    *outcome
}

// outcome is written by the TLS goroutine, and read while that is parked or done.
type outcome struct {
	complete  bool   // the method has succeeded and keys are exported; its last flight may still have to go out
	indicated bool   // each side knows of the other's success, protected: EAP-Failure counts no more
	user      string // authenticated inside the tunnel, at the server
	reason    error  // should the server refuse now without one
	err       error
	state     tls.ConnectionState
	msk       *keys.Secret
	emsk      *keys.Secret
}

// startEngine begins a handshake as them's opponent and runs it up to its first
// read; the script goes on from there.
func startEngine(client bool, kind Type, cfg *tls.Config, s script) *engine {
	e := &engine{client: client, conn: newLockstep(), out: &outcome{}}
	conn, out := e.conn, e.out // the goroutine must not hold what the owner's cleanup watches
	conn.start(func() {
		t := &tunnel{wire: conn, out: out, kind: kind}
		if client {
			t.tls, t.them = tls.Client(conn, cfg), "server"
		} else {
			t.tls, t.them = tls.Server(conn, cfg), "client"
		}
		err := t.run(s)
		if errors.Is(err, net.ErrClosed) {
			err = errors.New("eap: conversation closed")
		}
		out.err = err
	})
	return e
}

// step gives one flight and returns the answer. After an error the answer may
// still hold the alert to send.
func (e *engine) step(in []byte) (answer []byte, complete bool, err error) {
	if err := plainAlert(in); err != nil && !e.client && !e.out.complete {
		return nil, false, err
	}
	e.conn.feed(in)
	return e.conn.take(), e.out.complete, e.out.err
}

// plainAlert recognises a flight that is one fatal alert in the clear. OpenSSL's
// client sends that when it refuses a TLS 1.3 server, since it has not begun to
// encrypt yet, while crypto/tls expects it to have, and would answer with an alert
// of its own that nobody waits for.
func plainAlert(in []byte) error {
	const alert, fatal = 21, 2
	if len(in) == 7 && in[0] == alert && in[1] == 3 && in[3] == 0 && in[4] == 2 && in[5] == fatal {
		return &AlertError{By: "client", Code: in[6]}
	}
	return nil
}

// close ends the goroutine and waits for it.
func (e *engine) close() {
	e.conn.shut()
	<-e.conn.done
}

// clear wipes keys nobody took.
func (o *outcome) clear() {
	o.msk.Clear()
	o.emsk.Clear()
}
