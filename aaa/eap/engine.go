package eap

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"openmpa/paa/keys"
)

// Labels and lengths of key export: RFC 5216 section 2.3 for TLS 1.2 (through the
// exporter of RFC 5705, RFC 9190 section 2.3 last paragraph), RFC 9190 for 1.3.
const (
	exportLabel12 = "client EAP encryption"
	exportLabel13 = "EXPORTER_EAP_TLS_Key_Material"
	keyMaterial   = 128 // always all of it: TLS 1.3's output depends on the length
	mskLen        = 64
)

// engine is one TLS handshake on a lockstep connection.
type engine struct {
	client bool
	conn   *lockstep
	out    *outcome
}

// outcome is written by the TLS goroutine, and read while that is parked or done.
type outcome struct {
	complete bool // keys exported, and the success indication sent or seen
	err      error
	state    tls.ConnectionState
	msk      *keys.Secret
	emsk     *keys.Secret
}

// startEngine begins a handshake as them's opponent and runs it up to its first read.
func startEngine(client bool, cfg *tls.Config) *engine {
	e := &engine{client: client, conn: newLockstep(), out: &outcome{}}
	conn, out := e.conn, e.out // the goroutine must not hold what the owner's cleanup watches
	conn.start(func() {
		var err error
		if client {
			err = runClient(tls.Client(conn, cfg), out)
		} else {
			err = runServer(tls.Server(conn, cfg), out)
		}
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

func runClient(c *tls.Conn, out *outcome) error {
	if err := c.Handshake(); err != nil {
		return explain(err, "server")
	}
	if c.ConnectionState().Version >= tls.VersionTLS13 {
		// The server has yet to look at our certificate: an alert comes here too.
		if err := readIndication(c); err != nil {
			return err
		}
	}
	if err := out.export(c); err != nil {
		return err
	}
	return afterwards(c, "server") // tickets that follow the indication in one flight
}

func runServer(c *tls.Conn, out *outcome) error {
	if err := c.Handshake(); err != nil {
		return explain(err, "client")
	}
	if err := out.export(c); err != nil {
		return err
	}
	if c.ConnectionState().Version >= tls.VersionTLS13 {
		if _, err := c.Write([]byte{0}); err != nil { // RFC 9190 section 2.5
			return explain(err, "client")
		}
	}
	return afterwards(c, "client")
}

// readIndication waits for the protected success indication of RFC 9190 section 2.5.
func readIndication(c *tls.Conn) error {
	var b [16]byte
	n, err := c.Read(b[:])
	if err != nil {
		return explain(err, "server")
	}
	if n != 1 || b[0] != 0 {
		_ = c.Close() // says so by an alert
		return &ProtocolError{Detail: fmt.Sprintf("expected the success indication 0x00 of RFC 9190, got %d octets of application data", n)}
	}
	return nil
}

// afterwards stays on the connection for what may still come: session tickets,
// and alerts of a side that changed its mind.
func afterwards(c *tls.Conn, them string) error {
	var b [16]byte
	_, err := c.Read(b[:])
	if err != nil {
		return explain(err, them)
	}
	return &ProtocolError{Detail: "unexpected application data from the " + them + " after the handshake"}
}

// export derives MSK and EMSK and marks the method complete.
func (o *outcome) export(c *tls.Conn) error {
	o.state = c.ConnectionState()
	label, context := exportLabel12, []byte(nil)
	if o.state.Version >= tls.VersionTLS13 {
		label, context = exportLabel13, []byte{byte(TypeTLS)}
	}
	km, err := o.state.ExportKeyingMaterial(label, context, keyMaterial)
	if err != nil {
		return fmt.Errorf("eap: no keys from TLS; the other side must offer TLS 1.3, or 1.2 with the extended master secret of RFC 7627: %w", err)
	}
	o.msk = keys.NewSecret(km[:mskLen])
	o.emsk = keys.NewSecret(km[mskLen:])
	o.complete = true
	return nil
}
