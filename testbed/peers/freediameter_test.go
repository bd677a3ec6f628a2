package peers

import (
	"slices"
	"testing"
)

// relayLog is of a freeDiameter 1.2.1, shortened.
const relayLog = `15:32:29  NOTI   freeDiameterd daemon initialized.
15:32:29  NOTI   'STATE_WAITCEA'	-> 'STATE_OPEN'	'aaa.home.example'
15:32:30  NOTI   'STATE_CLOSED'	-> 'STATE_OPEN'	'ar-b.visited.example'
15:32:34  ERROR  Conflicting rule: the number of occurrences (0) is < the rule min (1) for 'Origin-Realm'.
15:32:35  ERROR  ERROR: in '(fd_tls_rcvthr_core(conn, conn->cc_tls_para.session))' :	Transport endpoint is not connected
15:32:35  ERROR  TLS ERROR: in 'gnutls_bye(conn->cc_tls_para.session, GNUTLS_SHUT_WR)' :	The request is invalid.
15:32:35  ERROR  TLS ERROR: in 'gnutls_bye(conn->cc_tls_para.session, GNUTLS_SHUT_WR)' :	Error in the push function.
15:32:35  NOTI   'STATE_OPEN'	-> 'STATE_CLOSING'	'ar-b.visited.example'
15:32:35  FATAL! Initiating freeDiameter shutdown sequence (3)
15:32:35  ERROR  TLS ERROR: in 'gnutls_bye(session, GNUTLS_SHUT_RDWR)' :	Error in the push function.
`

func TestRelayLog(t *testing.T) {
	for identity, want := range map[string]bool{"aaa.home.example": true, "ar-b.visited.example": false, "ar-a.visited.example": false} {
		if got := connected([]byte(relayLog), identity); got != want {
			t.Errorf("%s: connected %v, expected %v", identity, got, want)
		}
	}
	want := []string{
		"15:32:34  ERROR  Conflicting rule: the number of occurrences (0) is < the rule min (1) for 'Origin-Realm'.",
		"15:32:35  ERROR  TLS ERROR: in 'gnutls_bye(conn->cc_tls_para.session, GNUTLS_SHUT_WR)' :\tError in the push function.",
	}
	if got := (FreeDiameter{}).Complaints([]byte(relayLog)); !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
}
