package ha

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/ha/hatest"
	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/state"
	"openmpa/mn/mobility/mip4"
)

func TestMain(m *testing.M) {
	hatest.Main(m, func(ctx context.Context, store state.Store, ready func()) error {
		cfg := labConfig(event.NewRecorder("ha", nil, 0))
		cfg.State, cfg.Log = store, slog.Default()
		a, err := Open(cfg)
		if err != nil {
			return err
		}
		ready()
		return a.Run(ctx)
	})
}

// Register implements hatest.Bench, as the next do.
func (l *lab) Register(careOf netip.Addr) []byte {
	l.Helper()
	l.register(careOf)
	return l.request
}

func (l *lab) Deregister(from netip.Addr) {
	l.Helper()
	l.client.Deregister(time.Now(), from)
	if o, ok := l.exchange().(mip4.Deregistered); !ok {
		l.Fatalf("%+v", o)
	}
}

func (l *lab) Replayed(request []byte) bool {
	l.Helper()
	conn := l.signal[coa1]
	if _, err := conn.WriteToUDPAddrPort(request, netip.AddrPortFrom(agent, mip4.Port)); err != nil {
		l.Fatal(err)
	}
	buf := make([]byte, 2048)
	_ = conn.SetReadDeadline(time.Now().Add(hatest.Patience))
	n, _, err := conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		l.Fatal(err)
	}
	r, err := mip4.ParseReply(buf[:n])
	if err != nil {
		l.Fatal(err)
	}
	return r.Code == mip4.CodeIdentification
}

func (l *lab) Next(careOf netip.Addr) (number int, waited bool) {
	l.Helper()
	for {
		start := time.Now()
		text := l.at(careOf, 1)[0]
		if !strings.HasPrefix(text, "marker") {
			return hatest.Number(l, text), time.Since(start) > time.Millisecond
		}
	}
}

func (l *lab) Up(careOf netip.Addr, first, last int) { l.up(careOf, first, last) }

func (l *lab) Forget() { l.inHost(func() { osnettest.IP(l, "neigh flush all") }) }

func (l *lab) Routes() string { return osnettest.IP(l, "route show proto 163") }

func TestKilled(t *testing.T) {
	l := newLab(t)
	hatest.Killed(t, l, func() *hatest.Host { l.peers(); return l.host }, [2]netip.Addr{coa1, coa2})
}

// TestSeveralKilled: bound to two care-of addresses, it is so after a crash.
func TestSeveralKilled(t *testing.T) {
	l := newLab(t)
	l.beside = []netip.Addr{coa1, coa2}
	hatest.Killed(t, l, func() *hatest.Host { l.peers(); return l.host }, [2]netip.Addr{coa1, coa2})
	if l.copies == 0 {
		t.Error("no copies")
	}
}
