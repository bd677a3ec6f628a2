package link

import "maps"

// Learner is an Adapter that can be told where points are that nobody has named in the configuration.
type Learner interface {
	Adapter
	// Learn takes the places of points that go by their BSSIDs, in the place of those it was told before. Points of the
	// configuration stay where that has them.
	Learn(places map[string]Place)
}

var _ Learner = (*Supplicant)(nil)

// Learn implements Learner.
func (s *Supplicant) Learn(places map[string]Place) {
	learned := maps.Clone(places)
	s.learned.Store(&learned)
}
