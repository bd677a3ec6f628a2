package ha

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/internal/acd"
)

var (
	ourMAC  = acd.MAC{2, 0, 0, 0, 0, 1}
	hostMAC = acd.MAC{2, 0, 0, 0, 0, 2}
	nodeMAC = acd.MAC{2, 0, 0, 0, 0, 3}
)

// fakeARP is an ARP socket; what is written is kept with its time.
type fakeARP struct {
	in     chan acd.Packet
	start  time.Time
	closed bool

	mu  sync.Mutex
	out []acd.Packet
	to  []net.HardwareAddr
	at  []time.Duration
}

func newFakeARP() *fakeARP { return &fakeARP{in: make(chan acd.Packet), start: time.Now()} }

func (f *fakeARP) ReadARP(ctx context.Context) (acd.Packet, error) {
	select {
	case <-ctx.Done():
		return acd.Packet{}, ctx.Err()
	case p, ok := <-f.in:
		if !ok {
			return p, net.ErrClosed
		}
		return p, nil
	}
}

func (f *fakeARP) WriteARP(dst net.HardwareAddr, p acd.Packet) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out, f.to, f.at = append(f.out, p), append(f.to, dst), append(f.at, time.Since(f.start))
	return nil
}

func (f *fakeARP) MAC() net.HardwareAddr { return ourMAC.HardwareAddr() }
func (f *fakeARP) Device() string        { return "home0" }
func (f *fakeARP) Close() error          { f.closed = true; return nil }

func (f *fakeARP) written() ([]acd.Packet, []time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.out), slices.Clone(f.at)
}

type fakeResolver struct {
	mac net.HardwareAddr
	err error
}

func (f fakeResolver) Resolve(context.Context, string, netip.Addr) (net.HardwareAddr, error) {
	return f.mac, f.err
}

func newFakeHome(t *testing.T, r resolver, log *slog.Logger) (*homeLink, *fakeARP) {
	t.Helper()
	arp := newFakeARP()
	h, err := newHomeLink(arp, r, log)
	if err != nil {
		t.Fatal(err)
	}
	return h, arp
}

func TestProxyARP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, arp := newFakeHome(t, nil, slog.New(slog.DiscardHandler))
		done := make(chan error)
		go func() { done <- h.serve(t.Context()) }()
		ask := func(p acd.Packet) { arp.in <- p; synctest.Wait() }
		request := acd.Packet{Op: acd.OpRequest, SenderMAC: hostMAC, SenderIP: atHome, TargetIP: home}
		ask(request) // not bound yet
		h.add(home)
		h.add(home)
		time.Sleep(5 * time.Second) // the announcements are over
		announcements, at := arp.written()
		if want := []time.Duration{0, time.Second, 2 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("announced at %v", at)
		}
		for i, p := range announcements {
			if p != acd.AnnouncementPacket(home, ourMAC) || !bytes.Equal(arp.to[i], acd.Broadcast()) {
				t.Errorf("announced %+v to %v", p, arp.to[i])
			}
		}
		ask(request)
		ask(acd.ProbePacket(home, hostMAC))
		for _, p := range []acd.Packet{
			acd.AnnouncementPacket(home, nodeMAC), // the node itself
			{Op: acd.OpReply, SenderMAC: hostMAC, SenderIP: atHome, TargetIP: home},
			{Op: acd.OpRequest, SenderMAC: hostMAC, SenderIP: atHome, TargetIP: home2},
		} {
			ask(p)
		}
		h.remove(home)
		h.remove(home)
		ask(request)
		out, _ := arp.written()
		want := []acd.Packet{
			{Op: acd.OpReply, SenderMAC: ourMAC, SenderIP: home, TargetMAC: hostMAC, TargetIP: atHome},
			{Op: acd.OpReply, SenderMAC: ourMAC, SenderIP: home, TargetMAC: hostMAC, TargetIP: netip.IPv4Unspecified()},
		}
		if got := out[len(announcements):]; !slices.Equal(got, want) {
			t.Errorf("answered %+v\nwant %+v", got, want)
		}
		if n := h.answers.Load(); n != 2 {
			t.Errorf("%d answers counted", n)
		}
		close(arp.in)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := h.close(); err != nil || !arp.closed {
			t.Errorf("%v, closed %v", err, arp.closed)
		}
		h.add(home)
		h.returned(home)
		if after, _ := arp.written(); len(after) != len(out) {
			t.Error("announced after the end")
		}
	})
}

func TestAnnouncementsEndWithTheBinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, arp := newFakeHome(t, fakeResolver{mac: nodeMAC.HardwareAddr()}, slog.New(slog.DiscardHandler))
		h.add(home)
		time.Sleep(1500 * time.Millisecond)
		h.remove(home)
		h.returned(home)
		time.Sleep(10 * time.Second)
		out, _ := arp.written()
		ours, nodes := acd.AnnouncementPacket(home, ourMAC), acd.AnnouncementPacket(home, nodeMAC)
		if want := []acd.Packet{ours, ours, nodes, nodes, nodes}; !slices.Equal(out, want) {
			t.Errorf("%+v", out)
		}
		// It leaves again at once: the news of its return stops.
		h.returned(home)
		synctest.Wait()
		h.add(home)
		time.Sleep(10 * time.Second)
		if all, _ := arp.written(); !slices.Equal(all[len(out):], []acd.Packet{nodes, ours, ours, ours}) {
			t.Errorf("%+v", all[len(out):])
		}
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
}

func TestReturnedUnresolved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		h, arp := newFakeHome(t, fakeResolver{err: errors.New("nobody answers")}, slog.New(slog.NewTextHandler(&log, nil)))
		h.returned(home)
		synctest.Wait()
		if out, _ := arp.written(); len(out) != 0 || !strings.Contains(log.String(), "nobody answers") {
			t.Errorf("%+v, %q", out, log.String())
		}
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
}
