package scenario

import (
	"fmt"
	"strings"
	"time"

	"openmpa/testbed/matrix"
	"openmpa/testbed/report"
)

// DeliveryTable draws the verdicts: cases and traffic down, gaps and delays across.
func DeliveryTable(records []DeliveryRecord) string {
	verdicts := make(map[DeliveryCell]string)
	for _, r := range records {
		c := r.Cell()
		c.Moves = 0
		verdicts[c] = matrix.Word(r.Passed)
	}
	head := []string{"case, traffic"}
	for _, d := range DeliveryDelays {
		for _, g := range DeliveryGaps {
			head = append(head, gapAndDelay(g, d))
		}
	}
	rows := [][]string{head}
	for _, c := range DeliveryCases() {
		for _, l := range DeliveryLoads {
			row, played := []string{c.Name + ", " + l}, false
			for _, d := range DeliveryDelays {
				for _, g := range DeliveryGaps {
					word := verdicts[DeliveryCell{Case: c.Name, Load: l, Gap: g, Delay: d}]
					played = played || word != ""
					if word == "" {
						word = "-"
					}
					row = append(row, word)
				}
			}
			if played {
				rows = append(rows, row)
			}
		}
	}
	return report.Table(rows)
}

func gapAndDelay(gap, delay time.Duration) string {
	if delay == 0 {
		return gap.String()
	}
	return fmt.Sprintf("%v +%v", gap, delay)
}

// DeliverySummary sums up the cells of each case and traffic.
func DeliverySummary(records []DeliveryRecord) string {
	rows := [][]string{{"case, traffic", "passed", "moves", "sent", "lost down", "up", "counted down", "up", "dup.", "reord.", "forced flips", "silence beyond the gap, ms"}}
	tcp := [][]string{{"case, tcp", "passed", "moves", "time-outs", "sent again", "needless", "out of order", "dropped", "forced flips", "pause beyond the gap, ms"}}
	passed := 0
	for _, r := range records {
		if r.Passed {
			passed++
		}
	}
	for _, c := range DeliveryCases() {
		for _, l := range DeliveryLoads {
			s := sumDelivery(records, c.Name, l)
			switch {
			case s.cells == 0:
			case l == loadTCP:
				tcp = append(tcp, append([]string{c.Name, fmt.Sprintf("%d/%d", s.passed, s.cells)},
					texts(s.moves, s.timeouts, s.again, s.needless, s.reordered, s.dropped, s.forced, matrix.Spread("%.0f", s.silence))...))
			default:
				rows = append(rows, append([]string{c.Name + ", " + l, fmt.Sprintf("%d/%d", s.passed, s.cells)},
					texts(s.moves, s.sent, s.lostDown, s.lostUp, s.countedDown, s.countedUp, s.duplicated, s.reordered, s.forced, matrix.Spread("%.0f", s.silence))...))
			}
		}
	}
	var b strings.Builder
	b.WriteString("Silences: least, median, 90th percentile, most of the moves.\n\n")
	for _, t := range [][][]string{rows, tcp} {
		if len(t) > 1 {
			b.WriteString(report.Table(t) + "\n")
		}
	}
	fmt.Fprintf(&b, "%d cells, %d passed, %d failed\n", len(records), passed, len(records)-passed)
	return b.String()
}

func texts(values ...any) (list []string) {
	for _, v := range values {
		list = append(list, fmt.Sprint(v))
	}
	return list
}

// deliverySum is over the cells of a case and traffic.
type deliverySum struct {
	cells, passed, moves                           int
	sent, lostDown, lostUp, countedDown, countedUp int
	duplicated, reordered, dropped, forced         int
	timeouts, again, needless                      int64
	silence                                        []float64
}

func sumDelivery(records []DeliveryRecord, name, load string) (s deliverySum) {
	for _, r := range records {
		if r.Case != name || r.Load != load {
			continue
		}
		s.cells++
		if r.Passed {
			s.passed++
		}
		for _, h := range r.Handovers {
			s.moves++
			l2 := h.Phases["l2_ms"]
			if d := h.Flow.Down; d != nil {
				s.sent += d.Sent
				s.lostDown += d.Lost
				s.duplicated += d.Duplicated
				s.reordered += d.Reordered
				s.countedDown += value(d.LostOnAir)
				if d.HandoverGapMS != nil {
					s.silence = append(s.silence, *d.HandoverGapMS-l2)
				}
			}
			if u := h.Flow.Up; u != nil {
				s.sent += u.Sent
				s.lostUp += u.Lost
				s.duplicated += u.Duplicated
				s.reordered += u.Reordered
				s.countedUp += value(u.LostOnAir) + value(u.Refused)
			}
			if b := h.Buffer; b != nil {
				s.dropped += b.Dropped
				s.forced += b.ForcedFlips
			}
			if t := h.TCP; t != nil {
				s.timeouts += t.Timeouts
				s.again += t.Retransmitted
				s.needless += t.Needless
				s.reordered += int(t.OutOfOrder)
				s.silence = append(s.silence, t.PauseMS-l2)
			}
		}
	}
	return s
}

func value(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}
