package traffic

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const ms = int64(time.Millisecond)

// every returns n times of sending, 20 ms apart.
func every20(n int) []int64 {
	sent := make([]int64, n)
	for i := range sent {
		sent[i] = 1000*ms + int64(i)*20*ms
	}
	return sent
}

func arrive(sent []int64, delay int64, seqs ...uint64) []Arrival {
	var a []Arrival
	for _, s := range seqs {
		a = append(a, Arrival{Seq: s, Sent: sent[s], At: sent[s] + delay})
	}
	return a
}

func TestAnalyze(t *testing.T) {
	sent := every20(6)
	for _, x := range []struct {
		name     string
		arrivals []Arrival
		want     Stats
	}{
		{"all", arrive(sent, ms, 0, 1, 2, 3, 4, 5), Stats{
			Sent: 6, Received: 6, Interval: 20 * time.Millisecond,
			MaxGap: 20 * time.Millisecond, MaxGapAt: time.Unix(0, 1001*ms), MedianDelay: time.Millisecond, P99Delay: time.Millisecond, MaxDelay: time.Millisecond,
		}},
		{"two runs lost", arrive(sent, ms, 0, 3, 5), Stats{
			Sent: 6, Received: 3, Lost: 3, Interval: 60 * time.Millisecond,
			MaxGap: 60 * time.Millisecond, MaxGapAt: time.Unix(0, 1001*ms), MedianDelay: time.Millisecond, P99Delay: time.Millisecond, MaxDelay: time.Millisecond,
			Losses: []Run{{1, 2, time.Unix(0, 1020*ms)}, {4, 4, time.Unix(0, 1080*ms)}},
		}},
		{"the end is lost", arrive(sent, ms, 0, 1), Stats{
			Sent: 6, Received: 2, Lost: 4, Interval: 20 * time.Millisecond,
			MaxGap: 79 * time.Millisecond, MaxGapAt: time.Unix(0, 1021*ms), MedianDelay: time.Millisecond, P99Delay: time.Millisecond, MaxDelay: time.Millisecond,
			Losses: []Run{{2, 5, time.Unix(0, 1040*ms)}},
		}},
		{"nothing", nil, Stats{Sent: 6, Lost: 6, Losses: []Run{{0, 5, time.Unix(0, 1000*ms)}}}},
		{"duplicates and a stranger", append(arrive(sent, ms, 0, 1, 1, 2, 3, 0, 4, 5), Arrival{Seq: 6, At: 1}), Stats{
			Sent: 6, Received: 6, Duplicated: 2, Interval: 20 * time.Millisecond,
			MaxGap: 20 * time.Millisecond, MaxGapAt: time.Unix(0, 1001*ms), MedianDelay: time.Millisecond, P99Delay: time.Millisecond, MaxDelay: time.Millisecond,
			Duplicates: arrive(sent, ms, 1, 0),
		}},
	} {
		got := Analyze(sent, x.arrivals)
		if d := cmp.Diff(x.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", x.name, d)
		}
	}
}

func TestAnalyzeReordering(t *testing.T) {
	sent := every20(5)
	// 3 overtakes 1 and 2, which are held up for 50 ms and more.
	a := []Arrival{
		{0, sent[0], sent[0] + ms},
		{3, sent[3], sent[3] + ms},
		{1, sent[1], sent[3] + 2*ms},
		{2, sent[2], sent[3] + 3*ms},
		{4, sent[4], sent[4] + ms},
	}
	s := Analyze(sent, a)
	if d := cmp.Diff(a[2:4], s.Reorderings); d != "" {
		t.Error(d)
	}
	// Of 1, 1, 42, 23 and 1 ms.
	if s.Reordered != 2 || s.Lost != 0 || s.Duplicated != 0 || s.MedianDelay != time.Millisecond || s.P99Delay != 42*time.Millisecond || s.MaxDelay != 42*time.Millisecond {
		t.Errorf("%+v", s)
	}
	// J after differences of 0, 41, 19 and 22 ms; the largest is the last.
	j := 0.0
	for _, d := range []float64{0, 41, 19, 22} {
		j += (d - j) / 16
	}
	if got := float64(s.Jitter) / float64(ms); got < j-0.001 || got > j+0.001 {
		t.Errorf("jitter %v ms, expected %v", got, j)
	}
}

func TestSilence(t *testing.T) {
	sent := every20(10)
	at := func(ms20 float64) time.Time { return time.Unix(0, 1000*ms+int64(ms20*float64(20*ms))) }
	for _, x := range []struct {
		name     string
		arrivals []Arrival
		from, to time.Time
		want     time.Duration
	}{
		{"around two lost", arrive(sent, 0, 0, 1, 2, 5, 6, 7, 8, 9), at(3.2), at(3.4), 60 * time.Millisecond},
		{"not the longer one elsewhere", arrive(sent, 0, 0, 4, 5, 6, 7, 8, 9), at(5.2), at(5.4), 20 * time.Millisecond},
		{"over two gaps", arrive(sent, 0, 0, 1, 2, 4, 5, 6, 7, 8, 9), at(1.5), at(3.5), 40 * time.Millisecond},
		{"nothing after", arrive(sent, 0, 0, 1, 2), at(2.5), at(3), 140 * time.Millisecond},
		{"nothing before", arrive(sent, 0, 7, 8, 9), at(2.5), at(3), 0},
		{"nothing at all", nil, at(2.5), at(3), 0},
	} {
		if got := Silence(sent, x.arrivals, x.from, x.to); got != x.want {
			t.Errorf("%s: got %v, expected %v", x.name, got, x.want)
		}
	}
}

// TestAnalyzeInvariants: whatever arrives in whatever order, the sums hold.
func TestAnalyzeInvariants(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		sent := every20(1 + rnd.IntN(40))
		var a []Arrival
		for range rnd.IntN(80) {
			n := rnd.IntN(len(sent))
			a = append(a, Arrival{Seq: uint64(n), Sent: sent[n], At: sent[n] + rnd.Int64N(100*ms)})
		}
		s := Analyze(sent, a)
		inRuns := 0
		for _, r := range s.Losses {
			inRuns += int(r.Last-r.First) + 1
		}
		if s.Received+s.Lost != s.Sent || s.Received+s.Duplicated != len(a) || inRuns != s.Lost || s.Reordered > s.Received {
			t.Fatalf("%+v of %d arrivals", s, len(a))
		}
	}
}

func TestParseRate(t *testing.T) {
	for _, x := range []struct {
		in      string
		pps     float64
		payload int
		text    string
	}{
		{"50", 50, 172, "50 packets/s"},
		{"62.5", 62.5, 172, "62.5 packets/s"},
		{"100M", 100e6 / 11200, 1372, "100Mbit/s in packets of 1400 octets"},
		{"400k", 400e3 / 11200, 1372, "400kbit/s in packets of 1400 octets"},
	} {
		r, err := ParseRate(x.in)
		if err != nil || r.PerSecond != x.pps || r.Payload != x.payload || r.String() != x.text {
			t.Errorf("%q: %+v %q, %v", x.in, r, r, err)
		}
	}
	for _, bad := range []string{"", "M", "0", "-5", "x", "NaN", "inf", "1e99", "0.01", "90G"} {
		if r, err := ParseRate(bad); err == nil {
			t.Errorf("%q: got %+v, expected an error", bad, r)
		}
	}
}

func TestPacerKeepsScheduleWithoutBursts(t *testing.T) {
	r := PerSecond(1000)
	p := newPacer(r, 0)
	var at []time.Duration
	now := time.Duration(0)
	for i := range 200 {
		now = max(now, p.next())
		if i == 50 {
			now += 10 * time.Millisecond // the machine was busy
		}
		at = append(at, now)
		p.sent(now)
	}
	for i := 1; i < len(at); i++ {
		if at[i]-at[i-1] < r.Interval()/2 {
			t.Fatalf("numbers %d and %d are %v apart", i-1, i, at[i]-at[i-1])
		}
	}
	if at[49] != 49*time.Millisecond || at[199] != 199*time.Millisecond {
		t.Errorf("number 49 at %v, 199 at %v: not on schedule before and after the delay", at[49], at[199])
	}
	p.sent(now + time.Second)
	if p.stalls != 1 || p.next() != now+time.Second+time.Millisecond {
		t.Errorf("after a stall: %d stalls, next at %v", p.stalls, p.next())
	}
}

func TestDatagram(t *testing.T) {
	b := make([]byte, headerLen)
	putHeader(b, 7, 1<<40, -5)
	if seq, sent, ok := parseHeader(b, 7); !ok || seq != 1<<40 || sent != -5 {
		t.Errorf("got %d, %d, %v", seq, sent, ok)
	}
	if _, _, ok := parseHeader(b, 8); ok {
		t.Error("took another flow's datagram")
	}
	for n := range b {
		if _, _, ok := parseHeader(b[:n], 7); ok {
			t.Errorf("took a datagram of %d octets", n)
		}
	}
	b[0] ^= 1
	if _, _, ok := parseHeader(b, 7); ok {
		t.Error("took a datagram of somebody else")
	}
}
