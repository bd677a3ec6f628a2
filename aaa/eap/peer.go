package eap

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"
	"unicode/utf8"

	"openmpa/paa/keys"
)

// maxIdentity is what User-Name of RADIUS can carry, in octets.
const maxIdentity = 253

// TLSConfig is what the peer needs for EAP-TLS. Everything without a default is required.
type TLSConfig struct {
	Roots       *x509.CertPool  // CAs that may have issued the server's certificate; never the system's
	ServerName  string          // must be among the DNS names of the server's certificate (RFC 9190 section 2.2)
	Certificate tls.Certificate // ours, with its private key and chain

	MinVersion uint16 // default TLS 1.2, which is also the least
	MaxVersion uint16 // default TLS 1.3

	// SessionCache lets a later conversation resume this one. nil: never.
	SessionCache tls.ClientSessionCache

	// Time is the clock certificates are checked by. nil: the system's.
	Time func() time.Time
}

// PeerConfig configures a Peer.
type PeerConfig struct {
	Identity     string // answer to Request/Identity, a NAI; 1 to 253 octets of UTF-8
	TLS          TLSConfig
	FragmentSize int       // largest packet sent, in octets; default DefaultFragmentSize
	Rand         io.Reader // for TLS; nil: crypto/rand
}

type peerState uint8

const (
	peerIdle      peerState = iota // no method yet
	peerHandshake                  // EAP-TLS runs
	peerComplete                   // keys are there, EAP-Success is not
	peerFailed                     // TLS failed, EAP-Failure has not come
	peerSuccess                    // final
	peerFailure                    // final
)

// Peer is the EAP peer of one conversation, with EAP-TLS as its only method. It is
// synchronous and must not be used by several goroutines at once. Close it.
type Peer struct {
	// fixed
	identity string
	config   *tls.Config
	size     int
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

// NewPeer makes a peer for one conversation.
func NewPeer(cfg PeerConfig) (*Peer, error) {
	if cfg.Identity == "" || len(cfg.Identity) > maxIdentity || !utf8.ValidString(cfg.Identity) {
		return nil, fmt.Errorf("eap: identity %q, expected 1 to %d octets of UTF-8", cfg.Identity, maxIdentity)
	}
	if cfg.TLS.Roots == nil {
		return nil, errors.New("eap: no CA certificates to check the server by")
	}
	if cfg.TLS.ServerName == "" {
		return nil, errors.New("eap: no server name to check the server's certificate by")
	}
	if len(cfg.TLS.Certificate.Certificate) == 0 || cfg.TLS.Certificate.PrivateKey == nil {
		return nil, errors.New("eap: no client certificate with its private key")
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
	t.ClientSessionCache = cfg.TLS.SessionCache
	t.SessionTicketsDisabled = cfg.TLS.SessionCache == nil
	cert := cfg.TLS.Certificate
	// Always ours, whatever CAs the server names: so that its refusal is about the
	// certificate, not about none having been sent.
	shown := new(bool)
	t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		*shown = true
		return &cert, nil
	}
	return &Peer{identity: cfg.Identity, config: t, size: size, shown: shown}, nil
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
		if p.last == nil || pkt.ID != p.lastID || p.state != peerComplete || p.m.tx.pending() {
			p.discarded++
			return nil, nil
		}
		p.finish(true)
	case CodeFailure:
		if p.state == peerComplete && p.indicated() || p.last != nil && pkt.ID != p.lastID {
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
	case pkt.Type == TypeTLS:
		return p.tls(pkt)
	case pkt.Type > TypeNak && p.state == peerIdle:
		return p.respond(pkt.ID, TypeNak, []byte{byte(TypeTLS)})
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
		p.m.eng = startEngine(true, TypeTLS, p.config, clientTLS)
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
	if p.state != peerHandshake && !(p.state == peerComplete && p.m.tx.pending()) {
		p.discarded++
		return nil
	}
	if err != nil {
		p.fail(err)
		return p.respondTLS(pkt.ID, fragment{})
	}
	reply, stepped, err := p.m.exchange(f)
	if errors.Is(err, errAck) {
		err = &ProtocolError{Detail: "empty EAP-TLS request while the server's flight was expected"}
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
	return p.respond(id, TypeTLS, f.appendBinary(nil))
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
	if p.err == nil {
		p.err = err
	}
}

func (p *Peer) reject() {
	if p.err == nil {
		stage := "in EAP-TLS, before it had our certificate; is there a version of TLS in common, or was it restarted just now?"
		switch {
		case p.state == peerIdle:
			stage = "before EAP-TLS began; is the identity known there, and EAP-TLS enabled?"
		case p.state == peerComplete:
			stage = "after TLS had succeeded; it does not authorize this identity, or was restarted just now"
		case *p.shown:
			stage = "when it had our certificate, without a reason; does it trust the CA that issued it, and does it name our identity?"
		}
		p.err = &RejectedError{Stage: stage}
	}
	p.finish(false)
}

func (p *Peer) finish(success bool) {
	p.state = peerFailure
	if success {
		p.state = peerSuccess
	}
	p.m.close(success)
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

// Close ends the conversation and its goroutine. It may be called at any time, and
// again. The MSK of a success stays with who took it.
func (p *Peer) Close() error {
	if p.state < peerSuccess {
		if p.err == nil {
			p.err = errors.New("eap: conversation closed before its end")
		}
		p.finish(false)
	}
	return nil
}
