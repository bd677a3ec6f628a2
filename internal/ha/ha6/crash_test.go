package ha6

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"openmpa/internal/ha/hatest"
	"openmpa/internal/osnet/osnettest"
	"openmpa/mn/mobility/mip6"
)

// Register implements hatest.Bench, as the next do.
func (l *lab) Register(careOf netip.Addr) []byte {
	l.Helper()
	l.register(careOf)
	return l.lastSent
}

func (l *lab) Deregister(from netip.Addr) {
	l.Helper()
	l.client.Deregister(time.Now(), from)
	if o, ok := l.exchange().(mip6.Deregistered); !ok {
		l.Fatalf("%+v", o)
	}
}

func (l *lab) Replayed(message []byte) bool {
	l.Helper()
	l.fromNode(message)
	select {
	case pkt := <-l.pending:
		p, err := mip6.ParsePacket(pkt)
		if err != nil {
			l.Fatal(err)
		}
		m, err := mip6.Parse(p.Payload, p.Source(), p.Destination())
		if ack, ok := m.(*mip6.Ack); ok {
			return ack.Status == mip6.StatusIdentification
		}
		l.Fatalf("%+v, %v", m, err)
	case <-time.After(hatest.Patience):
		l.Fatal("no answer to a replay")
	}
	return false
}

func (l *lab) Next(careOf netip.Addr) (number int, waited bool) {
	l.Helper()
	for {
		select {
		case a := <-l.down:
			if a.careOf == careOf {
				return hatest.Number(l, string(a.inner[48:])), len(l.down) == 0
			}
		case <-time.After(hatest.Patience):
			l.Fatalf("nothing comes to %v", careOf)
		}
	}
}

func (l *lab) Up(careOf netip.Addr, first, last int) { l.up(careOf, first, last) }

func (l *lab) Forget() { l.inHost(func() { osnettest.IP(l, "-6 neigh flush all") }) }

// Routes leaves out that of the home agent's own address.
func (l *lab) Routes() string {
	var out []string
	for line := range strings.Lines(osnettest.IP(l, "-6 route show proto 163")) {
		if strings.HasPrefix(line, home.String()+" ") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func TestKilled(t *testing.T) {
	l := newLab(t)
	hatest.Killed(t, l, func() *hatest.Host { l.peers(); return l.host }, [2]netip.Addr{careA, careB})
}
