package traffic

import (
	"strings"
	"testing"
	"time"
)

func TestStreamOverAWire(t *testing.T) {
	a, b, cut := wire(t)
	const rate = 80e6
	s, err := OpenStream(StreamSpec{Name: "test", From: a, To: b, Port: 5000, Rate: rate})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	before, err := CountTCP(a.Space)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	received := func() int64 { _, n := s.Octets(); return n }
	waitFor(t, func() bool { return received() > 1<<20 })
	at := time.Now()
	cut(true)
	waitFor(t, func() bool { c, err := CountTCP(a.Space); return err == nil && c.Since(before).Timeouts > 0 })
	cut(false)
	back := received()
	waitFor(t, func() bool { return received() > back+1<<20 })
	end := time.Now()
	info, algorithm, err := s.Info()
	if err != nil {
		t.Fatal(err)
	}
	if info.Total_retrans == 0 || algorithm == "" {
		t.Errorf("segments sent again: %d, congestion control %q", info.Total_retrans, algorithm)
	}
	s.Stop(10 * time.Second)
	if err := s.Whole(); err != nil {
		t.Error(err)
	}
	after, err := CountTCP(a.Space)
	if err != nil {
		t.Fatal(err)
	}
	if c := after.Since(before); c.Timeouts < 1 || c.Retransmitted < c.Timeouts {
		t.Errorf("%+v", c)
	}
	if p := Pause(s.Progress(), at, end); p < 100*time.Millisecond || p > end.Sub(at) {
		t.Errorf("a pause of %v in %v, in which a time-out went by", p, end.Sub(at))
	}
	if sent, got := s.Octets(); sent != got || sent < 2<<20 {
		t.Errorf("%d octets sent, %d received", sent, got)
	}
}

func TestStreamSeesWhatIsNotItsOwn(t *testing.T) {
	a, b, _ := wire(t)
	s, err := OpenStream(StreamSpec{Name: "test", From: a, To: b, Port: 5000})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	block := make([]byte, 64)
	fill(block, 0)
	block[17] ^= 1
	if _, err := s.out.Write(block); err != nil {
		t.Fatal(err)
	}
	s.sent.Store(int64(len(block)))
	waitFor(t, func() bool { err := s.Whole(); return err != nil && strings.Contains(err.Error(), "are not those") })
}

func TestFillIsWhatStandsAtAnOffset(t *testing.T) {
	whole, part := make([]byte, 4096), make([]byte, 64)
	fill(whole, 0)
	for at := 0; at+len(part) <= len(whole); at += 8 {
		fill(part, int64(at))
		if string(part) != string(whole[at:at+len(part)]) {
			t.Fatalf("other octets at %d", at)
		}
	}
}

func TestTCPCountIsRead(t *testing.T) {
	var c TCPCount
	c.parse("Ip: Forwarding\nIp: 2\nTcp: RtoAlgorithm RetransSegs InErrs\nTcp: 1 17 0\n")
	c.parse("TcpExt: TCPTimeouts TCPLossProbes TCPDSACKRecvSegs TCPSpuriousRTOs TCPOFOQueue\nTcpExt: 3 4 5 2 6\nIpExt: InNoRoutes\nIpExt: 9\n")
	if want := (TCPCount{Retransmitted: 17, Timeouts: 3, Spurious: 2, Probes: 4, Needless: 5, OutOfOrder: 6}); c != want {
		t.Errorf("%+v, expected %+v", c, want)
	}
}

func TestPause(t *testing.T) {
	base := time.Now()
	at := func(ms int) time.Time { return base.Add(time.Duration(ms) * time.Millisecond) }
	var p []Progress
	for _, ms := range []int{0, 5, 10, 40, 45, 200} {
		p = append(p, Progress{At: at(ms).UnixNano()})
	}
	for _, c := range []struct{ from, until, want int }{{1, 50, 30}, {42, 150, 105}, {11, 20, 9}, {300, 310, 10}} {
		if got := Pause(p, at(c.from), at(c.until)); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("from %d to %d ms: %v, expected %d ms", c.from, c.until, got, c.want)
		}
	}
}
