package pana

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// ruleTests says which test has each rule of RFC 5191 and RFC 5873 for phases, numbers, retransmission,
// moves, pre-authentication and what is discarded.
var ruleTests = []struct{ section, rule, test string }{
	{"5191 4.2", "ping in the access phase, from either side", "TestPhases/ping from either side"},
	{"5191 4.2", "the sender limits the rate of pings", "TestPhases/pings are rate-limited by the sender"},
	{"5191 4.2", "no ping is sent in re-authentication or termination", "TestPhases/no ping is begun in re-authentication or termination"},
	{"5191 5.5", "no ping in the authentication phase", "TestPhases/no ping is answered in the first authentication"},
	{"5191 4.3", "PNR[A], PNA[A], and PARs with new nonces and numbers that go on; the old key until PAR[C], then the new one", "TestPhases/re-authentication"},
	{"5191 4.3", "PARs are discarded while a PNR[A] is outstanding", "TestPhases/PARs are discarded while a PNR[A] is outstanding"},
	{"5191 4.3", "re-authentication begins before the lifetime ends", "TestPhases/re-authentication before the lifetime ends"},
	{"5191 4.3", "PNR[A] of an unknown session", "TestPhases/PNR[A] of an unknown session is discarded silently"},
	{"5191 4.3", "a failed re-authentication ends the session", "TestPhases/failed re-authentication ends the session"},
	{"5609 6.2", "a PAR in state open begins a re-authentication", "TestStates/a PAR in the access phase begins a re-authentication"},
	{"5191 4.4", "PTR with its cause first, PTA, and the same PTA for a duplicate", "TestPhases/termination from either side"},
	{"5191 4.4", "the cause says who ends the session, and why", "TestStates/the cause of a termination"},
	{"5191 4.4", "expiry needs no PTR", "TestPhases/expiry needs no PTR"},
	{"5609 6.2", "any state ends with its time", "TestTerminationEnds"},
	{"5191 5.2", "numbers go up by one, and wrap", "TestNumbers/one more with each request, and 0 after the last"},
	{"5191 5.2", "first numbers are random", "TestNumbers/first numbers and session identifiers are random"},
	{"5191 5.2", "an answer copies the number, a retransmission reuses it", "TestNumbers/an answer copies the number, a retransmission reuses it"},
	{"5191 5.2", "a request has the number expected, an answer that of the request", "TestNumbers/a request has the number expected, an answer that of the request"},
	{"5191 5.2", "PCI and PAR[S] are not checked", "TestNumbers/a PCI and a PAR[S] are not checked"},
	{"5191 5.2", "one request is outstanding a side", "TestNumbers/one request is outstanding"},
	{"5191 5.5", "what AUTH does not verify moves no number", "TestNumbers/the number expected advances after AUTH"},
	{"5191 5.2", "a duplicate request is answered again, within a rate", "TestNumbers/a duplicate request is answered again, octet for octet, within a rate"},
	{"5191 5.2", "a duplicate answer is dropped", "TestNumbers/a duplicate answer is dropped"},
	{"5191 9", "RAND", "TestTimers/RAND is between -0.1 and 0.1"},
	{"5191 9", "IRT, then twice the one before, up to MRT", "TestTimers/IRT, doubled, up to MRT"},
	{"5191 9", "MRC", "TestTimers/MRC transmissions"},
	{"5191 9", "MRD", "TestTimers/MRD seconds"},
	{"5191 9", "neither MRC nor MRD: without end", "TestTimers/without MRC and MRD it has no end"},
	{"5191 9.1", "PCI_ and REQ_ parameters", "TestTimers/the parameters of PCI and REQ"},
	{"5191 9", "a request that fails ends the session at once", "TestTimers/a request without an answer ends the session"},
	{"5191 9", "answers have no timer", "TestTimers/answers are not repeated by timer"},
	{"5609 6.3", "PCIs end with FAILED_SESS_TIMEOUT", "TestTimers/PCIs end with FAILED_SESS_TIMEOUT"},
	{"5191 5.6", "the PAA takes address and port of the next valid message", "TestMoves/the address and port of the next valid message count"},
	{"5191 5.6", "any valid message will do", "TestMoves/any request and any answer will do"},
	{"5191 5.6", "with an SA it carries AUTH, and has the right number", "TestMoves/with an SA it must carry AUTH"},
	{"5191 5.6", "sessions are found by identifier", "TestMoves/sessions are found by identifier"},
	{"5191 5.6", "a duplicate moves nothing", "TestMoves/a duplicate moves nothing"},
	{"5191 5.6", "the next message counts again", "TestMoves/whoever was first with a ping has the session until the PaC speaks again"},
	{"5191 5.6", "before there is an SA the address is fixed", "TestAddressFixedBeforeSA"},
	{"5191 6.2", "the I bit", "TestMoves/the I bit asks for another address after success"},
	{"5873 3", "E on all messages until the candidate serves, and on none after", "TestCandidates/E is on every message until the candidate serves, and on none after"},
	{"5873 4", "PTR and PTA of a candidate have E", "TestCandidates/PTR and PTA of a candidate have E"},
	{"5873 3", "S without E ends it: no fallback", "TestCandidates/an answer without E is no session, whoever asked with it"},
	{"5873 3", "an EAP method with keys", "TestCandidates/it needs keys"},
	{"5873 3", "activation needs a PANA SA", "TestCandidates/without keys nothing activates"},
	{"5873 3", "one session for each candidate, several candidates", "TestCandidates/several candidates at once"},
	{"5873 3", "PNR[P] without E activates, from the new address", "TestCandidates/one ping moves the address and activates, and once is enough"},
	{"5873 3", "E that is not the session's", "TestDiscards/E on a session without"},
	{"5873 6", "who may pre-authenticate", "TestAllowPreauth"},
	{"5873 6", "nothing is kept for a PCI", "TestStatelessPCI"},
	{"5191 5.5", "shorter than a header", "TestDiscards/shorter than a header"},
	{"5191 5.5", "length beyond the datagram", "TestDiscards/length beyond the datagram"},
	{"5191 5.5", "AVP beyond the message", "TestDiscards/AVP beyond the message"},
	{"5191 5.5", "unknown type", "TestDiscards/unknown type"},
	{"5191 6.2", "S with C", "TestDiscards/S with C"},
	{"5191 7.6", "A with P", "TestDiscards/A with P"},
	{"5191 7.6", "neither A nor P", "TestDiscards/neither A nor P"},
	{"5191 7.1", "R on a PCI", "TestDiscards/PCI that is a request"},
	{"5191 7.1", "a PCI with a session or a number", "TestDiscards/PCI with a session"},
	{"5191 5.5", "unknown session", "TestDiscards/unknown session"},
	{"5191 5.5", "wrong number", "TestDiscards/wrong number"},
	{"5191 5.5", "an answer without a request", "TestDiscards/answer without a request"},
	{"5191 5.5", "PAR[C] in the access phase", "TestDiscards/PAR[C] in the access phase"},
	{"5191 5.5", "PAR[S] in the access phase", "TestDiscards/PAR[S] in the access phase"},
	{"5191 5.5", "a PCI for what already runs", "TestSurvives/PCI spoofed against an open session"},
	{"5191 5.5", "PTR and PNR in the first authentication", "TestStates/no PTR is answered in the first authentication"},
	{"5191 5.5", "PAR[S] after the first PAR without S", "TestStates/no PAR[S] once there was a PAR without S"},
	{"5191 5.5", "PCI in authentication", "TestStates/no PCI in authentication"},
	{"5191 5.5", "PAR[C] before the S exchange", "TestStates/no PAR[C] before the S exchange"},
	{"5191 5.5", "only PTR and ping in termination", "TestStates/only PTR and ping in termination"},
	{"5191 5.5", "an AVP where there is none", "TestDiscards/Result-Code in a PNR"},
	{"5191 5.5", "an AVP too often", "TestDiscards/two Nonces"},
	{"5191 5.5", "an AVP missing", "TestDiscards/PTR without a cause"},
	{"5191 5.5", "an AVP at a wrong place", "TestDiscards/cause that is not first"},
	{"5191 8.1", "AUTH that is not last", "TestDiscards/AUTH that is not last"},
	{"5191 5.5", "an AVP that cannot be read", "TestDiscards/cause of three octets"},
	{"5191 5.4", "AUTH missing", "TestDiscards/AUTH missing"},
	{"5191 5.4", "AUTH wrong", "TestDiscards/AUTH wrong"},
	{"5191 5.4", "AUTH of a wrong length", "TestSurvives/wrong AUTH of every length"},
	{"5191 5.3", "Key-Id of PAN[C] is that of PAR[C]", "TestKeyIDs"},
	{"5191 6.2", "reserved fields are ignored", "TestDiscards/reserved fields"},
	{"5191 6.2", "unknown flags are ignored", "TestDiscards/unknown flags"},
	{"5191 7", "unknown AVPs are let through", "TestDiscards/an unknown AVP"},
}

// TestRules: the test of each rule is there. A name of a subtest is a string in the function.
func TestRules(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	has := map[string]map[string]bool{} // strings, by test
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			words := map[string]bool{}
			ast.Inspect(fn, func(n ast.Node) bool {
				if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
					if s, err := strconv.Unquote(l.Value); err == nil {
						words[s] = true
					}
				}
				return true
			})
			has[fn.Name.Name] = words
		}
	}
	seen := map[string]bool{}
	for _, r := range ruleTests {
		test, sub, ok := strings.Cut(r.test, "/")
		if has[test] == nil || ok && !has[test][sub] {
			t.Errorf("RFC %s, %s: there is no test %q", r.section, r.rule, r.test)
		}
		if seen[r.test] {
			t.Errorf("RFC %s, %s: %q is another rule's test", r.section, r.rule, r.test)
		}
		seen[r.test] = true
	}
}
