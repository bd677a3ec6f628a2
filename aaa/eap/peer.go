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
	"unicode/utf8"

	"openmpa/paa/keys"
)

// maxIdentity is what User-Name of RADIUS can carry, in octets.
const maxIdentity = 253

// TLSConfig is what the peer needs of TLS. Everything without a default is required.
type TLSConfig struct {
	Roots       *x509.CertPool  // CAs that may have issued the server's certificate; never the system's
	ServerName  string          // must be among the DNS names of the server's certificate (RFC 9190 section 2.2)
	Certificate tls.Certificate // ours, with its private key and chain; EAP-TTLS and PEAP do without

	MinVersion uint16 // default TLS 1.2, which is also the least
	MaxVersion uint16 // default TLS 1.3

	// SessionCache lets a later conversation resume this one: of the same method, user
	// and server name, whichever network it is through. nil: never.
	SessionCache tls.ClientSessionCache

	// Time is the clock certificates are checked by. nil: the system's.
	Time func() time.Time
}

// PeerConfig configures a Peer.
type PeerConfig struct {
	Identity     string       // who authenticates, a NAI; 1 to 253 octets of UTF-8
	Anonymous    string       // answer to Request/Identity in its place, such as anonymous@realm; empty: Identity
	Method       Type         // TypeTLS (default), TypeTTLS or TypePEAP
	Inner        Inner        // of EAP-TTLS and PEAP; default InnerMSCHAPv2
	Password     *keys.Secret // of EAP-TTLS and PEAP, at most 128 octets of UTF-8; the caller's to clear
	TLS          TLSConfig
	FragmentSize int       // largest packet sent, in octets; default DefaultFragmentSize
	Rand         io.Reader // for TLS; nil: crypto/rand
}

type peerState uint8

const (
	peerIdle      peerState = iota // no method yet
	peerHandshake                  // the method runs
	peerComplete                   // keys are there, EAP-Success is not
	peerFailed                     // the method failed, EAP-Failure has not come
	peerSuccess                    // final
	peerFailure                    // final
)

// Peer is the EAP peer of one conversation, with one method. It is
// synchronous and must not be used by several goroutines at once. Close it.
type Peer struct {
	// fixed
	identity string // outer
	kind     Type
	script   script
	sessions *sessions // nil: none
	config   *tls.Config
	size     int
	own      *x509.Certificate // ours; nil without
	now      func() time.Time
	shown    *bool // our certificate has been asked for; written by TLS, which is parked when we read

	// owner
	state     peerState
	m         method
	lastID    uint8
	last      []byte // response to lastID; nil before the first
	err       error
	discarded uint64
	cleanup   runtime.Cleanup
}

// check completes the configuration.
func (cfg *PeerConfig) check() error {
	if cfg.Anonymous == "" {
		cfg.Anonymous = cfg.Identity
	}
	for _, id := range []string{cfg.Identity, cfg.Anonymous} {
		if id == "" || len(id) > maxIdentity || !utf8.ValidString(id) {
			return fmt.Errorf("eap: identity %q, expected 1 to %d octets of UTF-8", id, maxIdentity)
		}
	}
	if cfg.TLS.Roots == nil {
		return errors.New("eap: no CA certificates to check the server by")
	}
	if cfg.TLS.ServerName == "" {
		return errors.New("eap: no server name to check the server's certificate by")
	}
	if cfg.Method == 0 {
		cfg.Method = TypeTLS
	}
	own := len(cfg.TLS.Certificate.Certificate) > 0
	switch {
	case cfg.Method != TypeTLS && cfg.Method != TypeTTLS && cfg.Method != TypePEAP:
		return fmt.Errorf("eap: method %v, expected EAP-TLS, EAP-TTLS or PEAP", cfg.Method)
	case own != (cfg.TLS.Certificate.PrivateKey != nil) || cfg.Method == TypeTLS && !own:
		return errors.New("eap: no client certificate with its private key")
	case cfg.Method == TypeTLS:
		return nil
	case cfg.Password.Len() == 0 || cfg.Password.Len() > maxPassword || !utf8.Valid(cfg.Password.Bytes()):
		return fmt.Errorf("eap: expected a password of 1 to %d octets of UTF-8", maxPassword)
	case cfg.Inner > InnerPAP || cfg.Method == TypePEAP && cfg.Inner != InnerMSCHAPv2:
		return fmt.Errorf("eap: %v inside %v, expected MSCHAPv2, or PAP inside EAP-TTLS", cfg.Inner, cfg.Method)
	}
	return nil
}

// script is what the method does inside TLS.
func (cfg *PeerConfig) script() script {
	c := credentials{kind: cfg.Method, inner: cfg.Inner, user: cfg.Identity, password: cfg.Password, rand: cfg.Rand}
	switch cfg.Method {
	case TypeTTLS:
		return c.ttls
	case TypePEAP:
		return c.peap
	}
	return clientTLS
}

// NewPeer makes a peer for one conversation.
func NewPeer(cfg PeerConfig) (*Peer, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	lo, hi, err := versions(cfg.TLS.MinVersion, cfg.TLS.MaxVersion)
	if err != nil {
		return nil, err
	}
	size, err := fragmentSize(cfg.FragmentSize)
	if err != nil {
		return nil, err
	}
	t := baseConfig(lo, hi, cfg.Rand, cfg.TLS.Time)
	t.RootCAs = cfg.TLS.Roots
	t.ServerName = cfg.TLS.ServerName
	t.SessionTicketsDisabled = cfg.TLS.SessionCache == nil
	now := cfg.TLS.Time
	if now == nil {
		now = time.Now
	}
	p := &Peer{now: now, own: leaf(cfg.TLS.Certificate), identity: cfg.Anonymous, kind: cfg.Method, script: cfg.script(), config: t, size: size, shown: new(bool)}
	if cfg.TLS.SessionCache != nil {
		p.sessions = newSessions(cfg.TLS.SessionCache, cfg.Method, cfg.Identity, cfg.TLS.ServerName)
		t.ClientSessionCache = p.sessions
	}
	cert, shown := cfg.TLS.Certificate, p.shown
	// Always ours, whatever CAs the server names: so that its refusal is about the
	// certificate, not about none having been sent.
	t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		*shown = true
		return &cert, nil
	}
	return p, nil
}

// leaf is the certificate itself, nil without one, or if it cannot be read.
func leaf(c tls.Certificate) *x509.Certificate {
	if c.Leaf != nil || len(c.Certificate) == 0 {
		return c.Leaf
	}
	out, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return nil
	}
	return out
}

// Handle takes one packet from the authenticator and returns the response to send,
// nil when there is none. What is malformed or does not fit the state is discarded
// and counted (RFC 3748 section 4.2, RFC 4137 section 4). An error is the reason of
// failure of this conversation, typed: it comes with the packet that brought it
// about. A response beside it, such as a TLS alert, is still to be sent, and
// EAP-Failure follows; Result is done when that, or AltReject, has come.
func (p *Peer) Handle(packet []byte) (response []byte, err error) {
	pkt, perr := Parse(packet)
	if perr != nil || p.state >= peerSuccess {
		p.discarded++
		return nil, nil
	}
	switch pkt.Code {
	case CodeRequest:
		known := p.err
		response = p.request(pkt)
		if known == nil {
			err = p.err
		}
		return response, err
	case CodeSuccess:
		if p.last == nil || !p.answers(pkt.ID) || p.state != peerComplete || p.m.tx.pending() {
			p.unconfirmed()
			p.discarded++
			return nil, nil
		}
		p.finish(true)
	case CodeFailure:
		if p.state == peerComplete && p.indicated() || p.last != nil && !p.answers(pkt.ID) {
			p.discarded++
			return nil, nil
		}
		p.reject()
		return nil, p.err
	default: // a Response is for authenticators
		p.discarded++
	}
	return nil, nil
}

// answers says whether a Success or Failure of that Identifier belongs to our last
// response. It should have the same (RFC 3748 section 4.2); freeDiameter's server,
// as some of RADIUS do, counts on once more.
func (p *Peer) answers(id uint8) bool { return id == p.lastID || id == p.lastID+1 }

// unconfirmed looks at an EAP-Success that may not count: some servers send it right
// after they have resumed a session of TLS 1.3, without the protected indication that
// RFC 9190 section 2.5 demands there, too. A session is not resumed there again.
func (p *Peer) unconfirmed() {
	if p.state != peerHandshake || p.sessions == nil || !p.m.eng.out.state.DidResume || p.m.eng.out.state.Version < tls.VersionTLS13 {
		return
	}
	p.sessions.avoid()
	p.m.eng.out.reason = &ProtocolError{Detail: "the server resumed a session of TLS 1.3 without the success indication of RFC 9190 section 2.5; it is not resumed there any more"}
}

// request is RFC 4137 figure 3 from RECEIVED on, for a peer with one method.
func (p *Peer) request(pkt Packet) []byte {
	if p.last != nil && pkt.ID == p.lastID {
		return p.last // retransmission
	}
	switch {
	case pkt.Type == TypeIdentity && p.state == peerIdle:
		return p.respond(pkt.ID, TypeIdentity, []byte(p.identity))
	case pkt.Type == TypeNotification:
		return p.respond(pkt.ID, TypeNotification, nil)
	case pkt.Type == p.kind:
		return p.tls(pkt)
	case pkt.Type > TypeNak && p.state == peerIdle:
		return p.respond(pkt.ID, TypeNak, []byte{byte(p.kind)})
	}
	p.discarded++
	return nil
}

func (p *Peer) tls(pkt Packet) []byte {
	f, err := parseFragment(pkt.Data)
	if p.state == peerIdle {
		if err != nil || !f.start {
			p.discarded++
			return nil
		}
		p.state = peerHandshake
		p.m.tx.size = p.size
		p.m.eng = startEngine(true, p.kind, p.config, p.script)
		p.cleanup = runtime.AddCleanup(p, (*lockstep).shut, p.m.eng.conn)
		p.m.tx.load(p.m.eng.conn.take())
		if err := p.m.eng.out.err; err != nil {
			p.fail(err)
		}
		return p.respondTLS(pkt.ID, p.m.tx.next())
	}
	if p.state == peerFailed && p.m.tx.pending() && err == nil && f.isAck() {
		return p.respondTLS(pkt.ID, p.m.tx.next()) // the rest of a long last flight
	}
	more := p.state == peerComplete && (p.m.tx.pending() || p.kind != TypeTLS)
	if p.state != peerHandshake && !more {
		p.discarded++
		return nil
	}
	if err != nil {
		p.fail(err)
		return p.respondTLS(pkt.ID, fragment{})
	}
	reply, stepped, err := p.m.exchange(f)
	switch {
	case errors.Is(err, errAck) && p.state == peerComplete: // it has nothing more to say
		return p.respondTLS(pkt.ID, fragment{})
	case errors.Is(err, errAck):
		err = &ProtocolError{Detail: fmt.Sprintf("empty %v request while the server's flight was expected", p.kind)}
	}
	switch {
	case err != nil:
		p.fail(err)
	case stepped && p.m.eng.out.complete:
		p.state = peerComplete
	}
	return p.respondTLS(pkt.ID, reply)
}

func (p *Peer) respondTLS(id uint8, f fragment) []byte {
	return p.respond(id, p.kind, f.appendBinary(nil))
}

func (p *Peer) respond(id uint8, t Type, data []byte) []byte {
	p.lastID = id
	p.last = Packet{Code: CodeResponse, ID: id, Type: t, Data: data}.bytes()
	return p.last
}

// indicated says that both sides have exchanged success indications, which only
// TLS 1.3 has.
func (p *Peer) indicated() bool { return p.m.eng.out.indicated }

// fail notes the first reason; the conversation still has to end.
func (p *Peer) fail(err error) {
	p.state = peerFailed
	if p.err != nil {
		return
	}
	p.err = err
	var cert *CertificateError
	if errors.As(err, &cert) {
		certs := slices.Clone(cert.chain)
		if p.own != nil {
			certs = append(certs, p.own)
		}
		cert.blameClock(p.now(), certs)
	}
}

func (p *Peer) reject() {
	if p.err == nil {
		p.err = p.refusal()
	}
	p.finish(false)
}

// refusal is the reason when the server gives none: it follows from how far it came.
func (p *Peer) refusal() error {
	if p.m.eng != nil && p.m.eng.out.reason != nil {
		return p.m.eng.out.reason
	}
	if dates := outOfDate(p.own, p.now()); dates != "" && *p.shown {
		return &RejectedError{Stage: "when it had our certificate: " + dates}
	}
	stage := fmt.Sprintf("in %v, before it had our certificate; is there a version of TLS in common, or was it restarted just now?", p.kind)
	switch {
	case p.state == peerIdle:
		stage = fmt.Sprintf("before %v began; is the identity known there, and %[1]v enabled?", p.kind)
	case p.state == peerComplete:
		stage = "after TLS had succeeded; it does not authorize this identity, or was restarted just now"
	case *p.shown && p.kind == TypeTLS:
		stage = "when it had our certificate, without a reason; does it trust the CA that issued it, and does it name our identity?"
	case p.kind != TypeTLS:
		stage = fmt.Sprintf("in %v, before it had our password; is there a version of TLS in common, or was it restarted just now?", p.kind)
	}
	return &RejectedError{Stage: stage}
}

func (p *Peer) finish(success bool) {
	p.state = peerFailure
	if success {
		p.state = peerSuccess
	}
	p.m.close(success)
	p.sessions.settle(success)
	p.cleanup.Stop()
}

// AltAccept is the lower layer's word that access is granted when EAP-Success did
// not come (RFC 4137 section 4.2.1). It only counts when the method has succeeded.
func (p *Peer) AltAccept() {
	if p.state == peerComplete && !p.m.tx.pending() {
		p.finish(true)
	}
}

// AltReject is the lower layer's word that access is refused (RFC 4137 section 4.2.1).
func (p *Peer) AltReject() {
	if p.state < peerSuccess {
		p.reject()
	}
}

// Result says whether the conversation has ended, and how. The MSK, 64 octets, is
// the caller's to clear; it is nil unless success.
func (p *Peer) Result() (done, success bool, msk *keys.Secret) {
	switch p.state {
	case peerSuccess:
		return true, true, p.m.eng.out.msk
	case peerFailure:
		return true, false, nil
	}
	return false, false, nil
}

// Err is the first reason of failure, nil without one. It is set as soon as it is
// known, before EAP-Failure.
func (p *Peer) Err() error { return p.err }

// Discarded counts the packets that were malformed or unexpected.
func (p *Peer) Discarded() uint64 { return p.discarded }

// TLSVersion names the version negotiated, empty before.
func (p *Peer) TLSVersion() string {
	if p.m.eng == nil || !p.m.eng.out.complete {
		return ""
	}
	return tls.VersionName(p.m.eng.out.state.Version)
}

// Resumed says that the handshake was an abbreviated one: without certificates, and
// inside EAP-TTLS and PEAP without the password.
func (p *Peer) Resumed() bool {
	return p.m.eng != nil && p.m.eng.out.complete && p.m.eng.out.state.DidResume
}

// Close ends the conversation and its goroutine. It may be called at any time, and
// again. The MSK of a success stays with who took it.
func (p *Peer) Close() error {
	if p.state < peerSuccess {
		if p.err == nil {
			p.err = errors.New("eap: conversation closed before its end")
			p.sessions.keep()
		}
		p.finish(false)
	}
	return nil
}
