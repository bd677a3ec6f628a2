package mn

import (
	"time"

	"openmpa/mn/decision"
)

// maxDiary is how many decisions are kept to be explained.
const maxDiary = 256

// diary keeps the last decisions; one that does not change is one of them.
type diary struct {
	entries []Decided // the newest last
	counts  decision.Counts
	seen    []SeenPoint
}

// Decided is what was decided, as long as it was the same.
type Decided struct {
	From    time.Time `json:"from"`
	Until   time.Time `json:"until"`
	Samples int       `json:"samples"`
	Network string    `json:"network,omitempty"`
	Point   string    `json:"point,omitempty"`
	Signal  float64   `json:"signal_dbm,omitempty"` // the latest
	Action  string    `json:"action"`               // stay, roam or handover
	To      string    `json:"to,omitempty"`         // point
	Into    string    `json:"to_network,omitempty"`
	Reason  string    `json:"reason"`           // of the latest
	Left    float64   `json:"left_s,omitempty"` // expected in the cell
	Ladder  []Rung    `json:"ladder,omitempty"`

	code decision.Code
}

// Rung is a network that was to be prepared.
type Rung struct {
	Network string `json:"network"`
	Point   string `json:"point"`
	Depth   string `json:"depth"`
}

// SeenPoint is another point that is in sight.
type SeenPoint struct {
	Point  string  `json:"point"`
	Signal float64 `json:"signal_dbm"`
	Age    float64 `json:"age_s"`
}

// DecisionStatus is what the decider saw and decided last, and counted so far.
type DecisionStatus struct {
	Policy  string `json:"policy"`
	Observe bool   `json:"observe,omitempty"` // nothing of it is done
	Decided
	Seen   []SeenPoint     `json:"seen,omitempty"`
	Counts decision.Counts `json:"counts"`
}

// note keeps a decision for those who ask why.
func (d *decider) note(decided decision.Decision, s decision.Sample) {
	here, to, now := d.register.spot(s.Here), d.register.spot(decided.To), time.Now()
	e := Decided{
		From: now, Until: now, Samples: 1, Network: here.network, Point: here.point, Signal: float64(s.Signal),
		Action: decided.Action.String(), To: to.point, Into: to.network, Reason: d.engine.Words(decided), code: decided.Reason.Code,
	}
	d.cfg.Trace.Decided(s.At, decided, e.Reason)
	if decided.Left > 0 {
		e.Left = decided.Left.Seconds()
	}
	for _, r := range decided.Ladder {
		e.Ladder = append(e.Ladder, Rung{d.register.network(r.Network), d.register.spot(r.Point).point, r.Depth.String()})
	}
	seen := make([]SeenPoint, 0, len(s.Seen))
	for _, g := range s.Seen {
		seen = append(seen, SeenPoint{d.register.spot(g.Point).point, float64(g.Signal), g.Age.Seconds()})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.diary.seen, d.diary.counts = seen, d.engine.Counts()
	if k := len(d.diary.entries); k > 0 && d.diary.entries[k-1].same(e) {
		last := &d.diary.entries[k-1]
		e.From, e.Samples = last.From, last.Samples+1
		*last = e
		return
	}
	if len(d.diary.entries) >= maxDiary {
		d.diary.entries = append(d.diary.entries[:0], d.diary.entries[1:]...)
	}
	d.diary.entries = append(d.diary.entries, e)
}

// same says whether two decisions are one that went on: for the same reason at the same place, and no order to move.
func (e Decided) same(o Decided) bool {
	return e.Action == decision.Stay.String() && o.Action == e.Action && o.Point == e.Point && o.code == e.code && equalRungs(e.Ladder, o.Ladder)
}

func equalRungs(a, b []Rung) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Network != b[i].Network || a[i].Depth != b[i].Depth {
			return false
		}
	}
	return true
}

// report returns what is kept for the status; nil where nobody decides.
func (d *decider) report() *DecisionStatus {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &DecisionStatus{Policy: d.cfg.Policy.Style.String(), Observe: d.cfg.Observe, Seen: d.diary.seen, Counts: d.diary.counts}
	if k := len(d.diary.entries); k > 0 {
		s.Decided = d.diary.entries[k-1]
	} else {
		s.Decided = Decided{Action: decision.Stay.String(), Reason: "no sample yet"}
	}
	return s
}

// Decisions returns the last decisions, the oldest first; nil where nobody decides.
func (n *Node) Decisions() []Decided {
	d := n.decider
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Decided{}, d.diary.entries...)
}
