package esp

import (
	"crypto/cipher"
	"encoding/binary"
	"sync"
	"sync/atomic"

	"openmpa/paa/keys"
)

// Outbound is the sending half of a security association. Its methods may be
// called concurrently.
type Outbound struct {
	// fixed after NewOutbound
	spi  uint32
	aead cipher.AEAD
	salt [SaltLen]byte

	// atomic
	seq  atomic.Uint64 // last sequence number given out
	life life

	nonces sync.Pool // of *[nonceLen]byte: an array on the stack would escape into the AEAD
}

// OutboundStats counts what an Outbound has sealed.
type OutboundStats struct {
	Packets  uint64 // inner packets sealed
	Octets   uint64 // octets of those
	Sequence uint32 // last sequence number used, zero before the first
}

// NewOutbound makes the sending half of an SA with AES-GCM from its SPI (at least MinSPI)
// and key material: an AES key of 16, 24 or 32 octets followed by 4 octets of
// salt (RFC 4106 section 8.1). The key material is not kept. The same key must never be used for a
// second Outbound, nor after a restart: sequence numbers and with them nonces
// would repeat.
func NewOutbound(spi uint32, key *keys.Secret) (*Outbound, error) {
	return AESGCM.NewOutbound(spi, key)
}

// NewOutbound is the function of this name for key material of the suite (KeyLens).
func (s Suite) NewOutbound(spi uint32, key *keys.Secret) (*Outbound, error) {
	aead, salt, err := s.newAEAD(spi, key)
	if err != nil {
		return nil, err
	}
	o := &Outbound{spi: spi, aead: aead, salt: salt}
	o.nonces.New = func() any {
		n := new([nonceLen]byte)
		copy(n[:], o.salt[:])
		return n
	}
	return o, nil
}

// SPI is the index that the receiver knows this association by.
func (o *Outbound) SPI() uint32 { return o.spi }

// SetLifetime bounds the use of the association. soft, which may be nil, is
// called once, by the Seal that reaches a soft bound; it must not block. Call
// SetLifetime before the first Seal.
func (o *Outbound) SetLifetime(l Lifetime, soft func()) { o.life.set(l, soft) }

// Expire ends the hard lifetime now: from here on Seal returns ErrExpired. The
// owner of the clock calls it for lifetimes in seconds.
func (o *Outbound) Expire() { o.life.expired.Store(true) }

// Stats returns the counters.
func (o *Outbound) Stats() OutboundStats {
	return OutboundStats{
		Packets:  o.life.packets.Load(),
		Octets:   o.life.octets.Load(),
		Sequence: uint32(min(o.seq.Load(), MaxSequence)),
	}
}

// Seal appends to dst the ESP packet that carries inner and returns the
// extended slice. It does not allocate when dst has room for SealedLen(len(inner))
// more octets. inner may be anywhere in the room behind dst; at exactly Headroom
// octets behind the end of dst it is encrypted in place.
//
// The error is ErrSequenceExhausted or ErrExpired; dst is then returned
// unchanged.
func (o *Outbound) Seal(dst, inner []byte, nextHeader byte) ([]byte, error) {
	if o.life.over() {
		return dst, ErrExpired
	}
	seq, ok := o.next()
	if !ok {
		return dst, ErrSequenceExhausted
	}

	pad := padLen(len(inner))
	start, plain := len(dst), len(inner)+pad+trailerLen
	total := Headroom + plain + icvLen
	out := dst
	if cap(dst)-start < total {
		out = make([]byte, start, start+total)
		copy(out, dst)
	}
	out = out[:start+total]
	pkt := out[start:]

	copy(pkt[Headroom:], inner) // first: inner may lie where the header goes
	binary.BigEndian.PutUint32(pkt[0:4], o.spi)
	binary.BigEndian.PutUint32(pkt[4:8], uint32(seq))
	binary.BigEndian.PutUint64(pkt[8:16], seq)
	body := pkt[Headroom : Headroom+plain]
	for i := range pad { // RFC 4303 section 2.4: 1, 2, 3
		body[len(inner)+i] = byte(i + 1)
	}
	body[plain-2], body[plain-1] = byte(pad), nextHeader

	nonce := o.nonces.Get().(*[nonceLen]byte)
	copy(nonce[SaltLen:], pkt[8:16])
	o.aead.Seal(body[:0], nonce[:], body, pkt[:headerLen])
	o.nonces.Put(nonce)

	o.life.use(len(inner))
	return out, nil
}

// next gives out one sequence number; the counter stops at the end, so that it
// can never cycle however often Seal is called.
func (o *Outbound) next() (uint64, bool) {
	for {
		last := o.seq.Load()
		if last >= MaxSequence {
			return 0, false
		}
		if o.seq.CompareAndSwap(last, last+1) {
			return last + 1, true
		}
	}
}
