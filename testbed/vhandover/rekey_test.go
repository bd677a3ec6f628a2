package vhandover

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/internal/event"
	"openmpa/mn"
	"openmpa/paa/pana"
	"openmpa/testbed/simnet"
	"openmpa/testbed/topo"
	"openmpa/tunnel/esp"
	"openmpa/tunnel/ipip"
)

// signalling says that a packet is PANA's.
func signalling(pkt []byte) bool {
	_, _, proto, body, total, err := ipip.ParseIPv4(pkt)
	return err == nil && proto == protoUDP && total >= body+udpHeader &&
		(binary.BigEndian.Uint16(pkt[body:]) == pana.Port || binary.BigEndian.Uint16(pkt[body+2:]) == pana.Port)
}

// TestRekeying: whatever becomes of what two ends say about a successor, packets go on;
// all of them, while the session stands.
func TestRekeying(t *testing.T) {
	soon, never := esp.RekeyLimits{Age: time.Second, Linger: linger}, esp.RekeyLimits{Linger: linger}
	lose := func(back bool) func(b *bed) error {
		return func(b *bed) error {
			lost := 0
			b.cables["ra-core"].Cut(func(toRouter bool, pkt []byte) bool {
				if toRouter == back || !signalling(pkt) {
					return false
				}
				lost++
				return true
			})
			time.Sleep(6 * time.Second) // longer than an answer is waited for
			b.cables["ra-core"].Cut(nil)
			if n := b.rekeyed(); n > 0 || lost < 2 {
				return fmt.Errorf("%d rekeyings, %d packets of signalling lost", n, lost)
			}
			if _, err := b.step(b.node.node.Prepare); err != nil { // it is kept longer
				return err
			}
			if wrong := b.until(keptTime-time.Second, func() string {
				if b.rekeyed() == 0 {
					return "no rekeying, now that nothing is lost"
				}
				return ""
			}); wrong != "" {
				return errors.New(wrong)
			}
			return nil
		}
	}
	often := func(b *bed) error {
		time.Sleep(6 * time.Second)
		if n := b.rekeyed(); n < 3 {
			return fmt.Errorf("%d rekeyings, expected 3 at least", n)
		}
		return nil
	}
	for name, c := range map[string]struct {
		limits [2]esp.RekeyLimits
		during func(b *bed) error
		void   bool // the session is: what is in the tunnel is lost
	}{
		"by the node":     {[2]esp.RekeyLimits{soon, never}, often, false},
		"by the router":   {[2]esp.RekeyLimits{never, soon}, often, false},
		"by both at once": {[2]esp.RekeyLimits{soon, soon}, often, false},
		"requests lost":   {[2]esp.RekeyLimits{soon, never}, lose(false), false},
		"answers lost":    {[2]esp.RekeyLimits{soon, never}, lose(true), false},
		"router's lost":   {[2]esp.RekeyLimits{never, soon}, lose(true), false},
		"router restarted": {[2]esp.RekeyLimits{soon, soon}, func(b *bed) error {
			time.Sleep(6 * time.Second)
			b.routers["a"].kill()
			err := b.routers["a"].start()
			time.Sleep(6 * time.Second)
			return err
		}, true},
		"session ended between": {[2]esp.RekeyLimits{soon, soon}, func(b *bed) error {
			asked := make(chan struct{})
			var once sync.Once
			b.cables["ra-core"].Cut(func(toRouter bool, pkt []byte) bool { // the answer to the next request
				lost := !toRouter && signalling(pkt)
				if lost {
					once.Do(func() { close(asked) })
				}
				return lost
			})
			<-asked
			var errs []error
			for _, v := range b.routers["a"].router.Status().Visitors {
				errs = append(errs, b.routers["a"].agent.Terminate(v.SID))
			}
			time.Sleep(time.Second)
			b.cables["ra-core"].Cut(nil)
			time.Sleep(6 * time.Second)
			return errors.Join(errs...)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			creds, err := NewCredentials(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				plan := Plan{Seed: 1, Rate: 100, Prepared: true, Rekey: c.limits, Cables: map[string][2]simnet.Impairment{}}
				for _, label := range cables {
					d := simnet.Impairment{Delay: 3 * time.Millisecond}
					plan.Cables[label] = [2]simnet.Impairment{d, d}
				}
				b, err := newBed(plan, creds, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					b.close()
					for _, m := range b.machines {
						for _, left := range m.Left() {
							t.Error(left)
						}
					}
				}()
				if err := b.rekeying(c.during); err != nil {
					t.Error(err)
				}
				for dir, f := range b.ledger.flows() {
					if !c.void && (f.Delivered < f.Sent || f.Doubled > 0 || f.Late > 0) || f.Sent < 500 {
						t.Errorf("%v: %+v; %s", direction(dir), f, b.ledger.losses())
					}
				}
				if t.Failed() {
					for _, line := range b.net.Trace() {
						if strings.Contains(line, " LOG ") {
							t.Log(line)
						}
					}
				}
			})
		})
	}
}

// rekeyed are the times that the tunnel of what is prepared has had other keys.
func (b *bed) rekeyed() uint64 {
	if p := b.node.node.Status().Prepared; p != nil {
		return p.Rekeyed
	}
	return 0
}

// rekeying prepares a move, does something while the tunnel is in use, moves, and parts.
func (b *bed) rekeying(during func(b *bed) error) (err error) {
	if err := b.airs[networks[0].Name].Attach(context.Background(), networks[0].Points[0]); err != nil {
		return err
	}
	if err := b.node.start(); err != nil {
		return err
	}
	if err := b.attached(); err != nil {
		return err
	}
	if b.apps, err = newApps(b); err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond)
	b.own = len(b.machines[topo.MN].Owned())
	outcome, err := b.step(b.node.node.Prepare)
	if outcome != event.OK {
		return errors.Join(errors.New("not prepared"), err)
	}
	if err := during(b); err != nil {
		return err
	}
	if outcome, err = b.step(b.node.node.Handover); outcome != event.Completed {
		return errors.Join(errors.New("not handed over: "+string(outcome)), err)
	}
	return b.part()
}

// step begins something with network a and waits for its end.
func (b *bed) step(begin func(string) (*mn.Handover, error)) (event.Outcome, error) {
	h, err := asked(func() (*mn.Handover, error) { return begin("a") })
	if err != nil {
		return event.Failed, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), handoverLimit)
	defer cancel()
	return h.Wait(ctx)
}
