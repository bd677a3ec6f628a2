package replay

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"openmpa/mn/decision"
	"openmpa/mn/decision/trace"
)

// Gap is the most between two readings of a point for it to have been in the air between them.
const Gap = 10 * time.Second

// Bounds of a scene.
const (
	maxReadings = 16 << 20
	maxSteps    = 4 << 20
	maxDB       = 150 // below 0: no receiver tells less
)

// Scene is a whole trace.
type Scene struct {
	Header   trace.Header
	Networks []decision.Network // as they were told last, numbered from 1 on; their times as they were measured
	Points   []decision.Point   // likewise
	Length   time.Duration
	Lost     uint64 // records that the recorder could not write
	Cut      bool
	Strange  uint64

	records  []trace.Record
	ticks    []tick
	readings [][]reading // by point, less one
	total    int
	scans    []time.Duration // of sightings: somebody looked around
}

// tick is a moment of the recording.
type tick struct {
	at      time.Duration
	here    int // the point, as numbered here; 0: none
	place   decision.Place
	speed   float32
	heading float32
}

type reading struct {
	at    time.Duration
	dBm   float32
	blind bool // nobody looked around before the next one: that it is not heard means nothing
}

// numbers are those of the trace, and here.
type numbers struct {
	networks map[decision.NetworkID]int
	points   map[decision.PointID]int
}

// Load reads a trace.
func Load(in io.Reader) (*Scene, error) {
	r, err := trace.NewReader(in)
	if err != nil {
		return nil, err
	}
	s := &Scene{Header: r.Header()}
	took := newMeans()
	var n numbers
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if rec.Know != nil {
			if n, err = s.know(rec.Know); err != nil {
				return nil, err
			}
		}
		if rec.Sample != nil {
			if err := s.hear(rec.Sample, n); err != nil {
				return nil, err
			}
		}
		took.learn(rec, n)
		s.Lost += rec.Lost
		s.records = append(s.records, rec)
	}
	if len(s.ticks) == 0 || len(s.Points) == 0 {
		return nil, fmt.Errorf("replay: %d samples, %d points: expected a trace with both, as mpa-mn --record writes it", len(s.ticks), len(s.Points))
	}
	s.Cut, s.Strange = r.Cut(), r.Strange()
	s.Length = s.ticks[len(s.ticks)-1].at - s.ticks[0].at
	took.put(s.Networks)
	s.blind()
	return s, nil
}

// blind marks readings after which nobody looked around until the point was heard again, or to the end.
func (s *Scene) blind() {
	const apart = 100 * time.Millisecond // what is seen within is one look
	for _, list := range s.readings {
		for i := range list {
			until := time.Duration(1<<63 - 1)
			if i+1 < len(list) {
				until = list[i+1].at
			}
			k, _ := slices.BinarySearch(s.scans, list[i].at+apart)
			list[i].blind = k == len(s.scans) || s.scans[k] >= until
		}
	}
}

// Samples is how many there are.
func (s *Scene) Samples() int { return len(s.ticks) }

// know takes what the recorder's engine was told.
func (s *Scene) know(k *trace.Known) (numbers, error) {
	n := numbers{networks: make(map[decision.NetworkID]int), points: make(map[decision.PointID]int)}
	for _, x := range k.Networks {
		i := slices.IndexFunc(s.Networks, func(o decision.Network) bool { return o.Name == x.Name })
		if i < 0 {
			if i = len(s.Networks); i == decision.MaxNetworks {
				return n, fmt.Errorf("replay: more than %d networks in the whole trace", decision.MaxNetworks)
			}
			s.Networks = append(s.Networks, decision.Network{})
		}
		n.networks[x.ID] = i + 1
		x.ID = decision.NetworkID(i + 1)
		s.Networks[i] = x
	}
	for _, x := range k.Points {
		network := decision.NetworkID(n.networks[x.Network])
		i := slices.IndexFunc(s.Points, func(o decision.Point) bool { return o.Name == x.Name && o.Network == network })
		if network == 0 {
			return n, fmt.Errorf("replay: point %q is of network %d, which is not known", x.Name, x.Network)
		}
		if i < 0 {
			if i = len(s.Points); i == decision.MaxPoints {
				return n, fmt.Errorf("replay: more than %d points in the whole trace", decision.MaxPoints)
			}
			s.Points, s.readings = append(s.Points, decision.Point{}), append(s.readings, nil)
		}
		n.points[x.ID] = i + 1
		x.ID, x.Network = decision.PointID(i+1), network
		s.Points[i] = x
	}
	return n, nil
}

// hear takes the signals of a sample.
func (s *Scene) hear(x *decision.Sample, n numbers) error {
	s.ticks = append(s.ticks, tick{at: x.At, here: n.points[x.Here], place: x.Place, speed: x.Speed, heading: x.Heading})
	s.read(n.points[x.Here], x.At, x.Signal)
	for _, g := range x.Seen {
		if g.Age >= 0 && g.Age <= x.At {
			s.read(n.points[g.Point], x.At-g.Age, g.Signal)
			if at := x.At - g.Age; len(s.scans) == 0 || at > s.scans[len(s.scans)-1] {
				s.scans = append(s.scans, at)
			}
		}
	}
	if s.total > maxReadings || len(s.ticks) > maxSteps {
		return fmt.Errorf("replay: more than %d samples, or %d signals in them", maxSteps, maxReadings)
	}
	return nil
}

// read takes one reading, once.
func (s *Scene) read(point int, at time.Duration, dBm float32) {
	if point == 0 || !(dBm < 0 && dBm >= -maxDB) {
		return
	}
	list := &s.readings[point-1]
	if k := len(*list); k > 0 && (at <= (*list)[k-1].at || dBm == (*list)[k-1].dBm && at-(*list)[k-1].at < time.Second) {
		return
	}
	*list = append(*list, reading{at: at, dBm: dBm})
	s.total++
}

// means are what steps took on average, by network of the scene.
type means struct {
	sum   [decision.MaxNetworks + 1][decision.Bind + 2]time.Duration // the last one is the round trip
	count [decision.MaxNetworks + 1][decision.Bind + 2]int
}

const ofRTT = int(decision.Bind) + 1

func newMeans() *means { return &means{} }

func (m *means) learn(r trace.Record, n numbers) {
	add := func(id decision.NetworkID, what int, d time.Duration) {
		if i := n.networks[id]; i > 0 && d >= 0 && d <= time.Minute {
			m.sum[i][what] += d
			m.count[i][what]++
		}
	}
	switch {
	case r.Took != nil && r.Took.OK:
		add(r.Took.Network, int(r.Took.Depth), r.Took.Took)
	case r.RTT != nil:
		add(r.RTT.Network, ofRTT, r.RTT.RTT)
	}
}

// put has networks take what was measured.
func (m *means) put(networks []decision.Network) {
	for i := range networks {
		t := &networks[i].Times
		mean := func(what int, into *time.Duration) bool {
			c := m.count[i+1][what]
			if c > 0 {
				*into = m.sum[i+1][what] / time.Duration(c)
			}
			return c > 0
		}
		mean(ofRTT, &t.RTT)
		if mean(int(decision.Authenticate), &t.Auth) {
			t.Auth = max(t.Auth-time.Duration(float64(t.Rounds)*float64(t.RTT)), 0)
		}
		mean(int(decision.None), &t.Switch)
		mean(int(decision.Configure), &t.Configure)
		mean(int(decision.Tunnel), &t.Tunnel)
		mean(int(decision.Bind), &t.Bind)
		for _, d := range []*time.Duration{&t.RTT, &t.Auth, &t.Configure, &t.Tunnel, &t.Bind, &t.Switch} {
			*d = min(max(*d, 0), time.Minute)
		}
		if !(t.Rounds >= 0 && t.Rounds <= 100) {
			t.Rounds = 0
		}
	}
}

// air fills in what could be heard at a moment. The cursors go forward only.
type air struct {
	s    *Scene
	next []int // by point: the first reading later than the moment
}

func (a *air) at(now time.Duration, heard []decision.Sighting) []decision.Sighting {
	for i, list := range a.s.readings {
		k := a.next[i]
		for k < len(list) && list[k].at <= now {
			k++
		}
		if a.next[i] = k; k == 0 {
			continue
		}
		was := list[k-1]
		dBm := was.dBm
		switch since := now - was.at; {
		case k < len(list) && (was.blind || list[k].at-was.at <= Gap):
			dBm += (list[k].dBm - was.dBm) * float32(float64(since)/float64(list[k].at-was.at))
		case since > decision.Fresh && !was.blind:
			continue
		}
		if len(heard) == cap(heard) {
			break
		}
		heard = append(heard, decision.Sighting{Point: decision.PointID(i + 1), Signal: dBm})
	}
	return heard
}
