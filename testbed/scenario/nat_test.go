package scenario

import (
	"net/netip"
	"strings"
	"testing"

	"openmpa/testbed/impair"
	"openmpa/testbed/report"
)

// TestExpectTranslated: a translator that is not on the path is a problem.
func TestExpectTranslated(t *testing.T) {
	outer := netip.MustParseAddr("10.0.1.1")
	for peer, good := range map[string]bool{"10.0.1.1:20001": true, "10.1.0.100:20001": false, "": false} {
		m := measured{Handover: report.Handover{Outcome: "completed", From: "b", To: "a"}, translator: outer}
		if peer != "" {
			m.authPeer = netip.MustParseAddrPort(peer)
		}
		r := &run{res: &report.Result{}}
		r.judgeClean("test", m)
		if (len(r.res.Problems) == 0) != good {
			t.Errorf("peer %q: problems %q", peer, r.res.Problems)
		}
	}
}

// TestMarkersThatWereNotMet: when a marker that is to be lost did not come by,
// nothing was shown.
func TestMarkersThatWereNotMet(t *testing.T) {
	for _, x := range []struct {
		lost []string
		good bool
	}{{[]string{"depart", "departed"}, true}, {[]string{"depart"}, false}, {nil, false}} {
		r := &run{res: &report.Result{}, hooks: hooks{steal: []impair.Kind{impair.KindDepart, impair.KindDeparted}}}
		r.judgeClean("test", measured{Handover: report.Handover{Outcome: "completed", MarkersLost: x.lost}})
		if (len(r.res.Problems) == 0) != x.good || !x.good && !strings.Contains(r.res.Problems[0], "seen and lost") {
			t.Errorf("%v: problems %q", x.lost, r.res.Problems)
		}
	}
}

// TestRebinderMissesARound: a handover in which the translator did not change its
// ports three times shows nothing.
func TestRebinderMissesARound(t *testing.T) {
	x := &rebinder{}
	if problems := x.judge(measured{}); len(problems) != 1 || !strings.Contains(problems[0], "0 times") {
		t.Errorf("%q", problems)
	}
}
