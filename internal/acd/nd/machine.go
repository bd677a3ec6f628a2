package nd

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"openmpa/internal/acd"
)

// Timers say how an address is probed. DefaultTimers has the values of the specifications; shorter ones are for links known to be fast.
type Timers struct {
	Delay         time.Duration // random delay before the first probe, at most (RFC 4862 section 5.4.2)
	Transmits     int           // DupAddrDetectTransmits: probes
	Retrans       time.Duration // RetransTimer: between probes, and after the last
	LoopTransmits int           // MAX_MULTICAST_SOLICIT: further probes when one came back (RFC 7527 section 4.1)
}

// DefaultTimers returns the values of RFC 4861 section 10 and RFC 4862 section 5.1.
func DefaultTimers() Timers {
	return Timers{Delay: time.Second, Transmits: 1, Retrans: time.Second, LoopTransmits: 3}
}

// Bounds of ours, against typing errors in a configuration.
const (
	maxTransmits = 100
	maxInterval  = time.Hour
)

// Check says what is wrong with t, or nil.
func (t Timers) Check() error {
	switch {
	case t.Delay < 0 || t.Delay > maxInterval:
		return fmt.Errorf("nd: delay: want 0 to %v, got %v", maxInterval, t.Delay)
	case t.Retrans <= 0 || t.Retrans > maxInterval:
		return fmt.Errorf("nd: retrans: want more than 0, at most %v, got %v", maxInterval, t.Retrans)
	case t.Transmits < 1 || t.Transmits > maxTransmits:
		return fmt.Errorf("nd: transmits: want 1 to %d, got %d", maxTransmits, t.Transmits)
	case t.LoopTransmits < 1 || t.LoopTransmits > maxTransmits:
		return fmt.Errorf("nd: loop-transmits: want 1 to %d, got %d", maxTransmits, t.LoopTransmits)
	}
	return nil
}

// Longest returns the most time probing takes when nobody answers and no probe comes back.
func (t Timers) Longest() time.Duration { return t.Delay + time.Duration(t.Transmits)*t.Retrans }

// State is where a Machine is; doc.go draws it.
type State uint8

// The states.
const (
	Idle State = iota
	Waiting
	Probing
	Free
	Conflicted
)

var stateNames = [...]string{Idle: "idle", Waiting: "waiting", Probing: "probing", Free: "free", Conflicted: "conflict"}

// String names the state.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Output is what a Machine asks for or reports: Send, Looped, Usable or Conflict.
type Output interface{ output() }

// Send asks for the packet to be sent.
type Send struct{ Packet Packet }

// Looped reports that a probe of ours came back: the link has a loop. More probes follow.
type Looped struct{}

// Usable reports that probing ended without a conflict.
type Usable struct{}

// Conflict reports that the address is in use, or about to be, by somebody else.
type Conflict struct{ By acd.MAC }

func (Send) output()     {}
func (Looped) output()   {}
func (Usable) output()   {}
func (Conflict) output() {}

// Config says what a Machine probes and for whom.
type Config struct {
	Addr   netip.Addr         // the IPv6 address
	Own    []net.HardwareAddr // whose packets are no conflict: the router's interface, the node it probes for
	Timers Timers
	Rand   io.Reader // for the delay and the nonces
}

// ErrState is wrapped when a method does not fit the machine's state.
var ErrState = errors.New("not possible in this state")

// Machine probes one address on one interface. It has no lock: one goroutine owns it.
type Machine struct {
	// fixed after New
	addr   netip.Addr
	own    []acd.MAC
	timers Timers
	rnd    io.Reader

	// owner
	state    State
	left     int  // probes of this round still to be sent
	looped   bool // a probe came back in this round
	nonces   []Nonce
	deadline time.Time // zero: none
	out      []Output
	err      error // of the random source
}

// kept is how many nonces are remembered: those of the longest round and the one before.
const kept = 2 * maxTransmits

// New makes a machine in state idle. Errors say which field is wrong.
func New(cfg Config) (*Machine, error) {
	if !Unicast(cfg.Addr) {
		return nil, fmt.Errorf("nd: want a unicast IPv6 address, got %v", cfg.Addr)
	}
	if err := cfg.Timers.Check(); err != nil {
		return nil, err
	}
	if cfg.Rand == nil {
		return nil, errors.New("nd: no random source was configured")
	}
	m := &Machine{addr: cfg.Addr, timers: cfg.Timers, rnd: cfg.Rand}
	for _, a := range cfg.Own {
		mac, err := acd.MACFrom(a)
		if err != nil {
			return nil, err
		}
		m.own = append(m.own, mac)
	}
	return m, nil
}

// State returns the machine's state.
func (m *Machine) State() State { return m.state }

// Err returns why no probe could be made, the random source's error, or nil.
func (m *Machine) Err() error { return m.err }

// Start begins probing, from state idle. It fails when the random source does.
func (m *Machine) Start(now time.Time) error {
	if m.state != Idle {
		return fmt.Errorf("nd: start: %w: %v", ErrState, m.state)
	}
	delay, err := acd.Uniform(m.rnd, 0, m.timers.Delay)
	if err != nil {
		return fmt.Errorf("nd: start: read random: %w", err)
	}
	m.state, m.left = Waiting, m.timers.Transmits
	m.deadline = now.Add(delay)
	return nil
}

// Deadline returns when OnDeadline is to be called, if at all.
func (m *Machine) Deadline() (time.Time, bool) { return m.deadline, !m.deadline.IsZero() }

// OnDeadline goes on when the deadline has come; earlier it does nothing.
func (m *Machine) OnDeadline(now time.Time) {
	if m.deadline.IsZero() || now.Before(m.deadline) {
		return
	}
	m.deadline = time.Time{}
	if m.left == 0 {
		if !m.looped { // RFC 4862 section 5.4, RFC 7527 section 4.1
			m.state = Free
			m.out = append(m.out, Usable{})
			return
		}
		m.looped, m.left = false, m.timers.LoopTransmits
	}
	var b [nonceLen]byte
	if _, err := io.ReadFull(m.rnd, b[:]); err != nil {
		m.err = fmt.Errorf("nd: nonce: read random: %w", err)
		return
	}
	if len(m.nonces) == kept {
		m.nonces = slices.Delete(m.nonces, 0, 1)
	}
	m.nonces = append(m.nonces, Nonce(b[:]))
	m.out = append(m.out, Send{Probe(m.addr, Nonce(b[:]))})
	m.state = Probing
	m.left--
	m.deadline = now.Add(m.timers.Retrans)
}

// HandlePacket takes a neighbour discovery packet that came in on the interface.
func (m *Machine) HandlePacket(_ time.Time, p Packet) {
	if m.state != Waiting && m.state != Probing && m.state != Free {
		return
	}
	switch msg := p.Msg.(type) {
	case Solicit: // RFC 4862 section 5.4.3; a solicitation with a source asks for the address and does not claim it
		if msg.Target != m.addr || !p.Src.IsUnspecified() {
			return
		}
		if msg.Nonce != "" && slices.Contains(m.nonces, msg.Nonce) { // RFC 7527 section 4.2
			m.looped = true
			m.out = append(m.out, Looped{})
			return
		}
	case Advert: // RFC 4862 section 5.4.4
		if msg.Target != m.addr {
			return
		}
	default:
		return
	}
	if slices.Contains(m.own, p.From) {
		return
	}
	m.state = Conflicted
	m.deadline = time.Time{}
	m.out = append(m.out, Conflict{By: p.From})
}

// Poll returns the next output, if there is one.
func (m *Machine) Poll() (Output, bool) {
	if len(m.out) == 0 {
		m.out = nil
		return nil, false
	}
	o := m.out[0]
	m.out = m.out[1:]
	return o, true
}
