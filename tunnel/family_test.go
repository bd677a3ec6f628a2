package tunnel

import (
	"fmt"
	"net/netip"
	"testing"

	"openmpa/tunnel/bind"
	"openmpa/tunnel/flow"
)

// TestFamilies: packets of both families go by one tunnel, sent one by one, queued or
// numbered, in their order, and are nothing but their length and their ECN changed.
func TestFamilies(t *testing.T) {
	for _, local := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(local, func(t *testing.T) {
			log := newLog()
			open := func() (*Endpoint, *Socket) {
				e := NewEndpoint(nil)
				t.Cleanup(func() { _ = e.Close() })
				s, err := e.ListenWith(netip.MustParseAddrPort(local), bind.Options{Offload: true})
				if err != nil {
					t.Fatal(err)
				}
				return e, s
			}
			mnEnd, mnSock := open()
			arEnd, arSock := open()
			mn := add(t, mnEnd, TunnelConfig{Socket: mnSock, Peer: arSock.LocalAddr(), Out: outbound(t, spiToRouter, 1), In: inbound(t, spiToNode, 2), Receive: func([]byte) {}})
			add(t, arEnd, TunnelConfig{
				Socket: arSock, FollowPeer: true, Out: outbound(t, spiToNode, 2), In: inbound(t, spiToRouter, 1), Receive: log.receive,
				Numbered: func(s flow.Shim, inner []byte) { log <- fmt.Sprint(s.Number, " ", inner[0]>>4) },
			})
			four, six := up(t, "four"), packet6(t, visitor6, corr6, "six")
			for i, send := range []func() error{
				func() error { return mn.Send(six) },
				func() error { return mn.Send(four) },
				func() error { return mn.Send(append(append([]byte{}, six...), "behind"...)) },
				func() error { return mn.SendNumbered(flow.Shim{Number: 7}, six) },
				func() error { return mn.SendNumbered(flow.Shim{Number: 8}, four) },
				func() error {
					mnEnd.Cork()
					defer mnEnd.Uncork()
					for range 3 {
						if err := mn.Queue(six); err != nil {
							return err
						}
						if err := mn.Queue(four); err != nil {
							return err
						}
					}
					return nil
				},
			} {
				if err := send(); err != nil {
					t.Errorf("%d: %v", i, err)
				}
			}
			for _, want := range []string{
				"packet six", "packet four", "packet six", "7 6", "8 4",
				"packet six", "packet four", "packet six", "packet four", "packet six", "packet four",
			} {
				log.want(t, want)
			}
			if s := mn.Stats(); s.Sent != 11 {
				t.Errorf("%+v", s)
			}
		})
	}
}
