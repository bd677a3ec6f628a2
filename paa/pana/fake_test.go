package pana

import (
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"

	"openmpa/paa/keys"
)

// eapPacket builds an EAP packet; code 3 and 4 have no type.
func eapPacket(code, id byte, data ...byte) []byte {
	b := []byte{code, id, 0, 0}
	b = append(b, data...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

// fakePeer is an EAP peer whose method echoes the data of type-254 requests.
// Both ends make the MSK from all of that data.
type fakePeer struct {
	heard       []byte
	requests    int
	failAt      int   // request number with which the method fails, 0: never
	failErr     error // what it fails with
	alert       bool  // a response goes out with the error
	keyless     bool
	done, good  bool
	closed      bool
	altRejected bool
	msk         *keys.Secret
	lastID      byte
}

var errFakeEAP = errors.New("fake: unknown CA")

func fakeMSK(heard []byte) *keys.Secret {
	sum := sha512.Sum512(heard)
	return keys.NewSecret(sum[:])
}

func (p *fakePeer) Handle(b []byte) ([]byte, error) {
	if len(b) < 4 || int(binary.BigEndian.Uint16(b[2:])) != len(b) || p.done {
		return nil, nil
	}
	switch b[0] {
	case 1:
		if len(b) < 5 {
			return nil, nil
		}
		p.lastID = b[1]
		if b[4] == 1 {
			return eapPacket(2, b[1], append([]byte{1}, "mn"...)...), nil
		}
		p.requests++
		if p.requests == p.failAt {
			if p.alert {
				return eapPacket(2, b[1], 254, 0), p.failErr
			}
			p.done = true
			return nil, p.failErr
		}
		p.heard = append(p.heard, b[5:]...)
		return eapPacket(2, b[1], b[4:]...), nil
	case 3:
		if p.requests == 0 || b[1] != p.lastID {
			return nil, nil
		}
		p.done, p.good = true, true
		if !p.keyless {
			p.msk = fakeMSK(p.heard)
		}
	case 4:
		p.done = true
	}
	return nil, nil
}

func (p *fakePeer) Result() (bool, bool, *keys.Secret) { return p.done, p.good, p.msk }
func (p *fakePeer) AltReject()                         { p.done, p.altRejected = true, true }
func (p *fakePeer) Close() error                       { p.closed = true; return nil }

// fakeServer is the other end, what the owner of a PAA has.
type fakeServer struct {
	rounds  int // type-254 requests
	sent    int
	id      byte
	salt    byte // makes the MSK of this conversation another one
	heard   []byte
	reject  bool
	keyless bool
}

func (f *fakeServer) start() EAPReply {
	f.id = 7
	return EAPReply{Packet: eapPacket(1, f.id, 1)}
}

func (f *fakeServer) next(resp []byte) EAPReply {
	if len(resp) < 5 || resp[1] != f.id {
		return EAPReply{Err: fmt.Errorf("fake: response %x does not fit request %d", resp, f.id)}
	}
	if f.sent == f.rounds {
		if f.reject {
			return EAPReply{Done: true, Packet: eapPacket(4, f.id), Err: errors.New("fake: rejected by AAA")}
		}
		r := EAPReply{Done: true, Success: true, Packet: eapPacket(3, f.id)}
		if !f.keyless {
			r.MSK = fakeMSK(f.heard)
		}
		return r
	}
	f.sent++
	f.id++
	data := []byte{byte(f.sent), f.id, f.salt}
	f.heard = append(f.heard, data...)
	return EAPReply{Packet: eapPacket(1, f.id, append([]byte{254}, data...)...)}
}

// seeded is a reproducible random source.
type seeded struct{ *rand.ChaCha8 }

func newSeeded(seed uint64) seeded {
	var s [32]byte
	binary.BigEndian.PutUint64(s[:], seed)
	return seeded{rand.NewChaCha8(s)}
}

func (s seeded) Read(b []byte) (int, error) { return s.ChaCha8.Read(b) }
