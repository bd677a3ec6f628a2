package eap

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"openmpa/paa/keys"
)

// ServerConfig configures the server's side of EAP.
type ServerConfig struct {
	Certificate tls.Certificate // with its private key and chain
	ClientCAs   *x509.CertPool  // CAs that may have issued clients' certificates; for EAP-TLS

	// Methods are offered in that order: a peer that wants another one of them says so.
	// None: EAP-TLS.
	Methods []Type

	MinVersion uint16 // default TLS 1.2, which is also the least
	MaxVersion uint16 // default TLS 1.3

	// Authorize looks at the client's certificate of EAP-TLS, verified, before success is
	// indicated, in a resumed session too. Its error refuses the client, as
	// ErrNotAuthorized. nil: every client of ClientCAs.
	Authorize func(*x509.Certificate) error

	// Accounts finds who has a password for a method, EAP-TTLS or PEAP, by the name
	// inside the tunnel. Its error refuses the user. It is asked again when a session is
	// resumed, under Account.Name.
	Accounts func(method Type, user string) (Account, error)

	// Sessions lets sessions be resumed; shared by conversations. nil: none is.
	Sessions *Sessions

	FragmentSize int              // largest packet sent, in octets; default DefaultFragmentSize
	Rand         io.Reader        // for TLS; nil: crypto/rand
	Time         func() time.Time // clock for certificates; nil: the system's
}

type serverState uint8

const (
	serverStart     serverState = iota // S sent or about to be
	serverHandshake                    // TLS runs, or the method inside
	serverComplete                     // our last flight is out, its acknowledgement is not here
	serverAlerted                      // it failed and the alert is out
	serverDone
)

// Server is the server's side of one conversation, from the first method's start
// packet to EAP-Success or EAP-Failure. It is synchronous and must not be used by
// several goroutines at once. Close it.
type Server struct {
	// fixed
	cfg ServerConfig

	// owner
	kind    Type // of the method that is offered
	config  *tls.Config
	tickets *ticketing
	left    []Type // that may still be offered
	state   serverState
	success bool
	m       method
	id      uint8 // of the last request
	err     error
	cleanup runtime.Cleanup
}

// NewServer makes the server's side of one conversation.
func NewServer(cfg ServerConfig) (*Server, error) {
	if len(cfg.Certificate.Certificate) == 0 || cfg.Certificate.PrivateKey == nil {
		return nil, errors.New("eap: no server certificate with its private key")
	}
	if len(cfg.Methods) == 0 {
		cfg.Methods = []Type{TypeTLS}
	}
	if cfg.Time == nil {
		cfg.Time = time.Now
	}
	var err error
	if cfg.MinVersion, cfg.MaxVersion, err = versions(cfg.MinVersion, cfg.MaxVersion); err != nil {
		return nil, err
	}
	size, err := fragmentSize(cfg.FragmentSize)
	if err != nil {
		return nil, err
	}
	for _, kind := range cfg.Methods {
		switch {
		case kind == TypeTLS && cfg.ClientCAs == nil:
			return nil, errors.New("eap: no CA certificates to check clients by")
		case kind != TypeTLS && cfg.Accounts == nil:
			return nil, fmt.Errorf("eap: %v without users", kind)
		case kind != TypeTLS && kind != TypeTTLS && kind != TypePEAP:
			return nil, fmt.Errorf("eap: method %v, expected %v, %v or %v", kind, TypeTLS, TypeTTLS, TypePEAP)
		}
	}
	s := &Server{cfg: cfg, left: slices.Clone(cfg.Methods[1:])}
	s.m.tx.size = size
	return s, s.offer(cfg.Methods[0])
}

// offer makes ready for a method.
func (s *Server) offer(kind Type) error {
	t := baseConfig(s.cfg.MinVersion, s.cfg.MaxVersion, s.cfg.Rand, s.cfg.Time)
	t.Certificates = []tls.Certificate{s.cfg.Certificate}
	if kind == TypeTLS {
		t.ClientCAs = s.cfg.ClientCAs
		t.ClientAuth = tls.RequireAndVerifyClientCert
		if authorize := s.cfg.Authorize; authorize != nil {
			t.VerifyConnection = func(state tls.ConnectionState) error {
				cert := state.PeerCertificates[0] // RequireAndVerifyClientCert, so there is one
				if err := authorize(cert); err != nil {
					return &CertificateError{Whose: "client", Reason: ErrNotAuthorized, Subject: quoteName(cert.Subject.String()), Detail: err.Error()}
				}
				return nil
			}
		}
	}
	accounts := s.cfg.Accounts
	s.kind, s.config = kind, t
	s.tickets = &ticketing{all: s.cfg.Sessions, kind: kind, now: s.cfg.Time, current: func(r remembered) bool {
		a, err := accounts(kind, r.user)
		defer a.NTHash.Clear()
		return err == nil && a.Version == r.version
	}}
	return s.tickets.install(t)
}

// Start returns the first request, that method with S set, under that identifier.
func (s *Server) Start(id uint8) []byte {
	s.id = id
	return Packet{Code: CodeRequest, ID: id, Type: s.kind, Data: fragment{start: true}.appendBinary(nil)}.bytes()
}

// Handle takes one response and returns the next request, or EAP-Success or
// EAP-Failure when Result is done. An error without a packet means that the
// response does not belong here (wrong code, identifier or no EAP at all): drop it,
// the conversation stands. With EAP-Failure the error is the reason, typed.
func (s *Server) Handle(response []byte) (request []byte, err error) {
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
	if pkt.Type != s.kind {
		return s.another(pkt)
	}
	f, err := parseFragment(pkt.Data)
	if err != nil {
		return s.fail(err, fragment{})
	}
	if s.state == serverStart {
		s.state = serverHandshake
		s.m.eng = startEngine(false, s.kind, s.config, s.script())
		s.cleanup = runtime.AddCleanup(s, (*lockstep).shut, s.m.eng.conn)
	}
	reply, stepped, err := s.m.exchange(f)
	if errors.Is(err, errAck) {
		if s.state == serverComplete {
			return s.end(true), nil
		}
		err = &ProtocolError{Detail: fmt.Sprintf("empty %v response where the client's flight was expected", s.kind)}
	}
	if err != nil {
		return s.fail(err, reply)
	}
	if stepped && s.m.eng.out.complete {
		s.state = serverComplete
		if len(reply.data) == 0 { // nothing more to say: the client had the last word
			return s.end(true), nil
		}
	}
	return s.next(reply), nil
}

// script is what the method does inside TLS. It must not hold the Server, whose
// cleanup ends it.
func (s *Server) script() script {
	switch in := (inner{accounts: s.cfg.Accounts, tickets: s.tickets, rand: s.cfg.Rand}); s.kind {
	case TypeTTLS:
		return in.serverTTLS
	case TypePEAP:
		return in.serverPEAP
	default:
		return serverTLS
	}
}

// another takes a packet of another type: a peer that does not want the method that is
// offered, and may say which one it wants (RFC 3748 section 5.3.1).
func (s *Server) another(pkt Packet) ([]byte, error) {
	if pkt.Type != TypeNak || s.state != serverStart {
		return s.fail(&ProtocolError{Detail: fmt.Sprintf("expected %v, the peer answered with %v", s.kind, pkt.Type)}, fragment{})
	}
	for i, kind := range s.left {
		if slices.Contains(pkt.Data, byte(kind)) {
			s.left = slices.Delete(s.left, i, i+1)
			if err := s.offer(kind); err != nil {
				return s.fail(err, fragment{})
			}
			return s.Start(s.id + 1), nil
		}
	}
	wants := "no other method"
	if len(pkt.Data) > 0 && pkt.Data[0] != 0 {
		wants = Type(pkt.Data[0]).String()
	}
	detail := fmt.Sprintf("the peer refuses %v and proposes %s", s.kind, wants)
	if len(s.cfg.Methods) == 1 {
		detail += fmt.Sprintf("; only %v is offered here", s.kind)
	} else {
		detail += fmt.Sprintf("; offered here: %v", s.cfg.Methods)
	}
	return s.fail(&ProtocolError{Detail: detail}, fragment{})
}

// fail notes the reason, and sends the alert if there is one, else EAP-Failure.
func (s *Server) fail(err error, alert fragment) ([]byte, error) {
	if s.err == nil {
		s.err = err
	}
	if len(alert.data) > 0 {
		s.state = serverAlerted
		return s.next(alert), nil
	}
	return s.end(false), s.err
}

func (s *Server) next(f fragment) []byte {
	s.id++
	return Packet{Code: CodeRequest, ID: s.id, Type: s.kind, Data: f.appendBinary(nil)}.bytes()
}

func (s *Server) end(success bool) []byte {
	s.state, s.success = serverDone, success
	s.m.close(success)
	s.tickets.settle(success)
	s.cleanup.Stop()
	code := CodeFailure
	if success {
		code = CodeSuccess
	}
	return Packet{Code: code, ID: s.id}.bytes()
}

// Result says whether the conversation has ended, and how. MSK and EMSK, 64 octets
// each, are the caller's to clear; they are nil unless success. identity is what
// the client's certificate names (see Identities), or the user inside the tunnel,
// authenticated.
func (s *Server) Result() (done, success bool, msk, emsk *keys.Secret, identity string) {
	if s.state != serverDone || !s.success {
		return s.state == serverDone, false, nil, nil, ""
	}
	out := s.m.eng.out
	identity = out.user
	if s.kind == TypeTLS {
		if names := Identities(out.state.PeerCertificates[0]); len(names) > 0 {
			identity = names[0]
		}
	}
	return true, true, out.msk, out.emsk, identity
}

// Method is the one that is offered, or that the peer has taken.
func (s *Server) Method() Type { return s.kind }

// Certificate is the client's of EAP-TLS, verified; nil before its handshake is complete.
func (s *Server) Certificate() *x509.Certificate {
	if s.m.eng == nil || !s.m.eng.out.complete || s.kind != TypeTLS {
		return nil
	}
	return s.m.eng.out.state.PeerCertificates[0]
}

// TLSVersion names the version negotiated, empty before.
func (s *Server) TLSVersion() string {
	if s.m.eng == nil || !s.m.eng.out.complete {
		return ""
	}
	return tls.VersionName(s.m.eng.out.state.Version)
}

// Resumed says that the handshake was an abbreviated one.
func (s *Server) Resumed() bool {
	return s.m.eng != nil && s.m.eng.out.complete && s.m.eng.out.state.DidResume
}

// Err is the first reason of failure, known before EAP-Failure goes out.
func (s *Server) Err() error { return s.err }

// Close ends the conversation and its goroutine. It may be called at any time, and again.
func (s *Server) Close() error {
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
