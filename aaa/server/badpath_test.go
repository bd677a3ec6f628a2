package server

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// badPath forwards UDP between one client and a server. Of what goes either way
// a quarter is lost, a quarter comes twice, and everything is late by up to 20 ms,
// so that one packet overtakes another.
type badPath struct {
	// fixed
	server  netip.AddrPort
	near    *net.UDPConn // towards the client
	far     *net.UDPConn // towards the server
	workers sync.WaitGroup

	// atomic
	client      atomic.Pointer[netip.AddrPort]
	lost, twice atomic.Int64
}

func newBadPath(t *testing.T, server netip.AddrPort) *badPath {
	t.Helper()
	b := &badPath{server: server}
	loopback := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
	var err error
	if b.near, err = net.ListenUDP("udp", loopback); err != nil {
		t.Fatal(err)
	}
	if b.far, err = net.ListenUDP("udp", loopback); err != nil {
		t.Fatal(err)
	}
	b.workers.Go(func() {
		b.forward(b.near, func(p []byte, from netip.AddrPort) {
			b.client.Store(&from)
			_, _ = b.far.WriteToUDPAddrPort(p, b.server) // it fails when the test is over
		})
	})
	b.workers.Go(func() {
		b.forward(b.far, func(p []byte, _ netip.AddrPort) {
			_, _ = b.near.WriteToUDPAddrPort(p, *b.client.Load())
		})
	})
	t.Cleanup(func() {
		_ = b.near.Close()
		_ = b.far.Close()
		b.workers.Wait()
	})
	return b
}

func (b *badPath) addr() netip.AddrPort { return b.near.LocalAddr().(*net.UDPAddr).AddrPort() }

// forward hands on what comes until the socket is closed.
func (b *badPath) forward(conn *net.UDPConn, send func(p []byte, from netip.AddrPort)) {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		copies := 1
		switch rand.IntN(4) {
		case 0:
			b.lost.Add(1)
			continue
		case 1:
			b.twice.Add(1)
			copies = 2
		}
		packet := append([]byte(nil), buf[:n]...)
		for range copies {
			b.workers.Go(func() {
				time.Sleep(rand.N(20 * time.Millisecond))
				send(packet, from)
			})
		}
	}
}
