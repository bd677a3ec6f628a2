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

// read takes a message.
func read(conn net.Conn) (notify.Message, error) {
	var size [2]byte
	if err := conn.SetDeadline(time.Now().Add(partMax)); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n > maxFrame {
		return nil, fmt.Errorf("a message of %d octets, expected at most %d", n, maxFrame)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(conn, b); err != nil {
		return nil, err
	}
	return notify.Parse(b)
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
		got, err := read(conn)
		if err != nil {
			return err
		}
		r, ok := got.(*notify.NeighboursReply)
		if !ok || r.Handover != m.Handover {
			return fmt.Errorf("a %v of %v, expected a %v of %v", got.Kind(), got.ID(), notify.KindNeighboursReply, m.Handover)
		}
		if whole, err := g.Add(r); whole || err != nil {
			return err
		}
	}
	return fmt.Errorf("no whole answer in %d parts", maxRequests)
}
