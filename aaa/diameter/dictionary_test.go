package diameter

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
)

// TestDictionaryWhole says that every rule of every command names an AVP that is there,
// of a code that no other one has, and that the codes are those of the RFCs: as the
// library's own dictionaries have them.
func TestDictionaryWhole(t *testing.T) {
	d := dictionary()
	codes := make(map[uint32]string)
	for _, app := range d.Apps() {
		for _, a := range app.AVP {
			if other, ok := codes[a.Code]; ok {
				t.Errorf("AVP %d is %s and %s", a.Code, other, a.Name)
			}
			codes[a.Code] = a.Name
			if want := map[bool]string{true: "M", false: "-"}[mandatory(a.Code) == avp.Mbit]; a.Must != want && a.Code != avp.QoSFilterRule {
				t.Errorf("%s: must=%q in dictionary.xml, the builder has %q", a.Name, a.Must, want)
			}
			for _, r := range a.Data.Rule {
				if _, err := d.FindAVP(app.ID, r.AVP); err != nil {
					t.Errorf("%s: %v", a.Name, err)
				}
			}
		}
		for _, c := range app.Command {
			for _, r := range append(c.Request.Rule, c.Answer.Rule...) {
				if _, err := d.FindAVP(app.ID, r.AVP); err != nil {
					t.Errorf("%s: %v", c.Name, err)
				}
			}
		}
	}
	for code, name := range map[uint32]string{
		avp.SessionID: "Session-Id", avp.OriginStateID: "Origin-State-Id", avp.FailedAVP: "Failed-AVP", avp.TerminationCause: "Termination-Cause",
		avp.AcctSessionTime: "Acct-Session-Time", avp.AccountingOutputPackets: "Accounting-Output-Packets", avp.FramedMTU: "Framed-MTU",
		codeNASPortID: "NAS-Port-Id", codeEAPPayload: "EAP-Payload", codeEAPReissuedPayload: "EAP-Reissued-Payload",
		codeEAPMasterSessionKey: "EAP-Master-Session-Key", codeEAPKeyName: "EAP-Key-Name", codeAccountingEAPAuthMethod: "Accounting-EAP-Auth-Method",
		codeChargeableUserIdentity: "Chargeable-User-Identity", codeOperatorName: "Operator-Name", codeAccountingAuthMethod: "Accounting-Auth-Method",
	} {
		if codes[code] != name {
			t.Errorf("AVP %d is %q, want %q", code, codes[code], name)
		}
	}
	for _, c := range []struct{ app, code uint32 }{{appBase, 257}, {appBase, 280}, {appBase, 282}, {appEAP, cmdEAP}, {appEAP, cmdSessionTermination}, {appEAP, cmdReAuth}, {appAccounting, cmdAccounting}} {
		if _, err := d.FindCommand(c.app, c.code); err != nil {
			t.Errorf("application %d, command %d: %v", c.app, c.code, err)
		}
	}
}

// TestKeyNeverPrints says that a message with a key can be printed, however, without it,
// and that it can be wiped.
func TestKeyNeverPrints(t *testing.T) {
	secret := []byte("0123456789abcdef")
	m := diam.NewMessage(cmdEAP, 0, appEAP, 1, 1, dictionary())
	m.AddAVP(diam.NewAVP(codeEAPMasterSessionKey, 0, 0, datatype.OctetString(secret)))
	wire, err := m.Serialize()
	if err != nil {
		t.Fatal(err)
	}
	got, err := diam.ReadMessage(bytes.NewReader(wire), dictionary())
	if err != nil {
		t.Fatal(err)
	}
	a := fields(got.AVP)
	if !bytes.Equal(a.octets(codeEAPMasterSessionKey), secret) {
		t.Fatalf("the key reads as %x", a.octets(codeEAPMasterSessionKey))
	}
	for _, s := range []string{got.String(), fmt.Sprintf("%v %+v %#v", got.AVP[0], got.AVP[0].Data, got.AVP[0].Data)} {
		if strings.Contains(s, string(secret)) || strings.Contains(s, fmt.Sprintf("%x", secret)) {
			t.Errorf("the key is in %q", s)
		}
	}
	wipe(got)
	if !bytes.Equal(a.octets(codeEAPMasterSessionKey), make([]byte, len(secret))) {
		t.Error("the key is there after it was wiped")
	}
}
