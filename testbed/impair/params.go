package impair

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"openmpa/testbed/traffic"
)

// DefaultQueue is how many frames a direction holds before it refuses more:
// two seconds of 5000 packets/s.
const DefaultQueue = 10000

const (
	maxDelay = 10 * time.Second
	maxQueue = 1 << 20
	minRate  = 1000 // bit/s
)

// Params say what one direction of a link does to frames. The zero value
// carries everything at once.
type Params struct {
	Delay  time.Duration
	Jitter time.Duration // the delay is drawn evenly from Delay-Jitter to Delay+Jitter
	// Probabilities, 0 to 1: that a frame is lost, that it comes twice, and
	// that it does not wait for the delay, so that it overtakes others.
	Loss, Duplicate, Reorder float64
	Rate                     float64 // bit/s; 0: unbounded
	Queue                    int     // frames held at most; 0: DefaultQueue
}

// String is the form that is parsed.
func (p Params) String() string {
	var parts []string
	add := func(is bool, key, value string) {
		if is {
			parts = append(parts, key+":"+value)
		}
	}
	percent := func(f float64) string { return strconv.FormatFloat(f*100, 'g', 6, 64) + "%" }
	add(p.Delay > 0, "delay", p.Delay.String())
	add(p.Jitter > 0, "jitter", p.Jitter.String())
	add(p.Loss > 0, "loss", percent(p.Loss))
	add(p.Duplicate > 0, "dup", percent(p.Duplicate))
	add(p.Reorder > 0, "reorder", percent(p.Reorder))
	add(p.Rate > 0, "rate", strconv.FormatFloat(p.Rate, 'f', -1, 64))
	add(p.Queue > 0, "queue", strconv.Itoa(p.Queue))
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ",")
}

func (p Params) check() error {
	switch {
	case p.Delay < 0 || p.Delay > maxDelay:
		return fmt.Errorf("delay:%v: expected 0 to %v", p.Delay, maxDelay)
	case p.Jitter < 0 || p.Jitter > p.Delay:
		return fmt.Errorf("jitter:%v: expected at most the delay, which is %v", p.Jitter, p.Delay)
	case p.Reorder > 0 && p.Delay == 0:
		return errors.New("reorder: a frame overtakes others by not waiting for the delay: give a delay, too")
	case p.Rate != 0 && p.Rate < minRate:
		return fmt.Errorf("rate:%g: expected at least %d bit/s", p.Rate, minRate)
	case p.Queue < 0 || p.Queue > maxQueue:
		return fmt.Errorf("queue:%d: expected 1 to %d frames", p.Queue, maxQueue)
	}
	return nil
}

// Both directions of a link. Out is away from the core of the network, In is
// towards it.
type Both struct {
	Out, In Params
	Seed    uint64 // of both; 0: one is drawn when the lab starts
}

// A Direction is one of a link's.
type Direction int

// Directions. Out is away from the core.
const (
	Out Direction = iota
	In
)

// String is the name in reports.
func (d Direction) String() string { return [...]string{"out", "in"}[d] }

// Parse reads what --link takes, such as "core-a=delay:40ms,loss:1%": a link
// and what it does in both directions; "core-a>=..." only away from the core,
// "core-a<=..." only towards it.
func Parse(texts []string) (map[string]Both, error) {
	links := make(map[string]Both)
	given := make(map[string]bool)
	for _, text := range texts {
		name, values, ok := strings.Cut(text, "=")
		directions := []Direction{Out, In}
		switch {
		case strings.HasSuffix(name, ">"):
			name, directions = strings.TrimSuffix(name, ">"), directions[:1]
		case strings.HasSuffix(name, "<"):
			name, directions = strings.TrimSuffix(name, "<"), directions[1:]
		}
		if !ok || name == "" || values == "" {
			return nil, fmt.Errorf("impair: link %q: expected LINK=%s", text, example)
		}
		p, seed, err := parseParams(values)
		if err == nil {
			err = p.check()
		}
		if err != nil {
			return nil, fmt.Errorf("impair: link %q: %w", text, err)
		}
		b := links[name]
		if seed != 0 && b.Seed != 0 && seed != b.Seed {
			return nil, fmt.Errorf("impair: link %q: a link has one seed", text)
		}
		b.Seed = max(b.Seed, seed)
		for _, d := range directions {
			key := name + d.String()
			if given[key] {
				return nil, fmt.Errorf("impair: link %q: what it does was given before", text)
			}
			given[key] = true
			if d == Out {
				b.Out = p
			} else {
				b.In = p
			}
		}
		links[name] = b
	}
	return links, nil
}

const example = "delay:40ms,jitter:5ms,loss:1%,dup:0.5%,reorder:1%,rate:10M,queue:100,seed:7, of which at least one"

func parseParams(text string) (p Params, seed uint64, err error) {
	seen := make(map[string]bool)
	for _, part := range strings.Split(text, ",") {
		key, value, _ := strings.Cut(part, ":")
		if seen[key] {
			return p, 0, fmt.Errorf("%s stands there twice", key)
		}
		seen[key] = true
		switch key {
		case "delay":
			p.Delay, err = time.ParseDuration(value)
		case "jitter":
			p.Jitter, err = time.ParseDuration(value)
		case "loss":
			p.Loss, err = parsePercent(value)
		case "dup":
			p.Duplicate, err = parsePercent(value)
		case "reorder":
			p.Reorder, err = parsePercent(value)
		case "rate":
			p.Rate, err = traffic.ParseBits(value)
		case "queue":
			if p.Queue, err = strconv.Atoi(value); err == nil && p.Queue == 0 {
				err = errors.New("expected a number from 1 on")
			}
		case "seed":
			if seed, err = strconv.ParseUint(value, 10, 64); err == nil && seed == 0 {
				err = errors.New("expected a number from 1 on")
			}
		default:
			return p, 0, fmt.Errorf("%q is not known: expected %s", part, example)
		}
		if err != nil {
			return p, 0, fmt.Errorf("%s: %w", part, err)
		}
	}
	return p, seed, nil
}

func parsePercent(text string) (float64, error) {
	number, ok := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(number, 64)
	// Written so that NaN does not pass.
	if !ok || err != nil || !(v >= 0 && v <= 100) {
		return 0, errors.New("expected 0% to 100%")
	}
	return v / 100, nil
}
