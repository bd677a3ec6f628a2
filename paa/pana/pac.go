package pana

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"

	"openmpa/paa/keys"
)

// EAPPeer is the EAP peer that a PaC drives (RFC 3748, RFC 4137). Its response
// rides in the PAN, or in a PAR of the PaC's own when it takes time
// ([ErrEAPPending]) or NoPiggyback is set.
//
// It may also have Err() error, asked for a failure that Handle did not return
// because a response went with it; AltReject(), called when the PAA reports
// failure without an EAP packet; and Close() error, called when the PaC is done.
type EAPPeer interface {
	// Handle takes an EAP request, success or failure and returns the response
	// to send, nil for none. With an error the conversation has failed; a
	// response that comes with it (a TLS alert, say) is still sent. With
	// ErrEAPPending it has not failed: the response comes by PaC.EAPResponse.
	Handle(packet []byte) (response []byte, err error)
	// Result tells whether the conversation has ended and how. The PaC takes
	// over msk, which is nil when the method exports no keys.
	Result() (done, success bool, msk *keys.Secret)
}

// PaCConfig configures a PaC. Only NewEAP is required.
type PaCConfig struct {
	Preauth       bool                    // pre-authenticate with a candidate PAA (RFC 5873)
	NewEAP        func() (EAPPeer, error) // called for each authentication
	Rand          io.Reader               // default crypto/rand
	PRFs          []keys.PRF              // in order of preference
	Integrities   []keys.Integrity        // in order of preference
	AuthTimeout   time.Duration           // FAILED_SESS_TIMEOUT of RFC 5609; default 30 s
	EAPTimeout    time.Duration           // close when a response is pending for so long; 0: AuthTimeout does
	NoEncryption  bool                    // take no encryption of AVPs (RFC 6786)
	NoPiggyback   bool                    // send EAP responses in PARs (RFC 5191 section 4.1)
	PingInterval  time.Duration           // ping after that much silence; 0: never
	PingTimeout   time.Duration           // close after that much more; 0: when Request says so
	ReauthBefore  time.Duration           // re-authenticate that long before the lifetime ends; 0: never
	AllowKeyless  bool                    // accept a session without PANA SA; never with Preauth
	PCI           Retransmission          // default RFC 5191 section 9.1
	Request       Retransmission          // default RFC 5191 section 9.1
	PAA           netip.AddrPort          // for the text of errors only
	AnswerPayload func(avps []AVP) []AVP  // what the answer to a notification carries; nil: nothing
}

// DefaultAuthTimeout is AuthTimeout of both sides where none is given.
const DefaultAuthTimeout = 30 * time.Second

// eapErrorLinger is how long the PaC waits for a PAR[C] after its EAP peer has
// failed and sent a last response.
const eapErrorLinger = 2 * time.Second

// What everybody has (RFC 5191 sections 5.3 and 5.4).
const (
	mandatoryPRF       = keys.PRFHMACSHA1
	mandatoryIntegrity = keys.AuthHMACSHA1_160
)

var (
	defaultPRFs        = []keys.PRF{keys.PRFHMACSHA256, keys.PRFHMACSHA384, keys.PRFHMACSHA512, keys.PRFHMACSHA1}
	defaultIntegrities = []keys.Integrity{keys.AuthHMACSHA256_128, keys.AuthHMACSHA384_192, keys.AuthHMACSHA512_256, keys.AuthHMACSHA1_160}
)

// PaCState is a state of the PaC; doc.go draws them.
type PaCState uint8

// States, with the names of RFC 5609 section 7.5 where they differ.
const (
	PaCInitial     PaCState = iota
	PaCWaitPAA              // INITIAL after AUTH_USER, and WAIT_PAA until the first PAR without S
	PaCAuth                 // WAIT_PAA: EAP runs
	PaCOpen                 // OPEN, WAIT_PNA_PING
	PaCWaitReauth           // WAIT_PNA_REAUTH
	PaCReauth               // WAIT_PAA after re-authentication began
	PaCTerminating          // SESS_TERM
	PaCClosed
)

var pacStateNames = [...]string{"initial", "wait-paa", "auth", "open", "wait-reauth", "reauth", "terminating", "closed"}

// String names the state.
func (s PaCState) String() string {
	if int(s) < len(pacStateNames) {
		return pacStateNames[s]
	}
	return fmt.Sprintf("state-%d", uint8(s))
}

// PaC is the PANA client's side of one session. It has no I/O and no clock,
// and one goroutine at a time may use it.
type PaC struct {
	endpoint
	cfg    PaCConfig
	outs   outputs
	counts discardCounts
	random random

	state     PaCState
	hs        handshake
	isn       uint32 // random
	reconf    bool   // I bit
	sawNonce  bool   // the nonce pair of this authentication is complete
	sDone     bool   // the S exchange is done
	starts    uint64 // PAR[S] that were taken
	refused   string
	lifetime  time.Duration
	reauthDue bool // PNR[A] as soon as nothing is outstanding
	termDue   bool // PTR as soon as nothing is outstanding

	eap     EAPPeer
	eapErr  error
	eapID   byte   // of the last request that the peer has taken
	eapWait bool   // the peer's response is pending
	eapResp []byte // goes out in a PAR as soon as nothing is outstanding
	eapOver bool   // Result said done
	eapOK   bool
	msk     *keys.Secret
	sockErr error

	pci       rtx
	pciActive bool
	pciRaw    []byte
	authFrom  time.Time // begin of the authentication phase
	authAt    time.Time // FAILED_SESS_TIMEOUT
	failAt    time.Time // end of eapErrorLinger
	eapAt     time.Time // end of EAPTimeout
	lifeAt    time.Time
	reauthAt  time.Time
	lastRaw   []byte // the last request answered, for duplicates after closing
}

// NewPaC checks the configuration and returns a PaC in state initial.
func NewPaC(cfg PaCConfig) (*PaC, error) {
	if cfg.NewEAP == nil {
		return nil, fmt.Errorf("%w: PaC: NewEAP is missing", ErrConfig)
	}
	if cfg.Preauth && cfg.AllowKeyless {
		return nil, fmt.Errorf("%w: PaC: pre-authentication needs a PANA SA (RFC 5873 section 3), drop AllowKeyless", ErrConfig)
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	var err error
	if cfg.PRFs, cfg.Integrities, err = algorithms(cfg.PRFs, cfg.Integrities); err != nil {
		return nil, err
	}
	if cfg.PCI, err = cfg.PCI.orDefault(defaultPCI, "PCI"); err != nil {
		return nil, err
	}
	if cfg.Request, err = cfg.Request.orDefault(defaultREQ, "Request"); err != nil {
		return nil, err
	}
	if cfg.AuthTimeout < 0 || cfg.PingInterval < 0 || cfg.PingTimeout < 0 || cfg.ReauthBefore < 0 || cfg.EAPTimeout < 0 {
		return nil, fmt.Errorf("%w: PaC: durations must not be negative", ErrConfig)
	}
	if cfg.AuthTimeout == 0 {
		cfg.AuthTimeout = DefaultAuthTimeout
	}
	c := &PaC{cfg: cfg, random: random{cfg.Rand}}
	c.endpoint = newEndpoint(&c.outs, &c.counts, &c.random, cfg.Request, liveness{every: cfg.PingInterval, patience: cfg.PingTimeout})
	c.preauth = cfg.Preauth
	return c, nil
}

// algorithms fills in the defaults and refuses what paa/keys cannot do.
func algorithms(p []keys.PRF, i []keys.Integrity) ([]keys.PRF, []keys.Integrity, error) {
	if len(p) == 0 {
		p = defaultPRFs
	}
	if len(i) == 0 {
		i = defaultIntegrities
	}
	for _, a := range p {
		if !a.Supported() {
			return nil, nil, fmt.Errorf("%w: PRF %d is not supported", ErrConfig, uint32(a))
		}
	}
	for _, a := range i {
		if !a.Supported() {
			return nil, nil, fmt.Errorf("%w: integrity algorithm %d is not supported", ErrConfig, uint32(a))
		}
	}
	return p, i, nil
}

// State returns the state.
func (c *PaC) State() PaCState { return c.state }

// SID returns the session identifier, 0 until the PAA has assigned one.
func (c *PaC) SID() uint32 { return c.sid }

// RTT returns the smoothed round-trip time to the PAA, 0 when not measured.
func (c *PaC) RTT() time.Duration { return c.rtt.srtt }

// Counters returns how many messages were discarded, by reason.
func (c *PaC) Counters() map[Discard]uint64 { return c.counts.snapshot() }

// Poll returns the next output.
func (c *PaC) Poll() (Output, bool) { return c.outs.poll() }

// Start begins the session with a PCI. In any state but initial it does
// nothing.
func (c *PaC) Start(now time.Time) {
	if !c.ready() {
		return
	}
	c.authFrom = now
	c.authAt = now.Add(c.cfg.AuthTimeout)
	c.pciRaw = encode(&Message{Type: TypePCI, Flags: eBit(c.preauth)}, nil)
	c.pci.start(now, c.cfg.PCI, 0, c.rnd)
	c.pciActive = true
	c.send(c.pciRaw)
}

// Await takes the session that the PAA begins with a PAR[S] of its own (RFC 5191
// section 4.1). Until one comes there is no timeout. In any state but initial it
// does nothing.
func (c *PaC) Await() { c.ready() }

// ready leaves the state initial.
func (c *PaC) ready() bool {
	if c.state != PaCInitial {
		return false
	}
	isn, err := c.random.bytes(4)
	if err != nil {
		c.close(err)
		return false
	}
	c.isn = binary.BigEndian.Uint32(isn)
	c.state = PaCWaitPAA
	return true
}

// Notify sends AVPs to the PAA in a PNR[P], reliably and in order; NotifyDone
// with the token tells how it ended. The AVPs are copied.
func (c *PaC) Notify(now time.Time, avps []AVP, o NotifyOptions) (uint64, error) {
	switch c.state {
	case PaCOpen, PaCWaitReauth, PaCReauth:
	default:
		return 0, fmt.Errorf("%w: PaC is in state %v", ErrNotOpen, c.state)
	}
	if c.termDue {
		return 0, fmt.Errorf("%w: it is being terminated", ErrNotOpen)
	}
	token, err := c.enqueue(avps, o)
	if err == nil {
		c.proceed(now)
	}
	return token, err
}

// Terminate ends the session: by PTR if it is open, silently otherwise
// (RFC 5191 sections 4.4 and 5.5). Notifications that wait fail with
// ErrTerminated; an outstanding one is awaited first. Closed follows.
func (c *PaC) Terminate(now time.Time) {
	switch c.state {
	case PaCInitial, PaCWaitPAA, PaCAuth:
		c.close(ErrTerminated)
	case PaCOpen, PaCWaitReauth, PaCReauth:
		c.termDue = true
		c.failNotifications(ErrTerminated, false)
		if c.out != nil {
			c.out.paused = false
			c.kick(now)
		}
		c.proceed(now)
	case PaCTerminating, PaCClosed:
	}
}

// Reauthenticate starts a re-authentication of an open session with a PNR[A],
// after what is outstanding.
func (c *PaC) Reauthenticate(now time.Time) {
	if c.state == PaCOpen {
		c.reauthDue = true
		c.proceed(now)
	}
}

// PathChanged tells that messages leave from another address or over another
// link now: what is outstanding is sent again at once. The PAA learns the
// address from the next message that it can authenticate, so an owner without
// an activation to send follows with an empty notification.
func (c *PaC) PathChanged(now time.Time) {
	if c.pciActive {
		n := c.pci.sent
		c.pci.start(now, c.cfg.PCI, 0, c.rnd)
		c.pci.sent = n + 1
		c.send(c.pciRaw)
	}
	c.kick(now)
}

// SendFailed remembers an error of the socket, to name it should the PAA never
// answer.
func (c *PaC) SendFailed(err error) { c.sockErr = err }

// Deadline returns when OnDeadline wants to be called next.
func (c *PaC) Deadline() (time.Time, bool) {
	var d deadline
	if c.state != PaCInitial && c.state != PaCClosed {
		c.next(&d)
		if c.pciActive {
			d.add(c.pci.next)
		}
		for _, t := range []time.Time{c.authAt, c.failAt, c.eapAt, c.lifeAt, c.reauthAt, c.pingAt, c.silentAt, c.verdictAt} {
			d.add(t)
		}
	}
	return d.t, !d.t.IsZero()
}

// OnDeadline does what is due; calling it early is harmless.
func (c *PaC) OnDeadline(now time.Time) {
	if c.state == PaCInitial || c.state == PaCClosed {
		return
	}
	switch {
	case due(now, c.failAt):
		c.close(&ErrEAP{Err: c.eapErr})
		return
	case due(now, c.eapAt):
		c.close(&ErrEAP{Err: fmt.Errorf("no response within %v", c.cfg.EAPTimeout)})
		return
	case due(now, c.authAt):
		c.close(c.authTimeout(now))
		return
	case due(now, c.lifeAt):
		c.close(&ErrLifetime{Lifetime: c.lifetime})
		return
	case due(now, c.silentAt), due(now, c.verdictAt) && c.disowned():
		c.close(c.silent(now))
		return
	}
	if c.pciActive && c.pci.due(now) {
		if !c.pci.again(now, c.rnd) {
			c.close(c.authTimeout(now))
			return
		}
		c.send(c.pciRaw)
	}
	if !c.retransmit(now) {
		c.close(c.exhausted(now))
		return
	}
	if due(now, c.reauthAt) {
		c.reauthAt = time.Time{}
		c.reauthDue = c.state == PaCOpen
	}
	c.ping(now, c.state == PaCOpen)
	c.proceed(now)
}

// authTimeout tells how far the authentication came.
func (c *PaC) authTimeout(now time.Time) error {
	e := &ErrAuthTimeout{Peer: c.cfg.PAA, After: now.Sub(c.authFrom).Round(time.Millisecond), PCIs: c.pci.sent, Err: c.sockErr}
	switch {
	case c.state == PaCReauth || c.state == PaCWaitReauth:
		e.State = "the PAA did not finish the re-authentication"
	case c.eapWait:
		e.State = "the EAP response that was pending did not come"
	case c.sawNonce:
		e.State = "the PAA began EAP and did not finish it"
	case c.sDone:
		e.State = "the PAA answered and did not begin EAP"
	case c.refused != "":
		e.State = c.refused
	}
	if c.eapErr != nil {
		e.Err = c.eapErr
	}
	return e
}

// proceed sends what has been waiting for its turn.
func (c *PaC) proceed(now time.Time) {
	if c.eapResp != nil && c.out != nil && c.out.paused {
		// A notification that pauses during re-authentication has to be finished
		// first: a side has one request outstanding.
		c.out.paused = false
		c.kick(now)
	}
	if c.out == nil {
		switch {
		case c.eapResp != nil && !c.termDue:
			resp := c.eapResp
			c.eapResp = nil
			c.ask(now, TypeAuth, 0, []AVP{{Code: CodeEAP, Data: resp}}, c.sa, 0, nil)
		case c.termDue && (c.state == PaCOpen || c.state == PaCReauth):
			c.termDue = false
			c.state = PaCTerminating
			c.lifeAt = latest(c.lifeAt, c.authAt)
			c.authAt, c.reauthAt = time.Time{}, time.Time{}
			c.deaf()
			c.dropEAP()
			c.ask(now, TypeTerm, 0, []AVP{avp32(CodeTermCause, uint32(CauseLogout))}, c.sa, 0, nil)
		case c.reauthDue && c.state == PaCOpen:
			c.reauthDue = false
			c.state = PaCWaitReauth
			c.ask(now, TypeNtfy, FlagA, nil, c.sa, 0, nil)
		}
	}
	switch c.state {
	case PaCOpen:
		if c.wraps() {
			c.Reauthenticate(now)
			return
		}
		c.pump(now, false)
	case PaCReauth:
		c.pump(now, true)
	}
}

// close ends the session. What is kept answers duplicates of the last request.
func (c *PaC) close(reason error) {
	if c.state == PaCClosed {
		return
	}
	c.state = PaCClosed
	c.pciActive = false
	c.failNotifications(reason, true)
	c.sa.clear()
	c.sa = nil
	c.dropEAP()
	c.q.emit(Closed{SID: c.sid, Reason: reason})
}
