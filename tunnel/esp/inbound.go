package esp

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"openmpa/paa/keys"
)

// Inbound is the receiving half of a security association. Its methods may be
// called concurrently.
type Inbound struct {
	// fixed after NewInbound
	spi  uint32
	aead cipher.AEAD
	salt [SaltLen]byte

	mu  sync.Mutex
	win window // guarded by mu

	// atomic
	life                                                          life
	badForm, badSPI, replayed, tooOld, badAuth, badPad, afterLife atomic.Uint64

	nonces sync.Pool // of *[nonceLen]byte
}

// InboundStats counts what an Inbound was given. Every packet given to Open is
// in exactly one of the counters besides Octets and Sequence.
type InboundStats struct {
	Packets  uint64 // opened
	Octets   uint64 // octets of their inner packets
	Sequence uint32 // highest sequence number accepted

	Format   uint64 // dropped: no ESP packet, or wrong padding
	SPI      uint64 // dropped: another SPI
	Replayed uint64 // dropped: received before
	TooOld   uint64 // dropped: left of the window
	Auth     uint64 // dropped: integrity check failed
	Expired  uint64 // dropped: lifetime has ended
}

// Opened is what an ESP packet carried.
type Opened struct {
	Inner      []byte // inside the packet given to OpenPacket; TFC padding, if any, is still behind it
	NextHeader byte
	Sequence   uint32
	// Newest: no packet with a higher sequence number has been accepted before.
	// Only such a packet may move the peer's outer address; a late one would move
	// it back.
	Newest bool
}

// NewInbound makes the receiving half of an SA from its SPI, key material as in
// NewOutbound, and the size of the replay window in packets (32 to 65536; zero
// means DefaultWindow).
func NewInbound(spi uint32, key *keys.Secret, windowSize int) (*Inbound, error) {
	return AESGCM.NewInbound(spi, key, windowSize)
}

// NewInbound is the function of this name for key material of the suite (KeyLens).
func (s Suite) NewInbound(spi uint32, key *keys.Secret, windowSize int) (*Inbound, error) {
	if windowSize == 0 {
		windowSize = DefaultWindow
	}
	if windowSize < minWindow || windowSize > maxWindow {
		return nil, fmt.Errorf("esp: replay window of %d packets, expected %d to %d", windowSize, minWindow, maxWindow)
	}
	aead, salt, err := s.newAEAD(spi, key)
	if err != nil {
		return nil, err
	}
	i := &Inbound{spi: spi, aead: aead, salt: salt, win: newWindow(windowSize)}
	i.nonces.New = func() any {
		n := new([nonceLen]byte)
		copy(n[:], i.salt[:])
		return n
	}
	return i, nil
}

// SPI is the index by which arriving packets name this association.
func (i *Inbound) SPI() uint32 { return i.spi }

// SetLifetime bounds the use of the association as Outbound.SetLifetime does.
// Call it before the first Open.
func (i *Inbound) SetLifetime(l Lifetime, soft func()) { i.life.set(l, soft) }

// Expire ends the hard lifetime now: from here on Open returns ErrExpired.
func (i *Inbound) Expire() { i.life.expired.Store(true) }

// Stats returns the counters.
func (i *Inbound) Stats() InboundStats {
	i.mu.Lock()
	top := i.win.top
	i.mu.Unlock()
	return InboundStats{
		Packets:  i.life.packets.Load(),
		Octets:   i.life.octets.Load(),
		Sequence: uint32(top),
		Format:   i.badForm.Load() + i.badPad.Load(),
		SPI:      i.badSPI.Load(),
		Replayed: i.replayed.Load(),
		TooOld:   i.tooOld.Load(),
		Auth:     i.badAuth.Load(),
		Expired:  i.afterLife.Load(),
	}
}

// Open checks and decrypts one ESP packet in place and returns the inner
// packet, which lies inside pkt. Of pkt nothing else is meaningful afterwards.
//
// The error says why the packet is to be dropped: ErrFormat, ErrSPI, ErrReplay,
// ErrTooOld, ErrAuth or ErrExpired.
func (i *Inbound) Open(pkt []byte) (inner []byte, nextHeader byte, err error) {
	p, err := i.OpenPacket(pkt)
	return p.Inner, p.NextHeader, err
}

// OpenPacket is Open and tells more about the packet.
func (i *Inbound) OpenPacket(pkt []byte) (Opened, error) {
	if len(pkt) < minPacket || (len(pkt)-Headroom-icvLen)%align != 0 {
		i.badForm.Add(1)
		return Opened{}, ErrFormat
	}
	if binary.BigEndian.Uint32(pkt[0:4]) != i.spi {
		i.badSPI.Add(1)
		return Opened{}, ErrSPI
	}
	if i.life.over() {
		i.afterLife.Add(1)
		return Opened{}, ErrExpired
	}
	seq := binary.BigEndian.Uint32(pkt[4:8])

	i.mu.Lock()
	err := i.win.check(uint64(seq))
	i.mu.Unlock()
	if err != nil {
		return Opened{}, i.countReplay(err)
	}

	nonce := i.nonces.Get().(*[nonceLen]byte)
	copy(nonce[SaltLen:], pkt[headerLen:Headroom])
	body, err := i.aead.Open(pkt[Headroom:Headroom], nonce[:], pkt[Headroom:], pkt[:headerLen])
	i.nonces.Put(nonce)
	if err != nil {
		i.badAuth.Add(1)
		return Opened{}, ErrAuth
	}

	// Checked again: another reader may have accepted the same packet meanwhile.
	i.mu.Lock()
	err = i.win.check(uint64(seq))
	newest := err == nil && i.win.accept(uint64(seq))
	i.mu.Unlock()
	if err != nil {
		return Opened{}, i.countReplay(err)
	}

	inner, ok := trimTrailer(body)
	if !ok {
		i.badPad.Add(1)
		return Opened{}, ErrFormat
	}
	i.life.use(len(inner))
	return Opened{Inner: inner, NextHeader: body[len(body)-1], Sequence: seq, Newest: newest}, nil
}

func (i *Inbound) countReplay(err error) error {
	if err == ErrTooOld {
		i.tooOld.Add(1)
	} else {
		i.replayed.Add(1)
	}
	return err
}

// trimTrailer removes padding, pad length and next header, and inspects the
// padding as RFC 4303 section 2.4 says. body has at least align octets.
func trimTrailer(body []byte) ([]byte, bool) {
	pad := int(body[len(body)-2])
	n := len(body) - trailerLen - pad
	if n < 0 {
		return nil, false
	}
	for k := range pad {
		if body[n+k] != byte(k+1) {
			return nil, false
		}
	}
	return body[:n:n], true
}
