package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"time"

	"openmpa/mn/decision/replay"
)

// The picture's measures, in its own units.
const (
	picWidth  = 1000
	picLeft   = 90
	picTop    = 34
	picSignal = 260 // height of the signals
	picLane   = 22
	picGap    = 8
	picParts  = 600
	picBest   = -30 // dBm, at the top
	picWorst  = -100
)

var colours = []string{"#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"}

// drawReplay draws the signals over the time, and below for each policy at which network it was, and its moves.
func drawReplay(s *replay.Scene, results []*replay.Result) []byte {
	var b bytes.Buffer
	height := picTop + picSignal + picGap + (len(results)+1)*(picLane+picGap) + 56
	span := max(s.Length, time.Millisecond)
	x := func(at time.Duration) float64 { return picLeft + (picWidth-picLeft-10)*float64(at)/float64(span) }
	part := func(i int) float64 { return picLeft + (picWidth-picLeft-10)*(float64(i)+.5)/picParts }
	y := func(dBm float32) float64 {
		return picTop + picSignal*float64(picBest-min(max(dBm, picWorst), picBest))/(picBest-picWorst)
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", picWidth, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/>`+"\n"+`<text x="%d" y="18" font-size="14">%s, %s, recorded with %s</text>`+"\n", picLeft,
		escaped(orDash(s.Header.Node)), s.Length.Round(time.Second), s.Header.Policy.Style)
	for dBm := picWorst; dBm <= picBest; dBm += 10 {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%d dBm</text>`+"\n", picLeft, y(float32(dBm)), picWidth-10, picLeft-6, y(float32(dBm))+4, dBm)
	}
	p := s.Header.Policy
	for _, l := range []struct {
		name string
		dBm  float32
	}{{"look", p.Look}, {"leave", p.Leave}, {"lost", p.Lost}} {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#999" stroke-dasharray="4 4"/><text x="%d" y="%.1f" fill="#777" text-anchor="end">%s</text>`+"\n", picLeft, y(l.dBm), picWidth-10,
			picWidth-12, y(l.dBm)-3, l.name)
	}
	colour := map[string]string{"": "#eee"}
	for i, n := range s.Networks {
		colour[n.Name] = colours[i%len(colours)]
	}
	for i, point := range s.Points {
		drawCurve(&b, s.Signals(i+1, picParts), part, y, colour[s.Networks[point.Network-1].Name])
	}
	lane := float64(picTop + picSignal + picGap)
	drawLane(&b, "recorded", s.Recorded(picParts), lane, colour)
	for _, r := range results {
		lane += picLane + picGap
		drawLane(&b, r.Policy.Style.String(), r.Track, lane, colour)
		for _, m := range r.Moves {
			stroke, note := "black", ""
			switch {
			case m.Failed:
				stroke, note = "red", "failed: "
			case m.PingPong:
				stroke, note = "magenta", "ping-pong: "
			}
			fmt.Fprintf(&b, `<path d="M%.1f %.1fv%d" stroke="%s" stroke-width="2"><title>%s</title></path>`+"\n", x(m.At), lane-2, picLane+4, stroke,
				escaped(fmt.Sprintf("%.1f s: %s%s to %s: %s", m.At.Seconds(), note, orDash(m.From), m.To, m.Words)))
		}
	}
	lane += picLane + 16
	for i := range 11 {
		at := span * time.Duration(i) / 10
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="middle">%.0f s</text>`+"\n", x(at), lane, at.Seconds())
	}
	for i, n := range s.Networks[:min(len(s.Networks), 12)] {
		left := picLeft + i*70
		fmt.Fprintf(&b, `<rect x="%d" y="%.1f" width="12" height="12" fill="%s"/><text x="%d" y="%.1f">%s</text>`+"\n", left, lane+10, colour[n.Name], left+16, lane+20, escaped(n.Name))
	}
	fmt.Fprintln(&b, "</svg>")
	return b.Bytes()
}

// drawCurve draws a point's signal where it was heard.
func drawCurve(b *bytes.Buffer, signals []float32, x func(int) float64, y func(float32) float64, colour string) {
	fmt.Fprintf(b, `<path fill="none" stroke="%s" stroke-width="1.3" d="`, colour)
	down := false
	for i, dBm := range signals {
		if dBm == 0 {
			down = false
			continue
		}
		verb := 'L'
		if !down {
			verb = 'M'
		}
		down = true
		fmt.Fprintf(b, "%c%.1f %.1f", verb, x(i), y(dBm))
	}
	fmt.Fprintln(b, `"/>`)
}

// drawLane draws at which network somebody was: equal neighbours in one piece.
func drawLane(b *bytes.Buffer, name string, spots []replay.Spot, top float64, colour map[string]string) {
	fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", picLeft-6, top+15, escaped(name))
	each := float64(picWidth-picLeft-10) / float64(max(len(spots), 1))
	for i := 0; i < len(spots); {
		end := i
		for end < len(spots) && spots[end].Network == spots[i].Network {
			end++
		}
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="%s"/>`+"\n", picLeft+each*float64(i), top, each*float64(end-i), picLane, colour[spots[i].Network])
		i = end
	}
}

// escaped is a text as it may stand in the picture.
func escaped(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a buffer takes all
	return b.String()
}
