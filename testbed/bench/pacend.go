package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"openmpa/paa/keys"
	"openmpa/paa/pana"
)

// loopEAP is the peer of the loop-back method of a PAAEnd.
type loopEAP struct{ done bool }

// Handle implements pana.EAPPeer.
func (p *loopEAP) Handle(b []byte) ([]byte, error) {
	if p.done = b[0] == 3; p.done {
		return nil, nil
	}
	return []byte{2, b[1], 0, 7, 1, 'm', 'n'}, nil
}

// Result implements pana.EAPPeer.
func (p *loopEAP) Result() (done, success bool, msk *keys.Secret) {
	if !p.done {
		return false, false, nil
	}
	return true, true, benchMSK()
}

// login runs one PaC at an address, by a socket of its own, until its session is open. An
// error of the PaC's is the reason why there is none.
func login(at netip.Addr, paa netip.AddrPort, preauth bool) error {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
	if err != nil {
		return fmt.Errorf("bench: PaC: %w", err)
	}
	defer conn.Close()
	pac, err := pana.NewPaC(pana.PaCConfig{Preauth: preauth, NewEAP: func() (pana.EAPPeer, error) { return &loopEAP{}, nil }, PAA: paa})
	if err != nil {
		return err
	}
	pac.Start(time.Now())
	var buf [2048]byte
	for {
		for o, ok := pac.Poll(); ok; o, ok = pac.Poll() {
			switch o := o.(type) {
			case pana.Send:
				if _, err := conn.WriteToUDPAddrPort(o.Data, paa); err != nil {
					return fmt.Errorf("bench: PaC: %w", err)
				}
			case pana.Opened:
				o.MSK.Clear()
				for o, ok := pac.Poll(); ok; o, ok = pac.Poll() { // the PAN[C]
					if o, is := o.(pana.Send); is {
						if _, err := conn.WriteToUDPAddrPort(o.Data, paa); err != nil {
							return fmt.Errorf("bench: PaC: %w", err)
						}
					}
				}
				return nil
			case pana.Closed:
				return o.Reason
			}
		}
		at, _ := pac.Deadline()
		if err := conn.SetReadDeadline(at); err != nil {
			return fmt.Errorf("bench: PaC: %w", err)
		}
		n, from, err := conn.ReadFromUDPAddrPort(buf[:])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			pac.OnDeadline(time.Now())
		case err != nil:
			return fmt.Errorf("bench: PaC: %w", err)
		case from == paa:
			pac.HandlePacket(time.Now(), buf[:n])
		}
	}
}

// logins opens so many sessions, one at a time at each address.
func logins(ctx context.Context, nodes []netip.Addr, paa netip.AddrPort, number int) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for _, at := range nodes {
		g.Go(func() error {
			for next.Add(1) <= int64(number) && ctx.Err() == nil {
				if err := login(at, paa, false); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}
