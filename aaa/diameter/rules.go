package diameter

import (
	"fmt"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/dict"
)

// checkRules checks how often AVPs are there against what the dictionary says of the
// command: 5005 for one that is missing, 5009 for one too many.
func checkRules(m *diam.Message, d *dict.Parser) *Fault {
	cmd, err := d.FindCommand(m.Header.ApplicationID, m.Header.CommandCode)
	if err != nil {
		return &Fault{Code: diam.CommandUnsupported, Why: fmt.Sprintf("command %d of application %d", m.Header.CommandCode, m.Header.ApplicationID)}
	}
	rules := cmd.Answer.Rule
	if m.Header.CommandFlags&diam.RequestFlag != 0 {
		rules = cmd.Request.Rule
	}
	for _, r := range rules {
		def, err := d.FindAVPWithVendor(m.Header.ApplicationID, r.AVP, dict.UndefinedVendorID)
		if err != nil {
			continue // "AVP": any
		}
		var last *diam.AVP
		n := 0
		for _, a := range m.AVP {
			if a.Code == def.Code && a.VendorID == def.VendorID {
				n, last = n+1, a
			}
		}
		switch {
		case n == 0 && (r.Required || r.Min > 0):
			flags := uint8(0)
			if def.VendorID == 0 {
				flags = avp.Mbit
			}
			return &Fault{Code: diam.MissingAVP, Failed: emptyAVP(def.Code, flags, def.VendorID, def), Why: def.Name + " is missing"}
		case r.Max > 0 && n > r.Max:
			return &Fault{Code: diam.AVPOccursTooManyTimes, Failed: last, Why: fmt.Sprintf("%s is there %d times, expected at most %d", def.Name, n, r.Max)}
		}
	}
	return nil
}

// resultCode is the Result-Code of an answer, or of its Experimental-Result; 0: none.
func resultCode(m *diam.Message) uint32 {
	if n, ok := fields(m.AVP).number(avp.ResultCode); ok {
		return n
	}
	for _, a := range m.AVP {
		if g, ok := a.Data.(*diam.GroupedAVP); ok && a.Code == avp.ExperimentalResult && a.VendorID == 0 {
			n, _ := fields(g.AVP).number(avp.ExperimentalResultCode)
			return n
		}
	}
	return 0
}
