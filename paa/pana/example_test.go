package pana_test

import (
	"context"
	"fmt"
	"net"
	"time"

	"openmpa/paa/keys"
	"openmpa/paa/pana"
)

// onceEAP is an EAP peer for this example: it answers the identity request and
// takes what follows for a success. A real one is aaa/eap.Peer.
type onceEAP struct{ done bool }

func (p *onceEAP) Handle(b []byte) ([]byte, error) {
	if p.done = b[0] == 3; p.done {
		return nil, nil
	}
	return []byte{2, b[1], 0, 7, 1, 'm', 'n'}, nil
}

func (p *onceEAP) Result() (done, success bool, msk *keys.Secret) {
	if !p.done {
		return false, false, nil
	}
	return true, true, keys.NewSecret(make([]byte, 64))
}

// A PAA and a PaC over loopback: authentication, one notification, logout.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	listen := func() *net.UDPConn {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			panic(err)
		}
		return conn
	}
	replies := make(chan func(time.Time, *pana.PAA), 8) // what EAP says, from outside the handler
	conn := listen()
	server, err := pana.Serve(ctx, conn, pana.PAAConfig{}, func(o pana.Output) {
		switch o := o.(type) {
		case pana.EAPStart:
			replies <- func(now time.Time, p *pana.PAA) {
				_ = p.EAPReply(now, o.SID, pana.EAPReply{Packet: []byte{1, 1, 0, 5, 1}})
			}
		case pana.EAPResponse:
			replies <- func(now time.Time, p *pana.PAA) {
				_ = p.EAPReply(now, o.SID, pana.EAPReply{
					Done: true, Success: true, Packet: []byte{3, 1, 0, 4}, MSK: keys.NewSecret(make([]byte, 64)),
				})
			}
		case pana.Notified:
			fmt.Printf("PAA was told: %s\n", o.AVPs[0].Data)
		}
	})
	if err != nil {
		panic(err)
	}
	defer server.Close()
	go func() {
		for f := range replies {
			_ = server.Do(f)
		}
	}()
	defer close(replies)

	outputs := make(chan pana.Output, 8)
	cfg := pana.PaCConfig{NewEAP: func() (pana.EAPPeer, error) { return &onceEAP{}, nil }}
	client, err := pana.Dial(ctx, listen(), conn.LocalAddr().(*net.UDPAddr).AddrPort(), cfg, func(o pana.Output) { outputs <- o })
	if err != nil {
		panic(err)
	}
	defer client.Close()
	for o := range outputs {
		switch o := o.(type) {
		case pana.Opened:
			fmt.Println("open for", o.Lifetime)
			o.MSK.Clear()
			_ = client.Do(func(now time.Time, p *pana.PaC) {
				_, err = p.Notify(now, []pana.AVP{{Code: 1, Vendor: pana.VendorID, Data: []byte("hello")}}, pana.NotifyOptions{})
			})
		case pana.NotifyDone:
			_ = client.Do(func(now time.Time, p *pana.PaC) { p.Terminate(now) })
		case pana.Closed:
			fmt.Println(o.Reason)
			return
		}
	}
	// Output:
	// open for 1h0m0s
	// PAA was told: hello
	// pana: session terminated by this side
}
