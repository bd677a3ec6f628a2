package notify

import (
	"fmt"
	"slices"
)

// MaxSuites is how many suites a request may name.
const MaxSuites = 8

type (
	// RekeyRequest asks for a successor of a tunnel's security association.
	RekeyRequest struct {
		Header
		Old    uint32  // SPI of the direction to the router now
		SPI    uint32  // of the successor's direction to the node
		Nonce  []byte  // 32 octets
		Suites []uint8 // that the node takes, the best first; none: the router's choice
	}
	// RekeyReply answers a RekeyRequest; the router accepts by the successor from then on.
	RekeyReply struct {
		Header
		Reason string // why there is none; empty on success
		Old    uint32 // as asked
		SPI    uint32 // of the successor's direction to the router
		Nonce  []byte // 32 octets
		Suite  uint8  // one of those asked for
	}
	// RekeyDue tells the node that limits of the router's are near: it is the node that asks.
	RekeyDue struct {
		Header
		Old uint32 // SPI of the direction to the router now
	}
)

// Kind implements Message.
func (RekeyRequest) Kind() Kind { return KindRekeyRequest }

// Kind implements Message.
func (RekeyReply) Kind() Kind { return KindRekeyReply }

// Kind implements Message.
func (RekeyDue) Kind() Kind { return KindRekeyDue }

func (m RekeyDue) appendFields(b []byte) ([]byte, error) { return put(b, fOld, u32(m.Old)), nil }

func (m *RekeyDue) parseFields(f fields) (err error) {
	m.Old, err = f.spi(fOld)
	return err
}

func (m RekeyRequest) appendFields(b []byte) ([]byte, error) {
	if len(m.Nonce) != nonceLen {
		return nil, fmt.Errorf("nonce of %d octets, expected %d", len(m.Nonce), nonceLen)
	}
	b, err := putSuites(b, m.Suites)
	if err != nil {
		return nil, err
	}
	return put(put(put(b, fOld, u32(m.Old)), fSPI, u32(m.SPI)), fNonce, m.Nonce), nil
}

func (m *RekeyRequest) parseFields(f fields) (err error) {
	if m.Suites, err = f.suites(); err != nil {
		return err
	}
	if m.Old, err = f.spi(fOld); err != nil {
		return err
	}
	if m.SPI, err = f.spi(fSPI); err != nil {
		return err
	}
	m.Nonce, err = f.sized(fNonce, nonceLen, nonceLen)
	return err
}

func (m RekeyReply) appendFields(b []byte) ([]byte, error) {
	if m.Reason != "" {
		return putReason(b, m.Reason), nil
	}
	if len(m.Nonce) != nonceLen || m.Suite == 0 {
		return nil, fmt.Errorf("nonce of %d octets, expected %d; suite %d", len(m.Nonce), nonceLen, m.Suite)
	}
	return put(put(put(put(b, fOld, u32(m.Old)), fSPI, u32(m.SPI)), fNonce, m.Nonce), fSuite, []byte{m.Suite}), nil
}

func (m *RekeyReply) parseFields(f fields) (err error) {
	var refused bool
	if m.Reason, refused, err = f.reason(); refused || err != nil {
		return err
	}
	if m.Old, err = f.spi(fOld); err != nil {
		return err
	}
	if m.SPI, err = f.spi(fSPI); err != nil {
		return err
	}
	if m.Nonce, err = f.sized(fNonce, nonceLen, nonceLen); err != nil {
		return err
	}
	m.Suite, err = f.suite()
	return err
}

// putSuites appends the suites a node takes, if it says.
func putSuites(b []byte, list []uint8) ([]byte, error) {
	if len(list) > MaxSuites || slices.Contains(list, 0) {
		return nil, fmt.Errorf("suites %v, expected at most %d, none of them 0", list, MaxSuites)
	}
	if len(list) == 0 {
		return b, nil
	}
	return put(b, fSuites, list), nil
}

// suites reads what putSuites wrote. Suites that are not known here stay in.
func (f fields) suites() ([]uint8, error) {
	if _, given := f[fSuites]; !given {
		return nil, nil
	}
	list, err := f.sized(fSuites, 1, MaxSuites)
	if err == nil && slices.Contains(list, 0) {
		err = fmt.Errorf("field %d: suite 0", fSuites)
	}
	return list, err
}

// suite reads the one that the router has taken.
func (f fields) suite() (uint8, error) {
	v, err := f.sized(fSuite, 1, 1)
	if err == nil && v[0] == 0 {
		err = fmt.Errorf("field %d: suite 0", fSuite)
	}
	if err != nil {
		return 0, err
	}
	return v[0], nil
}
