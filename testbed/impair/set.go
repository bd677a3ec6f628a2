package impair

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"

	"golang.org/x/sys/unix"

	"openmpa/testbed/report"
	"openmpa/testbed/space"
)

// A Set makes the bad links of one lab. Join is called while the lab is built,
// Close when it is taken apart; the other methods in between, and Report also
// after, by any goroutine.
type Set struct {
	classifier *Classifier
	thief      *Thief
	asked      map[string]Both
	links      map[string]*link
	watched    map[string]func(Direction, []byte)
}

// A link is two TAP devices and what carries between them.
type link struct {
	seed  uint64
	ends  [2]end
	wires [2]*wire // by direction
	// Of the device that a direction reads, when the link was closed.
	overflow [2]uint64
}

type end struct {
	space *space.Space
	name  string
	fd    int
}

// spareProcessors are for everything else the lab does at the same time.
const spareProcessors = 24

// NewSet makes a set of links; what they do stands at their names. thief may be
// nil.
func NewSet(asked map[string]Both, t Traffic, thief *Thief) (*Set, error) {
	s := &Set{thief: thief, asked: asked, links: make(map[string]*link)}
	if len(asked) == 0 {
		return s, nil // nobody looks at frames
	}
	// A thread that wakes up needs a processor of the runtime. Those that belong
	// to threads which the kernel does not let run, because the machine is busy,
	// are of no use: have enough.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 2*len(asked)+spareProcessors))
	var err error
	s.classifier, err = NewClassifier(t)
	return s, err
}

// Watch has fn called with every frame that comes to a link of the set, before it is carried, on a
// goroutine of its own for each direction, which waits for it. It is called before Join.
func (s *Set) Watch(name string, fn func(d Direction, frame []byte)) {
	if s.watched == nil {
		s.watched = make(map[string]func(Direction, []byte))
	}
	s.watched[name] = fn
}

// Join makes the link of a name between two namespaces, outer being the one
// further from the core. It is false when the link is a good one, which somebody
// else makes.
func (s *Set) Join(name string, outer *space.Space, outerIf string, inner *space.Space, innerIf string) (bool, error) {
	asked, ours := s.asked[name]
	if !ours {
		return false, nil
	}
	l := &link{seed: asked.Seed, ends: [2]end{{outer, outerIf, -1}, {inner, innerIf, -1}}}
	if l.seed == 0 {
		l.seed = uint64(rand.Uint32()) + 1 //nolint:gosec // dice, no secret
	}
	s.links[name] = l
	for i := range l.ends {
		e := &l.ends[i]
		fd, err := openTAP(e.space, e.name)
		if err != nil {
			return true, err
		}
		e.fd = fd
	}
	for d, p := range [2]Params{Out: asked.Out, In: asked.In} {
		from, to := l.ends[1-d], l.ends[d]
		fate := s.fate
		if tell := s.watched[name]; tell != nil {
			fate = func(frame []byte) Fate {
				tell(Direction(d), frame)
				return s.fate(frame)
			}
		}
		w, err := startWire(NewLine(p, l.seed, Direction(d)), p, from.fd, to.fd, fate)
		if err != nil {
			return true, err
		}
		l.wires[d] = w
	}
	return true, nil
}

func (s *Set) fate(frame []byte) Fate {
	k := s.classifier.Classify(frame)
	return Fate{Kind: k, Take: s.thief.take(k)}
}

// Gone is how many frames of a kind all links together have lost so far.
func (s *Set) Gone(k Kind) (n uint64) {
	for _, l := range s.links {
		for _, w := range l.wires {
			n += w.gone(k)
		}
	}
	return n
}

// Close ends the links; their devices go.
func (s *Set) Close() error {
	var errs []error
	for _, l := range s.links {
		for d, w := range l.wires {
			if w == nil {
				continue
			}
			n, err := overflow(l.ends[1-d].space, l.ends[1-d].name)
			l.overflow[d] = n
			errs = append(errs, err, w.close())
		}
		for _, e := range l.ends {
			if e.fd >= 0 {
				errs = append(errs, unix.Close(e.fd))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("impair: close links: %w", err)
	}
	return nil
}

// Report says what the links did, by their names.
func (s *Set) Report() map[string]report.Link {
	all := make(map[string]report.Link, len(s.links))
	for name, l := range s.links {
		all[name] = report.Link{Seed: l.seed, Out: l.wires[Out].report(l.overflow[Out]), In: l.wires[In].report(l.overflow[In])}
	}
	return all
}
