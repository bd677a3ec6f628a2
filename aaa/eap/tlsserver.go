package eap

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"openmpa/paa/keys"
)

// ServerConfig configures the server's side of EAP-TLS.
type ServerConfig struct {
	Certificate tls.Certificate // with its private key and chain
	ClientCAs   *x509.CertPool  // CAs that may have issued clients' certificates

	MinVersion uint16 // default TLS 1.2, which is also the least
	MaxVersion uint16 // default TLS 1.3

	// Authorize looks at the client's certificate, verified, before success is
	// indicated, in a resumed session too. Its error refuses the client, as
	// ErrNotAuthorized. nil: every client of ClientCAs.
	Authorize func(*x509.Certificate) error

	// TicketKeys encrypt session tickets, the first new ones. None: no resumption.
	TicketKeys [][32]byte

	FragmentSize int              // largest packet sent, in octets; default DefaultFragmentSize
	Rand         io.Reader        // for TLS; nil: crypto/rand
	Time         func() time.Time // clock for certificates; nil: the system's
}

type serverState uint8

const (
	serverStart     serverState = iota // S sent or about to be
	serverHandshake                    // TLS runs
	serverComplete                     // our last flight is out, its acknowledgement is not here
	serverAlerted                      // TLS failed and the alert is out
	serverDone
)

// TLSServer is the server's side of one EAP-TLS conversation, from its start
// packet to EAP-Success or EAP-Failure. It is synchronous and must not be used by
// several goroutines at once. Close it.
type TLSServer struct {
	// fixed
	config *tls.Config

	// owner
	state   serverState
	success bool
	m       method
	id      uint8 // of the last request
	err     error
	cleanup runtime.Cleanup
}

// NewTLSServer makes the server's side of one conversation.
func NewTLSServer(cfg ServerConfig) (*TLSServer, error) {
	if len(cfg.Certificate.Certificate) == 0 || cfg.Certificate.PrivateKey == nil {
		return nil, errors.New("eap: no server certificate with its private key")
	}
	if cfg.ClientCAs == nil {
		return nil, errors.New("eap: no CA certificates to check clients by")
	}
	lo, hi, err := versions(cfg.MinVersion, cfg.MaxVersion)
	if err != nil {
		return nil, err
	}
	size, err := fragmentSize(cfg.FragmentSize)
	if err != nil {
		return nil, err
	}
	t := baseConfig(lo, hi, cfg.Rand, cfg.Time)
	t.Certificates = []tls.Certificate{cfg.Certificate}
	t.ClientCAs = cfg.ClientCAs
	t.ClientAuth = tls.RequireAndVerifyClientCert
	t.SessionTicketsDisabled = len(cfg.TicketKeys) == 0
	if len(cfg.TicketKeys) > 0 {
		t.SetSessionTicketKeys(cfg.TicketKeys)
	}
	if authorize := cfg.Authorize; authorize != nil {
		t.VerifyConnection = func(state tls.ConnectionState) error {
			cert := state.PeerCertificates[0] // RequireAndVerifyClientCert, so there is one
			if err := authorize(cert); err != nil {
				return &CertificateError{Whose: "client", Reason: ErrNotAuthorized, Subject: quoteName(cert.Subject.String()), Detail: err.Error()}
			}
			return nil
		}
	}
	s := &TLSServer{config: t}
	s.m.tx.size = size
	return s, nil
}

// Start returns the first request, EAP-TLS with S set, under that identifier.
func (s *TLSServer) Start(id uint8) []byte {
	s.id = id
	return Packet{Code: CodeRequest, ID: id, Type: TypeTLS, Data: fragment{start: true}.appendBinary(nil)}.bytes()
}

// Handle takes one response and returns the next request, or EAP-Success or
// EAP-Failure when Result is done. An error without a packet means that the
// response does not belong here (wrong code, identifier or no EAP at all): drop it,
// the conversation stands. With EAP-Failure the error is the reason, typed.
func (s *TLSServer) Handle(response []byte) (request []byte, err error) {
	pkt, err := Parse(response)
	if err != nil {
		return nil, err
	}
	if s.state == serverDone {
		return nil, &ProtocolError{Detail: "packet after the end of the conversation"}
	}
	if pkt.Code != CodeResponse || pkt.ID != s.id {
		return nil, &ProtocolError{Detail: fmt.Sprintf("expected Response %d, got %v %d", s.id, pkt.Code, pkt.ID)}
	}
	if s.state == serverAlerted && !s.m.tx.pending() {
		return s.end(false), s.err // whatever it says to our alert
	}
	if pkt.Type != TypeTLS {
		return s.refuse(pkt)
	}
	f, err := parseFragment(pkt.Data)
	if err != nil {
		return s.fail(err, fragment{})
	}
	if s.state == serverStart {
		s.state = serverHandshake
		s.m.eng = startEngine(false, TypeTLS, s.config, serverTLS)
		s.cleanup = runtime.AddCleanup(s, (*lockstep).shut, s.m.eng.conn)
	}
	reply, stepped, err := s.m.exchange(f)
	if errors.Is(err, errAck) {
		if s.state == serverComplete {
			return s.end(true), nil
		}
		err = &ProtocolError{Detail: "empty EAP-TLS response where the client's flight was expected"}
	}
	if err != nil {
		return s.fail(err, reply)
	}
	if stepped && s.m.eng.out.complete {
		s.state = serverComplete
		if len(reply.data) == 0 { // TLS 1.2 resumed: the client had the last word
			return s.end(true), nil
		}
	}
	return s.next(reply), nil
}

// refuse ends a conversation whose peer does not want EAP-TLS.
func (s *TLSServer) refuse(pkt Packet) ([]byte, error) {
	detail := fmt.Sprintf("expected EAP-TLS, the peer answered with %v", pkt.Type)
	if pkt.Type == TypeNak && s.state == serverStart {
		wants := "no other method"
		if len(pkt.Data) > 0 && pkt.Data[0] != 0 {
			wants = Type(pkt.Data[0]).String()
		}
		detail = "the peer refuses EAP-TLS and proposes " + wants + "; only EAP-TLS is offered here"
	}
	return s.fail(&ProtocolError{Detail: detail}, fragment{})
}

// fail notes the reason, and sends the alert if there is one, else EAP-Failure.
func (s *TLSServer) fail(err error, alert fragment) ([]byte, error) {
	if s.err == nil {
		s.err = err
	}
	if len(alert.data) > 0 {
		s.state = serverAlerted
		return s.next(alert), nil
	}
	return s.end(false), s.err
}

func (s *TLSServer) next(f fragment) []byte {
	s.id++
	return Packet{Code: CodeRequest, ID: s.id, Type: TypeTLS, Data: f.appendBinary(nil)}.bytes()
}

func (s *TLSServer) end(success bool) []byte {
	s.state, s.success = serverDone, success
	s.m.close(success)
	s.cleanup.Stop()
	code := CodeFailure
	if success {
		code = CodeSuccess
	}
	return Packet{Code: code, ID: s.id}.bytes()
}

// Result says whether the conversation has ended, and how. MSK and EMSK, 64 octets
// each, are the caller's to clear; they are nil unless success. identity is what
// the client's certificate names (see Identities), authenticated.
func (s *TLSServer) Result() (done, success bool, msk, emsk *keys.Secret, identity string) {
	if s.state != serverDone || !s.success {
		return s.state == serverDone, false, nil, nil, ""
	}
	out := s.m.eng.out
	if names := Identities(out.state.PeerCertificates[0]); len(names) > 0 {
		identity = names[0]
	}
	return true, true, out.msk, out.emsk, identity
}

// Certificate is the client's, verified; nil before its handshake is complete.
func (s *TLSServer) Certificate() *x509.Certificate {
	if s.m.eng == nil || !s.m.eng.out.complete {
		return nil
	}
	return s.m.eng.out.state.PeerCertificates[0]
}

// TLSVersion names the version negotiated, empty before.
func (s *TLSServer) TLSVersion() string {
	if s.m.eng == nil || !s.m.eng.out.complete {
		return ""
	}
	return tls.VersionName(s.m.eng.out.state.Version)
}

// Resumed says that the handshake was an abbreviated one.
func (s *TLSServer) Resumed() bool {
	return s.m.eng != nil && s.m.eng.out.complete && s.m.eng.out.state.DidResume
}

// Err is the first reason of failure, known before EAP-Failure goes out.
func (s *TLSServer) Err() error { return s.err }

// Close ends the conversation and its goroutine. It may be called at any time, and again.
func (s *TLSServer) Close() error {
	if s.state != serverDone {
		s.end(false)
	}
	return nil
}

// Identities lists the names of a client certificate in the order RFC 5216 section
// 5.2 looks for a peer's identity: e-mail (NAI), DNS and URI names, then the
// common name of a certificate without these.
func Identities(cert *x509.Certificate) []string {
	names := append([]string(nil), cert.EmailAddresses...)
	names = append(names, cert.DNSNames...)
	for _, u := range cert.URIs {
		names = append(names, u.String())
	}
	if len(names) == 0 && cert.Subject.CommonName != "" {
		names = append(names, cert.Subject.CommonName)
	}
	return names
}
