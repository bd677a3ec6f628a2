package pana_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/aaatest"
	"openmpa/paa/pana"
)

// A PaC and a PAA authenticate over loopback. In the place of aaatest, an EAP method in
// memory, stand aaa/eap.Peer and aaa.NewRADIUS; in that of Do, in a handler, Post.
func Example() {
	ctx, loopback := context.Background(), net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0"))
	node, err1 := net.ListenUDP("udp", loopback)
	router, err2 := net.ListenUDP("udp", loopback)
	eap, err3 := (&aaatest.Backend{}).Start(ctx, aaa.SessionInfo{})
	if err := errors.Join(err1, err2, err3); err != nil {
		log.Fatal(err)
	}
	outputs := make(chan pana.Output, 16)
	take := func(o pana.Output) { outputs <- o }
	server, err1 := pana.Serve(ctx, router, pana.PAAConfig{}, take)
	newEAP := func() (pana.EAPPeer, error) { return &aaatest.Peer{}, nil }
	client, err2 := pana.Dial(ctx, node, router.LocalAddr().(*net.UDPAddr).AddrPort(), pana.PaCConfig{NewEAP: newEAP}, take)
	if err := errors.Join(err1, err2); err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	defer client.Close()
	for o := range outputs {
		switch o := o.(type) {
		case pana.EAPStart:
			_ = server.Do(func(now time.Time, p *pana.PAA) { _ = p.EAPReply(now, o.SID, pana.EAPReply{Packet: eap.Identity()}) })
		case pana.EAPResponse:
			r, err := eap.Exchange(ctx, o.Packet)
			reply := pana.EAPReply{Packet: r.EAP, Done: r.Decision != aaa.Continue, Success: r.Decision == aaa.Accept, MSK: r.MSK, Err: err}
			_ = server.Do(func(now time.Time, p *pana.PAA) { _ = p.EAPReply(now, o.SID, reply) })
		case pana.Opened:
			fmt.Println("open for", o.Lifetime)
			return
		}
	}
	// Output: open for 1h0m0s
}
