package decision

import (
	"fmt"
	"strings"
	"time"
)

var codeNames = [codes]string{
	Unheard: "unheard", Nowhere: "nowhere", Well: "well", Above: "above", Nobody: "nobody", Unseen: "unseen", Weak: "weak", NoBetter: "no_better",
	Resting: "resting", Short: "short", Dwelling: "dwelling", Early: "early", Ready: "ready", Preparing: "preparing", Better: "better", Faint: "faint",
	Leaving: "leaving", Hurry: "hurry", Dying: "dying", Unprepared: "unprepared", Stranded: "stranded",
}

// String names the code, in lower snake case.
func (c Code) String() string {
	if c > 0 && c < codes {
		return codeNames[c]
	}
	return fmt.Sprintf("Code(%d)", uint8(c))
}

var actions = [...]string{Stay: "stay", Roam: "roam", Handover: "handover"}

// String names the action.
func (a Action) String() string {
	if int(a) < len(actions) {
		return actions[a]
	}
	return fmt.Sprintf("Action(%d)", uint8(a))
}

// Words says a decision in words, with its ground: what was seen, which level it was held against, and what follows.
func (e *Engine) Words(d Decision) string {
	r := &d.Reason
	here := fmt.Sprintf("%s has %s", e.pointName(e.here), dBm(r.Here))
	if r.Since > 0 {
		here += " for " + short(r.Since)
	}
	there := ""
	if t := e.point(r.Other); t != nil {
		there = fmt.Sprintf("%s of %s has %s", t.Name, e.networkName(t.Network), dBm(r.There))
		if r.Worth >= 0.5 || r.Worth <= -0.5 {
			there += fmt.Sprintf(" and is worth %+.0f dB by cost, load and history", r.Worth)
		}
	}
	return said(r, here, there) + e.rungs(d.Ladder)
}

// said puts a reason together.
func said(r *Reason, here, there string) string {
	below := fmt.Sprintf("%s, below %s", here, dBm(r.Level))
	left := ""
	if r.Left >= 0 {
		left = ", and about " + short(r.Left) + " are left here"
	}
	switch r.Code {
	case Unheard:
		return "stays: the signal here is not known"
	case Nowhere:
		return "attached nowhere, and no point that could be gone to is in sight"
	case Well:
		return fmt.Sprintf("stays: %s, at or above look, %s", here, dBm(r.Level))
	case Above:
		return fmt.Sprintf("stays: %s, little above look, %s", here, dBm(r.Level))
	case Nobody:
		return "stays: " + below + ", but no other point is in sight"
	case Unseen:
		return "stays: " + below + ", but " + there + " and was not seen for " + short(r.Age)
	case Weak:
		return "stays: " + below + ", but " + there + ", less than accept, " + dBm(r.Accept)
	case NoBetter:
		return "stays: " + below + ", but " + there + fmt.Sprintf(", better by %.0f dB only, margin %.0f", r.Gain, r.Margin)
	case Resting:
		return "stays: " + below + ", but " + there + ", which failed lately and rests"
	case Short:
		return "stays: " + below + ", but " + there + ", which would soon be left again"
	case Dwelling:
		return "stays: " + below + ", not yet for " + short(r.Dwell) + "; " + there + left
	case Early:
		return "stays: " + below + "; " + there + ", and there is time before that has to be prepared" + left
	case Ready:
		return "stays: " + below + "; " + there + ", and is prepared for when this point has to be left" + left
	case Preparing:
		return "stays: " + below + "; " + there + ", and is being prepared, which takes about " + short(r.Need) + left
	case Better:
		return "roams: " + below + "; " + there
	case Faint:
		return "moves: " + below + "; " + there + ", and is prepared"
	case Leaving:
		return "moves: " + below + "; " + there + ", and is prepared" + left
	case Hurry:
		return "moves at once: " + below + "; " + there + "; there is no time for the " + short(r.Need) + " that its preparation takes" + left
	case Dying:
		return "moves at once: " + below + ", and may be gone at any time; " + there
	case Unprepared:
		return "moves with what there is: " + below + "; " + there + "; its preparation has not come to an end"
	case Stranded:
		return "attached nowhere: moves to what is best in sight; " + there
	}
	return "no reason given"
}

// rungs says what is to be prepared.
func (e *Engine) rungs(ladder []Rung) string {
	if len(ladder) == 0 {
		return ""
	}
	parts := make([]string, 0, len(ladder))
	for _, g := range ladder {
		parts = append(parts, e.networkName(g.Network)+" to "+g.Depth.String())
	}
	return "; prepared: " + strings.Join(parts, ", ")
}

func dBm(x float32) string { return fmt.Sprintf("%.0f dBm", x) }

// short rounds a time for reading.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Millisecond).String()
}
