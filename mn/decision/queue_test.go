package decision

import (
	"math/rand/v2"
	"testing"
	"time"
)

// A slowLink carries so many octets a ms, and keeps what comes faster, in order, up to so many.
type slowLink struct {
	carries, keeps float64
	queue          float64
	answers        []float64 // octets in front of questions
}

// pass has a millisecond pass in which octets come, and says whether an answer did.
func (l *slowLink) pass(octets float64) (answer bool) {
	l.queue = min(l.queue+octets, l.keeps)
	l.queue = max(0, l.queue-l.carries)
	kept := l.answers[:0]
	for _, a := range l.answers {
		if a -= l.carries; a > 0 {
			kept = append(kept, a)
		} else {
			answer = true
		}
	}
	l.answers = kept
	return answer
}

// TestWatchdogQueue: a link that carries what is sent only seconds later is not dead, whether what
// is too much for its queue is lost, questions among it, or not; and one that dies then is found out;
// with the machine that looks busy at times, too.
func TestWatchdogQueue(t *testing.T) {
	const second = 1000
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 3))
		l := &slowLink{carries: 100 + 1000*r.Float64()}
		l.keeps = l.carries * (200 + 2000*r.Float64()) // ms
		over := 0.5 + 3*r.Float64()                    // times what it carries is sent
		rate := func(ms int) float64 {
			if ms < 200 || ms/second%5 == 4 { // it rests now and then
				return l.carries / 10
			}
			return over * l.carries
		}
		dog, base, sent, received := NewWatchdog(watched), time.Unix(1000, 0), 0.0, uint64(0)
		diesAt := 30 * second
		busy := 0 // until then nobody looks
		var dead int
		for ms := range 80 * second {
			now := rate(ms)
			sent += now
			if l.pass(now) && ms < diesAt {
				received++
			}
			if ms < busy || ms%int(watched.Interval().Milliseconds()) > 0 {
				continue
			}
			if seed%2 == 1 && r.IntN(8) == 0 {
				busy = ms + 10 + r.IntN(200)
			}
			switch dog.Step(base.Add(time.Duration(ms)*time.Millisecond), received, uint64(sent)) {
			case Ask:
				if room := l.keeps - l.queue; room > 1 || r.Float64() < 1/over {
					l.answers = append(l.answers, l.queue+1)
				}
			case Dead:
				if dead = ms; dead < diesAt {
					t.Fatalf("seed %d: dead at %d ms, with %.0f octets, %.0f ms, in the queue, %.1f times as much sent as carried", seed, ms, l.queue, l.queue/l.carries, over)
				}
			case Nothing, Alive:
			}
		}
		if within := int((watched.Within() + longest).Milliseconds() * int64(1+seed%2*3)); dead == 0 || dead > diesAt+within {
			t.Errorf("seed %d: dead at %d ms, expected within %d ms from %d", seed, dead, within, diesAt)
		}
	}
}

// TestWatchdogUnasked: something comes that was on its way when four times what the link carries began to be sent. That
// is no proof of the rate: the next answer is late, and the link not dead.
func TestWatchdogUnasked(t *testing.T) {
	const dies = 3000 // ms
	for sign := range 200 {
		l := &slowLink{carries: 625, keeps: 1e9}
		dog, base, sent, received := NewWatchdog(watched), time.Unix(1000, 0), 0.0, uint64(1)
		dog.Step(base, received, 0)
		dead := 0
		for ms := 1; ms < dies+int((watched.Within()+longest).Milliseconds()) && dead == 0; ms++ {
			sent += 4 * l.carries
			if l.pass(4*l.carries) && ms < dies || ms == sign {
				received++
			}
			if ms%int(watched.Interval().Milliseconds()) > 0 {
				continue
			}
			switch dog.Step(base.Add(time.Duration(ms)*time.Millisecond), received, uint64(sent)) {
			case Ask:
				l.answers = append(l.answers, l.queue+1)
			case Dead:
				dead = ms
			case Nothing, Alive:
			}
		}
		if dead < dies {
			t.Errorf("something came at %d ms: dead at %d ms; expected after %d", sign, dead, dies)
		}
	}
}
