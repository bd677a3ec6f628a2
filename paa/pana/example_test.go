package pana_test

import (
	"context"
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
	node, router := must(net.ListenUDP("udp", loopback)), must(net.ListenUDP("udp", loopback))
	outputs := make(chan pana.Output, 16)
	take := func(o pana.Output) { outputs <- o }

	server := must(pana.Serve(ctx, router, pana.PAAConfig{}, take))
	defer server.Close()
	newEAP := func() (pana.EAPPeer, error) { return &aaatest.Peer{}, nil }
	client := must(pana.Dial(ctx, node, router.LocalAddr().(*net.UDPAddr).AddrPort(), pana.PaCConfig{NewEAP: newEAP}, take))
	defer client.Close()

	eap := must((&aaatest.Backend{}).Start(ctx, aaa.SessionInfo{}))
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

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
