package info

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"openmpa/internal/event"
	"openmpa/paa/notify"
)

const (
	exchangeMax = 20 * time.Second                                 // for a whole answer, the handshake included
	partMax     = 5 * time.Second                                  // for one part
	maxFrame    = 2048                                             // octets of a message
	maxRequests = 6 * notify.MaxNeighbours / notify.NeighboursPart // in one connection: an answer may change while it is fetched
)

// write sends a message behind its length.
func write(conn net.Conn, m notify.Message) error {
	b, err := notify.Append(make([]byte, 2, maxFrame), m)
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	if err := conn.SetDeadline(time.Now().Add(partMax)); err != nil {
		return err
	}
	_, err = conn.Write(b)
	return err
}

// read takes a message of the kind that is expected.
func read[M notify.Message](conn net.Conn) (m M, err error) {
	var size [2]byte
	if err := conn.SetDeadline(time.Now().Add(partMax)); err != nil {
		return m, err
	}
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return m, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n > maxFrame {
		return m, fmt.Errorf("a message of %d octets, expected at most %d", n, maxFrame)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(conn, b); err != nil {
		return m, err
	}
	got, err := notify.Parse(b)
	if err != nil {
		return m, err
	}
	m, ok := got.(M)
	if !ok {
		return m, fmt.Errorf("a %v, expected a %v", got.Kind(), m.Kind())
	}
	return m, nil
}

// fetch asks for a whole answer.
func fetch(conn net.Conn, g *notify.Gathering) error {
	for range maxRequests {
		id, err := event.NewHandoverID(rand.Reader)
		if err != nil {
			return err
		}
		m := g.Next(id)
		if err := write(conn, m); err != nil {
			return err
		}
		r, err := read[*notify.NeighboursReply](conn)
		if err != nil {
			return err
		}
		if r.Handover != m.Handover {
			return fmt.Errorf("an answer to %v, expected one to %v", r.Handover, m.Handover)
		}
		if whole, err := g.Add(r); whole || err != nil {
			return err
		}
	}
	return fmt.Errorf("no whole answer in %d parts", maxRequests)
}
