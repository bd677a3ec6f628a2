// Package zone is a name server with one name of SRV records and the addresses of their targets, for tests.
package zone

import (
	"net"
	"net/netip"
	"sync/atomic"

	"golang.org/x/net/dns/dnsmessage"
)

// longest is how long an answer may be: what does not fit is cut, and says so.
const longest = 1232

// Zone answers questions about one name, and about hosts.
type Zone struct {
	Name   string // of the SRV records, with the dot behind
	SRV    []dnsmessage.SRVResource
	Addrs  map[string][]netip.Addr // by name, with the dot behind
	Mangle func([]byte) []byte     // what is done to every answer; nil: nothing. An answer of nil is not sent
	Asked  atomic.Int32            // questions so far
}

// SRV is one record.
func SRV(priority, port uint16, host string) dnsmessage.SRVResource {
	return dnsmessage.SRVResource{Priority: priority, Port: port, Target: dnsmessage.MustNewName(host)}
}

// Serve answers what comes to conn, until that is closed.
func (z *Zone) Serve(conn *net.UDPConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		b := z.answer(buf[:n])
		if b != nil && z.Mangle != nil {
			b = z.Mangle(b)
		}
		if b != nil {
			_, _ = conn.WriteToUDPAddrPort(b, from)
		}
	}
}

func (z *Zone) answer(b []byte) []byte {
	z.Asked.Add(1)
	var q dnsmessage.Message
	if q.Unpack(b) != nil || len(q.Questions) != 1 {
		return nil
	}
	one := q.Questions[0]
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, Authoritative: true, RecursionAvailable: true}, Questions: q.Questions}
	head := dnsmessage.ResourceHeader{Name: one.Name, Class: dnsmessage.ClassINET, TTL: 60}
	if one.Type == dnsmessage.TypeSRV {
		if one.Name.String() != z.Name {
			m.RCode = dnsmessage.RCodeNameError
		} else {
			for i := range z.SRV {
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &z.SRV[i]})
			}
		}
	}
	for _, a := range z.Addrs[one.Name.String()] {
		switch {
		case a.Is4() && one.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && one.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	if len(out) > longest {
		m.Truncated, m.Answers = true, nil
		out, _ = m.Pack()
	}
	return out
}
