package discover

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/internal/neighbourhood"
)

// asked is a router that answers by a function, and says when it was asked.
type asked struct {
	attached chan struct{}
	answer   func() (string, []neighbourhood.Network, error)
	at       []time.Time
}

func (a *asked) Attached() <-chan struct{} { return a.attached }

func (a *asked) Neighbours(context.Context) (string, []neighbourhood.Network, error) {
	a.at = append(a.at, time.Now())
	return a.answer()
}

// TestRouter: it is asked on arrival and before its answer is over; less and less often when it does not answer; never all
// the time, whatever it says.
func TestRouter(t *testing.T) {
	for _, c := range []struct {
		what        string
		answer      func() (string, []neighbourhood.Network, error)
		least, most int // questions in an hour
	}{
		{"nobody serves", func() (string, []neighbourhood.Network, error) { return "", nil, ErrNobody }, 6, 7},
		{"busy", func() (string, []neighbourhood.Network, error) { return "", nil, ErrLater }, 1700, 1801},
		{"refused", func() (string, []neighbourhood.Network, error) { return "", nil, errors.New("no") }, 10, 16},
		{"for five minutes", func() (string, []neighbourhood.Network, error) {
			return "b", []neighbourhood.Network{{Name: "a", Lifetime: 5 * time.Minute}, {Name: "b", Lifetime: time.Hour}}, nil
		}, 24, 28},
		{"for a nanosecond", func() (string, []neighbourhood.Network, error) {
			return "b", []neighbourhood.Network{{Name: "a", Lifetime: 1}}, nil
		}, 700, 830},
		{"nothing", func() (string, []neighbourhood.Network, error) { return "b", nil, nil }, 6, 7},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := &asked{attached: make(chan struct{}, 1), answer: c.answer}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			said := 0
			Router{Asker: a, Log: quiet}.Run(ctx, func(st Statement) {
				said++
				if st.From.Kind != neighbourhood.Router || st.Lifetime <= 0 {
					t.Errorf("%s: %+v", c.what, st)
				}
			})
			if n := len(a.at); n < c.least || n > c.most {
				t.Errorf("%s: asked %d times in an hour, expected %d to %d", c.what, n, c.least, c.most)
			}
		})
	}
}

// TestRouterArrivals: a node that arrives all the time asks now and then.
func TestRouterArrivals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asked{attached: make(chan struct{}, 1), answer: func() (string, []neighbourhood.Network, error) { return "", nil, nil }}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() {
			for ctx.Err() == nil {
				poke(a.attached)
				time.Sleep(10 * time.Millisecond)
			}
		}()
		Router{Asker: a, Log: quiet}.Run(ctx, func(Statement) {})
		time.Sleep(time.Second) // who pokes ends
		if n := len(a.at); n < 20 || n > 31 {
			t.Errorf("asked %d times in a minute of arrivals", n)
		}
	})
}
