package acd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"net/netip"
	"time"
)

// State is where a Machine is; doc.go draws it.
type State uint8

// The states.
const (
	Idle State = iota
	Waiting
	Probing
	Listening
	Free
	Announcing
	Bound
	Conflicted
	Lost
)

var stateNames = [...]string{
	Idle: "idle", Waiting: "waiting", Probing: "probing", Listening: "listening", Free: "free",
	Announcing: "announcing", Bound: "bound", Conflicted: "conflict", Lost: "lost",
}

// String names the state.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Policy is the answer to a conflict once the address is in use (RFC 5227 section 2.4).
type Policy uint8

// The policies.
const (
	GiveUp       Policy = iota // (a) cease using the address at once
	DefendOnce                 // (b) one announcement; a second conflict within DEFEND_INTERVAL ends it
	DefendAlways               // (c) never give up, at most one announcement per DEFEND_INTERVAL
)

var policyNames = [...]string{GiveUp: "give up", DefendOnce: "defend once", DefendAlways: "defend always"}

// String names the policy.
func (p Policy) String() string {
	if int(p) < len(policyNames) {
		return policyNames[p]
	}
	return fmt.Sprintf("Policy(%d)", uint8(p))
}

// Output is what a Machine asks for or reports: Send, Usable, Conflict, Defended or Ceased.
type Output interface{ output() }

// Send asks for the packet to be broadcast on the link.
type Send struct{ Packet Packet }

// Usable reports that probing ended without a conflict.
type Usable struct{}

// Conflict reports that the address is in use, or about to be, by somebody else;
// nothing was sent in its name.
type Conflict struct{ By MAC }

// Defended reports a conflict with an address in use. Announced says whether an
// announcement was due; under DefendAlways it is not when the last one is recent.
type Defended struct {
	By        MAC
	Announced bool
}

// Ceased reports that the address must not be used any longer. Connections that
// use it should be reset (RFC 5227 section 2.4).
type Ceased struct{ By MAC }

func (Send) output()     {}
func (Usable) output()   {}
func (Conflict) output() {}
func (Defended) output() {}
func (Ceased) output()   {}

// Config says what a Machine probes and for whom.
type Config struct {
	Addr   netip.Addr         // the IPv4 address
	MAC    net.HardwareAddr   // of the interface that sends
	Own    []net.HardwareAddr // further hardware addresses of this host, no conflict when they probe
	Timers Timers             //
	Policy Policy             // once the address is in use
	Rand   io.Reader          // for the random delays; needed by Start only
}

// ErrState is wrapped when a method does not fit the machine's state.
var ErrState = errors.New("not possible in this state")

// Machine probes, announces and defends one address on one interface. It has no
// lock: one goroutine owns it.
type Machine struct {
	// fixed after New
	addr   netip.Addr
	mac    MAC
	own    []MAC
	timers Timers
	policy Policy
	rnd    io.Reader

	// owner
	state    State
	delays   []time.Duration // before each probe still to be sent
	announce int             // announcements still to be sent
	deadline time.Time       // zero: none
	defended time.Time       // when the last defence was; zero: never
	out      []Output
}

// New makes a machine in state idle. Errors say which field is wrong.
func New(cfg Config) (*Machine, error) {
	if !cfg.Addr.Is4() || cfg.Addr.IsUnspecified() || cfg.Addr.IsMulticast() || cfg.Addr == broadcastIP {
		return nil, fmt.Errorf("acd: want a unicast IPv4 address, got %v", cfg.Addr)
	}
	if err := cfg.Timers.Check(); err != nil {
		return nil, err
	}
	if int(cfg.Policy) >= len(policyNames) {
		return nil, fmt.Errorf("acd: unknown policy %v", cfg.Policy)
	}
	mac, err := MACFrom(cfg.MAC)
	if err != nil {
		return nil, err
	}
	m := &Machine{addr: cfg.Addr, mac: mac, own: []MAC{mac}, timers: cfg.Timers, policy: cfg.Policy, rnd: cfg.Rand}
	for _, a := range cfg.Own {
		mac, err := MACFrom(a)
		if err != nil {
			return nil, err
		}
		m.own = append(m.own, mac)
	}
	return m, nil
}

var broadcastIP = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// State returns the machine's state.
func (m *Machine) State() State { return m.state }

// Start begins probing, from state idle. It fails when the random source does.
func (m *Machine) Start(now time.Time) error {
	if m.state != Idle {
		return fmt.Errorf("acd: start: %w: %v", ErrState, m.state)
	}
	if m.rnd == nil {
		return errors.New("acd: start: no random source was configured")
	}
	m.delays = make([]time.Duration, m.timers.ProbeNum)
	for i := range m.delays {
		lo, hi := m.timers.ProbeMin, m.timers.ProbeMax
		if i == 0 {
			lo, hi = 0, m.timers.ProbeWait
		}
		d, err := Uniform(m.rnd, lo, hi)
		if err != nil {
			return fmt.Errorf("acd: start: read random: %w", err)
		}
		m.delays[i] = d
	}
	m.state = Waiting
	m.deadline = now.Add(m.delays[0])
	return nil
}

// Announce begins to announce and defend the address: after probing found it
// free, or at once when somebody else has probed it.
func (m *Machine) Announce(now time.Time) error {
	if m.state != Free && m.state != Idle {
		return fmt.Errorf("acd: announce: %w: %v", ErrState, m.state)
	}
	m.state = Announcing
	m.announce = m.timers.AnnounceNum
	m.sendAnnouncement(now)
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
	switch m.state {
	case Waiting, Probing: // section 2.1.1
		m.emit(Send{ProbePacket(m.addr, m.mac)})
		m.delays = m.delays[1:]
		if len(m.delays) == 0 {
			m.state = Listening
			m.deadline = now.Add(m.timers.AnnounceWait)
			return
		}
		m.state = Probing
		m.deadline = now.Add(m.delays[0])
	case Listening: // section 2.1.1, last paragraph
		m.state = Free
		m.emit(Usable{})
	case Announcing: // section 2.3
		m.sendAnnouncement(now)
	}
}

func (m *Machine) sendAnnouncement(now time.Time) {
	m.emit(Send{AnnouncementPacket(m.addr, m.mac)})
	m.announce--
	if m.announce > 0 {
		m.deadline = now.Add(m.timers.AnnounceInterval)
		return
	}
	m.state = Bound
}

// HandlePacket takes an ARP packet that came in on the interface.
func (m *Machine) HandlePacket(now time.Time, p Packet) {
	if p.Op != OpRequest && p.Op != OpReply {
		return
	}
	switch m.state {
	case Waiting, Probing, Listening, Free:
		// Section 2.1.1. Free is ours: the address is not in use yet, so what
		// would have ended probing ends the claim as well.
		if m.inUse(p) {
			m.state = Conflicted
			m.deadline = time.Time{}
			m.emit(Conflict{By: p.SenderMAC})
		}
	case Announcing, Bound: // section 2.4
		if p.SenderIP == m.addr && !m.isOwn(p.SenderMAC) {
			m.defend(now, p.SenderMAC)
		}
	}
}

// inUse is the pair of tests of section 2.1.1: any packet whose sender IP address
// is the one probed, whoever sent it; or a probe for it by a foreign sender.
func (m *Machine) inUse(p Packet) bool {
	if p.SenderIP == m.addr {
		return true
	}
	return p.IsProbe() && p.TargetIP == m.addr && !m.isOwn(p.SenderMAC)
}

func (m *Machine) isOwn(a MAC) bool {
	for _, own := range m.own {
		if a == own {
			return true
		}
	}
	return false
}

// defend answers a conflicting packet, section 2.4. The time recorded is that of
// the packet the last announcement answered.
func (m *Machine) defend(now time.Time, by MAC) {
	recent := !m.defended.IsZero() && now.Sub(m.defended) < m.timers.DefendInterval
	switch {
	case m.policy == GiveUp, m.policy == DefendOnce && recent: // (a), end of (b)
		m.state = Lost
		m.deadline = time.Time{}
		m.emit(Ceased{By: by})
	case recent: // (c): no further announcement
		m.emit(Defended{By: by})
	default: // (b), (c)
		m.defended = now
		m.emit(Send{AnnouncementPacket(m.addr, m.mac)})
		m.emit(Defended{By: by, Announced: true})
	}
}

func (m *Machine) emit(o Output) { m.out = append(m.out, o) }

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

// Uniform draws a duration from lo to hi, both included.
func Uniform(rnd io.Reader, lo, hi time.Duration) (time.Duration, error) {
	var b [8]byte
	if _, err := io.ReadFull(rnd, b[:]); err != nil {
		return 0, err
	}
	high, _ := bits.Mul64(binary.BigEndian.Uint64(b[:]), uint64(hi-lo)+1)
	return lo + time.Duration(high), nil
}
