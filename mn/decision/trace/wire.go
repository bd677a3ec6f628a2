package trace

import (
	"fmt"
	"math"
	"time"

	"openmpa/mn/decision"
)

// Version of the form.
const Version = 1

// Header is the first line.
type Header struct {
	Node   string
	Began  time.Time
	Policy decision.Policy
}

// Known is what an engine was told by Know.
type Known struct {
	Networks []decision.Network
	Points   []decision.Point
}

// Took is what an engine was told by its method of that name.
type Took struct {
	Network decision.NetworkID
	Depth   decision.Depth
	Took    time.Duration
	OK      bool
}

// RTT likewise.
type RTT struct {
	Network decision.NetworkID
	RTT     time.Duration
}

// Record is one that is not the header. One of the pointers is set, or Lost is not 0.
type Record struct {
	At      time.Duration
	Know    *Known
	Sample  *decision.Sample
	Decided *decision.Decision
	Words   string // of Decided
	Moved   *decision.Move
	Failed  *decision.Decision
	Took    *Took
	RTT     *RTT
	Lost    uint64 // so many records before this one were not written
}

type headerLine struct {
	Trace  int        `json:"trace"`
	Node   string     `json:"node,omitempty"`
	Began  time.Time  `json:"began,omitzero"`
	Policy policyLine `json:"policy"`
}

type policyLine struct {
	Style     decision.Style `json:"style"`
	Look      float32        `json:"look_dbm"`
	Leave     float32        `json:"leave_dbm"`
	Accept    float32        `json:"accept_dbm"`
	Lost      float32        `json:"lost_dbm"`
	Margin    float32        `json:"margin_db"`
	Dwell     int64          `json:"dwell_ns"`
	Window    int64          `json:"window_ns"`
	Hold      int64          `json:"hold_ns"`
	Within    int64          `json:"within_ns"`
	RestFirst int64          `json:"rest_first_ns"`
	RestMost  int64          `json:"rest_most_ns"`
	Rungs     int            `json:"rungs"`
}

func policyOf(p decision.Policy) policyLine {
	return policyLine{
		p.Style, p.Look, p.Leave, p.Accept, p.Lost, p.Margin, int64(p.Dwell), int64(p.Window), int64(p.Hold), int64(p.Within),
		int64(p.RestFirst), int64(p.RestMost), p.Rungs,
	}
}

func (p policyLine) policy() decision.Policy {
	return decision.Policy{
		Style: p.Style, Look: p.Look, Leave: p.Leave, Accept: p.Accept, Lost: p.Lost, Margin: p.Margin, Dwell: time.Duration(p.Dwell),
		Window: time.Duration(p.Window), Hold: time.Duration(p.Hold), Within: time.Duration(p.Within),
		RestFirst: time.Duration(p.RestFirst), RestMost: time.Duration(p.RestMost), Rungs: p.Rungs,
	}
}

type line struct {
	At      int64         `json:"at_ns"`
	Know    *knowLine     `json:"know,omitempty"`
	Sample  *sampleLine   `json:"sample,omitempty"`
	Decided *decisionLine `json:"decided,omitempty"`
	Words   string        `json:"words,omitempty"`
	Moved   *moveLine     `json:"moved,omitempty"`
	Failed  *decisionLine `json:"failed,omitempty"`
	Took    *tookLine     `json:"took,omitempty"`
	RTT     *rttLine      `json:"rtt,omitempty"`
	Lost    uint64        `json:"lost,omitempty"`
}

type knowLine struct {
	Networks []networkLine `json:"networks"`
	Points   []pointLine   `json:"points"`
}

type networkLine struct {
	ID        uint16  `json:"id"`
	Name      string  `json:"name"`
	Cost      float32 `json:"cost_db,omitempty"`
	Most      string  `json:"most"`
	RTT       int64   `json:"rtt_ns,omitempty"`
	Rounds    float32 `json:"rounds,omitempty"`
	Auth      int64   `json:"auth_ns,omitempty"`
	Configure int64   `json:"configure_ns,omitempty"`
	Tunnel    int64   `json:"tunnel_ns,omitempty"`
	Bind      int64   `json:"bind_ns,omitempty"`
	Switch    int64   `json:"switch_ns,omitempty"`
}

type pointLine struct {
	ID      uint16     `json:"id"`
	Network uint16     `json:"network"`
	Name    string     `json:"name"`
	Load    *float32   `json:"load,omitempty"`
	Place   *placeLine `json:"place,omitempty"`
	Reach   float32    `json:"reach_m,omitempty"`
	Follows *float32   `json:"follows,omitempty"`
}

type placeLine struct {
	X float32 `json:"x_m"`
	Y float32 `json:"y_m"`
}

type sampleLine struct {
	Here    uint16      `json:"here,omitempty"`
	Signal  float32     `json:"signal_dbm,omitempty"`
	Loss    *float32    `json:"loss,omitempty"`
	Rate    float32     `json:"rate_mbps,omitempty"`
	Place   *placeLine  `json:"place,omitempty"`
	Speed   *float32    `json:"speed_mps,omitempty"`
	Heading float32     `json:"heading_rad,omitempty"`
	Seen    []seenLine  `json:"seen,omitempty"`
	Stands  []standLine `json:"stands,omitempty"`
}

type seenLine struct {
	Point  uint16  `json:"point"`
	Signal float32 `json:"signal_dbm"`
	Age    int64   `json:"age_ns,omitempty"`
}

type standLine struct {
	Network uint16 `json:"network"`
	Depth   string `json:"depth"`
	Held    bool   `json:"held,omitempty"`
}

type decisionLine struct {
	Action string     `json:"action"`
	To     uint16     `json:"to,omitempty"`
	Now    bool       `json:"now,omitempty"`
	Look   bool       `json:"look,omitempty"`
	Both   bool       `json:"both,omitempty"`
	Ladder []rungLine `json:"ladder,omitempty"`
	Left   *int64     `json:"left_ns,omitempty"`
	Code   string     `json:"code"`
}

type rungLine struct {
	Network uint16 `json:"network"`
	Point   uint16 `json:"point"`
	Depth   string `json:"depth"`
}

type moveLine struct {
	From   uint16 `json:"from,omitempty"`
	To     uint16 `json:"to,omitempty"`
	Depth  string `json:"depth"`
	Chosen bool   `json:"chosen,omitempty"`
}

type tookLine struct {
	Network uint16 `json:"network"`
	Depth   string `json:"depth"`
	Took    int64  `json:"took_ns"`
	OK      bool   `json:"ok,omitempty"`
}

type rttLine struct {
	Network uint16 `json:"network"`
	RTT     int64  `json:"rtt_ns"`
}

// finite returns a number that JSON can say: 0 for one that is none.
func finite(x float32) float32 {
	if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return x
}

// known returns nothing for a number that is not known: less than 0, or none.
func known(x float32) *float32 {
	if !(x >= 0 && x <= math.MaxFloat32) {
		return nil
	}
	return &x
}

func placeOf(p decision.Place) *placeLine {
	if !p.Known {
		return nil
	}
	return &placeLine{finite(p.X), finite(p.Y)}
}

func knowOf(networks []decision.Network, points []decision.Point) *knowLine {
	k := &knowLine{Networks: make([]networkLine, 0, len(networks)), Points: make([]pointLine, 0, len(points))}
	for _, n := range networks {
		t := n.Times
		k.Networks = append(k.Networks, networkLine{
			uint16(n.ID), n.Name, finite(n.Cost), n.Most.String(), int64(t.RTT), finite(t.Rounds), int64(t.Auth), int64(t.Configure), int64(t.Tunnel),
			int64(t.Bind), int64(t.Switch),
		})
	}
	for _, p := range points {
		k.Points = append(k.Points, pointLine{uint16(p.ID), uint16(p.Network), p.Name, known(p.Load), placeOf(p.Place), finite(p.Reach), known(p.Follows)})
	}
	return k
}

func sampleOf(s *decision.Sample) *sampleLine {
	l := &sampleLine{
		Here: uint16(s.Here), Signal: finite(s.Signal), Loss: known(s.Loss), Rate: finite(s.Rate), Place: placeOf(s.Place), Speed: known(s.Speed),
		Heading: finite(s.Heading),
	}
	for _, g := range s.Seen[:min(len(s.Seen), decision.MaxSeen)] {
		l.Seen = append(l.Seen, seenLine{uint16(g.Point), finite(g.Signal), int64(g.Age)})
	}
	for _, g := range s.Stands[:min(len(s.Stands), decision.MaxNetworks)] {
		l.Stands = append(l.Stands, standLine{uint16(g.Network), g.Depth.String(), g.Held})
	}
	return l
}

func decisionOf(d *decision.Decision) *decisionLine {
	l := &decisionLine{Action: d.Action.String(), To: uint16(d.To), Now: d.Now, Look: d.Look, Both: d.Both, Code: d.Reason.Code.String()}
	if d.Left >= 0 {
		left := int64(d.Left)
		l.Left = &left
	}
	for _, g := range d.Ladder[:min(len(d.Ladder), decision.MaxRungs)] {
		l.Ladder = append(l.Ladder, rungLine{uint16(g.Network), uint16(g.Point), g.Depth.String()})
	}
	return l
}

// named finds what a name stands for among those from first to last.
func named[T interface {
	~uint8
	fmt.Stringer
}](what, name string, first, last T) (T, error) {
	for x := first; x <= last; x++ {
		if x.String() == name {
			return x, nil
		}
	}
	return 0, fmt.Errorf("%s %q: expected one from %v to %v", what, name, first, last)
}

func depthOf(name string) (decision.Depth, error) {
	return named("depth", name, decision.None, decision.Bind)
}

func numberOr(x *float32, other float32) float32 {
	if x == nil {
		return other
	}
	return *x
}

func (p *placeLine) place() decision.Place {
	if p == nil {
		return decision.Place{}
	}
	return decision.Place{X: p.X, Y: p.Y, Known: true}
}

func (k *knowLine) known() (*Known, error) {
	if len(k.Networks) > decision.MaxNetworks || len(k.Points) > decision.MaxPoints {
		return nil, fmt.Errorf("%d networks and %d points: expected at most %d and %d", len(k.Networks), len(k.Points), decision.MaxNetworks, decision.MaxPoints)
	}
	out := &Known{}
	for _, n := range k.Networks {
		most, err := depthOf(n.Most)
		if err != nil {
			return nil, err
		}
		ns := func(x int64) time.Duration { return time.Duration(x) }
		out.Networks = append(out.Networks, decision.Network{
			ID: decision.NetworkID(n.ID), Name: n.Name, Cost: n.Cost, Most: most,
			Times: decision.Times{RTT: ns(n.RTT), Rounds: n.Rounds, Auth: ns(n.Auth), Configure: ns(n.Configure), Tunnel: ns(n.Tunnel), Bind: ns(n.Bind), Switch: ns(n.Switch)},
		})
	}
	for _, p := range k.Points {
		out.Points = append(out.Points, decision.Point{
			ID: decision.PointID(p.ID), Network: decision.NetworkID(p.Network), Name: p.Name, Load: numberOr(p.Load, -1), Place: p.Place.place(),
			Reach: p.Reach, Follows: numberOr(p.Follows, -1),
		})
	}
	return out, nil
}

func (l *sampleLine) sample(at time.Duration) (*decision.Sample, error) {
	if len(l.Seen) > decision.MaxSeen || len(l.Stands) > decision.MaxNetworks {
		return nil, fmt.Errorf("%d sightings, and %d networks that are prepared: expected at most %d and %d", len(l.Seen), len(l.Stands), decision.MaxSeen, decision.MaxNetworks)
	}
	s := &decision.Sample{
		At: at, Here: decision.PointID(l.Here), Signal: l.Signal, Loss: numberOr(l.Loss, -1), Rate: l.Rate, Place: l.Place.place(),
		Speed: numberOr(l.Speed, -1), Heading: l.Heading,
	}
	for _, g := range l.Seen {
		s.Seen = append(s.Seen, decision.Sighting{Point: decision.PointID(g.Point), Signal: g.Signal, Age: time.Duration(g.Age)})
	}
	for _, g := range l.Stands {
		d, err := depthOf(g.Depth)
		if err != nil {
			return nil, err
		}
		s.Stands = append(s.Stands, decision.Standing{Network: decision.NetworkID(g.Network), Depth: d, Held: g.Held})
	}
	return s, nil
}

func (l *decisionLine) decision() (*decision.Decision, error) {
	action, err := named("action", l.Action, decision.Stay, decision.Handover)
	if err != nil {
		return nil, err
	}
	code, err := named("code", l.Code, decision.Unheard, decision.Stranded)
	if err != nil {
		return nil, err
	}
	if len(l.Ladder) > decision.MaxRungs {
		return nil, fmt.Errorf("a ladder of %d: expected at most %d", len(l.Ladder), decision.MaxRungs)
	}
	d := &decision.Decision{Action: action, To: decision.PointID(l.To), Now: l.Now, Look: l.Look, Both: l.Both, Left: -1, Reason: decision.Reason{Code: code, Left: -1}}
	if l.Left != nil {
		d.Left, d.Reason.Left = time.Duration(*l.Left), time.Duration(*l.Left)
	}
	for _, g := range l.Ladder {
		depth, err := depthOf(g.Depth)
		if err != nil {
			return nil, err
		}
		d.Ladder = append(d.Ladder, decision.Rung{Network: decision.NetworkID(g.Network), Point: decision.PointID(g.Point), Depth: depth})
	}
	return d, nil
}

func (l *moveLine) move() (*decision.Move, error) {
	d, err := depthOf(l.Depth)
	return &decision.Move{From: decision.PointID(l.From), To: decision.PointID(l.To), Depth: d, Chosen: l.Chosen}, err
}
