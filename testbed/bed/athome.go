package bed

import (
	"fmt"
	"sync/atomic"

	"openmpa/testbed/impair"
	"openmpa/testbed/tap"
	"openmpa/testbed/topo"
)

// AtHome counts the datagrams of the flow and the probe that come to the home agent, either way.
type AtHome struct {
	tap        *tap.Tap
	classifier *impair.Classifier
	came       atomic.Int64
}

// watchHome begins to count.
func (b *Bed) watchHome() (err error) {
	a := &AtHome{}
	if a.classifier, err = impair.NewClassifier(b.opt.Traffic); err != nil {
		return err
	}
	if a.tap, err = tap.Open(b.Top.Space(topo.HA), a.frame, "core"); err != nil {
		return err
	}
	b.AtHome = a
	return nil
}

func (a *AtHome) frame(f tap.Frame) {
	if f.Outgoing {
		return
	}
	switch a.classifier.Classify(f.Bytes) {
	case impair.KindDown, impair.KindUp, impair.KindProbe:
		a.came.Add(1)
	default:
	}
}

// Came is how many there were until now.
func (a *AtHome) Came() (int, error) {
	if err := a.tap.Settle(); err != nil {
		return 0, err
	}
	return int(a.came.Load()), nil
}

func (a *AtHome) close() error {
	n, err := a.tap.Missed()
	if err == nil && n > 0 {
		err = fmt.Errorf("bed: the tap at the home agent missed %d frames, and what came there is not known", n)
	}
	if closed := a.tap.Close(); err == nil {
		err = closed
	}
	return err
}
