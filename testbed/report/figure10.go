package report

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// The ways of RFC 6252, Figure 10, and fast transition, which came later. The last
// is MPA's, but that the move is wpa_supplicant's alone.
const (
	WayFull    = "802.11i post-authentication"
	WayPreAuth = "802.11i pre-authentication"
	WayFTAir   = "802.11r over the air"
	WayFTDS    = "802.11r over the DS"
	WayMPA     = "MPA-assisted"
	WayByHand  = "MPA's keys, moved by hand"
)

// Ways are the columns of the figure.
var Ways = []string{WayFull, WayPreAuth, WayFTAir, WayFTDS, WayMPA, WayByHand}

// prepared are the ways that MPA is compared with: all of them leave only
// association and handshake for the move.
var prepared = []string{WayPreAuth, WayFTAir, WayFTDS}

// HomeRTT is how far the authentication server is from a node that roams, there
// and back.
const HomeRTT = 100 * time.Millisecond

var homeRTT = fmt.Sprintf("%d ms", HomeRTT.Milliseconds())

// RoamCase names the moves of one way, with the server near or far.
func RoamCase(way string, roaming bool) string {
	if roaming {
		return way + ", " + homeRTT
	}
	return way + ", local"
}

// SetRoam notes the rows of RFC 6252, Figure 10; conf is 0 where there is none.
// affecting is the time from the command to move to the end of it.
func (h *Handover) SetRoam(auth, conf, assoc, affecting time.Duration) {
	h.Phases["tauth_ms"], h.Phases["assoc_ms"], h.Phases["roam_ms"] = MS(auth), MS(assoc), MS(affecting)
	if conf > 0 {
		h.Phases["keys_ms"] = MS(conf)
	}
	h.Phases["total_ms"] = MS(auth + conf + assoc)
}

// figure10 is the figure as it was published, a row each: its title, the field
// that is ours, and the values of each way, local and roaming; of fast
// transition there are none.
var figure10 = []struct {
	title, field string
	values       map[string][2]string
}{
	{"Tauth", "tauth_ms", map[string][2]string{WayFull: {"61", "599"}, WayPreAuth: {"99", "638"}, WayMPA: {"177", "831"}}},
	{"Tconf", "keys_ms", map[string][2]string{WayMPA: {"16", "17"}}},
	{"Tassoc+4way", "assoc_ms", map[string][2]string{WayFull: {"18", "17"}, WayPreAuth: {"16", "17"}, WayMPA: {"16", "17"}}},
	{"Total", "total_ms", map[string][2]string{WayFull: {"79", "616"}, WayPreAuth: {"115", "655"}, WayMPA: {"208", "865"}}},
	{"Time affecting handover", "roam_ms", map[string][2]string{WayFull: {"79", "616"}, WayPreAuth: {"16", "17"}, WayMPA: {"15", "17"}}},
}

// A Roam is one column of the figure as it was measured.
type Roam struct {
	Way     string
	Roaming bool
	Summary map[string]Figures
	RFC     float64 // the time affecting the handover that was published, in ms; 0: none
}

// Figure is the figure of a field such as "roam_ms".
func (r Roam) Figure(field string) (Figures, bool) {
	f, ok := r.Summary["phases."+field]
	return f, ok
}

// Roams are the columns of Figure 10; nil when the result is of another
// scenario.
func Roams(r *Result) (out []Roam) {
	last := figure10[len(figure10)-1].values
	for _, way := range Ways {
		for i, roaming := range []bool{false, true} {
			at := slices.IndexFunc(r.Cases, func(c Case) bool { return c.Name == RoamCase(way, roaming) })
			if at < 0 {
				continue
			}
			roam := Roam{Way: way, Roaming: roaming, Summary: r.Cases[at].Summary}
			roam.RFC, _ = strconv.ParseFloat(last[way][i], 64) // 0 where there is none
			out = append(out, roam)
		}
	}
	return out
}

// RoamTable shows what was measured beside Figure 10: medians, in milliseconds.
func RoamTable(r *Result) string {
	roams := Roams(r)
	if roams == nil {
		return ""
	}
	first, second := []string{"ms, medians"}, []string{""}
	for i, c := range roams {
		word := ""
		if i == 0 || roams[i-1].Way != c.Way {
			word = shortWay[c.Way]
		}
		first = append(first, word)
		second = append(second, map[bool]string{false: "local", true: homeRTT}[c.Roaming])
	}
	rows := [][]string{first, second}
	for _, f := range figure10 {
		ours, rfc := []string{f.title}, []string{"  RFC 6252"}
		for _, c := range roams {
			v, ok := c.Figure(f.field)
			ours = append(ours, Cell(v.P50, ok, ""))
			word := f.values[c.Way][map[bool]int{true: 1}[c.Roaming]]
			if word == "" {
				word = "-"
			}
			rfc = append(rfc, word)
		}
		rows = append(rows, ours, rfc)
	}
	return Table(rows) + "\n" + spreadTable(roams)
}

// shortWay is what stands above a column.
var shortWay = map[string]string{WayFull: "post-auth", WayPreAuth: "pre-auth", WayFTAir: "11r air", WayFTDS: "11r DS", WayMPA: "MPA", WayByHand: "MPA by hand"}

// spreadTable says between what values the medians are, and what was counted
// in the moves.
func spreadTable(roams []Roam) string {
	head := []string{"smallest / median / largest", "moves"}
	for _, f := range figure10 {
		head = append(head, f.title)
	}
	rows := [][]string{append(head, "EAP at the new AP", "RADIUS packets", "tries")}
	for _, c := range roams {
		all, _ := c.Figure("roam_ms")
		row := []string{RoamCase(c.Way, c.Roaming), strconv.Itoa(all.Count)}
		for _, f := range figure10 {
			v, ok := c.Figure(f.field)
			if !ok {
				row = append(row, "-")
				continue
			}
			row = append(row, number(v.Min)+" / "+number(v.P50)+" / "+number(v.Max))
		}
		for _, field := range []string{"radio.eap", "radio.radius", "radio.tries"} {
			v := c.Summary[field]
			row = append(row, number(v.Min)+" to "+number(v.Max))
		}
		rows = append(rows, row)
	}
	return Table(rows)
}

// RoamNotes say what was measured, a sentence each.
func RoamNotes() []string {
	return []string{
		fmt.Sprintf("Local: the authentication server at no distance; %s: a home server so far away, there and back, by netem on its link.", homeRTT),
		"All ways on the same radios, one after another in each round, with the same EAP-TLS credentials at the same server, and no key anywhere before.",
		"Tauth: EAP-TLS, from its start to its success; MPA's over PANA. With 802.11r it is done once, at the first access point of the mobility domain, which must be one with the next.",
		"Tconf: with MPA the keys of the next network's access points made and installed at both ends.",
		"MPA's keys, moved by hand: prepared by mpa-mn, which then is stopped while wpa_supplicant moves, so that the processors have one program less to run; mpa-mn goes on afterwards.",
		"Tassoc+4way: from wpa_supplicant's first word of leaving to the end of the 4-way handshake, less EAP. Time affecting handover: all of it, from the command on; of MPA what mpa-mn takes for it, until the kernel says that the link is up. Channels were scanned before, as in the RFC.",
		"The RFC's radios were real; these are simulated, in software on an emulated processor: compare columns, not milliseconds.",
	}
}

// RoamRule compares the move of MPA with that of the other prepared ways, with
// the server near and far together, since it has no part in a move. All is well
// (broken is empty) when the median of MPA is at most the largest 90th percentile
// of the others.
func RoamRule(r *Result) (line, broken string) {
	of := make(map[string][]float64)
	for _, h := range r.Handovers {
		for _, way := range Ways {
			if h.Case == RoamCase(way, false) || h.Case == RoamCase(way, true) {
				of[way] = append(of[way], h.Phases["roam_ms"])
			}
		}
	}
	var medians []float64
	limit := 0.0
	for _, way := range prepared {
		if len(of[way]) > 0 {
			f := figures(of[way])
			medians, limit = append(medians, f.P50), max(limit, f.P90)
		}
	}
	if len(medians) == 0 || len(of[WayMPA]) == 0 {
		return "", ""
	}
	ours := figures(of[WayMPA])
	low, high := slices.Min(medians), slices.Max(medians)
	line = fmt.Sprintf("Time affecting the handover, near and far together: MPA has a median of %s ms (90th percentile %s ms) of %d moves; the other prepared ways have medians of %s to %s ms, ratio %.2f to %.2f; their largest 90th percentile is %s ms.",
		number(ours.P50), number(ours.P90), ours.Count, number(low), number(high), ours.P50/high, ours.P50/low, number(limit))
	if hand := of[WayByHand]; len(hand) > 0 {
		line += fmt.Sprintf(" With MPA's keys, moved by hand, the median is %s ms.", number(figures(hand).P50))
	}
	if ours.P50 > limit {
		broken = line + " MPA's median is to be at most that."
	}
	return line, broken
}
